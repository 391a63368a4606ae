"""The command line: every command, and what it says when it cannot."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
import torch

from torch2trt import container
from torch2trt.__main__ import main, parse_input
from torch2trt.backends import trt_api
from torch2trt.engine import TensorSpec
from torch2trt.errors import InputMismatchError

needs_rtx = pytest.mark.skipif(
    not trt_api.available() or not trt_api.is_rtx(),
    reason="only TensorRT-RTX builds engines without a GPU",
)


@pytest.fixture
def models(tmp_path, monkeypatch):
    """A package with models to name, in the current folder."""
    (tmp_path / "some_models.py").write_text(
        textwrap.dedent("""
        import torch

        class Net(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.conv = torch.nn.Conv2d(3, 4, 3)

            def forward(self, x):
                return self.conv(x).relu().mean((2, 3))

        def add(x, y):
            return x + y

        def make():
            return Net()

        def broken():
            return int("x")

        class Sized(torch.nn.Linear):
            pass

        number = 3
        """)
    )
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("some_models", None)


@pytest.mark.parametrize(
    ("text", "name", "shape", "dtype"),
    [
        ("1x3x8x8", "input0", (1, 3, 8, 8), torch.float32),
        ("x:2x3", "x", (2, 3), torch.float32),
        ("ids:1x16:int64", "ids", (1, 16), torch.int64),
        ("1x4:float16", "input0", (1, 4), torch.float16),
        ("n:scalar", "n", (), torch.float32),
    ],
)
def test_inputs(text, name, shape, dtype):
    got_name, example = parse_input(text, 0)
    assert (got_name, tuple(example.shape), example.dtype) == (name, shape, dtype)


@pytest.mark.parametrize("text", ["", "x:", "1xx3", "x:1x3:int65", "x:1x3:float32:4", "a:b"])
def test_inputs_that_mean_nothing(text):
    with pytest.raises(InputMismatchError, match=r"expected \[NAME:\]SHAPE\[:DTYPE\]"):
        parse_input(text, 0)


@needs_rtx
@pytest.mark.parametrize("model", ["some_models:Net", "some_models:make"])
def test_build_then_inspect(models, capsys, model):
    assert (
        main(["build", model, "--input", "x:1x3x8x8", "--max-batch", "4", "-o", "net.engine"]) == 0
    )
    assert "net.engine" in capsys.readouterr().out
    assert main(["inspect", "net.engine", "--verbose"]) == 0
    text = capsys.readouterr().out
    assert "x: float32[-1, 3, 8, 8] from 1x3x8x8 to 4x3x8x8" in text
    assert "some_models.py(" in text
    assert main(["inspect", "net.engine", "--json"]) == 0
    assert '"output_tree"' in capsys.readouterr().out


def test_inspect_shows_an_output_of_unknown_rank(tmp_path, capsys, monkeypatch):
    x = TensorSpec("x", True, torch.float32, (-1, 3), ranges=(((1, 3), (2, 3), (4, 3)),))
    y = TensorSpec("y", False, torch.int64, None)
    path = tmp_path / "a.engine"
    description = {"library": "tensorrt 8.6.0", "torch": "2", "gpu": None, "extra": {}}
    tensors = {"inputs": [x.as_json()], "outputs": [y.as_json()]}
    container.write(path, {**description, **tensors}, b"plan")
    assert container.read(path)[0]["outputs"][0]["shape"] is None
    assert main(["inspect", str(path), "--json"]) == 0
    assert '"shape": null' in capsys.readouterr().out
    monkeypatch.setattr(trt_api, "can_run", lambda: False)
    assert main(["inspect", str(path)]) == 0
    text = capsys.readouterr().out
    assert "  x: float32[-1, 3] from 1x3 to 4x3, best at 2x3\n" in text
    assert "  y: int64 of a rank that is known when it has run\n" in text


def test_inspect_refuses_what_describes_no_engine(tmp_path, capsys):
    path = tmp_path / "a.engine"
    container.write(path, {"library": "x"}, b"plan")
    assert main(["inspect", str(path)]) == 1
    message = "describes no engine: it does not say torch, gpu, inputs, outputs, extra"
    assert message in capsys.readouterr().err


@needs_rtx
def test_build_a_function_and_a_torchscript_file(models, capsys):
    traced = torch.jit.trace(torch.nn.Linear(3, 2), torch.randn(1, 3))
    traced.save("linear.pt")
    assert (
        main(["build", "some_models:add", "--input", "2x3", "--input", "2x3", "--dtype", "float16"])
        == 0
    )
    assert main(["build", "linear.pt", "--input", "2x3"]) == 0
    assert (models / "linear.engine").is_file()
    assert main(["inspect", "linear.engine"]) == 0


@needs_rtx
@pytest.mark.skipif(torch.cuda.is_available(), reason="the engine would run")
def test_run_says_that_engines_need_a_gpu(models, capsys):
    main(["build", "some_models:add", "--input", "1x3", "--input", "1x3", "-o", "add.engine"])
    assert main(["run", "add.engine"]) == 1
    assert "torch2trt run: a TensorRT engine cannot be loaded here" in capsys.readouterr().err


@pytest.mark.gpu
def test_run_on_a_gpu(models, capsys):
    main(["build", "some_models:add", "--input", "x:1x3", "--input", "y:1x3", "-o", "add.engine"])
    assert main(["run", "add.engine", "--repeat", "3", "--save", ".", "--profile"]) == 0
    assert "output0: float32[1, 3]" in capsys.readouterr().out
    assert (models / "output0.npy").is_file()


def test_coverage(models, capsys):
    assert main(["coverage", "some_models:Net", "--input", "1x3x8x8"]) == 0
    assert "aten::_convolution" in capsys.readouterr().out


def test_ops(capsys):
    assert main(["ops"]) == 0
    assert "aten::sum" in capsys.readouterr().out
    assert main(["ops", "--markdown"]) == 0
    assert "| `aten::sum` |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["coverage", "nothing.pt", "--input", "1"],
            "expected a TorchScript file or package.module:name",
        ),
        (["coverage", "some_models.py", "--input", "1"], "is no TorchScript file"),
        (["coverage", "some_models:Nothing", "--input", "1"], "has no attribute 'Nothing'"),
        (["coverage", "no_such_package:Net", "--input", "1"], "No module named 'no_such_package'"),
        (["coverage", "some_models:number", "--input", "1"], "is a int, expected a module"),
        (["coverage", "some_models:Net", "--input", "1xq"], "expected [NAME:]SHAPE[:DTYPE]"),
        (["coverage", "some_models:broken", "--input", "1"], "broken() failed: ValueError: inv"),
        (["coverage", "some_models:Sized", "--input", "1"], "is a class that needs arguments"),
        (
            ["build", "some_models:Net", "--input", "1x3x4x4", "--max-batch", "0"],
            "max_batchsize: got 0",
        ),
        (
            ["build", "some_models:Net", "--input", "1x3x4x4", "-o", "nowhere/x.engine"],
            "No such file or directory: '",
        ),
        (["inspect", "some_models.py"], "is not a torch2trt engine file"),
        (["inspect", "nothing.engine"], "No such file"),
        (["run", "some_models.py"], "is not a torch2trt engine file"),
        (["ops", "--update", "some_models.py"], "expected the marks"),
    ],
)
def test_errors_are_one_message_and_exit_code_1(models, capsys, argv, message):
    assert main(argv) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith(f"torch2trt {argv[0]}: ")


def test_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "torch2trt", "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert all(
        command in done.stdout
        for command in ("build", "run", "inspect", "benchmark", "ops", "coverage")
    )


def test_benchmark_is_the_benchmark(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["benchmark", "--help"])
    assert stop.value.code == 0
    assert "--networks" in capsys.readouterr().out
