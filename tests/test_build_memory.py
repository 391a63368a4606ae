"""Peak host memory of a build without a GPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from torch2trt.backends import trt_api

PROGRAM = Path(__file__).parent / "build_memory.py"
LIMIT = 2.5  # times the weights; TensorRT alone needs two


@pytest.mark.skipif(
    not (trt_api.available() and trt_api.is_rtx()),
    reason="builds ahead of time with TensorRT-RTX only",
)
@pytest.mark.parametrize("kind", ["linear", "convolution"])
def test_weights_are_held_once(kind):
    command = [sys.executable, str(PROGRAM), kind, "cpu"]
    environment = {**os.environ, "PYTHONPATH": str(PROGRAM.parent.parent)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["weights"] > 250e6 and figures["times"] <= LIMIT, figures
