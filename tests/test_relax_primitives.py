"""Each primitive of ``RelaxContext`` against PyTorch; the rows are in ``relax_rows``."""

from __future__ import annotations

import pytest

pytest.importorskip("tvm.relax")

from relax_rows import elementwise, indexing, pooling, products, reductions, sampling, shapes  # noqa: E402, F401
from relax_rows.harness import ROWS, Row, check, group_results, run_rows  # noqa: E402


@pytest.mark.parametrize("case", ROWS, ids=lambda case: case.name)
def test_row(case: Row) -> None:
    results = group_results(case.group)
    check(case, results[case.name] if case.name in results else run_rows([case])[case.name])
