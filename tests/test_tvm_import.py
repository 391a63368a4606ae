"""TVM is the same, however it was imported, and costs less when it is imported here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("tvm.relax", reason="there is no TVM with Relax", exc_type=ImportError)

LOOK = """
import json, sys, tvm
names = sorted(map(str, tvm.ir.Op.list_op_names()))
printed = {n: str(tvm.ir.Op.get(n).get_attr("TScriptPrinterName")) for n in names}
methods = [tvm.ir.Op.get, tvm.ir.register_op_attr, tvm.ir.op.register_op_attr]
print(json.dumps({
    "operators": printed, "methods": [f"{m.__module__}.{m.__qualname__}" for m in methods],
    "disco": tvm.runtime.disco is not None,
    "modules": [m for m in sys.modules if m.startswith("tvm.") and "disco" not in m],
    "finders": [f"{type(f).__module__}.{type(f).__qualname__}" for f in sys.meta_path],
}))
"""
OURS = "from torch2trt.backends import tvm_module\ntvm_module()\n"


def run(code):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, "-W", "ignore", "-c", f"import torch\n{code}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_tvm_is_the_same():
    plain, ours = run("import tvm\n" + LOOK), run(OURS + LOOK)
    assert len(plain["operators"]) > 500 and "tvm.ir.op.Op.get" in plain["methods"]
    assert ours == plain


MEMORY = """
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096
before = resident()
{how}
print(resident() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's /proc")
def test_the_import_reads_no_debug_information():
    plain, ours = (run(MEMORY.format(how=how)) for how in ("import tvm", OURS))
    assert ours < plain - 20e6


def test_an_import_that_fails_leaves_nothing_behind():
    code = """
import sys, types
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name == "tvm.relax":
            raise ImportError("blocked")
sys.meta_path.insert(0, Blocked())
from torch2trt.backends import tvm_module
from torch2trt.errors import BackendUnavailableError
try:
    tvm_module()
except BackendUnavailableError as error:
    get = sys.modules["tvm.ir"].Op.get
    print(f'["{error}", "{get.__qualname__}", "{sys.meta_path}"]')
"""
    message, method, finders = run(code)
    assert "blocked" in message and method == "Op.get" and "Watcher" not in finders
