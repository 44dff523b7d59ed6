"""Accuracy over synaptic operations, as SVG or PNG; the same rows give the same bytes."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence

from snnc.diagnostics import UsageError
from snnc.sweep.bench import Row
from snnc.sweep.front import quality

_TITLES = {
    "snn_top1": "top-1 accuracy [%]",
    "agreement": "agreement with the ANN [%]",
    "sqnr_db": "SQNR [dB]",
}
_MARKERS = "osD^vP*Xh<>p"


def check() -> None:
    """Raise UsageError unless plots can be made."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        remedy = "install it with: pip install 'snnc[report]'"
        raise UsageError.of("SNNC0163", "a plot needs the package matplotlib", remedy=remedy) from None


def draw(rows: Sequence[Row], best: Sequence[bool], kind: str) -> bytes:
    """The image, a ``kind`` of svg or png; rows on the front are joined by a line and labelled."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "snnc", "svg.fonttype": "none"}):
        figure = Figure(figsize=(8, 5), layout="constrained")
        axes = figure.add_subplot()
        name = quality(rows[0])[0]
        scale = 1 if name == "sqnr_db" else 100
        places = [(row["sops"] / 1e6, scale * quality(row)[1]) for row in rows]
        presets = dict.fromkeys(row["preset"] for row in rows)
        for marker, preset in zip(itertools.cycle(_MARKERS), presets, strict=False):
            own = [place for place, row in zip(places, rows, strict=True) if row["preset"] == preset]
            axes.scatter(*zip(*own, strict=True), marker=marker, label=preset, zorder=2)
        labelled = zip(places, map(_label, rows), best, strict=True)
        line = sorted((place, label) for place, label, b in labelled if b)
        axes.plot(*zip(*(place for place, _ in line), strict=True), color="grey", zorder=1, label="front")
        for place, label in line:
            axes.annotate(label, place, xytext=(3, -9), textcoords="offset points", fontsize=6)
        if name == "snn_top1" and rows[0]["ann_top1"] is not None:
            axes.axhline(100 * rows[0]["ann_top1"], color="black", linestyle=":", label="ANN")
        axes.set(xlabel="synaptic operations per sample [million]", ylabel=_TITLES[name], xscale="log")
        axes.legend(fontsize=8)
        image = io.BytesIO()
        metadata = {"Date": None} if kind == "svg" else {"Software": None}
        figure.savefig(image, format=kind, metadata=metadata, dpi=150)
    return image.getvalue()


def _label(row: Row) -> str:
    return f"T={row['T']}, {row['bits']} bits"
