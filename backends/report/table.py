"""A report as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from snnc.diagnostics import printable

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

_COLUMNS = (
    ("layer", "left"),
    ("shape", "left"),
    ("neurons", "right"),
    ("synapses", "right"),
    ("bits", "right"),
    ("scale", "right"),
    ("threshold", "right"),
    ("F", "right"),
    ("membrane", "right"),
    ("SQNR dB", "right"),
    ("rate", "right"),
    ("spikes", "right"),
    ("SOPs", "right"),
)


def render(report: Mapping[str, Any]) -> Iterator[RenderableType]:
    """What to print of a report, top to bottom; names from models are plain text, never markup."""
    about = report["network"]
    yield _plain(
        f"{about['name']}: T = {about['T']}, {about['schedule']}, {about['level']} level; "
        f"the answer after {about['latency_steps']} steps"
    )
    yield _layers(report["layers"])
    yield from map(_plain, _totals(report))
    if report["energy"]:
        yield _energy(report["energy"])
    if report["passes"]:
        yield _passes(report["passes"])
    if hardware := report["backends"].get("verilog"):
        yield _units(hardware["units"])
        yield _plain(_hardware(hardware))
    if built := report.get("built"):
        yield _devices(built)


def _units(units: Mapping[str, Any]) -> Table:
    """The cycles of every unit of a hardware design."""
    columns = (("unit", "left"), ("cycles", "right"), ("lanes used", "right"), ("membrane", "right"))
    rows = [
        [
            name,
            f"{unit['cycles']:.0f}",
            "–" if unit["lane_utilisation"] is None else f"{unit['lane_utilisation']:.0%}",
            str(unit["membrane_bits"] or "–"),
        ]
        for name, unit in units.items()
    ]
    return table(columns, rows)


def _hardware(section: Mapping[str, Any]) -> str:
    memory = section["memory"]
    return (
        f"Verilog, {section['lanes']} lanes: {section['cycles_per_inference']:.0f} cycles per inference, "
        f"{section['latency_ms']:.2f} ms at {section['clock_mhz']:g} MHz; "
        f"ROM {memory['rom_bits']} bits, RAM {memory['ram_bits']} bits, "
        f"{memory['ice40_block_rams']} block RAMs of an iCE40"
    )


def _devices(built: Mapping[str, Any]) -> Table:
    """What synthesis and place-and-route made of a design."""
    figures = ("luts", "flip_flops", "block_rams", "logic_cells", "fmax_mhz")
    titles = ("built for", "LUT4", "flip-flops", "block RAMs", "logic cells", "Fmax, MHz")
    columns = [(title, "right" if k else "left") for k, title in enumerate(titles)]
    return table(
        columns, [[device, *(quantity(found.get(f), 4) for f in figures)] for device, found in built.items()]
    )


def quantity(value: float | None, digits: int = 3) -> str:
    """A number for people: ``12.3 M``; a dash for what is unknown."""
    if value is None:
        return "–"
    for factor, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= factor:
            return f"{value / factor:.{digits}g}{letter}"
    return str(value) if isinstance(value, int) else f"{value:.{digits}g}"


def table(columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]]) -> Table:
    """A table of plain text; ``columns`` are titles and alignments."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE, pad_edge=False)
    for title, side in columns:
        made.add_column(_plain(title), justify="right" if side == "right" else "left", overflow="fold")
    for row in rows:
        made.add_row(*map(_plain, row))
    return made


def _plain(text: str) -> Text:
    """No markup and no control characters, whatever a name holds."""
    from rich.text import Text

    return Text(printable(text, 1000))


def _layers(layers: Sequence[Mapping[str, Any]]) -> Table:
    rows = [
        (
            f"{layer['population']} {_place(layer)}",
            "×".join(map(str, layer["shape"])),
            quantity(layer["neurons"]),
            quantity(layer.get("synapses")),
            str(layer["weight_bits"] or "–"),
            _span(layer["scale"]),
            _span(layer["threshold"]),
            "–" if layer["fraction_bits"] is None else str(layer["fraction_bits"]),
            str(layer["membrane_bits"] or "–"),
            "–" if layer["sqnr_db"] is None else f"{layer['sqnr_db']:.1f}",
            "–" if layer.get("mean_rate") is None else f"{layer['mean_rate']:.3f}",
            quantity(layer.get("spikes")),
            quantity(layer.get("sops")),
        )
        for layer in layers
    ]
    return table(_COLUMNS, rows)


def _place(layer: Mapping[str, Any]) -> str:
    names = layer["origin"] or [layer["kind"]]
    return printable(names[0], 28) + (f" +{len(names) - 1}" if len(names) > 1 else "")


def _span(value: Any) -> str:
    if isinstance(value, list):
        return f"{quantity(value[0])}…{quantity(value[1])}"
    return quantity(value)


def _totals(report: Mapping[str, Any]) -> Iterator[str]:
    totals = report["totals"]
    if totals is None:
        yield "No netlist below the int level: no costs."
        return
    yield (
        f"{quantity(totals['neurons'])} neurons, {quantity(totals['synapses'])} synapses; the ANN takes "
        f"{quantity(totals['macs'])} MACs, ECC Eq. 13 counts {quantity(totals['eq13'])} operations"
    )
    samples = report["measured_samples"]
    if not samples:
        yield "Spikes are unknown without calibration data; snnc evaluate measures them."
        return
    yield (
        f"Per sample, mean of {samples} calibration samples: {quantity(totals['spikes'])} spikes, "
        f"{quantity(totals['sops'])} SOPs (exact; ECC Eq. 14 gives {quantity(totals['eq14'])}; counted as in "
        f"its figures, without output positions, {quantity(totals['kernel_ops'])}), "
        f"{quantity(totals['analog_macs'])} MACs of the analog input, "
        f"{quantity(totals['neuron_updates'])} neuron updates"
    )


def _energy(entries: Sequence[Mapping[str, Any]]) -> Table:
    columns = (("energy per sample", "left"), ("µJ", "right"), ("not priced", "left"), ("source", "left"))
    rows = [
        (
            f"{entry['name']} ({entry['kind']})",
            microjoules(entry),
            ", ".join(entry["unpriced"]) or "–",
            entry["source"],
        )
        for entry in entries
    ]
    return table(columns, rows)


def microjoules(entry: Mapping[str, Any]) -> str:
    """The total, or the priced part of it as a lower bound."""
    if entry["total_picojoules"] is not None:
        return quantity(entry["total_picojoules"] / 1e6)
    return f"≥ {quantity(sum(entry['picojoules'].values()) / 1e6)}"


def _passes(records: Sequence[Mapping[str, Any]]) -> Table:
    columns = (("pass", "left"), ("promise", "left"), ("measured", "left"), ("seconds", "right"))
    rows = [
        (
            record["text"],
            record["promise"] + ("" if record["held"] else " — BROKEN"),
            _proof(record["proof"]),
            f"{record['seconds']:.2f}",
        )
        for record in records
    ]
    return table(columns, rows)


def _proof(proof: Mapping[str, Any]) -> str:
    return ", ".join(_terms(proof)) or "–"


def _terms(proof: Mapping[str, Any]) -> Iterator[str]:
    for name, value in proof.items():
        label = name.replace("_", " ")
        if isinstance(value, Mapping):
            yield from (f"{label} {term}" for term in _terms(value))
        elif value is True:
            yield label
        elif isinstance(value, int | float) and value is not False:
            yield f"{label} {quantity(value)}"
        elif isinstance(value, str):
            yield f"{label} {value}"
