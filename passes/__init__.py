"""The passes, each in the file of its name; the registry and the presets."""

from __future__ import annotations

if __name__ != "snnc.passes":
    raise ImportError("import snnc.passes: this folder is that package, 'passes' would be a second copy")

from collections.abc import Mapping
from typing import Any

from snnc.passes.base import Pass, Promise
from snnc.passes.calibrate_bias import CalibrateBias
from snnc.passes.calibrate_offsets import CalibrateOffsets
from snnc.passes.calibrate_weights import CalibrateWeights
from snnc.passes.correct_over_time import CorrectOverTime
from snnc.passes.encode_input import EncodeInput
from snnc.passes.fold_batchnorm import FoldBatchnorm
from snnc.passes.form_projections import FormProjections
from snnc.passes.fuse_linear import FuseLinear
from snnc.passes.group_neurons import GroupNeurons
from snnc.passes.inject_tre import InjectTre
from snnc.passes.legalize import Legalize
from snnc.passes.lower_pooling import LowerPooling
from snnc.passes.normalize_currents import NormalizeCurrents
from snnc.passes.quantize import Quantize
from snnc.passes.run_as import RunAs
from snnc.passes.simplify import Simplify
from snnc.passes.spikify import Spikify
from snnc.passes.vary_thresholds import VaryThresholds
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
        # after fuse-linear: weights that two tensors share would be fused no more
        GroupNeurons,
        # needs the ANN as it is to be calibrated, and one weighted op on a path where possible
        Spikify,
        FormProjections,
        # needs projections, to know input encoders, and amplitudes that are still there to be changed
        VaryThresholds,
        # any time before quantize: a change of neurons is then part of what quantisation is measured against
        RunAs,
        # after run-as: events have as many steps as the network
        EncodeInput,
        # needs projections: amplitudes move along them into the weights
        NormalizeCurrents,
        # after normalize-currents: η·θ is a share of the final threshold
        InjectTre,
        # after inject-tre: bias and η·θ are rounded once, together
        Quantize,
        # after quantize: what they correct is the network that will run; a bias follows from the weights
        CalibrateOffsets,
        CalibrateWeights,
        # after calibrate-offsets: what is left is corrected against the ANN
        CorrectOverTime,
        CalibrateBias,
        # last: the widths of what is emitted
        Legalize,
    )
}

_BEFORE = "simplify,fold-batchnorm,lower-pooling,fuse-linear"
_PERCENTILE = "lambda=percentile,percentile=99.9"
_TRE = "inject-tre{eta=0.5}"

_HALF = "inject-tre{eta=0.5,as=potential}"

_TAKE_BACK = "run-as{spikes=signed},inject-tre{eta=0.25,as=potential}"
"""A membrane that takes back below −θ/2 ends within [−θ/2, θ), and begins in the middle."""

_SUMMED = "lambda=outputs,fan_in=64"
"""What is cut off weighs more than what is rounded where more activations are summed."""

_BY_OUTPUTS = "schedule=layerwise,lambda=outputs"

_GROUPED = f"{_BEFORE},group-neurons{{members=2}}"

_BALANCED = ",rounding=balanced"


def _currents(
    scale: str = _PERCENTILE, residual: str = _TRE, rounding: str = "", before: str = _BEFORE
) -> str:
    """λ, by default 99.9th percentiles, and weight scales for each channel, up to the integers.

    Under a λ of the layer, channels of unlike range, as after depthwise convolutions, would be slow or
    coarse.
    """
    return (
        f"{before},spikify{{{scale},per=channel}},form-projections,"
        f"normalize-currents,{residual},quantize{{per=channel{rounding}}}"
    )


def _layers(scale: str, normalize: str, residual: str) -> str:
    """One λ and one weight scale for each layer, as in the papers."""
    return f"{_BEFORE},spikify{{{scale}}},form-projections,{normalize},{residual}quantize,legalize"


