"""A fixed slice of PyTorch's operator database on every backend, and the judge of it.

The whole of it is ``python -m tests.conformance``.
"""

from __future__ import annotations

import pytest
import torch

from tests.conformance import pool
from tests.conformance.__main__ import BACKENDS, LISTED
from tests.conformance.judge import difference, tolerances
from tests.conformance.samples import dtypes, operators, samples
from tests.conformance.table import missed
from torch2trt.backends import trt_api
from torch2trt.optable import entries
from torch2trt.registry import builtin

# name -> the dtypes to run
SLICE = {
    "float32": """
        abs add addmm argmax atan2 baddbmm bmm cat clamp cumsum diagonal div.floor_rounding einsum
        exp expand flip gather index_put index_select linalg.vector_norm log_softmax masked_fill
        mean nn.functional.adaptive_avg_pool2d nn.functional.avg_pool2d nn.functional.batch_norm
        nn.functional.conv2d nn.functional.conv_transpose2d nn.functional.gelu
        nn.functional.grid_sample nn.functional.group_norm nn.functional.interpolate.bicubic
        nn.functional.layer_norm nn.functional.max_pool2d nn.functional.pad.reflect
        nn.functional.scaled_dot_product_attention pow prod roll scatter_add slice softmax std sum
        topk tril unbind var where
    """,
    "float16": "add nn.functional.layer_norm sum softmax",
    "int64": """
        add argmin clamp cumsum div.trunc_rounding floor_divide maximum mean pow prod remainder sum
        true_divide
    """,
    "bool": "add all any argmax cat logical_xor mul sum where",
}


def _run(dtype: str, names: list[str], backends: list[str]) -> list[dict]:
    jobs = [
        {
            "op": name,
            "dtype": dtype,
            "limit": 3,
            "backends": backends,
            "build": False,
            "alone": False,
            "skip": 0,
        }  # fmt: skip
        for name in names
    ]
    return [record for records in pool.Pool(2, 120).run(jobs) for record in records]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", SLICE)
def test_slice(dtype):
    pytest.importorskip("tvm", reason="TVM is not installed")
    if not trt_api.available():
        pytest.skip("no TensorRT library is installed")
    records = _run(dtype, SLICE[dtype].split(), list(BACKENDS))
    failed = [r for r in records if r["outcome"] == "failed"]
    assert not failed, "\n".join(
        f"{r['backend']} {r['op']}{r['call']}: {r['detail']}" for r in failed
    )
    for backend in BACKENDS:
        outcomes = [r["outcome"] for r in records if r["backend"] == backend]
        equal, refused = outcomes.count("equal"), outcomes.count("refused")
        assert equal >= 0.95 * (equal + refused) > 0, f"{backend}: {equal} equal, {refused} refused"


def test_a_process_that_dies_costs_one_sample(monkeypatch):
    answers = [
        ([], "the process died with code -11", 0),
        ([{"n": 0}], "the process died with code -11", 1),
        ([{"n": 2}], "", 3),
    ]
    calls = []

    def call(self, job, limit):
        calls.append((job["alone"], job["skip"]))
        return answers[len(calls) - 1]

    monkeypatch.setattr(pool.Worker, "call", call)
    job = {"op": "add", "dtype": "bool", "backends": ["torch", "tvm"], "alone": False, "skip": 0}
    records = pool.Worker("a.module").finish(job, 1.0)
    assert calls == [(False, 0), (True, 0), (True, 2)]
    assert [r.get("outcome") for r in records] == [None, "failed", None]
    assert (records[1]["sample"], records[1]["backend"]) == (0, "tvm")


def test_a_build_that_hangs_is_a_failure_of_the_engine(monkeypatch):
    simulated = {"sample": 0, "backend": "tensorrt", "call": "(x)", "outcome": "equal"}
    answers = [([], "no answer within 9 s", 0), ([simulated], "no answer within 9 s", 0)]

    def call(self, job, limit):
        return answers.pop(0) if answers else ([], "", 1)

    monkeypatch.setattr(pool.Worker, "call", call)
    job = {"op": "add", "dtype": "bool", "backends": ["tensorrt"], "alone": False, "skip": 0}
    _, broken = pool.Worker("a.module").finish(job, 9)
    assert (broken["backend"], broken["outcome"], broken["call"]) == ("engine", "failed", "(x)")


