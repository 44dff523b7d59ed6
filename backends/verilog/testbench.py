"""The self-checking testbench: sends samples, compares everything that every population does."""

from __future__ import annotations

from collections.abc import Mapping

from snnc.backends.netlist.model import InputPort
from snnc.backends.netlist.record import Recording
from snnc.backends.verilog import cost, vectors
from snnc.backends.verilog.geometry import address_bits
from snnc.backends.verilog.latency import latency
from snnc.backends.verilog.plan import Design, Unit
from snnc.backends.verilog.syntax import Value, instance, vector, wire
from snnc.backends.verilog.top import output_bits
from snnc.backends.verilog.words import encode


def testbench(design: Design, recording: Recording, name: str) -> dict[str, bytes]:
    """tb/<name>_bench.v, the golden vectors of ``recording`` and the cycles that are foretold."""
    work = {unit: int(cycles.sum()) for unit, cycles in cost.work(design, recording).items()}
    cycles = latency(design, recording)
    files = {_path("cycles"): encode([(cycles, 32)])}
    parts = []
    samples = len(next(iter(recording.codes.values())))
    for port in design.netlist.inputs:
        count, content = vectors.stimulus(design, port, recording.codes[port.name])
        files[_path(f"{port.name}.stimulus")] = content
        parts.append(_drive(design, port, count))
    checks = []
    for unit in design.units:
        kind = unit.population.kind
        if kind != "readout":
            count, content = vectors.events(design, unit, recording.spikes[unit.name])
            files[_path(f"{unit.name}.events")] = content
            parts.append(_check_events(design, unit, count, samples))
            checks.append(f"{unit.name}_events")
        if kind == "if":
            count, content = vectors.membranes(unit, recording.membranes[unit.name])
            files[_path(f"{unit.name}.membranes")] = content
            parts.append(_check_membranes(unit, count))
            checks.append(f"{unit.name}_membranes")
        if kind == "readout":
            count, content = vectors.results(design, unit, recording.membranes[unit.name])
            files[_path(f"{unit.name}.results")] = content
            parts.append(_check_results(design, unit, count))
            checks.append(f"{unit.name}_results")
    text = _bench(design, name, parts, checks, samples, work)
    return files | {f"tb/{name}_bench.v": text.encode("ascii")}


def _path(name: str) -> str:
    return f"tb/{name}.mem"


def _drive(design: Design, port: InputPort, count: int) -> str:
    source, width = port.name, design.links[port.name].width
    text = wire(f"{source}_valid") + wire(f"{source}_ready") + wire(f"{source}_data", width)
    wires = {"clk": "clk", "reset": "reset", "limit": "limit", "valid": f"{source}_valid"}
    wires |= {"ready": f"{source}_ready", "data": f"{source}_data"}
    parameters: dict[str, Value] = {"WIDTH": width, "COUNT": count, "TOKENS": vectors.tokens(design, port)}
    parameters["FILE"] = f'"{_path(f"{source}.stimulus")}"'
    return text + instance("snn_drive", f"{source}_drive", parameters, wires)


def _check_events(design: Design, unit: Unit, count: int, samples: int) -> str:
    link, name = design.links[unit.name], unit.name
    channel, row, column = link.fields
    parameters: dict[str, Value] = {"NAME": f'"{name}"', "COUNT": count, "SAMPLE": address_bits(samples)}
    parameters |= {"STEP": address_bits(design.netlist.steps), "EXTRA": link.extra}
    parameters |= {"CHANNEL": channel, "ROW": row, "COLUMN": column}
    parameters["FILE"] = f'"{_path(f"{name}.events")}"'
    wires = {"valid": f"dut.{name}_valid && dut.{name}_ready", "step": f"dut.{name}.step"}
    wires["data"] = f"dut.{name}_data"
    return _check("snn_check_events", f"{name}_events", parameters, wires)


def _check_membranes(unit: Unit, count: int) -> str:
    name = unit.name
    parameters: dict[str, Value] = {"NAME": f'"{name}"', "WHAT": '"membranes"', "COUNT": count}
    parameters |= {"WIDTH": unit.geometry.lanes * unit.bits, "FILE": f'"{_path(f"{name}.membranes")}"'}
    wires = {"valid": f"dut.{name}.y_valid && dut.{name}.move && dut.{name}.last_step"}
    wires["data"] = f"dut.{name}.fired"
    return _check("snn_check_words", f"{name}_membranes", parameters, wires)


def _check_results(design: Design, unit: Unit, count: int) -> str:
    name, width = unit.name, output_bits(design, unit)
    parameters: dict[str, Value] = {"NAME": f'"{name}"', "WHAT": '"results"', "COUNT": count}
    parameters |= {"WIDTH": width, "FILE": f'"{_path(f"{name}.results")}"'}
    text = wire(f"{name}_valid") + wire(f"{name}_data", width)
    wires = {"valid": f"{name}_valid", "data": f"{name}_data"}
    return text + _check("snn_check_words", f"{name}_results", parameters, wires)