PRESETS: dict[str, str] = {
    "default": f"{_currents()},calibrate-bias,legalize",
    # one threshold in a layer and any neuron: what tools that exchange NIR files take
    "per-layer": f"{_BEFORE},spikify{{{_PERCENTILE}}},form-projections,"
    f"normalize-currents,{_TRE},run-as,quantize,calibrate-bias,legalize",
    # networks that spike already: a NIR file in real numbers, and one that snnc wrote in integers
    "spiking": "run-as,encode-input,fuse-linear,form-projections,quantize,legalize",
    "integer": "run-as,legalize",
    # Wu, Yi and Huang 2022, the paper's own choices
    "ecc": _layers("lambda=max", "normalize-currents", f"{_TRE},"),
    # Rueckauer 2017: a percentile, weights and biases scaled to thresholds of 1
    "weight-norm": _layers(_PERCENTILE, "normalize-currents{kappa=1}", ""),
    # Sengupta 2019: weights as they are, thresholds the largest current
    "threshold-balance": _layers("lambda=max", "normalize-currents{theta=balanced}", ""),
    # Han 2020 (RMP-SNN): soft reset, and thresholds a little below the largest current
    "rmp": _layers("lambda=max,alpha=0.9", "normalize-currents{theta=balanced}", ""),
    # Deng and Gu 2021: the largest activation, and biases shifted by θ/(2·T)
    "deng-gu": _layers("lambda=max", "normalize-currents{kappa=1}", f"{_TRE},"),
    # Castagnetti 2023 after training: one threshold of least squared error, for neurons that truncate
    "atif-u": _layers("lambda=mse,eta=0.0", "normalize-currents{kappa=1}", ""),
    # Bu, Li and Yu 2024, without their delayed evaluation
    "local-balance": f"{_currents('lambda=local', _HALF)},legalize",
    # Hao 2023, as far as V(0) can be known before the run
    "offset-spikes": f"{_currents(residual=_HALF)},calibrate-offsets,legalize",
    # the same, and what layers pass on corrected as well (Li 2021): no neuron and no memory more
    "offset-bias": f"{_currents(residual=_HALF)},calibrate-offsets,calibrate-bias,legalize",
    # Wu 2024
    "ftbc": f"{_currents()},correct-over-time{{error=step}},legalize",
    # the same on the running total: the least loss at few steps where no spike has a sign
    "ftbc-total": f"{_currents()},correct-over-time,legalize",
    # the least loss of the schedule rate at few steps (Wang 2022, signed neurons with memory)
    "low-latency": f"{_currents(_SUMMED, _TAKE_BACK)},calibrate-weights,legalize",
    # the ECC authors' tool, layer by layer
    "layerwise": f"{_currents(_BY_OUTPUTS)},calibrate-weights,legalize",
    # Lv 2024: two neurons for each activation, and about the loss of twice the steps
    "low-latency-groups": f"{_currents(_SUMMED, _TAKE_BACK, before=_GROUPED)},calibrate-weights,legalize",
    "layerwise-groups": f"{_currents(_BY_OUTPUTS, before=_GROUPED)},calibrate-weights,legalize",
    # T steps of binary weight, 2^T − 1 levels: so many that a percentile would cut more than they round, and
    # that the rounding of weights is what is left
    "phase": f"{_currents('schedule=phase,lambda=mse', rounding=_BALANCED)},calibrate-bias,legalize",
    **{
        # a layer has one threshold, because those of a core are few; max pools become averages
        chip: "simplify,fold-batchnorm,lower-pooling{max=average},fuse-linear,"
        "spikify{schedule=rate,lambda=percentile,percentile=99.9,per=channel},form-projections,"
        f"normalize-currents,{_TRE},quantize,calibrate-bias,legalize{{target={chip}}}"
        for chip in ("loihi", "loihi2")
    },
}


def build(text: str, flags: Mapping[str, Any]) -> tuple[Pass, ...]:
    """The passes of a pipeline text; ``flags`` fill the options that the text leaves open.

    Raises CompileError or UsageError for malformed text, unknown passes or options, and flags that
    contradict the text.
    """
    return bind_all(text, PASSES, flags)


__all__ = ["PASSES", "PRESETS", "Pass", "Promise", "build"]
