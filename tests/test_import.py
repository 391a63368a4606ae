"""What an import costs and needs, and that dependencies run downward only."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "torch2trt"
BLOCK = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {
            "tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings", "tvm", "pycuda", "torchvision",
            "tqdm",
        }:
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocked())
"""


def run(code: str) -> str:
    """What `code` prints in a fresh interpreter that keeps its bytecode, as an installed package
    does.
    """
    environment = {
        name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
    }
    command = [sys.executable, "-W", "ignore", "-c", code]
    result = subprocess.run(
        command, capture_output=True, text=True, cwd=PACKAGE.parent, env=environment
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_import_needs_only_torch_and_numpy():
    names = "GraphModule TensorRTModule TVMModule InferenceContext simulate".split()
    code = f"import torch2trt\n[getattr(torch2trt, name) for name in {names}]\nprint('fine')"
    assert run(f"{BLOCK}\n{code}") == "fine\n"


def test_import_is_fast():
    timed = "s = time.perf_counter()\nimport torch2trt\nprint(time.perf_counter() - s)"
    code = f"import torch, time\n{timed}"
    assert min(float(run(code)) for _ in range(3)) < 0.3


def test_import_loads_no_backend():
    names = ["tensorrt", "tensorrt_rtx", "tvm", "pycuda"]
    code = f"import torch2trt, sys; print([m for m in {names} if m in sys.modules])"
    assert run(code) == "[]\n"


@pytest.mark.parametrize(
    "use, package",
    [
        ("torch2trt.tvm_network().__enter__()", "torch2trt\\[tvm\\]"),
        ("trt_api.trt()", "torch2trt\\[rtx\\]|tensorrt"),
    ],
)
def test_a_missing_package_is_named(use, package):
    code = f"{BLOCK}\nimport torch2trt\nfrom torch2trt.backends import trt_api\ntry:\n    {use}\n" \
           "except torch2trt.BackendUnavailableError as error:\n    print(error)"  # fmt: skip
    import re

    assert re.search(f"pip install.*({package})", run(code))


# What each part may import from the package; a part may always import its own folder.
ALLOWED = {
    "errors": set(),
    "context": {"errors", "backends"},
    "graph": {"branches", "errors"},
    "branches": set(),
    "registry": {"errors", "context"},
    "backends": {"errors", "context", "graph", "fold"},
    "fold": {"graph", "builder", "registry"},
    "handlers": {"errors", "context", "registry", "backends"},
    "functional": {"errors", "graph", "aliasing", "inplace", "unview", "builder", "places"},
    "fixed": {"errors"},
    "hidden": set(),
    "dense": {"errors", "graph"},
    "state": {"errors"},
    "trace": {
        "errors", "fixed", "graph", "hidden", "state", "tracing_warnings", "untraced",
    },  # fmt: skip
    "untraced": {"errors", "graph", "inplace", "tracing_warnings"},
    "walk": {"errors", "graph", "registry", "backends", "context"},
    "simulate": {"errors", "backends"},
    "core": {
        "errors",
        "dense",
        "context",
        "graph",
        "registry",
        "backends",
        "handlers",
        "functional",
        "trace",
        "walk",
        "frozen",
        "sizes",
    },
}


@pytest.mark.parametrize("part", ALLOWED)
def test_dependencies_run_downward(part):
    files = (
        [PACKAGE / f"{part}.py"]
        if (PACKAGE / f"{part}.py").exists()
        else sorted((PACKAGE / part).rglob("*.py"))
    )
    assert files
    for file in files:
        used = _imports(file) - {part}
        assert used <= ALLOWED[part], (
            f"{file.relative_to(PACKAGE)} imports {sorted(used - ALLOWED[part])}"
        )


def _imports(file: Path) -> set[str]:
    """The first-level parts of torch2trt that a file imports."""
    depth = len(file.relative_to(PACKAGE).parts)
    parts = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            if node.level == depth:
                parts |= (
                    {node.module.split(".")[0]} if node.module else {a.name for a in node.names}
                )
            elif node.level == 0 and node.module and node.module.startswith("torch2trt."):
                parts.add(node.module.split(".")[1])
    return parts


def test_handlers_import_no_backend_library():
    for file in (PACKAGE / "handlers").rglob("*.py"):
        names = {
            a.name
            for n in ast.walk(ast.parse(file.read_text()))
            if isinstance(n, ast.Import)
            for a in n.names
        }
        assert not names & {"tensorrt", "tvm"}, file


def test_public_names_stay_what_they_are():
    """A subpackage of the same name must not take the place of a function."""
    code = (
        "import torch2trt, torch2trt.simulate, torch2trt.core as core\n"
        "print(callable(torch2trt.simulate), callable(torch2trt.torch2trt), core.tvm_network is "
        "torch2trt.tvm_network)"
    )
    assert run(code) == "True True True\n"
