"""The operator table: every case on every backend, judged by PyTorch eager."""

from __future__ import annotations

import importlib
import pkgutil

import op_cases
import pytest
from case import Case, assert_same
from runners import RUNNERS, run_tensorrt, run_tvm, tvm_dialect

from torch2trt.errors import UnsupportedOpError

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


@pytest.mark.parametrize("run", [run_tensorrt, run_tvm], ids=["tensorrt", "tvm"])
@pytest.mark.parametrize("case", [c for c in CASES if c.dynamic], ids=str)
def test_dynamic_batch(case: Case, run):
    inputs = case.example()
    if run is run_tvm and tvm_dialect() == "relay":
        with pytest.raises(UnsupportedOpError, match="static sizes for Relay"):
            run(case.program, inputs, dynamic=True)
        return
    assert_same(run(case.program, inputs, dynamic=True), case.expected(inputs), case.rtol)
