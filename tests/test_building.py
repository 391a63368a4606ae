"""Programs whose parts are compiled by several threads, and what compiling costs."""

import json
import os
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import nn

from torch2trt import GraphModule, TVMModuleWrapper, tvm_network
from torch2trt.backends import openmp

pytest.importorskip("tvm.relax", reason="there is no TVM with Relax", exc_type=ImportError)

from torch2trt.backends.schedules import building, compile_cpu, compiled  # noqa: E402
from torch2trt.backends.schedules.packing import Recipe, pack  # noqa: E402


def network():
    torch.manual_seed(0)
    sizes = [(3, 16), (16, 24), (24, 40), (40, 8)]
    blocks = [(nn.Conv2d(a, b, 3, padding=1), nn.GELU(), nn.MaxPool2d(2)) for a, b in sizes]
    layers = [layer for block in blocks for layer in block]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * 4, 10), nn.Softmax(1)).eval()


@pytest.fixture
def parts(monkeypatch):
    """How many parts the programs made in the test have, each of one function or more."""
    counts, library = [], building._library

    def counted(*args):
        counts.append(args[1])
        return library(*args)

    monkeypatch.setattr(building, "_SMALLEST", 1)
    monkeypatch.setattr(building, "_library", counted)
    return counts


def test_a_program_of_several_parts_is_right_and_runs_on_openmp(parts):
    net, x = network(), torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        module = TVMModuleWrapper(net).eval()
        torch.testing.assert_close(module(x), net(x))
    assert len(parts) > 1 and sorted(parts) == list(range(1, len(parts) + 1))
    code = module.latest_variant().program._compiled.executable.mod
    installers = [openmp._of(n, openmp._INSTALL) for n in range(len(parts) + 2)]
    found = [code.implements_function(name, query_imports=True) for name in installers]
    assert found == [True] * (len(parts) + 1) + [False]


def test_a_program_of_several_parts_is_saved_and_loaded(parts, tmp_path):
    net, x = network(), torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        module = TVMModuleWrapper(net).eval()
        expected = module(x)
        module.latest_variant().program._compiled.save(tmp_path / "program")
        loaded = compiled.Compiled.load(tmp_path / "program")
        assert torch.from_dlpack(loaded(x)).equal(expected)
    assert len(parts) > 1


def test_an_error_of_one_part_is_the_error_of_the_program(parts, monkeypatch):
    build = building.tirx.build

    def failing(code, *args):
        if any(openmp._of(2, openmp._INSTALL) == g.name_hint for g in code.functions):
            raise RuntimeError("no code for this part")
        return build(code, *args)

    monkeypatch.setattr(building.tirx, "build", failing)
    with torch.no_grad(), pytest.raises(RuntimeError, match="no code for this part"):
        TVMModuleWrapper(network()).eval()(torch.randn(1, 3, 32, 32))


def test_threads_compile_at_once():
    net = network()
    inputs = [torch.randn(1, 3, size, 32) for size in (32, 36, 40)]
    nets = [nn.Sequential(*list(net)[:12]).eval() for _ in inputs]
    with torch.no_grad():
        programs = [GraphModule(n, x) for n, x in zip(nets, inputs)]

    def compiled_by_a_thread(program, x):
        with tvm_network() as ctx:
            outputs = program.run([ctx.input("x", x.shape, x.dtype)], ctx)
            module = ctx.finish(outputs)
        made = compile_cpu(module, None, ctx.named_weights.values())
        return torch.from_dlpack(made(x))

    for _ in range(3):
        with ThreadPoolExecutor(len(nets)) as pool, torch.no_grad():
            found = list(pool.map(compiled_by_a_thread, programs, inputs))
        for output, module, x in zip(found, nets, inputs):
            torch.testing.assert_close(output, module(x).detach())


# --- weights -------------------------------------------------------------------------------------


def test_packing_lets_each_weight_go():
    memory = []

    def weight(number):
        made = torch.full((2, 3), float(number))
        memory.append(weakref.ref(made.untyped_storage()))
        return made

    recipes = [Recipe(n, (("permute", 1, 0),), (3, 2), "float32") for n in (0, 2, 0, 1)]
    packed = pack(recipes, (weight(n) for n in range(3)))
    left = []
    for expected in (0.0, 2.0, 0.0, 1.0):
        assert next(packed).equal(torch.full((3, 2), expected))
        left.append([n for n, storage in enumerate(memory) if storage() is not None])
    assert left == [[0, 1, 2], [0, 1, 2], [0, 1], [1]] and not list(packed)
    assert not any(storage() for storage in memory)


def test_packed_weights_are_no_memory_of_the_module():
    weight, constant = torch.randn(4, 6), torch.ones(3)
    recipes = [
        Recipe(0, (), (4, 6), "float32"),
        Recipe(0, (("reshape", 24),), (24,), "float32"),
        Recipe(-1, (), (3,), "float32", constant),
    ]
    made = [tensor.clone() for tensor in pack(recipes, [weight])]
    shared = list(pack(recipes, [weight]))
    weight.zero_()
    assert all(tensor.equal(before) for tensor, before in zip(shared, made))


# --- costs ---------------------------------------------------------------------------------------

PEAK = """
import json, pathlib, re, sys
import torch, torchvision
from torch2trt import TVMModuleWrapper
net = getattr(torchvision.models, sys.argv[1])().eval()
with torch.no_grad():
    TVMModuleWrapper(net).eval()(torch.randn(1, 3, 224, 224))
weights = sum(t.nbytes for t in (*net.parameters(), *net.buffers()))
status = pathlib.Path("/proc/self/status").read_text()  # ru_maxrss counts the parent's, too
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) * 1024
print(json.dumps({"weights": weights, "peak": peak}))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts memory as Linux does")
@pytest.mark.parametrize("name", ["resnet50", "densenet121"])
def test_peak_memory(name):
    """All of a process that imports, compiles and runs: 3 times the weights, and 1 GB (2**30)."""
    pytest.importorskip("torchvision")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, "-W", "ignore", "-c", PEAK, name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["peak"] <= 3 * figures["weights"] + 2**30, figures
