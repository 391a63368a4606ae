"""README's Python code: each section runs, in order and in one namespace.

A block under ``<!-- needs a GPU -->`` is read instead where there is none: it compiles, and all its
names exist.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from code_check import problems
from runners import RUNNERS
from torch import nn

import torch2trt
from torch2trt.backends import trt_api
from torch2trt.handlers import activation
from torch2trt.registry import unregister_node_handler, user_handler

README = Path(__file__).resolve().parents[1] / "README.md"
_FENCE = re.compile(r"^( *)```python\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_MARK = "<!-- needs a GPU -->"


@dataclass(frozen=True)
class Block:
    """A block of Python code, and whether README says that it needs a GPU."""

    section: str
    code: str
    line: int
    needs_gpu: bool


def _blocks() -> Iterator[Block]:
    text = README.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        before = text[: found.start()]
        section = re.findall(r"^#+ (.*)$", before, re.MULTILINE)[-1]
        marked = before.rstrip().endswith(_MARK)
        yield Block(section, textwrap.dedent(found[2]), before.count("\n") + 2, marked)


BLOCKS = list(_blocks())


class Net(nn.Module):
    """Small enough to be built in a test."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x).relu()


def _inputs(device: str = "cpu") -> dict[str, Any]:
    """What README takes for granted."""
    x = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0)).to(device)
    names = {"torch": torch, "torch2trt": torch2trt, "net": Net().to(device).eval()}
    return {**names, "inputs": x, "example": x, "x": x}


def _run(section: str, namespace: dict[str, Any]) -> dict[str, Any]:
    """Run the blocks of a section; the namespace with what they define."""
    namespace["__name__"] = "readme"
    for block in (block for block in BLOCKS if block.section == section):
        if block.needs_gpu and not trt_api.can_run():
            assert problems(block.code, namespace) == [], f"README.md, line {block.line}"
        else:
            code = "\n" * (block.line - 1) + block.code  # so that errors name README's lines
            exec(compile(code, str(README), "exec"), namespace)
    return namespace


def _needs_tensorrt() -> None:
    if not trt_api.available():
        pytest.skip("no TensorRT library is installed")


def _needs_tvm() -> None:
    pytest.importorskip("tvm", reason="TVM is not installed")
    if torch2trt.backends.tvm_context_class().name != "relax":
        pytest.skip("README's programs are in Relax")


def test_each_section_has_its_test():
    assert list(dict.fromkeys(block.section for block in BLOCKS)) == [
        "Modules: PyTorch in train(), an engine in eval()",
        "A TensorRT network of your own",
        "TVM",
        "More",
        "Add a handler",
        "Add a built-in operator in two edits",
    ]


@pytest.mark.parametrize(
    "code, found",
    [
        ("y = net2(x)", "net2 is not defined"),
        ("torch2trt.TensorRTModul(net)", "torch2trt.TensorRTModul does not exist"),
        ("torch2trt.trt_api.can_runn()", "torch2trt.trt_api does not exist"),
        ("torch2trt.save(net, where='net.engine')", "torch2trt.save takes no where"),
    ],
)
def test_reading_finds_what_does_not_exist(code, found):
    (problem,) = problems(code, _inputs())
    assert problem == f"line 1: the name {found}" or problem == f"line 1: {found}"


def test_modules():
    pytest.importorskip("torchvision", reason="torchvision is not installed")
    _run("Modules: PyTorch in train(), an engine in eval()", _inputs())


def test_a_network_of_your_own():
    _needs_tensorrt()
    found = _run("A TensorRT network of your own", _inputs())
    expected = found["net"](found["inputs"])
    torch.testing.assert_close(found["debug"], expected)
    result = torch2trt.simulate(found["network"], {"image": found["inputs"]})["y"]
    torch.testing.assert_close(result, expected.tanh(), rtol=1e-5, atol=1e-6)
    assert len(found["plan"]) > 1000


def test_tvm():
    _needs_tvm()
    found = _run("TVM", _inputs())
    torch.testing.assert_close(found["y"], found["net"](found["inputs"]), rtol=1e-5, atol=1e-6)


def test_more(capsys, monkeypatch, tmp_path):
    _needs_tensorrt()
    _needs_tvm()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH2TRT_CACHE", str(tmp_path))
    found = _run("More", _inputs("cuda" if trt_api.can_run() else "cpu"))
    printed = capsys.readouterr().out
    assert "2 nodes of 2 kinds" in printed  # the coverage report
    assert str(found["row"]) in printed  # the rows of the TVM program
    assert found["program"].frozen == ()


@pytest.mark.parametrize("backend", RUNNERS)
def test_a_handler(backend):
    _needs_tensorrt()
    inputs = (torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)),)
    namespace = {"torch": torch, "torch2trt": torch2trt, "trt": trt_api.trt()}
    handler = _run("Add a handler", namespace)["aten_sum"]
    try:
        assert user_handler("aten::sum", "dim_IntList") is handler
        (result,) = RUNNERS[backend](lambda x: x.sum((1, -1), keepdim=True), inputs)
    finally:
        unregister_node_handler("aten::sum")
    torch.testing.assert_close(result, inputs[0].sum((1, -1), keepdim=True))


def test_a_built_in_operator_is_written_as_readme_says():
    (block,) = (b for b in BLOCKS if b.section == "Add a built-in operator in two edits")
    own = textwrap.dedent(inspect.getsource(activation.silu.function))
    assert ast.dump(ast.parse(block.code)) == ast.dump(ast.parse(own))
