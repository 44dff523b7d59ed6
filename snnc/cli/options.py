"""Options that several commands share, and the types of their values."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from snnc.cli.terminal import Terminal
from snnc.diagnostics import UsageError
from snnc.files import read_regular
from snnc.ir.schedule import SCHEDULES

if TYPE_CHECKING:
    from snnc.driver import Request

    _Type = click.ParamType[Any]
else:
    # generic from click 8.4 on only
    _Type = click.ParamType

F = TypeVar("F", bound=Callable[..., Any])

MOST_JOBS = 1 << 10

_CODINGS = ("current", "rate", "events")
_LONGEST_PIPELINE = 1 << 20
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class Size(_Type):
    """A number of bytes: ``512M``, ``2G``, ``1000000``."""

    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Bytes."""
        match = re.fullmatch(r"(\d+)([KMGT]?)i?B?", str(value), re.IGNORECASE)
        if not match or int(match[1]) == 0:
            self.fail(f"{value!r} is not a size such as 512M or 2G", param, ctx)
        return int(match[1]) * _UNITS[match[2].upper()]


class Number(_Type):
    """A finite number or a fraction of two: ``0.00392`` or ``1/255``."""

    name = "NUMBER"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """A float."""
        try:
            above, _, below = str(value).partition("/")
            number = float(above) / float(below or 1)
        except (ValueError, ZeroDivisionError):
            number = float("nan")
        if not abs(number) < float("inf"):
            self.fail(f"{value!r} is not a number such as 0.5 or 1/255", param, ctx)
        return number


class Points(Number):
    """A loss in points that one may be willing to take: not negative."""

    name = "POINTS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """A float."""
        points = super().convert(value, param, ctx)
        if points < 0:
            self.fail(f"{value!r} is negative", param, ctx)
        return points


class Numbers(_Type):
    """One number, or one per channel: ``0.485,0.456,0.406``."""

    name = "NUMBER,…"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """Floats."""
        return tuple(Number().convert(part, param, ctx) for part in str(value).split(","))


class Range(_Type):
    """The least and the greatest value: ``0,255``."""

    name = "LOW,HIGH"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float]:
        """Two floats in order."""
        bounds = Numbers().convert(value, param, ctx)
        if len(bounds) != 2 or bounds[0] >= bounds[1]:
            self.fail(f"{value!r} is not a range such as 0,255 or -1,1", param, ctx)
        return bounds[0], bounds[1]


def common(function: F) -> F:
    """The options of every command: -v, -q, --debug, --diagnostics."""
    for decorate in reversed(
        (
            _setting("-v", "--verbose", "verbosity", count=True, help="Say more; -vv for all."),
            _setting("-q", "--quiet", "quiet", is_flag=True, help="Only errors, no notes, no progress."),
            _setting("--debug", "debug", is_flag=True, help="Show the traceback of an internal error."),
            _setting(
                "--diagnostics",
                "diagnostics",
                type=click.Choice(["text", "json"]),
                help="How to print diagnostics on stderr; json is one object per line.",
            ),
        )
    ):
        function = decorate(function)
    return function


class Integers(_Type):
    """Integers and ranges: ``4..8``, ``8,16,32``."""

    name = "N,N..N"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Each once, in order."""
        found: list[int] = []
        for part in str(value).split(","):
            match = re.fullmatch(r"\s*(\d{1,5})(?:\.\.(\d{1,5}))?\s*", part)
            if not match:
                self.fail(f"{part!r} is neither a number nor a range such as 4..8", param, ctx)
            first, last = int(match[1]), int(match[2] or match[1])
            if last < first:
                self.fail(f"the range {part!r} is empty", param, ctx)
            found += range(first, last + 1)
        return tuple(dict.fromkeys(found))