def _check(module: str, name: str, parameters: Mapping[str, Value], wires: Mapping[str, str]) -> str:
    text = wire(f"{name}_done") + wire(f"{name}_failed")
    ends = {"done": f"{name}_done", "failed": f"{name}_failed"}
    return text + instance(module, f"{name}_check", parameters, {"clk": "clk", **wires, **ends})


def _bench(
    design: Design, name: str, parts: list[str], checks: list[str], samples: int, work: Mapping[str, int]
) -> str:
    readouts = [unit for unit in design.units if unit.population.kind == "readout"]
    units = len(design.units)
    wires = {"clk": "clk", "reset": "reset"}
    for port in design.netlist.inputs:
        wires |= {f"{port.name}_{s}": f"{port.name}_{s}" for s in ("valid", "ready", "data")}
    for unit in readouts:
        wires |= {f"{unit.name}_valid": f"{unit.name}_valid", f"{unit.name}_ready": "1'b1"}
        wires[f"{unit.name}_data"] = f"{unit.name}_data"
    dut = instance(name, "dut", {}, wires | {"busy": "busy"})
    finished = " && ".join(f"{unit.name}_count > finished" for unit in readouts)
    counters = "".join(f"    integer {unit.name}_count = 0;\n" for unit in readouts)
    counting = "".join(
        f"        if ({u.name}_valid && {u.name}_data[{output_bits(design, u) - 1}]) "
        f"{u.name}_count <= {u.name}_count + 1;\n"
        for u in readouts
    )
    busy = [f"busy[{k}]" if units > 1 else "busy" for k in range(units)]
    sums = "".join(
        f"        if (running && {bit}) {u.name}_work <= {u.name}_work + 1;\n"
        for u, bit in zip(design.units, busy, strict=True)
    )
    totals = "".join(f"    integer {unit.name}_work = 0;\n" for unit in design.units)
    said = "".join(
        f'            $display("WORK {u.name} %0d foretold {work[u.name]}", {u.name}_work);\n'
        f"            if ({u.name}_work != {work[u.name]}) wrong = 1'b1;\n"
        for u in design.units
    )
    late = "".join(
        f'            if (!{c}_done) $display("DIFFERENCE {c.replace("_", " ")} %0d, expected more", '
        f"{c}_check.position);\n"
        for c in checks
    )
    return _BENCH.format(
        name=name,
        busy=vector(units),
        body="\n".join(parts) + dut,
        counters=counters + totals,
        counting=counting + sums,
        finished=finished,
        done=" && ".join(f"{c}_done" for c in checks),
        failed=" || ".join(f"{c}_failed" for c in checks),
        said=said,
        cycles=_path("cycles"),
        late=late,
        samples=samples,
    )


_BENCH = """\
// Generated by snnc: sends {samples} samples and compares every spike of every population, the last membranes
// and the results with golden vectors. STREAM: without waiting for the end of one sample to send the next.
`timescale 1ns / 1ns
module {name}_bench #(
    parameter STREAM = 0
) (
    output reg done,
    output reg failed
);
    reg clk = 1'b0, reset = 1'b1;
    always #5 if (!done) clk = !clk;
    wire {busy}busy;
    reg [31:0] limit = 0;

{body}
{counters}
    integer cycle = 0, start = 0, finished = 0, idle = 0;
    reg running = 1'b0, wrong = 1'b0;
    reg [31:0] foretold[0:{samples}-1];
    initial $readmemh("{cycles}", foretold);
    wire complete = {done};
    initial begin
        done = 1'b0;
        failed = 1'b0;
    end

    always @(posedge clk) if (!done) begin
        cycle <= cycle + 1;
        reset <= cycle < 3;
        // nothing in flight and nothing to clear: the next sample may begin
        if (!reset && busy == 0 && limit == finished && finished < {samples}) begin
            limit <= STREAM ? {samples} : finished + 1;
            start <= cycle;
            running <= 1'b1;
        end
        if ({finished}) begin
            finished <= finished + 1;
            if (!STREAM) begin
                $display("CYCLES %0d foretold %0d", cycle - start, foretold[finished]);
                if (cycle - start != foretold[finished]) wrong = 1'b1;
            end else if (finished == {samples} - 1) $display("CYCLES %0d of all", cycle - start);
        end
{counting}
        idle <= busy == 0 ? idle + 1 : 0;
        if (complete && idle > 20 || idle > 10000) begin
{said}{late}
            failed <= wrong || !complete || {failed};
            done <= 1'b1;
        end
    end
endmodule
"""
