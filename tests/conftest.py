"""Fixtures for all tests: golden files, the digits example, real models beside the repository."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import signal
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import settings

# what a shell starts in the background ignores interrupts, and so would all that tests start
signal.signal(signal.SIGINT, signal.default_int_handler)

# the same examples on every machine; HYPOTHESIS_PROFILE=random looks for new ones
settings.register_profile("fixed", deadline=None, derandomize=True)
settings.register_profile("random", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
GOLDEN = REPOSITORY / "tests" / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden files that differ")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """``golden(name, text)`` compares ``text`` with ``tests/golden/<name>``, or writes it there."""
    update = request.config.getoption("--update-golden")

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        if not path.exists():
            pytest.fail(f"tests/golden/{name} is missing: run pytest --update-golden and review it")
        assert text == path.read_text(encoding="utf-8"), f"tests/golden/{name} differs"

    return compare


class Digits(NamedTuple):
    """The files of the example."""

    model: pathlib.Path
    data: pathlib.Path


@pytest.fixture(scope="session")
def digits() -> Digits:
    """The committed digits model and its arrays ``calib``, ``x`` and ``y``."""
    folder = REPOSITORY / "examples" / "digits"
    return Digits(folder / "digits.onnx", folder / "digits.npz")


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """The folder ``shared`` beside the repository: real models and data, too large to commit."""
    folder = REPOSITORY.parent / "shared"
    if not (folder / "cases.py").is_file():
        pytest.skip("no folder 'shared' with real models beside the repository")
    return folder


@pytest.fixture(scope="session")
def load_case(shared: pathlib.Path) -> Callable[..., Any]:
    """``load_case(name, test=1000, calib=500)``: a real model with ``model``, ``x``, ``y``, ``calib``."""
    spec = importlib.util.spec_from_file_location("shared_cases", shared / "cases.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # dataclasses look their module up by name
    sys.modules["shared_cases"] = module
    spec.loader.exec_module(module)
    load: Callable[..., Any] = module.load
    return load
