"""Every public name says what it does, what each of its parameters is, and how it is used."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from code_check import problems
from torch import nn

import torch2trt
from torch2trt.backends import trt_api
from torch2trt.registry import unregister_node_handler

_SECTION = re.compile(r"^(\w+):\n((?:(?:    .*)?\n)+)", re.MULTILINE)
_ON_GPU = {
    "InferenceContext", "TensorRTModule", "TensorRTModuleWrapper", "TorchInferenceContext", "load",
    "save",
}  # fmt: skip
NAMES = {n: getattr(torch2trt, n) for n in sorted(torch2trt.__all__)}
NAMES = {n: value for n, value in NAMES.items() if not isinstance(value, ModuleType)}
ERRORS = {n: v for n, v in NAMES.items() if inspect.isclass(v) and issubclass(v, Exception)}
USED = {n: value for n, value in NAMES.items() if n not in ERRORS}


def _methods() -> Iterator[tuple[str, Any]]:
    """The public methods of all public classes, but for those of PyTorch and Python."""
    for name, value in USED.items():
        if inspect.isclass(value):
            for method, function in inspect.getmembers(value, inspect.isfunction):
                ours = function.__module__.startswith("torch2trt.")
                if ours and not method.startswith("_") and method != "forward":
                    yield f"{name}.{method}", function


CALLED = {**USED, **dict(_methods())}


def _sections(value: Any) -> dict[str, str]:
    text = inspect.cleandoc(value.__doc__ or "") + "\n"
    return {found[1]: textwrap.dedent(found[2]) for found in _SECTION.finditer(text)}


def _arguments(value: Any) -> set[str]:
    """The names that the section of arguments describes, in lines like ``one, two: what``."""
    heads = re.findall(r"^([\w*, ]+):", _sections(value).get("Args", ""), re.MULTILINE)
    return {name.strip(" *") for head in heads for name in head.split(",")}


@pytest.mark.parametrize("name", [*NAMES, *(n for n in CALLED if n not in NAMES)])
def test_the_first_line_says_what_it_is(name):
    first = inspect.cleandoc({**NAMES, **CALLED}[name].__doc__ or "").split("\n")[0]
    assert len(first.split()) > 2


@pytest.mark.parametrize("name", CALLED)
def test_each_parameter_is_named(name):
    value = CALLED[name]
    taken = {p for p in inspect.signature(value).parameters if p != "self"}
    quoted = set(re.findall(r"(?<!`)`(\w+)`(?!`)", value.__doc__))
    assert taken <= _arguments(value) | quoted
    assert _arguments(value) <= taken, "described, but no parameter"


class Net(nn.Module):
    """Small enough to be compiled in a test."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x).relu()


@pytest.mark.parametrize("name", USED)
def test_each_example_works(name):
    """Run it; without the GPU that it needs, read it."""
    pytest.importorskip("tvm", reason="TVM is not installed")
    if not trt_api.available() or torch2trt.backends.tvm_context_class().name != "relax":
        pytest.skip("the examples are for TensorRT and Relax")
    from torch2trt.backends.schedules import compile_cpu

    example = _sections(USED[name]).get("Example", "")
    builder = trt_api.create_builder()
    namespace = {
        "torch": torch, "torch2trt": torch2trt, "trt": trt_api.trt(), "compile_cpu": compile_cpu,
        "net": Net().eval(), "x": torch.rand(1, 3, 8, 8), "engine": None,
        "network": trt_api.create_network(builder),
    }  # fmt: skip
    assert example, f"{name} has no example"
    assert problems(example, namespace) == []
    if name in _ON_GPU:
        return
    try:
        exec(compile(example, name, "exec"), namespace)
    finally:
        unregister_node_handler("aten::my_relu")
    if "y" in namespace and isinstance(namespace["y"], torch.Tensor):
        assert namespace["y"].isfinite().all()
