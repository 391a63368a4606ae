"""``python -m torch2trt``, also ``torch2trt``: build, run and inspect engines, ask what converts.

A MODEL is a TorchScript file, or ``package.module:name`` of a module, of a function of tensors, or
of a factory that gives one of these when called without arguments.
"""

from __future__ import annotations

import argparse
import importlib
import inspect as inspect_module
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .errors import InputMismatchError, Torch2TrtError

Options = argparse.Namespace


# --- what the arguments mean ---------------------------------------------------------------------


def load_model(name: str) -> Callable[..., Any]:
    """The module or function that MODEL names, in eval mode.

    Raises:
        Torch2TrtError: there is no such file, module or attribute, or it is neither module nor
            function.
    """
    path = Path(name)
    if path.is_file():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)
                return torch.jit.load(path, map_location="cpu").eval()
        except (RuntimeError, ValueError) as error:
            raise Torch2TrtError(
                f"MODEL: {name} is no TorchScript file: {_first_line(error)}"
            ) from error
    package, colon, attribute = name.partition(":")
    if not colon:
        raise Torch2TrtError(
            f"MODEL: got {name!r}, expected a TorchScript file or package.module:name"
        )
    sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(package)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise Torch2TrtError(f"MODEL: {name}: {error}") from error
    finally:
        sys.path.remove(os.getcwd())
    return _made(name, found)


def _made(name: str, found: Any) -> Callable[..., Any]:
    if isinstance(found, type) and _needs_arguments(found):
        raise Torch2TrtError(
            f"MODEL: {name} is a class that needs arguments, expected a module, a function, or a"
            " factory that needs none"
        )
    if not isinstance(found, nn.Module) and callable(found):
        if _needs_arguments(found):
            return found
        try:
            found = found()
        except Exception as error:
            raise Torch2TrtError(
                f"MODEL: {name}() failed: {type(error).__name__}: {error}"
            ) from error
    if not callable(found):
        raise Torch2TrtError(
            f"MODEL: {name} is a {type(found).__name__}, expected a module, a function, or its "
            "factory"
        )
    return found.eval() if isinstance(found, nn.Module) else found


def _needs_arguments(function: Callable[..., Any]) -> bool:
    try:
        parameters = inspect_module.signature(function).parameters.values()
    except ValueError:  # of a built-in function
        return True
    if not isinstance(function, type) and any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return True
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return any(p.default is p.empty for p in positional)


def parse_input(text: str, position: int) -> tuple[str, torch.Tensor]:
    """``[name:]1x3x224x224[:dtype]`` as a name and an example: normal values, or zeros of integers.

    Raises:
        InputMismatchError: it is not written like this.
    """
    parts = text.split(":")
    name = parts.pop(0) if len(parts) > 1 and not _is_shape(parts[0]) else f"input{position}"
    shape, dtype = parts[0], parts[1] if len(parts) > 1 else "float32"
    kind = getattr(torch, dtype, None)
    if len(parts) > 2 or not _is_shape(shape) or not isinstance(kind, torch.dtype):
        raise InputMismatchError(
            f"--input: got {text!r}, expected [NAME:]SHAPE[:DTYPE] as in 1x3x224x224 or "
            "ids:1x16:int64"
        )
    sizes = [int(size) for size in shape.split("x")] if shape != "scalar" else []
    if not kind.is_floating_point:
        return name, torch.zeros(sizes, dtype=kind)
    return name, torch.randn(sizes, generator=torch.Generator().manual_seed(0)).to(kind)


def _is_shape(text: str) -> bool:
    return text == "scalar" or all(size.isdigit() for size in text.split("x"))


def _examples(options: Options) -> tuple[list[str], list[torch.Tensor]]:
    pairs = [parse_input(text, i) for i, text in enumerate(options.input)]
    return [name for name, _ in pairs], [tensor for _, tensor in pairs]


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


# --- the commands --------------------------------------------------------------------------------


