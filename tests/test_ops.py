"""The operator table: every case on every backend, judged by PyTorch eager."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

import op_cases
import pytest
import torch
from case import Case, assert_same
from runners import RUNNERS, tensorrt_program, tvm_dialect, tvm_program

from torch2trt.errors import UnsupportedOpError
from torch2trt.sizes import at_size

CASES: list[Case] = [
    case
    for module in pkgutil.iter_modules(op_cases.__path__)
    for case in importlib.import_module(f"op_cases.{module.name}").CASES
]


def test_names_are_unique():
    names = [case.name for case in CASES]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("backend", RUNNERS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case, backend: str, request: pytest.FixtureRequest):
    if backend in case.wrong:
        request.applymarker(pytest.mark.xfail(strict=True, reason=case.wrong[backend]))
    inputs = case.example()
    if backend in case.refused:
        with pytest.raises(UnsupportedOpError, match=case.refused[backend]):
            RUNNERS[backend](case.program, inputs)
        return
    assert_same(RUNNERS[backend](case.program, inputs), case.expected(inputs), case.rtol)


@pytest.mark.parametrize("compiled", [tensorrt_program, tvm_program], ids=["tensorrt", "tvm"])
@pytest.mark.parametrize("case", [c for c in CASES if c.dynamic], ids=str)
def test_dynamic_batch(case: Case, compiled):
    inputs = case.example()
    if compiled is tvm_program and tvm_dialect() == "relay":
        with pytest.raises(UnsupportedOpError, match="static sizes for Relay"):
            compiled(case.program, inputs, dynamic=True)
        return
    run = compiled(case.program, inputs, dynamic=True)
    for others in (inputs, *other_batches(inputs)):
        assert_same(run(others), case.expected(others), case.rtol)


def other_batches(inputs: tuple[torch.Tensor, ...]) -> Iterator[tuple[torch.Tensor, ...]]:
    """One row more than in the example, and twice as many."""
    for size in (len(inputs[0]) + 1, 2 * len(inputs[0])):
        yield tuple(at_size(x, 0, size) if x.dim() else x for x in inputs)
