"""Every example runs as a user would run it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ARGUMENTS = {"quickstart.py": ["--networks", "squeezenet1_1", "--seconds", "0.2"]}
NEEDS = {"tvm_relay.py": "tvm.relay"}
EXAMPLES = sorted(p.name for p in (ROOT / "examples").glob("*.py"))


def _missing(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is None
    except ImportError:
        return True


def test_there_are_examples():
    assert "quickstart.py" in EXAMPLES and len(EXAMPLES) >= 5


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name):
    for package in ("tvm", "torchvision", NEEDS.get(name, "torch")):
        if _missing(package):
            pytest.skip(f"{package} is not installed")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [
        sys.executable,
        "-W",
        "ignore",
        str(ROOT / "examples" / name),
        *ARGUMENTS.get(name, []),
    ]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=540)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.strip()


def test_quickstart_table_says_ok_in_every_row():
    if _missing("tvm") or _missing("torchvision"):
        pytest.skip("tvm or torchvision is not installed")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "examples/quickstart.py"), *ARGUMENTS["quickstart.py"]]
    table = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=540
    ).stdout
    rows = [line for line in table.splitlines() if line.startswith("squeezenet1_1")]
    assert len(rows) >= 2 and all(row.endswith("ok") for row in rows)
