"""The network: order, edits, levels; constants and their blobs."""

from __future__ import annotations

import numpy as np
import pytest

from snnc.diagnostics import CompileError
from snnc.ir.constants import Constant
from snnc.ir.network import Network
from snnc.ir.ops import Add, Clip, Concat, Dense, Input, Output, Relu


def diamond() -> Network:
    """x → relu → (clip, relu) → add → y, numbered 0 to 5."""
    network = Network("diamond")
    x = network.add(Input(name="x", shape=(2,)))
    a = network.add(Relu(), x)
    b, c = network.add(Clip(maximum=1.0), a), network.add(Relu(), a)
    network.add(Output(name="y"), network.add(Add(), b, c))
    return network


class TestNetwork:
    def test_order_is_lexicographic_topological(self):
        network = diamond()
        late = network.add(Relu(), 0)
        network.set(1, network.op(1), [late])
        assert network.nodes == (0, 6, 1, 2, 3, 4, 5)

    def test_operands_keep_their_positions(self):
        network = Network("positions")
        x, y = (network.add(Input(name=n, shape=(1,))) for n in "xy")
        joined = network.add(Concat(), y, x, y)
        assert network.operands(joined) == (y, x, y)
        assert network.users(y) == (joined,)

    def test_redirect_and_bypass(self):
        network = diamond()
        network.redirect(1, 0, keep=[3])
        assert network.operands(2) == (0,)
        assert network.operands(3) == (1,)
        network.bypass(2)
        assert network.operands(4) == (0, 3)
        assert 2 not in network

    def test_prune_drops_what_no_output_needs_and_keeps_inputs(self):
        network = diamond()
        network.add(Input(name="unused", shape=(1,)))
        network.add(Relu(), network.add(Relu(), 2))
        network.prune()
        assert network.nodes == (0, 1, 2, 3, 4, 5, 6)

    def test_a_copy_is_apart(self):
        network = diamond()
        twin = network.copy()
        assert twin == network
        twin.set(1, Clip(maximum=2.0))
        twin.steps, twin.schedule = 8, "rate"
        assert network == diamond()
        assert (twin.level, network.level) == ("snn", "ann")

    def test_equality_ignores_numbers_but_not_operands(self):
        network, other = diamond(), diamond()
        other.add(Relu(), 0)
        other.prune()
        again = other.add(Relu(), 0)
        other.redirect(1, again)
        other.prune()
        assert other.nodes != network.nodes
        assert other == network
        assert other.fingerprint() == network.fingerprint()
        other.set(4, other.op(4), [3, 2])
        assert other != network
        assert other.fingerprint() != network.fingerprint()

    def test_a_cycle_is_an_error(self):
        network = diamond()
        network.set(1, network.op(1), [3])
        with pytest.raises(ValueError, match="cycle"):
            _ = network.nodes

    def test_types_follow_edits(self):
        network = Network("types")
        x = network.add(Input(name="x", shape=(2,)))
        y = network.add(Dense(weight=Constant(np.ones((3, 2)))), x)
        assert str(network.type(y)) == "f32[3]"
        network.set(y, Dense(weight=Constant(np.ones((5, 2)))))
        assert str(network.type(y)) == "f32[5]"


class TestConstant:
    def test_equal_by_type_shape_and_bytes(self):
        a = Constant(np.array([1.0, 2.0]))
        assert a == Constant([1.0, 2.0])
        assert hash(a) == hash(Constant([1.0, 2.0]))
        assert a != Constant(np.array([1.0, 2.0], np.float32))
        assert a != Constant([[1.0, 2.0]])
        assert a != Constant([1.0, 2.5])
        assert Constant(0.0) != Constant(-0.0)

    def test_is_read_only_and_apart_from_its_source(self):
        source = np.zeros(3)
        constant = Constant(source)
        source[0] = 1
        assert constant.array[0] == 0
        with pytest.raises(ValueError, match="read-only"):
            constant.array[0] = 1

    def test_scalars_stay_scalars_and_order_does_not_matter(self):
        assert Constant(1.0).shape == ()
        assert Constant(np.arange(6).reshape(2, 3).T) == Constant([[0, 3], [1, 4], [2, 5]])

    def test_other_types_are_refused(self):
        with pytest.raises(ValueError, match="complex128"):
            Constant(1j)

    def test_a_blob_is_read_when_needed(self, tmp_path):
        constant = Constant(np.arange(4, dtype=np.int8).reshape(2, 2))
        lazy = Constant.from_blob(tmp_path, constant.digest, "i8", (2, 2))
        assert lazy == constant
        constant.write_blob(tmp_path)
        assert np.array_equal(lazy.array, [[0, 1], [2, 3]])
        assert [p.name for p in tmp_path.iterdir()] == [f"{constant.digest}.npy"]

    @pytest.mark.parametrize(
        ("dtype", "shape", "message"),
        [
            ("i8", (4,), "holds int8[2, 2], not int8[4]"),
            ("f32", (2, 2), "holds int8[2, 2], not float32[2, 2]"),
        ],
    )
    def test_a_blob_is_what_the_text_says(self, tmp_path, dtype, shape, message):
        constant = Constant(np.zeros((2, 2), np.int8))
        constant.write_blob(tmp_path)
        with pytest.raises(CompileError) as caught:
            _ = Constant.from_blob(tmp_path, constant.digest, dtype, shape).array
        assert message in str(caught.value)

    def test_a_missing_or_damaged_blob_is_refused(self, tmp_path):
        constant = Constant(np.arange(20))
        lazy = Constant.from_blob(tmp_path, constant.digest, "i64", (20,))
        with pytest.raises(CompileError, match="cannot read"):
            _ = lazy.array
        constant.write_blob(tmp_path)
        path = tmp_path / f"{constant.digest}.npy"
        path.write_bytes(path.read_bytes()[:-1] + b"\1")
        with pytest.raises(CompileError, match="does not hold what its name says"):
            _ = lazy.array
