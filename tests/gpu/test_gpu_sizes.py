"""Engines of dynamic sizes: at each size the numbers of PyTorch, or an error."""

import pytest
import torch
from case import assert_same
from runners import define_tensorrt
from test_dynamic_sizes import COUNTED_FROM_THE_END, CUT, RESIZED

from torch2trt.build import BuildOptions, build_engine
from torch2trt.engine import Engine
from torch2trt.errors import Torch2TrtError
from torch2trt.inference import TorchInferenceContext


def dynamic_engine(program, size):
    builder, network, context = define_tensorrt(program, [torch.randn(size, 3)], dynamic=True)
    shapes = [(rows, 3) for rows in (1, size, 12)]
    options = BuildOptions(profiles={"input0": shapes}, optimization_level=0)
    plan = bytes(build_engine(builder, network, options))
    del context
    return TorchInferenceContext(Engine.from_plan(plan))


@pytest.mark.parametrize(("program", "size", "inside", "outside"), CUT.values(), ids=CUT)
def test_slices_outside_are_errors(program, size, inside, outside):
    engine = dynamic_engine(program, size)
    inside = (*inside, *COUNTED_FROM_THE_END.get(program, ()))
    for rows in set(outside) - set(inside):
        with pytest.raises(Torch2TrtError):
            engine.run(torch.randn(rows, 3).cuda())
    for rows in inside:
        x = torch.randn(rows, 3)
        assert_same([y.cpu() for y in engine.run(x.cuda())], [program(x)], 1e-5)


@pytest.mark.parametrize("program", RESIZED.values(), ids=RESIZED)
def test_nothing_and_infinite_numbers_at_other_sizes(program):
    engine = dynamic_engine(program, 4)
    for rows in (4, 1, 2, 7):
        x = torch.randn(rows, 3)
        assert_same([y.cpu() for y in engine.run(x.cuda())], [program(x)], 1e-5)