def request_options(function: F) -> F:
    """What is the same for one compilation and for a sweep of many; limits of the model."""
    options = (
        click.option("--schedule", type=click.Choice(SCHEDULES), help="How spikes are timed."),
        click.option("--input", "input_", type=click.Choice(_CODINGS), help="Input coding."),
        click.option("--max-count", type=click.IntRange(1), help="Most events in a step.  [default: 15]"),
        click.option("--target", metavar="NAME", help="Hardware whose limits must hold.  [default: generic]"),
        click.option("--acc-bits", type=click.IntRange(2, 63), help="Membranes saturate at so many bits."),
        click.option("--align", is_flag=True, help="Delay early paths until late ones arrive (Loihi)."),
        click.option("--calib", metavar="FILE[:KEY]", help="Calibration inputs, .npy or .npz."),
        click.option("--probe", type=click.IntRange(1), default=2, help="Samples that passes are proved on."),
        click.option("--mean", type=Numbers(), help="Subtract from x·scale before the model."),
        click.option("--std", type=Numbers(), help="Divide by it, after the mean."),
        click.option("--scale", type=Number(), help="Multiply raw inputs by it first: 1/255."),
        limit_options,
    )
    for decorate in reversed(options):
        function = decorate(function)
    return function


def base_request(given: dict[str, Any], **own: Any) -> Request:
    """The compilation that :func:`request_options` ask for, and ``own`` fields of the command."""
    from snnc.compiled import Normalisation
    from snnc.driver import Request

    before = {name: given[name] for name in ("mean", "std", "scale") if given[name] is not None}
    return Request(
        schedule=given["schedule"],
        input=given["input_"],
        max_count=given["max_count"],
        target=given["target"],
        acc_bits=given["acc_bits"],
        align=given["align"] or None,
        normalisation=Normalisation(**before) if before else None,
        probe=given["probe"],
        max_memory=given["max_memory"],
        max_nodes=given["max_nodes"],
        max_tensors=given["max_tensors"],
        **own,
    )


def pipeline_options(function: F) -> F:
    """What to run: preset or pipeline text, and the flags that fill its open options."""
    options = (
        click.option(
            "--preset", metavar="NAME", help="A named pipeline; see snnc passes.  [default: default]"
        ),
        click.option("--pipeline", metavar="TEXT|@FILE", help="name{option=value,…},name{…},…"),
        click.option("--bits", type=click.IntRange(2, 16), help="Bits of a weight.  [default: 8]"),
        click.option("--T", "T", type=click.IntRange(1, 1 << 16), help="Steps.  [default: 128; phase: 8]"),
        click.option("--reset", type=click.Choice(["subtract", "zero"]), help="What a spike does to V."),
        click.option("--compare", type=click.Choice(["ge", "gt"]), help="A spike is u ≥ θ, or u > θ."),
        click.option("--stats", metavar="FILE", help="calibration.json of an earlier compilation."),
        click.option("--input-range", type=Range(), help="What inputs span, if no --calib shows it."),
        click.option("--stop-after", metavar="PASS", help="Stop after this pass."),
        click.option("--print-ir-after-all", is_flag=True, help="Print the IR after every pass, on stderr."),
        click.option("--print-ir-after", metavar="PASS", multiple=True, help="Print the IR after a pass."),
        click.option("--dump-ir", metavar="DIR", help="Write the IR after every pass as NN-pass.snn."),
        request_options,
    )
    for decorate in reversed(options):
        function = decorate(function)
    return function


memory_option = click.option(
    "--max-memory", type=Size(), default="2G", show_default=True, help="Bound on large arrays."
)


def limit_options(function: F) -> F:
    """What a model may cost: see docs/limits.md."""
    counts = (("--max-tensors", "Bound on the model's tensors."), ("--max-nodes", "Bound on its nodes."))
    for name, text in counts:
        option = click.option(
            name, type=click.IntRange(1, 1 << 40), default=100_000, show_default=True, help=text
        )
        function = option(function)
    return memory_option(function)


def pipeline_text(argument: str | None) -> str | None:
    """The text of ``--pipeline``, read from the file of ``@FILE``. Raises UsageError if it is missing."""
    if argument is None or not argument.startswith("@"):
        return argument
    path = pathlib.Path(argument[1:])
    try:
        return read_regular(path, limit=_LONGEST_PIPELINE).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror or error if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError.of("SNNC0164", f"cannot read {path}: {reason}") from None


def _setting(*names: str, **attributes: Any) -> Callable[[F], F]:
    """An option that goes into the :class:`Terminal`, given before or after the command's name."""
    field = names[-1]

    def store(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        if value:
            setattr(ctx.ensure_object(Terminal), field, value)

    return click.option(*names, expose_value=False, is_eager=True, callback=store, **attributes)
