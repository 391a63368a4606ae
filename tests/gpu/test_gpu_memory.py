"""Peak host memory of a build on a GPU."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from host_cost import write

PROGRAM = Path(__file__).parent.parent / "build_memory.py"


@pytest.mark.parametrize("kind", ["linear", "convolution"])
def test_host_memory_of_a_build(kind):
    times = {}
    for what in ("bare", "module"):
        command = [sys.executable, str(PROGRAM), what, kind, "cuda"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr[-3000:]
        times[what] = json.loads(done.stdout.splitlines()[-1])["times"]
    write(f"a build, times the weights ({kind})", times)
    assert times["module"] <= 2.5, times
