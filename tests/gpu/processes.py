"""Programs that need a process of their own: they measure its memory, or break its CUDA context."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

CUDA_ERROR = """
import os, sys
import torch
from torch import nn
from torch2trt import TensorRTModuleWrapper
from torch2trt.errors import Torch2TrtError

net = nn.ReLU().eval()
wrapped = TensorRTModuleWrapper(net, 2, optimization_level=0, cuda_graph=sys.argv[1] == "graph")
x = torch.randn(2, 8, device="cuda")
stream = torch.cuda.Stream()
with torch.cuda.stream(stream):
    assert wrapped(x).equal(x.relu())
    torch.zeros(4, device="cuda")[torch.tensor([9], device="cuda")]  # fails on the device
    try:
        for _ in range(50):
            wrapped(x).cpu()
    except (Torch2TrtError, RuntimeError) as error:
        print("refused:", type(error).__name__, error, flush=True)
        os._exit(0)
os._exit(3)
"""

COMMANDS = {
    "linear": (str(ROOT / "tests" / "build_memory.py"), "linear", "cuda"),
    "convolution": (str(ROOT / "tests" / "build_memory.py"), "convolution", "cuda"),
    "launch": ("-c", CUDA_ERROR, "launch"),
    "graph": ("-c", CUDA_ERROR, "graph"),
}


class Processes:
    """All of them, side by side."""

    def __enter__(self):
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])  # what pytest imports from
        options["env"] = {**os.environ, "PYTHONPATH": path}
        self._running = {
            name: subprocess.Popen([sys.executable, *command], **options)
            for name, command in COMMANDS.items()
        }
        return self

    def output(self, name):
        """What a process printed; it must have succeeded."""
        process = self._running[name]
        out, errors = process.communicate(timeout=100)
        assert process.returncode == 0, f"{name} ended with {process.returncode}: {errors[-3000:]}"
        return out

    def __exit__(self, *exception):
        for process in self._running.values():
            if process.poll() is None:
                process.kill()
            process.communicate()