def build(options: Options) -> None:
    """Build an engine file ahead of time."""
    from .module import TensorRTModuleWrapper

    model = load_model(options.model)
    names, examples = _examples(options)
    largest = max((x.shape[0] for x in examples if x.dim()), default=1)
    module = TensorRTModuleWrapper(
        model if isinstance(model, nn.Module) else _Function(model),
        max_batchsize=largest if options.max_batch is None else options.max_batch,
        workspace=options.workspace, dtype=options.dtype, input_names=names, refit=options.refit,
        optimization_level=options.level, progress=sys.stderr.isatty(), verbose=options.verbose,
    )  # fmt: skip
    output = options.output or f"{Path(options.model.replace(':', '.')).stem}.engine"
    start = time.perf_counter()
    module.build(output, *examples)
    size = os.path.getsize(output) / 2**20
    _say(f"{output}: {size:.1f} MiB, built in {time.perf_counter() - start:.1f} s")


def run(options: Options) -> None:
    """Run an engine file on arrays of your own or on random ones, and time it."""
    import numpy as np

    from .engine import Engine
    from .inference import InferenceContext

    engine = Engine.load(options.engine)
    given = dict(pair.split("=", 1) if "=" in pair else (pair, "") for pair in options.array or [])
    unknown = sorted(given.keys() - {s.name for s in engine.inputs})
    if unknown:
        raise InputMismatchError(
            f"--array: got {unknown}, expected names among {[s.name for s in engine.inputs]}"
        )
    inputs = {
        s.name: np.load(given[s.name]) if s.name in given else _random(s) for s in engine.inputs
    }
    context = InferenceContext(engine)
    outputs = context.inference_async(**inputs)
    times = []
    for _ in range(options.repeat):
        start = time.perf_counter()
        outputs = context.inference_async(**inputs)
        times.append(time.perf_counter() - start)
    for name, value in outputs.items():
        _say(f"{name}: {value.dtype}{list(value.shape)}")
        if options.save:
            np.save(Path(options.save) / f"{name}.npy", value)
    _say(
        f"median {1e3 * sorted(times)[len(times) // 2]:.3f} ms over {len(times)} runs, copies "
        "included"
    )
    if options.profile:
        context.inference(**inputs)
        _say(str(context.profile()))


def _random(spec: Any) -> Any:
    shape = spec.ranges[0][1] if spec.ranges else spec.shape
    value = torch.randn(shape) if spec.dtype.is_floating_point else torch.zeros(shape)
    return value.to(spec.dtype).numpy()


def inspect(options: Options) -> None:
    """Show what is in an engine file."""
    from . import container
    from .backends import trt_api

    fields = ("library", "torch", "gpu", "inputs", "outputs", "extra")
    description, plan = container.read(options.file, *fields)
    if options.json:
        _say(json.dumps(description, indent=1))
        return
    _say(
        f"{options.file}: {len(plan) / 2**20:.1f} MiB plan of {description['library']}, torch "
        f"{description['torch']}"
    )
    gpu = description["gpu"] or {
        "name": "built ahead of time, for any",
        "compute_capability": "any",
    }
    _say(f"GPU: {gpu['name']}; compute capability: {gpu['compute_capability']}")
    for kind in ("inputs", "outputs"):
        _say(f"{kind}:")
        for spec in description[kind]:
            _say(
                f"  {spec['name']}: {spec['dtype']}{_shape(spec)}"
                + "".join(map(_range, spec["ranges"]))
            )
    weights = description["extra"].get("hashes", {})
    _say(f"weights: {len(weights)}")
    sources = description["extra"].get("sources", {}) if options.verbose else {}
    for path, source in sources.items():
        if "Constant" not in path:
            _say(f"  {path}: {source}")
    if trt_api.available() and trt_api.can_run():
        _layers(options.file)


def _shape(spec: dict[str, Any]) -> str:
    return (
        " of a rank that is known when it has run" if spec["shape"] is None else str(spec["shape"])
    )


