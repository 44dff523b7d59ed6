"""What a NIR file written by snnc says beyond its graph.

The format knows neither how a network was quantised nor how long it runs, which reset its neurons have, or
what the input's numbers mean. The file's metadata do: one HDF5 dataset per field, JSON where a
field has structure.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from snnc import fixedpoint
from snnc.diagnostics import CompileError, UsageError

FORMAT = "snnc-nir 1"

Dialect = Literal["if", "lif", "explicit-soft-reset"]
Meaning = Literal["nir", "metadata"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputCodes:
    """The user's array [N, *``array_shape``] as codes x_q = clip(⌊x/scale + ½⌋, lo, hi) in ``shape``.

    ``perm`` is the permutation of the axes that leads to ``shape``, empty for none; ``name`` and
    ``dtype`` are the model's.
    """

    name: str
    shape: tuple[int, ...]
    array_shape: tuple[int, ...]
    perm: tuple[int, ...]
    dtype: str
    bits: int
    signed: bool
    scale: float

    def encode(self, x: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """[N, C, H, W], the same input for every step. Raises UsageError for another shape."""
        if x.shape[1:] != self.array_shape:
            raise UsageError.of(
                "SNNC0162", f"the input is [N, {', '.join(map(str, self.array_shape))}], not {list(x.shape)}"
            )
        if self.perm:
            x = x.transpose(0, *(1 + axis for axis in self.perm))
        low = -(1 << (self.bits - 1)) if self.signed else 0
        high = (1 << (self.bits - (1 if self.signed else 0))) - 1
        codes = fixedpoint.quantize_input(x, self.scale, low, high)[0]
        return codes.reshape(len(x), *(*self.shape, 1, 1)[:3]).astype(np.float32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metadata:
    """``T`` steps of ``dt`` seconds; ``reset`` and ``compare`` are those of the compiled network.

    With ``meaning`` nir its neurons do as the format says of them; with ``meaning`` metadata they are
    written as reset to zero and mean ``reset``. ``bits`` is the widest weight before any folding.
    ``output`` has name, activation, shape and unit (an output a is unit·Σ_t y(t)/T); ``populations`` the
    ONNX nodes, shape and unit of every population by name; ``consumers`` what known tools make of it.
    """

    network: str
    dialect: Dialect
    meaning: Meaning
    T: int
    dt: float
    reset: Literal["subtract", "zero"]
    compare: Literal["ge", "gt"]
    bits: int
    input: InputCodes
    output: Mapping[str, Any]
    populations: Mapping[str, Any]
    consumers: Mapping[str, str]
    format: str = FORMAT

    def items(self) -> dict[str, str | int | float]:
        """Plain values, as they are stored."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        fields["input"] = dataclasses.asdict(self.input)
        return {name: _json(v) if isinstance(v, Mapping) else v for name, v in fields.items()}

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Self | None:
        """From stored values; None if they are not snnc's. Raises CompileError if they are damaged."""
        plain: dict[str, Any] = {k: v.decode() if isinstance(v, bytes) else v for k, v in stored.items()}
        if plain.get("format") != FORMAT:
            return None
        try:
            for name in ("output", "populations", "consumers", "input"):
                plain[name] = json.loads(plain[name])
            ports: dict[str, Any] = {
                k: tuple(v) if isinstance(v, list) else v for k, v in plain["input"].items()
            }
            plain["input"] = InputCodes(**ports)
            plain |= {name: int(plain[name]) for name in ("T", "bits")} | {"dt": float(plain["dt"])}
            return cls(**plain)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CompileError.of("SNNC0137", f"the file's snnc metadata are damaged: {error}") from None


def read_metadata(path: str | os.PathLike[str]) -> Metadata:
    """The metadata of a file that snnc wrote. Raises CompileError for any other file."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            group = file["node/metadata"]
            found = Metadata.of({name: item[()] for name, item in group.items()})
    except (OSError, KeyError) as error:
        raise CompileError.of("SNNC0137", f"cannot read the metadata of {os.fspath(path)}: {error}") from None
    if found is None:
        raise CompileError.of(
            "SNNC0137",
            f"{os.fspath(path)} was not written by snnc",
            remedy="load it with the tool's own importer",
        )
    return found


def _json(content: object) -> str:
    return json.dumps(content, sort_keys=True, ensure_ascii=True, allow_nan=False)
