"""The table of operators in the documents is the table of converters."""

from __future__ import annotations

import inspect

from conftest import REPOSITORY

from snnc.frontend.converters import CONTRIBUTED, CONVERTERS, HOST_OPS, ONNXRUNTIME

PAGE = REPOSITORY / "docs" / "operators.md"
BEGIN, END = "<!-- table -->\n", "<!-- end -->"


def table() -> str:
    """One row per operator: the first line of its converter's docstring."""
    rows = ["| operator | supported |", "|---|---|"]
    for name in sorted({*CONVERTERS, *HOST_OPS}):
        parts = []
        if name in CONVERTERS:
            text = (inspect.getdoc(CONVERTERS[name]) or "").split("\n\n")[0]
            parts.append(" ".join(text.split()).replace("|", "\\|"))
        if name in HOST_OPS:
            parts.append("Left to the host at an output.")
        rows.append(f"| {name} | {' '.join(parts)} |")
    for name, converter in CONTRIBUTED.items():
        rows.append(f"| {ONNXRUNTIME} {name} | {(inspect.getdoc(converter) or '').splitlines()[0]} |")
    return "\n".join(rows) + "\n"


def test_the_table_of_operators_is_up_to_date(request):
    page = PAGE.read_text("utf-8")
    before, rest = page.split(BEGIN)
    written, after = rest.split(END)
    if request.config.getoption("--update-golden"):
        PAGE.write_text(before + BEGIN + table() + END + after, "utf-8")
        return
    assert written == table(), "run pytest --update-golden tests/frontend/test_operators_doc.py"
