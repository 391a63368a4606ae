"""How products are shared out: every row is computed, and no memory behind the last one written."""

import pytest

pytest.importorskip("tvm.relax")

from torch2trt.backends.schedules.matmul import dense_tile, row_groups  # noqa: E402
from torch2trt.backends.schedules.target import Cpu  # noqa: E402


@pytest.mark.parametrize("cores", [1, 2, 3, 8, 64])
@pytest.mark.parametrize("columns, depth", [(32, 8), (48, 32), (1000, 512), (5, 3)])
def test_groups_of_rows_hold_all_tiles_and_none_is_empty(cores, columns, depth):
    cpu = Cpu(lanes=16, registers=32, cores=cores, l1=32 << 10, l2=1 << 20)
    for rows in range(1, 300):
        tile = dense_tile(rows, columns, depth, cpu)
        tiles, panels = -(-rows // tile.width), -(-columns // tile.panel)
        groups, size = row_groups(rows, columns, depth, panels, tile, cpu)
        assert (groups - 1) * size < tiles <= groups * size
