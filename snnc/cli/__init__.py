"""The command line. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click

from snnc.cli.compile import compile_command, opt
from snnc.cli.cosim import cosim
from snnc.cli.inspect import check, passes, report, verify
from snnc.cli.options import common
from snnc.cli.run import evaluate, simulate
from snnc.cli.sweep import sweep
from snnc.cli.terminal import Terminal
from snnc.diagnostics import Diagnostic, SnncError
from snnc.version import IR_FORMAT, NETLIST_FORMAT, __version__

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message=f"snnc {__version__} ({IR_FORMAT}, {NETLIST_FORMAT})")
@common
def snnc() -> None:
    """Compile trained CNNs (ONNX) into spiking neural networks.

    Exit codes: 0 success, 1 the content cannot be compiled, 2 wrong usage, 3 a limit set by the user was
    missed, 4 internal error, 130 interrupted.
    """


for command in (compile_command, opt, check, passes, evaluate, simulate, report, verify, sweep, cosim):
    snnc.add_command(command)


def main() -> None:
    """The entry point of the ``snnc`` script."""
    # samples are spread over threads here; those of a single product would wait for one another, busily
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    code = run(sys.argv[1:])
    if "multiprocessing" in sys.modules:
        # of workers and clusters the interpreter takes leave
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    # all files are closed; to free every object of a large network would take a third of a second
    os._exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run a command line; returns the exit code and raises nothing."""
    _open_streams()
    for stream in (sys.stdout, sys.stderr):
        # names from models must not fail on a terminal that cannot show them
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    terminal = Terminal()
    try:
        with terminal.listening():
            code: Any = snnc.main(list(arguments), "snnc", standalone_mode=False, obj=terminal)
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit):
        # the reader has seen enough, which click and rich tell by exiting; the interpreter must not fail on
        # flushing later
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return 130
    except Exception as error:
        return _failure(error, terminal)
    return code if isinstance(code, int) else 0


def _open_streams() -> None:
    """A stream that the caller closed is None, and its number would go to the next file that is opened."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115


def _failure(error: Exception, terminal: Terminal) -> int:
    if isinstance(error, SnncError):
        if terminal.debug:
            traceback.print_exception(error)
        terminal.fail(error)
        return error.exit_code
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        terminal.diagnose(Diagnostic("error", "SNNC0160", f"cannot write: {error.strerror}"))
        return 2
    return _internal(error, terminal)


def _internal(error: Exception, terminal: Terminal) -> int:
    if terminal.debug:
        traceback.print_exception(error)
    name = type(error).__name__
    remedy = "this is a defect of snnc: please report it with the output of --debug"
    if isinstance(error, MemoryError):
        remedy = "set a smaller --max-memory, or use a smaller --batch or --T"
    terminal.diagnose(Diagnostic("error", "SNNC0190", f"{name}: {error}", (), remedy))
    return 4
