"""The repository's shape: what is on disk, what is declared, and how large it is."""

from __future__ import annotations

import ast
import pathlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
MAPPED = {"snnc.passes": "passes", "snnc.backends": "backends"}
SOURCE_FOLDERS = ("snnc", "passes", "backends", "examples", "benchmarks")
LONGEST_FILE = 400
LONGEST_FUNCTION = 60


def source_files() -> list[pathlib.Path]:
    files = {p.resolve() for f in SOURCE_FOLDERS for p in (REPOSITORY / f).rglob("*.py")}
    return sorted(p for p in files if "build" not in p.relative_to(REPOSITORY).parts)


def packages_on_disk() -> Iterator[str]:
    roots = {"snnc": "snnc", **MAPPED}
    for package, folder in roots.items():
        for init in sorted((REPOSITORY / folder).rglob("__init__.py")):
            parts = init.parent.relative_to(REPOSITORY / folder).parts
            if package != "snnc" or not parts or f"snnc.{parts[0]}" not in MAPPED:
                yield ".".join((package, *parts))


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def test_every_package_on_disk_is_declared_and_the_other_way_round():
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
    assert settings["tool"]["setuptools"]["packages"] == sorted(packages_on_disk())


def test_every_data_file_of_a_package_is_installed():
    setuptools = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    missing = []
    for package in setuptools["packages"]:
        parent = next(m for m in (*MAPPED, "snnc") if f"{package}.".startswith(f"{m}."))
        folder = REPOSITORY / setuptools["package-dir"][parent] / package[len(parent) + 1 :].replace(".", "/")
        patterns = ["*.py", *setuptools["package-data"].get(package, [])]
        files = [p for p in folder.iterdir() if p.is_file()]
        missing += [str(p) for p in files if not any(p.match(pattern) for pattern in patterns)]
    assert missing == []


def test_no_module_lies_in_a_folder_that_is_not_a_package():
    strays = [p for p in source_files() if p.is_relative_to(REPOSITORY / "snnc") and no_package(p)]
    strays += [p for f in MAPPED.values() for p in (REPOSITORY / f).rglob("*.py") if no_package(p)]
    assert strays == []


def no_package(path: pathlib.Path) -> bool:
    return not (path.parent / "__init__.py").exists()


@pytest.mark.parametrize("package", MAPPED)
def test_packages_outside_snnc_are_linked_into_it(package):
    folder = MAPPED[package]
    link = REPOSITORY / "snnc" / folder
    assert link.is_symlink()
    assert link.readlink() == pathlib.Path("..") / folder


@pytest.mark.parametrize("package", MAPPED)
def test_a_mapped_folder_cannot_be_imported_as_a_package_of_its_own(package):
    done = run_python(f"import {MAPPED[package]}")
    assert done.returncode != 0
    assert f"ImportError: import {package}" in done.stderr


def test_source_files_stay_short():
    long = {
        str(p.relative_to(REPOSITORY)): lines
        for p in source_files()
        if (lines := len(p.read_text("utf-8").splitlines())) >= LONGEST_FILE
    }
    assert long == {}


def test_functions_stay_short():
    long = {}
    for path in source_files():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > LONGEST_FUNCTION:
                    long[f"{path.relative_to(REPOSITORY)}:{node.lineno} {node.name}"] = lines
    assert long == {}


def test_nothing_names_a_path_of_one_machine():
    roots = [f"/{name}/" for name in ("work", "root", "home", "Users")]
    texts = [p for s in ("py", "md", "toml", "lark", "json") for p in REPOSITORY.rglob(f"*.{s}")]
    texts.append(REPOSITORY / ".ci" / "run")
    visible = [p for p in texts if not hidden(p.relative_to(REPOSITORY))]
    found = [str(p) for p in visible if any(r in p.read_text("utf-8") for r in roots)]
    assert found == []


def test_documents_that_sources_name_exist():
    named = {m for p in source_files() for m in re.findall(r"\bdocs/[\w-]+\.md", p.read_text("utf-8"))}
    assert {m for m in named if not (REPOSITORY / m).is_file()} == set()


def test_links_between_documents_lead_somewhere():
    broken = []
    for page in [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md")]:
        for target in re.findall(r"\[[^\]]+\]\(([\w./-]+)(?:#[\w-]*)?\)", page.read_text("utf-8")):
            if not (page.parent / target).exists():
                broken.append(f"{page.name}: {target}")
    assert broken == []


def hidden(path: pathlib.Path) -> bool:
    generated = ("build", "dist", "node_modules")
    return any(p in generated or (p.startswith(".") and p != ".ci") for p in path.parts)


@pytest.mark.parametrize("command", ["--help", "compile --help"])
def test_help_loads_no_heavy_package(command):
    heavy = {"numpy", "onnx", "onnxruntime", "networkx", "numba"}
    code = (
        "import sys\n"
        "from snnc.cli import run\n"
        f"run({command.split()})\n"
        f"loaded = sorted({heavy} & set(sys.modules))\n"
        "sys.exit(f'loaded {loaded}' if loaded else 0)\n"
    )
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout


def test_an_artifact_is_read_without_what_runs_it():
    heavy = {"onnx", "onnxruntime", "numba", "rich"}
    code = f"import sys, snnc.compiled\nsys.exit(' '.join({heavy} & set(sys.modules)) or 0)"
    done = run_python(code)
    assert done.returncode == 0, f"loaded {done.stderr}"
