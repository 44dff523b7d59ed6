"""Small files that would take long or much are compiled in linear time, or refused before memory is taken."""

from __future__ import annotations

import itertools
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from snnc.diagnostics import CompileError, Diagnostics
from snnc.driver import Request, compile_model
from snnc.frontend import inspect, load
from snnc.ir.network import Network
from snnc.ir.ops import Add, IfNeuron, Input, Output, Relu, Scale

WEIGHT = numpy_helper.from_array(0.3 * np.eye(3, dtype=np.float32)[:, :, None, None], "w")


def model(nodes: list[NodeProto], *, side: int = 4, batch: int | str = "N") -> ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, side, side])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", "C", "H", "W"])
    graph = helper.make_graph(
        [*nodes, helper.make_node("Identity", [nodes[-1].output[0]], ["y"])], "g", [x], [y]
    )
    graph.initializer.append(WEIGHT)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def diamonds(count: int, *, activation: bool) -> list[NodeProto]:
    """x ← relu(conv(x) + x), or x ← conv(x) + x."""
    nodes, x = [], "x"
    for i in range(count):
        nodes.append(helper.make_node("Conv", [x, "w"], [f"c{i}"]))
        nodes.append(helper.make_node("Add", [f"c{i}", x], [f"a{i}"]))
        x = f"a{i}"
        if activation:
            nodes.append(helper.make_node("Relu", [x], [f"r{i}"]))
            x = f"r{i}"
    return nodes


def compiled(nodes: list[NodeProto], **options: int) -> Network:
    return compile_model(model(nodes, **options), Request(T=2, threads=1)).network


@pytest.mark.slow
@pytest.mark.parametrize("op", ["Relu", "Identity", "Tanh"])
def test_chains_of_20000_nodes(op):
    names = ["x", *(f"t{i}" for i in range(20_000))]
    nodes = [helper.make_node(op, [a], [b]) for a, b in itertools.pairwise(names)]
    rows, _ = inspect(model(nodes), Diagnostics())
    assert len(rows) == 20_001
    assert (rows[0].status == "refused") == (op == "Tanh")
    if op != "Tanh":
        assert len(compiled(nodes).nodes) < 10


@pytest.mark.slow
@pytest.mark.parametrize("activation", [False, True])
def test_64_residual_diamonds(activation):
    network = compiled(diamonds(64, activation=activation))
    assert len(list(network.of(IfNeuron))) in (63, 64)


def test_doubling_64_times_is_one_factor():
    nodes = [helper.make_node("Relu", ["x"], ["d0"])]
    nodes += [helper.make_node("Add", [f"d{i}", f"d{i}"], [f"d{i + 1}"]) for i in range(64)]
    network = compiled(nodes)
    assert not list(network.of(Add))
    (scale,) = list(network.of(Scale))[-1:]
    assert network.op(scale).weight.shape == ()


def test_slices_of_concatenations_of_slices():
    constants = {"begin": [0], "end": [3], "axis": [1]}
    nodes = [helper.make_node("Constant", [], [k], value_ints=v) for k, v in constants.items()]
    nodes.append(helper.make_node("Relu", ["x"], ["s0"]))
    for i in range(64):
        nodes.append(helper.make_node("Concat", [f"s{i}", f"s{i}"], [f"j{i}"], axis=1))
        nodes.append(helper.make_node("Slice", [f"j{i}", "begin", "end", "axis"], [f"s{i + 1}"]))
    nodes += [helper.make_node("Conv", ["s64", "w"], ["c"]), helper.make_node("Relu", ["c"], ["r"])]
    with pytest.raises(CompileError, match=r"SNNC0104.*paths"):
        compiled(nodes)


def test_types_and_order_survive_editing():
    network = Network("n")
    first = network.add(Input(name="x", shape=(3,)))
    last = network.add(Relu(), first)
    network.add(Output(name="y"), last)
    assert network.nodes == (0, 1, 2)
    assert network.type(last).shape == (3,)
    middle = network.add(Add(), first, first)
    network.set(last, network.op(last), [middle])
    assert network.nodes == (0, 3, 1, 2)
    network.set(first, Input(name="x", shape=(5,)))
    assert network.type(last).shape == (5,)
    network.redirect(first, middle, keep=[middle])
    twin = network.copy()
    twin.bypass(last)
    assert (last in network, last in twin) == (True, False)


def test_a_network_beyond_the_memory_is_refused_before_it_is_evaluated():
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Relu", ["c"], ["r"])]
    with pytest.raises(CompileError, match=r"SNNC0104.*MiB allowed"):
        compile_model(model(nodes, side=1000), Request(T=2, max_memory=1 << 28))
    many = model(diamonds(1000, activation=True), side=1800)
    with pytest.raises(CompileError, match=r"SNNC0104.*operations"):
        load(many, Diagnostics())


def test_values_beyond_float32_are_named():
    nodes = [helper.make_node("Relu", ["x"], ["d0"])]
    nodes += [helper.make_node("Add", [f"d{i}", f"d{i}"], [f"d{i + 1}"], name=f"n{i}") for i in range(500)]
    with pytest.raises(CompileError, match=r"SNNC0114.*overflow float32\n  at: n12"):
        compiled(nodes)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit the address space")
def test_huge_declared_shapes_take_no_memory():
    program = """
        import resource, sys
        import onnx, onnxruntime
        sys.path.insert(0, "tests")
        from hostile.seeds import TEXTS, model
        from snnc.diagnostics import CompileError
        from snnc.driver import Request, compile_model
        proto = model(*TEXTS["plain"])
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (512 << 20),) * 2)
        for side in (10**4, 6000, 1 << 31):
            for dim in (2, 3):
                proto.graph.input[0].type.tensor_type.shape.dim[dim].dim_value = side
            try:
                compile_model(proto, Request(T=2))
            except CompileError as error:
                print(error.diagnostics[0].code)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()) <= {"SNNC0104", "SNNC0113"}
    assert len(done.stdout.split()) == 3
