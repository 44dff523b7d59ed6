"""Kernels in the user's cache folder."""

import os
import subprocess
import sys

SCRIPT = """
import sys
import numpy as np
from snnc.backends.jit import compiled

@compiled
def total(x):
    y = 0
    for i in range(len(x)):
        y += x[i]
    return y

print(total(np.arange(5)), "numba.np.linalg" in sys.modules)
"""


def test_a_kernel_in_the_cache_is_loaded_without_what_compiles_others(tmp_path):
    script = tmp_path / "kernel.py"
    script.write_text(SCRIPT)

    def run() -> str:
        path = os.pathsep.join(p for p in sys.path if p)
        environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": path}
        command = [sys.executable, str(script)]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout

    assert run().split() == ["10", "True"]
    assert run().split() == ["10", "False"]
