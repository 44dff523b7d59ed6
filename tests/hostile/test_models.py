"""Broken models: each is refused with a code, the node or the file, in at most five lines."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from hostile.seeds import TEXTS, control_flow, functions, model
from onnx import ModelProto, helper, numpy_helper

from snnc.diagnostics import CompileError, Diagnostics, UsageError
from snnc.frontend import Limits, load

Change = Callable[[ModelProto], None]


def plain() -> ModelProto:
    return model(*TEXTS["plain"])


def residual() -> ModelProto:
    return model(*TEXTS["residual"])


def node(proto: ModelProto, output: str) -> onnx.NodeProto:
    return next(n for n in proto.graph.node if n.output[0] == output)


def weight(name: str, values: object) -> Change:
    def change(proto: ModelProto) -> None:
        tensor = next(t for t in proto.graph.initializer if t.name == name)
        tensor.CopyFrom(numpy_helper.from_array(np.asarray(values, np.float32), name))

    return change


def attribute(output: str, name: str, value: object) -> Change:
    def change(proto: ModelProto) -> None:
        found = node(proto, output).attribute
        kept = [a for a in found if a.name != name]
        del found[:]
        found.extend([*kept, helper.make_attribute(name, value)])

    return change


def extents(*values: int) -> Change:
    def change(proto: ModelProto) -> None:
        for dim, value in zip(proto.graph.input[0].type.tensor_type.shape.dim, values, strict=True):
            dim.dim_value = value

    return change


def dims(*values: int) -> Change:
    def change(proto: ModelProto) -> None:
        tensor = next(t for t in proto.graph.initializer if t.name == "w")
        del tensor.dims[:]
        tensor.dims.extend(values)

    return change


def code(text: str) -> Change:
    """A change written as a statement on ``p``, the model."""
    return lambda proto: exec(text, {"p": proto, "node": node, "helper": helper})


PLAIN: dict[str, tuple[Change, str, str]] = {
    "NaN weights": (weight("w", np.full((3, 1, 3, 3), np.nan)), "SNNC0114", "at: node_c"),
    "an infinite bias": (weight("b", [1, np.inf, 0]), "SNNC0114", "at: node_c"),
    "a bias of the wrong size": (weight("b", [1, 2]), "SNNC0113", "at: node_c"),
    "group 0": (attribute("c", "group", 0), "SNNC0113", "at: node_c"),
    "groups that do not divide": (attribute("c", "group", 2), "SNNC0113", "at: node_c"),
    "an enormous group": (attribute("c", "group", 1 << 62), "SNNC0113", "at: node_c"),
    "strides 0": (attribute("c", "strides", [0, 0]), "SNNC0113", "at: node_c"),
    "negative dilations": (attribute("c", "dilations", [-1, -1]), "SNNC0113", "at: node_c"),
    "enormous pads": (attribute("c", "pads", [0, 0, 1 << 40, 1 << 40]), "SNNC0104", "at: node_c"),
    "an enormous window": (attribute("p", "kernel_shape", [1 << 40, 1 << 40]), "SNNC0104", "at: node_p"),
    "pads of a pool": (attribute("p", "pads", [0, 0, 1 << 40, 0]), "SNNC0113", "at: node_p"),
    "a cycle": (code("node(p, 'c').input[0] = 'r'"), "SNNC0102", "at: node_c"),
    "a node that reads itself": (code("node(p, 'r').input[0] = 'r'"), "SNNC0102", "at: node_r"),
    "a dangling input": (code("node(p, 'r').input[0] = 'nowhere'"), "SNNC0102", "at: node_r"),
    "a tensor made twice": (code("p.graph.node.append(node(p, 'r'))"), "SNNC0102", "'r'"),
    "an initializer twice": (
        code("p.graph.initializer.append(p.graph.initializer[0])"),
        "SNNC0102",
        "not unique",
    ),
    "an input twice": (code("p.graph.input.append(p.graph.input[0])"), "SNNC0102", "'x'"),
    "an output twice": (code("p.graph.output.append(p.graph.output[0])"), "SNNC0115", "'y'"),
    "no output": (code("del p.graph.output[:]"), "SNNC0115", "no outputs"),
    "no input": (
        code("p.graph.initializer.add(name='x', data_type=1, dims=[1, 1, 6, 6], float_data=[0.0] * 36)"),
        "SNNC0115",
        "no input",
    ),
    "no node": (code("del p.graph.node[:]"), "SNNC0102", "'y'"),
    "no graph": (code("p.ClearField('graph')"), "SNNC0102", "no graph"),
    "an empty output name": (code("node(p, 'r').output[0] = ''"), "SNNC0102", "at: node_r"),
    "an empty input name": (code("node(p, 'r').input[0] = ''"), "SNNC0102", "at: node_r"),
    "no operand": (code("del node(p, 'r').input[:]"), "SNNC0102", "at: node_r"),
    "no opset": (code("del p.opset_import[:]"), "SNNC0105", "opset"),
    "an opset of the past": (code("p.opset_import[0].version = 6"), "SNNC0105", "opset 6"),
    "an opset of the future": (code("p.opset_import[0].version = 1 << 62"), "SNNC0105", "opset"),
    "a negative opset": (code("p.opset_import[0].version = -1"), "SNNC0105", "opset -1"),
    "an IR of the future": (code("p.ir_version = 99999"), "SNNC0102", "ir_version"),
    "an undeclared domain": (code("node(p, 'r').domain = 'com.acme'"), "SNNC0102", "at: node_r"),
    "an enormous input": (extents(1, 1, 1 << 31, 1 << 31), "SNNC0104", "'x'"),
    "an enormous batch": (extents(1 << 62, 1, 6, 6), "SNNC0104", "batch"),
    "a negative extent": (extents(1, 1, -6, 6), "SNNC0115", "'x'"),
    "an extent of nil": (extents(1, 1, 0, 6), "SNNC0115", "'x'"),
    "an overflowing shape": (dims(1 << 62, 1 << 62, 3, 3), "SNNC0102", "w"),
    "a negative shape": (dims(-3, -1, 3, 3), "SNNC0102", "w"),
    "a shape that lies": (dims(3, 1, 3), "SNNC0114", "'w'"),
    "an unknown element type": (code("p.graph.initializer[0].data_type = 999"), "SNNC0114", "999"),
}

RESIDUAL: dict[str, tuple[Change, str, str]] = {
    "a negative variance": (weight("v", [-1, 1]), "SNNC0114", "at: node_n"),
    "no variance at all": (
        lambda p: (weight("v", [0, 1])(p), attribute("n", "epsilon", 0.0)(p))[0],
        "SNNC0114",
        "at: node_n",
    ),
    "a batch norm of the wrong size": (weight("v", [1, 2, 3]), "SNNC0113", "at: node_n"),
    "a batch norm in training": (attribute("n", "training_mode", 1), "SNNC0111", "at: node_n"),
}


def refusal(source: object, kind: type[Exception] = CompileError, **options: object) -> str:
    with pytest.raises(kind) as caught:
        load(source, Diagnostics(), **options)
    for diagnostic in caught.value.diagnostics:
        assert len(str(diagnostic).splitlines()) <= 5
    assert caught.value.context == ""
    return str(caught.value)


@pytest.mark.parametrize("case", [*PLAIN, *RESIDUAL])
def test_a_broken_model_is_refused(case):
    proto = plain() if case in PLAIN else residual()
    change, expected, text = (PLAIN | RESIDUAL)[case]
    change(proto)
    message = refusal(proto.SerializeToString())
    assert f"[{expected}]" in message
    assert text in message


def test_a_name_that_is_no_text():
    content = plain().SerializeToString().replace(b"node_r", b"node\xff\xfe")
    assert "SNNC0102]: the name b'node\\xff\\xfe' is not UTF-8 text" in refusal(content)


@pytest.mark.parametrize(
    "name", ["\x1b[31mred", "\u202egnp.exe", "line\nbreak", "$(id)", "nul\0", "n" * 10_000]
)
def test_names_are_escaped_and_short(name):
    proto = plain()
    node(proto, "r").op_type, node(proto, "r").name = "Tanh", name
    message = refusal(proto)
    assert all(line.isprintable() and len(line) < 300 for line in message.splitlines())
    assert len(message.splitlines()) == 3


@pytest.mark.parametrize("mutual", [False, True])
def test_recursive_functions_are_refused(mutual):
    proto = functions()
    del proto.functions[:]
    domain = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    for name, calls in [("act", "other"), ("other", "act")] if mutual else [("act", "act")]:
        body = [helper.make_node(calls, ["a"], ["b"], domain="own")]
        proto.functions.append(helper.make_function("own", name, ["a"], ["b"], body, domain))
    assert "SNNC0102" in refusal(proto)


def test_functions_that_double_are_not_expanded():
    proto = functions()
    del proto.functions[:]
    domain = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    for depth in range(60):
        inner = {"op_type": f"f{depth + 1}", "domain": "own"} if depth < 59 else {"op_type": "Relu"}
        body = [helper.make_node(inputs=["a"], outputs=["c"], **inner)]
        body.append(helper.make_node(inputs=["c"], outputs=["b"], **inner))
        name = f"f{depth}" if depth else "act"
        proto.functions.append(helper.make_function("own", name, ["a"], ["b"], body, domain))
    assert "SNNC0105" in refusal(proto)


def field(number: int, content: bytes) -> bytes:
    """A length-delimited protobuf field."""
    size, head = len(content), bytes([number << 3 | 2])
    while size > 127:
        head += bytes([size & 127 | 128])
        size >>= 7
    return head + bytes([size]) + content


@pytest.mark.parametrize("op", ["If", "Loop"])
def test_bodies_nested_beyond_measure_are_refused(op):
    """Node(attribute(graph(node …))) 5000 deep, which no recursion must follow."""
    body = b""
    for _ in range(5000):
        body = field(1, field(5, field(6, body)) + field(4, op.encode()))
    content = plain().SerializeToString() + field(7, body)
    assert "SNNC0102" in refusal(content)


def test_control_flow_is_counted_and_refused():
    assert "SNNC0110" in refusal(control_flow())
    count = len(plain().graph.node) + 2
    assert "more than 7 nodes" in refusal(control_flow(), limits=Limits(nodes=count))


def test_constants_are_bounded_together():
    proto = plain()
    proto.graph.initializer.append(numpy_helper.from_array(np.array([1 << 20], np.int64), "shape"))
    names = [f"k{i}" for i in range(40)]
    for name in names:
        proto.graph.node.insert(0, helper.make_node("ConstantOfShape", ["shape"], [name], name=name))
    proto.graph.node.append(helper.make_node("Sum", ["y", *names], ["z"], name="sum"))
    proto.graph.output[0].name = "z"
    message = refusal(proto, limits=Limits.within(1 << 28))
    assert "more than the 0 left" in message
    assert "at: k2" in message


def test_a_file_is_looked_at_before_it_is_parsed(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"")
    assert "SNNC0102" in refusal(path)
    path.write_bytes(plain().SerializeToString()[:-20])
    assert "SNNC0102" in refusal(path)
    with path.open("wb") as file:
        file.truncate(1 << 40)
    assert re.search(r"SNNC0104.*too large", refusal(path))
    assert "SNNC0101" in refusal(tmp_path.joinpath("m\0.onnx"), UsageError)


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="the platform has no /dev/zero")
def test_devices_are_refused(tmp_path):
    path = tmp_path / "m.onnx"
    path.symlink_to("/dev/zero")
    assert "not a regular file" in refusal(path, UsageError)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the platform has no named pipes")
@pytest.mark.parametrize("name", ["m.onnx", "m.nir"])
def test_named_pipes_do_not_hang(tmp_path, name):
    os.mkfifo(tmp_path / name)
    assert "not a regular file" in refusal(tmp_path / name, UsageError)


@pytest.mark.parametrize(
    "location", ["http://host/w.data", "file:///w.data", "w.data/../../x", "\\\\host\\w"]
)
def test_external_data_by_address(tmp_path, location):
    proto = plain()
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    assert "SNNC0103" in refusal(path)


def test_external_data_that_is_the_model_itself(tmp_path):
    proto = plain()
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="m.onnx")
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    assert "is the model itself" in refusal(path)
