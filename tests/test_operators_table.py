"""How the operator table is run on a GPU, with a stand-in for the engine."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from case import Case

from torch2trt.backends import trt_api
from torch2trt.simulate import simulate

if not trt_api.is_rtx():
    pytest.skip("the stand-in needs a network that is defined without a GPU", allow_module_level=True)

sys.path.insert(0, str(Path(__file__).parent / "gpu"))
import test_operators_gpu as table  # noqa: E402

GOOD = [Case(f"good{i}", lambda x, i=i: x + i, ((2, 3),)) for i in range(5)]
WRONG = Case("wrong", lambda x: x.exp(), ((2, 3),))
BROKEN = Case("broken", lambda x: x * 2, ((2, 3),))
REFUSED = Case("refused", lambda x: torch.linalg.eigvalsh(x), ((3, 3),))


@pytest.fixture
def engine(monkeypatch):
    sizes = []

    def stand_in(network, feed):
        sizes.append(len(feed))
        if "broken.in0" in feed:
            raise MemoryError("as an engine may raise anything")
        values = simulate(network, feed)
        return {name: y + 1 if name.startswith("wrong") else y for name, y in values.items()}

    monkeypatch.setattr(table, "_engine", stand_in)
    return sizes


def test_a_broken_case_takes_no_other_with_it(engine, tmp_path, monkeypatch):
    cases = [*GOOD[:2], BROKEN, REFUSED, WRONG, *GOOD[2:]]
    outcomes = table._find(cases, 100)
    problems = {case.name: table._problem(case, outcomes[case.name]) for case in cases}
    assert outcomes["refused"].refused
    assert problems.pop("broken") == "MemoryError: as an engine may raise anything"
    assert problems.pop("wrong").startswith("differs from PyTorch")
    assert set(problems.values()) == {""}
    assert engine[0] == 7
    monkeypatch.setenv("OPERATORS_JSON", str(tmp_path / "found.json"))
    text = table._report({**problems, "broken": "MemoryError: x", "wrong": "differs"}, outcomes)
    assert "5 agrees" in text
    words = json.loads((tmp_path / "found.json").read_text())["outcomes"]
    assert words["good0"] == "agrees"
    assert words["refused"].startswith("refused: ")
    assert len(words) == len(cases)


def test_when_time_is_over_the_rest_fails(engine):
    outcomes = table._find(GOOD, -1)
    assert not engine
    assert all("not run" in table._problem(case, outcomes[case.name]) for case in GOOD)