def _range(shapes: Sequence[Sequence[int]]) -> str:
    low, best, high = ("x".join(map(str, shape)) for shape in shapes)
    return f" from {low} to {high}, best at {best}"


def _layers(path: str) -> None:
    from .engine import Engine

    layers = Engine.load(path).layers()
    _say(f"layers: {len(layers)}")
    for layer in layers:
        _say(f"  {layer['Name']}")


def ops(options: Options) -> None:
    """Print the operator table."""
    from . import optable

    table = optable.entries()
    if options.update:
        changed = optable.update(Path(options.update), optable.as_markdown(table))
        _say(f"{options.update}: {'written' if changed else 'is up to date'}")
    else:
        _say(optable.as_markdown(table) if options.markdown else optable.as_text(table))


def coverage(options: Options) -> None:
    """Say what of a model each backend can express, and how."""
    from .coverage import coverage as report

    _say(str(report(load_model(options.model), tuple(_examples(options)[1]))))


class _Function(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        self.eval()

    def forward(self, *args: Any) -> Any:
        return self.function(*args)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


# --- the command line ----------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    kind = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="torch2trt", description=__doc__, formatter_class=kind)
    commands = parser.add_subparsers(dest="command", required=True)

    def command(function: Callable[[Options], None]) -> argparse.ArgumentParser:
        made = commands.add_parser(
            function.__name__, help=function.__doc__, description=__doc__, formatter_class=kind
        )
        made.set_defaults(function=function)
        return made

    _model(command(build), _add_build)
    _model(command(coverage), lambda _: None)
    _add_run(command(run))
    shown = command(inspect)
    shown.add_argument("file", metavar="FILE")
    shown.add_argument("--json", action="store_true", help="the whole description as JSON")
    shown.add_argument("--verbose", action="store_true", help="also the source line of each node")
    table = command(ops)
    table.add_argument("--markdown", action="store_true", help="as README has it")
    table.add_argument(
        "--update", metavar="FILE", help="rewrite the table in a file, between its marks"
    )
    commands.add_parser(
        "benchmark", help="time networks, see python -m torch2trt.benchmark --help", add_help=False
    )
    return parser


def _model(
    parser: argparse.ArgumentParser, more: Callable[[argparse.ArgumentParser], None]
) -> None:
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument(
        "--input", action="append", required=True, metavar="[NAME:]SHAPE[:DTYPE]",
        help="an input, as in x:1x3x224x224 or ids:1x16:int64; once for each",
    )  # fmt: skip
    more(parser)


def _add_build(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dtype", default="float32", choices=("float32", "tf32", "float16", "bfloat16")
    )
    parser.add_argument(
        "--max-batch", type=int, help="serve batches from 1 to this; default: that of --input"
    )
    parser.add_argument("--workspace", type=int, metavar="BYTES")
    parser.add_argument("--level", type=int, choices=range(6), help="0 builds fast, 5 runs fast")
    parser.add_argument("--refit", action="store_true", help="keep the weights exchangeable")
    parser.add_argument("--verbose", action="store_true", help="a line for each node")
    parser.add_argument("-o", "--output", metavar="FILE", help="default: MODEL.engine")


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("engine", metavar="ENGINE")
    parser.add_argument(
        "--array", action="append", metavar="NAME=FILE.npy", help="an input; random where left out"
    )
    parser.add_argument("--save", metavar="FOLDER", help="write the outputs there as .npy")
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument("--profile", action="store_true", help="also the time of each layer")


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns 0, or 1 when a command failed and said why."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv[:1] == ["benchmark"]:
        from .benchmark.__main__ import main as benchmark

        return benchmark(argv[1:])
    options = _parser().parse_args(argv)
    try:
        options.function(options)
    except (Torch2TrtError, OSError) as error:
        sys.stderr.write(f"torch2trt {options.command}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