def _results(listed: bool, backend: str, equal: int, refused: int, failed: int = 0) -> list[dict]:
    outcomes = ["equal"] * equal + ["refused"] * refused + ["failed"] * failed
    return [{"listed": listed, "backend": backend, "outcome": outcome} for outcome in outcomes]


def test_goals():
    good = _results(True, "tvm", 97, 3) + _results(False, "tvm", 1, 99)
    assert missed(good) == []
    few = _results(True, "tensorrt", 94, 6)
    assert missed(good + few) == ["tensorrt: 94.00 % of the listed operators, not 95 %"]
    assert missed(few, {}) == []
    assert missed(_results(False, "engine", 9, 0, failed=1), {}) == ["engine: 1 failed"]


def test_all_listed_operators_have_a_handler():
    """Those that compute Python numbers and lists serve all backends and are in no table."""
    pytest.importorskip("tvm", reason="TVM is not installed")
    if not trt_api.available():
        pytest.skip("no TensorRT library is installed")
    support = {entry.name: entry.support for entry in entries()}
    unknown = [name for name in LISTED if name not in support and builtin(name) is None]
    assert not unknown and len(LISTED) == 361
    assert all(support[name]["torch"] == "yes" for name in LISTED if name in support)
    both = [
        name
        for name in LISTED
        if name not in support or support[name]["tensorrt"] == support[name]["tvm"] == "yes"
    ]
    assert len(both) >= 340


# --- the judge -----------------------------------------------------------------------------------


class _Op:
    decorators = ()


ONE = torch.tensor([1.0, 2.0, float("nan")])


@pytest.mark.parametrize(
    ("got", "message"),
    [
        ([ONE, ONE], "got 2 outputs, expected 1"),
        ([ONE.double()], "got torch.float64[3], expected torch.float32[3]"),
        ([ONE[:2]], "got torch.float32[2], expected torch.float32[3]"),
        ([ONE + torch.tensor([0.0, 0.5, 0.0])], "got 2.5, expected 2 at 1 of 3; 1 values differ"),
        ([torch.tensor([1.0, float("nan"), float("nan")])], "got nan, expected 2 at 1 of 3"),
        ([torch.tensor([1.0, 2.0, 0.0])], "expected nan at 2 of 3"),
    ],
)
def test_what_is_wrong_is_said(got, message):
    assert message in difference(got, [ONE], [ONE], _Op())


def test_what_is_right():
    assert difference([ONE.clone()], [ONE], [ONE], _Op()) == ""
    assert difference([ONE + 1e-7], [ONE], [ONE], _Op()) == ""


def test_as_near_to_float64_as_pytorch_is_right():
    precise = torch.tensor([1000.0, 1.0], dtype=torch.float64)
    expected, got = torch.tensor([1000.02, 1.0]), torch.tensor([999.985, 1.0])
    assert difference([got], [expected], [precise], _Op()) == ""
    assert difference([got - 0.1], [expected], [precise], _Op()) != ""


def test_equal_values_may_come_in_any_order():
    values = torch.tensor([3, 1, 3, 2])
    expected, other = torch.tensor([1, 3, 0, 2]), torch.tensor([1, 3, 2, 0])
    wrong, twice = torch.tensor([3, 1, 0, 2]), torch.tensor([1, 3, 0, 0])
    assert difference([other], [expected], [expected], _Op(), values) == ""
    for got in (wrong, twice):
        assert difference([got], [expected], [expected], _Op(), values) != ""
    assert difference([other], [expected], [expected], _Op()) != ""


def test_tolerances_are_those_of_the_database():
    assert tolerances(_Op(), torch.float32) == (1.3e-6, 1e-5)
    assert tolerances(_Op(), torch.int64) == (0.0, 0.0)
    assert tolerances(operators()["nn.functional.conv_transpose2d"], torch.float32)[1] > 1e-5


def test_samples_are_the_same_in_every_run():
    op = operators()["add"]
    first, again = (samples(op, torch.float32, 5) for _ in range(2))
    assert len(first) == 5
    assert [s.text for s in first] == [s.text for s in again]
    assert all(torch.equal(a, b) for s, t in zip(first, again) for a, b in zip(s.inputs, t.inputs))
    assert torch.bool in dtypes(op)
