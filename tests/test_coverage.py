"""The coverage report, and the operator table with README's copy of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from torch2trt import optable
from torch2trt.backends import trt_api
from torch2trt.coverage import CONSTANT, coverage
from torch2trt.errors import BackendUnavailableError, Torch2TrtError
from torch2trt.registry import operators

README = Path(__file__).resolve().parents[1] / "README.md"


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x):
        scale = self.conv.bias.exp()
        y = self.norm(self.conv(x)).relu()
        values = torch.unique(y)
        return y * scale.view(-1, 1, 1), torch.linalg.inv(y[0, 0] + 9 * torch.eye(6)), values.sum()


@pytest.fixture(scope="module")
def report():
    pytest.importorskip("tvm", reason="TVM is not installed")
    if not trt_api.available():
        pytest.skip("no TensorRT library is installed")
    return coverage(Net().eval(), torch.randn(1, 3, 8, 8))


def _row(report, name):
    return next(row for row in report.rows if row.name == name)


def test_what_each_node_becomes(report):
    conv, norm = _row(report, "aten::_convolution"), _row(report, "aten::batch_norm")
    assert conv.support["tensorrt"].ops == ("convolution",)
    assert "nn.conv2d" in conv.support["tvm"].ops
    assert norm.support["tensorrt"].ops == ("scale",)
    assert norm.support["tvm"].reason == "merged into the node before"
    assert conv.module == "conv"
    assert conv.source.startswith("test_coverage.py(")


def test_what_depends_on_no_input_is_a_constant(report):
    assert {s.reason for s in _row(report, "aten::exp").support.values() if not s.ops} == {CONSTANT}


@pytest.mark.parametrize("backend", ["tensorrt", "tvm"])
def test_all_refusals_at_once_and_what_follows_them(report, backend):
    refused = {row.name: row.support[backend].reason for row in report.refused(backend)}
    assert set(refused) == {"aten::_unique2", "aten::linalg_inv"}
    assert "depends on the data" in refused["aten::_unique2"]
    assert _row(report, "aten::sum").support[backend].ok


def test_the_text_names_kinds_counts_and_places(report):
    text = str(report)
    assert "refused by tvm:" in text
    assert "aten::_unique2 in the top module (test_coverage.py(" in text
    assert f"{len(report.rows)} nodes of {len(report.kinds)} kinds" in text


def test_a_missing_backend_is_said_to_be_missing(monkeypatch):
    def missing():
        raise BackendUnavailableError("no such package here")

    monkeypatch.setattr(sys.modules["torch2trt.coverage"], "tvm_context_class", missing)
    report = coverage(torch.relu, torch.randn(2))
    assert report.unavailable["tvm"] == "no such package here"
    assert "tvm" not in report.rows[0].support
    assert "tvm: not available: no such package here" in str(report)


def test_programs_that_cannot_be_traced_raise():
    with pytest.raises(Torch2TrtError, match="expected tensors"):
        coverage(lambda x: "text", torch.randn(2))


# --- the operator table --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table():
    pytest.importorskip("tvm", reason="TVM is not installed")
    return {entry.name: entry for entry in optable.entries()}


def test_every_registered_operator_is_in_the_table(table):
    assert set(table) == {name.partition(".")[0] for name in operators()}


def test_support_and_reasons_are_read_from_the_handlers(table):
    assert table["aten::relu"].support == {"torch": "yes", "tensorrt": "yes", "tvm": "yes"}
    assert table["aten::relu"].how == ("unary relu",)
    assert table["aten::nonzero"].support["tvm"] == "no"
    assert table["aten::_unique2"].support["tensorrt"] == "no"
    assert "the output shape depends on the data" in table["aten::_unique2"].refusals
    assert "softmax" in table["aten::log_softmax"].how or "exp" in table["aten::log_softmax"].how


def test_overloads_are_named_where_not_all_are_served(table):
    assert table["aten::sum"].overloads == ()
    assert "src" in table["aten::scatter"].overloads


def test_update_rewrites_the_block_and_nothing_else(table, tmp_path):
    file = tmp_path / "README.md"
    file.write_text(f"before\n{optable.START}\nold\n{optable.END}\nafter\n")
    text = optable.as_markdown(list(table.values()))
    assert optable.update(file, text)
    assert not optable.update(file, text)
    assert file.read_text() == f"before\n{optable.START}\n{text}\n{optable.END}\nafter\n"


def test_update_wants_the_marks(tmp_path):
    pytest.importorskip("tvm", reason="TVM is not installed")
    file = tmp_path / "README.md"
    file.write_text("no table here\n")
    with pytest.raises(Torch2TrtError, match="expected the marks"):
        optable.update(file, "table")


def test_readme_is_up_to_date(table):
    text = README.read_text(encoding="utf-8")
    block = text.partition(optable.START)[2].partition(optable.END)[0].strip()
    assert block == optable.as_markdown(list(table.values())), (
        "run python -m torch2trt ops --update README.md"
    )
