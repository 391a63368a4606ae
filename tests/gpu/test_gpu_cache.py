"""The engine cache on a GPU: what it loads, what it builds again, refit against a fresh build."""

import logging

import pytest
import torch
from tiny_engine import same
from torch import nn

from torch2trt import TensorRTModuleWrapper, container, program
from torch2trt.backends.flags import cudnn_flags
from torch2trt.cache import EngineCache

SHAPE = (2, 3, 8, 8)


class NeverFound(EngineCache):
    """Keeps TensorRT's timings, so that it chooses the same kernels again, and no engine."""

    def load_or_build(self, key, build):
        return build()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One cache for all tests: an engine is built once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def builds(monkeypatch):
    """The options of each build."""
    found, build = [], program.build_engine

    def counted(*args):
        found.append(args[2])
        return build(*args)

    monkeypatch.setattr(program, "build_engine", counted)
    return found


@pytest.fixture(autouse=True)
def exact_pytorch():
    with cudnn_flags(allow_tf32=False):
        yield


def net():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 5)
    return nn.Sequential(*layers).cuda().eval()


def wrap(model, cache, **options):
    return TensorRTModuleWrapper(model, SHAPE[0], cache=cache, optimization_level=0, **options)


def test_a_cached_engine_loads_and_agrees(folder, builds):
    model, x = net(), torch.randn(SHAPE, device="cuda")
    outputs = [wrap(model, folder)(x) for _ in range(2)]
    assert len(builds) == 1
    assert outputs[0].equal(outputs[1])
    same(outputs[1], model(x).detach())


def _flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(data)


def _no_plan(path):
    description, plan = container.read(path)
    container.write(path, description, bytes(len(plan)))


@pytest.mark.parametrize("damage", [_flip, _no_plan])
def test_a_damaged_entry_is_built_again(folder, builds, caplog, damage):
    model, x = net(), torch.randn(SHAPE, device="cuda")
    wrap(model, folder)(x)
    (entry,) = folder.glob("*.engine")
    damage(entry)
    builds.clear()
    with caplog.at_level(logging.WARNING, "torch2trt"):
        same(wrap(model, folder)(x), model(x).detach())
    assert len(builds) == 1 and "will be built again" in caplog.text
    wrap(model, folder)(x)
    assert len(builds) == 1


def test_a_full_disk_costs_a_warning(folder, builds, caplog, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("torch2trt.container.write_atomic", full)
    monkeypatch.setattr("torch2trt.build.write_atomic", full)
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh()).cuda().eval()
    x = torch.randn(2, 4, device="cuda")
    with caplog.at_level(logging.WARNING, "torch2trt"):
        same(wrap(model, folder)(x), model(x).detach())
    assert len(builds) == 1 and "was not stored in the cache" in caplog.text


def test_refit_after_an_optimiser_step_is_a_fresh_build_bit_for_bit(folder, builds):
    model, x = net(), torch.randn(SHAPE, device="cuda")
    timings = NeverFound(folder)
    refitted = wrap(model, timings, refit=True)
    before = refitted(x)
    refitted.train()
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    refitted(x).square().mean().backward()
    optimiser.step()
    refitted.eval()
    after = refitted(x)
    assert len(builds) == 1 and not after.equal(before)
    fresh = wrap(model, timings, refit=True)(x)
    assert len(builds) == 2
    assert after.equal(fresh)
    same(after, model(x).detach())


def test_refitted_weights_are_those_of_the_module_bit_for_bit(folder, builds):
    torch.manual_seed(0)
    model = nn.Linear(4, 8, bias=False).cuda().eval()
    refitted, eye = wrap(model, folder, refit=True), torch.eye(4, device="cuda")[:2]
    for _ in range(3):
        assert refitted(eye).equal(model.weight.detach().T[:2])
        with torch.no_grad():
            model.weight.add_(torch.randn_like(model.weight), alpha=0.1)
    assert len(builds) == 1
