"""The passes, each in the file of its name; the registry and the presets."""

from __future__ import annotations

if __name__ != "snnc.passes":
    raise ImportError("import snnc.passes: this folder is that package, 'passes' would be a second copy")

from collections.abc import Mapping
from typing import Any

from snnc.passes.base import Pass, Promise
from snnc.passes.fold_batchnorm import FoldBatchnorm
from snnc.passes.form_projections import FormProjections
from snnc.passes.fuse_linear import FuseLinear
from snnc.passes.inject_tre import InjectTre
from snnc.passes.legalize import Legalize
from snnc.passes.lower_pooling import LowerPooling
from snnc.passes.normalize_currents import NormalizeCurrents
from snnc.passes.quantize import Quantize
from snnc.passes.simplify import Simplify
from snnc.passes.spikify import Spikify
from snnc.spec import bind_all

PASSES: dict[str, type[Pass]] = {
    cls.name: cls
    for cls in (
        Simplify,
        # after simplify: a batch norm folds into weights only where nothing stands between
        FoldBatchnorm,
        # after fold-batchnorm: a pool after a batch norm sees the folded weights
        LowerPooling,
        # after lower-pooling: it leaves the factors 1/L that are fused here
        FuseLinear,
        # needs the ANN as it is to be calibrated, and one weighted op on a path where possible
        Spikify,
        FormProjections,
        # needs projections: amplitudes move along them into the weights
        NormalizeCurrents,
        # after normalize-currents: η·θ is a share of the final threshold
        InjectTre,
        # after inject-tre: bias and η·θ are rounded once, together
        Quantize,
        # last: the widths of what is emitted
        Legalize,
    )
}

_BEFORE = "simplify,fold-batchnorm,lower-pooling,fuse-linear"

PRESETS: dict[str, str] = {
    # a λ and a weight scale for each channel: channels of unlike range, as after depthwise
    # convolutions, would be slow or coarse under one of the layer's
    "default": f"{_BEFORE},spikify{{lambda=percentile,percentile=99.9,per=channel}},"
    "form-projections,normalize-currents,inject-tre{eta=0.5},quantize{per=channel},legalize",
    # the paper's own choices: λ = max of the layer
    "ecc": f"{_BEFORE},spikify{{lambda=max}},form-projections,normalize-currents,"
    "inject-tre{eta=0.5},quantize,legalize",
}


def build(text: str, flags: Mapping[str, Any]) -> tuple[Pass, ...]:
    """The passes of a pipeline text; ``flags`` fill the options that the text leaves open.

    Raises CompileError or UsageError for malformed text, unknown passes or options, and flags that
    contradict the text.
    """
    return bind_all(text, PASSES, flags)


__all__ = ["PASSES", "PRESETS", "Pass", "Promise", "build"]
