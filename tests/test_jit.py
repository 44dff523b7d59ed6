"""Kernels in the user's cache folder."""

import os
import pathlib
import subprocess
import sys

import pytest

SCRIPT = """
import sys
import numpy as np
from snnc.jit import compiled

@compiled
def total(x):
    y = 0
    for i in range(len(x)):
        y += x[i]
    return y

print(total(np.arange(5)), "numba.np.linalg" in sys.modules)
"""

DRIVES = """
import sys
import numpy as np
from snnc.backends.fast.kernels import add_diagonal, find_events, take_columns

long = np.zeros(9, np.int64)
x, rows = np.ones(8, np.int8), np.zeros(40, np.uint16)
groups = find_events(x, (1, 1, 8), np.ones(1, np.int8), long, 8, rows, long.copy(), long.copy())
z, bounds = np.zeros(8, np.int16), np.array([0, 1])
add_diagonal(x, (1, 1, 8), np.full(8, 3, np.int16), long, long, 8, z, long, bounds)
columns = np.zeros((1, 1, 1, 1, 8), np.uint8)
take_columns(x.reshape(1, 1, 8), 8, (1, 1), (1, 1), (0, 0), (1, 1), columns)
print(groups, z.sum(), columns.sum(), "numba.np.arrayobj" in sys.modules)
"""


def said(script: pathlib.Path) -> list[str]:
    """The words that a script prints, with a cache of kernels beside it."""
    path = os.pathsep.join(p for p in sys.path if p)
    environment = os.environ | {"NUMBA_CACHE_DIR": str(script.parent / "cache"), "PYTHONPATH": path}
    command = [sys.executable, str(script)]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.split()


def test_a_kernel_in_the_cache_is_loaded_without_what_compiles_others(tmp_path):
    script = tmp_path / "kernel.py"
    script.write_text(SCRIPT)
    assert said(script) == ["10", "True"]
    assert said(script) == ["10", "False"]


@pytest.mark.slow
def test_kernels_of_drives_are_loaded_without_what_reshapes_arrays(tmp_path):
    script = tmp_path / "drives.py"
    script.write_text(DRIVES)
    assert said(script) == ["1", "24", "8", "True"]
    assert said(script) == ["1", "24", "8", "False"]
