"""Engines on a GPU: description, files, refit, timing cache."""

import pytest
import torch
from tiny_engine import CHANNELS, LARGEST, SIZE, build_convolution, images, same

from torch2trt import container
from torch2trt.backends import trt_api
from torch2trt.engine import Engine, EngineFileError
from torch2trt.errors import EngineBuildError
from torch2trt.inference import TorchInferenceContext


def run(engine, x):
    return TorchInferenceContext(engine).run(x)[0]


def test_what_goes_in_and_out(engine):
    (x,), (y,) = engine.inputs, engine.outputs
    shape = (CHANNELS, SIZE, SIZE)
    assert (x.name, x.shape, x.dtype, x.on_host) == ("x", (-1, *shape), torch.float32, False)
    assert x.ranges == (((1, *shape), (4, *shape), (LARGEST, *shape)),)
    assert (y.name, y.shape, y.ranges) == ("y", (-1, *shape), ())
    assert engine.refittable and set(engine.weight_names()) == {
        "block.0.conv.weight", "block.0.conv.bias",
    }  # fmt: skip


def test_layers_are_named_after_the_definition(engine):
    assert any("block.0.conv" in layer["Name"] for layer in engine.layers())


def test_save_and_load(convolution, engine, tmp_path):
    path, x = tmp_path / "a.engine", images()
    engine.save(path, {"note": [1, None]})
    loaded = Engine.load(path)
    assert loaded.extra == {"note": [1, None]} and loaded.specs == engine.specs
    same(run(loaded, x), convolution.expected(x))


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("library", "tensorrt 1.2.3", "built by tensorrt 1.2.3, and here is"),
        ("gpu", {"name": "other", "compute_capability": "1.0"}, "built for .*other"),
    ],
)
def test_another_version_or_gpu_is_refused(engine, tmp_path, field, value, message):
    path = tmp_path / "a.engine"
    engine.save(path)
    description, plan = container.read(path)
    container.write(path, {**description, field: value}, bytes(plan))
    with pytest.raises(EngineFileError, match=message):
        Engine.load(path)


def test_a_plan_that_tensorrt_does_not_accept(convolution):
    with pytest.raises(EngineFileError, match="does not accept"):
        Engine.from_plan(b"no plan at all" * 50)
    x = images()
    same(run(convolution.engine(), x), convolution.expected(x))


def test_refit_gives_what_a_fresh_build_gives(convolution, engine):
    context, x = TorchInferenceContext(engine), images(3)
    same(context.run(x)[0], convolution.expected(x))
    weight, bias = torch.randn_like(convolution.weight), torch.randn_like(convolution.bias)
    engine.refit({"block.0.conv.weight": weight.cuda(), "block.0.conv.bias": bias})
    refitted = context.run(x)[0]
    same(refitted, convolution.expected(x, weight, bias))
    fresh = Engine.from_plan(build_convolution(weight, bias, refit=True))
    same(run(fresh, x), refitted, 1e-6)


def test_a_refitted_engine_is_saved_with_its_new_weights(convolution, engine, tmp_path):
    weight, x = convolution.weight * 2, images()
    engine.refit({"block.0.conv.weight": weight, "block.0.conv.bias": convolution.bias})
    engine.save(tmp_path / "a.engine")
    expected = convolution.expected(x, weight)
    same(run(Engine.load(tmp_path / "a.engine"), x), expected)


@pytest.mark.parametrize(
    "weights, message",
    [
        ({"nothing": torch.zeros(1)}, "nothing"),
        (
            {"block.0.conv.bias": torch.zeros(3)},
            "block.0.conv.bias.*was refused|got .3,.|needed too.*block.0.conv.weight",
        ),
    ],
)
def test_wrong_weights_are_named_and_the_engine_works_on(convolution, engine, weights, message):
    with pytest.raises(EngineBuildError, match=message):
        engine.refit(weights)
    x = images()
    same(run(engine, x), convolution.expected(x))


def test_an_engine_without_refit_says_so(plain_convolution):
    with pytest.raises(EngineBuildError, match="refit=True"):
        plain_convolution.engine().refit({})


@pytest.mark.skipif(trt_api.available() and trt_api.is_rtx(), reason="RTX has no timing cache")
def test_the_timing_cache_is_written_and_read(convolution, tmp_path):
    path = tmp_path / "timings"
    build_convolution(convolution.weight, convolution.bias, timing_cache=path)
    size = path.stat().st_size
    assert size > 0
    build_convolution(convolution.weight, convolution.bias, timing_cache=path)
    assert path.stat().st_size >= size
    path.write_bytes(b"damaged")
    plan = build_convolution(convolution.weight, convolution.bias, timing_cache=path)
    assert len(plan) > 1000 and path.stat().st_size > 7
