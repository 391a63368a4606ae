"""How the operator table is run on a GPU, with a stand-in for the engine."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from case import Case

from torch2trt.backends import trt_api
from torch2trt.simulate import simulate

if not trt_api.is_rtx():
    pytest.skip(
        "the stand-in needs a network that is defined without a GPU", allow_module_level=True
    )

sys.path.insert(0, str(Path(__file__).parent / "gpu"))
import operator_worker as worker  # noqa: E402
import test_operators_gpu as table  # noqa: E402

CASES = {
    case.name: case
    for case in [
        *(Case(f"good{i}", lambda x, i=i: x + i, ((2, 3),)) for i in range(3)),
        Case("wrong", lambda x: x.exp(), ((2, 3),)),
        Case("broken", lambda x: x * 2, ((2, 3),)),
        Case("refused", lambda x: torch.linalg.eigvalsh(x), ((3, 3),)),
    ]
}


@pytest.fixture
def engine(monkeypatch):
    """The number of inputs of each network that was run."""
    sizes = []

    def stand_in(network, feed):
        sizes.append(len(feed))
        if any("broken" in name for name in feed):
            raise MemoryError("as an engine may raise anything")
        values = simulate(network, feed)
        return {name: y + 1 if "wrong" in name else y for name, y in values.items()}

    monkeypatch.setattr(worker, "run_engine", stand_in)
    monkeypatch.setattr(worker, "CASES", list(CASES.values()))
    return sizes


def test_each_case_has_its_outcome(engine):
    found = {r["name"]: r for r in worker.run(["good0", "refused", "wrong", "good1"])}
    outcomes = {name: record["outcome"] for name, record in found.items()}
    assert outcomes == {
        "good0": "agreed",
        "refused": "refused",
        "wrong": "differs",
        "good1": "agreed",
    }
    assert engine == [3]


def test_a_network_that_breaks_is_split_until_the_case_is_found(engine):
    records = worker.run(["good0", "broken", "good1"])
    assert records == [{"split": ["good0", "broken", "good1"]}]
    (alone,) = worker.run(["broken"])
    assert alone["outcome"] == "failed"
    assert "as an engine may raise anything" in alone["detail"]


def test_the_table_halves_what_has_no_outcome_yet():
    found = table.Table([], 10)
    found._take(["a", "b", "c"], [{"name": "a", "outcome": "agreed", "detail": ""}], "it died")
    assert found.outcomes.keys() == {"a"}
    assert [found.waiting.get(), found.waiting.get()] == [["b"], ["c"]]
    found._take(["b"], [], "it died")
    assert found.outcomes["b"] == {"outcome": "failed", "detail": "it died"}


def test_when_time_is_over_the_rest_was_not_run():
    found = table.Table(["a", "b"], -1).run(1)
    assert {record["outcome"] for record in found.values()} == {"not run"}
