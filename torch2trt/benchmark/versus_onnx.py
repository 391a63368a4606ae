"""``python -m torch2trt.benchmark.versus_onnx NETWORK:DTYPE ...``: TensorRT engines of torch2trt
and of ONNX files.

For each network and precision, in one process and from CUDA graphs: build seconds, error against
float64, milliseconds, ratio, and the layers of both engines with their times. With ``--refit`` and
``--load`` also what it takes to exchange the weights after an optimiser step, and to load an engine
that was built before.
"""

from __future__ import annotations

import argparse
import copy
import json
import shutil
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..backends.flags import set_tf32
from ..core import GraphModule
from ..engine import Engine
from ..errors import InputMismatchError, Torch2TrtError
from ..inference import InferenceContext
from ..module import TensorRTModuleWrapper
from ..saved import load
from .engines import onnx_engine, own_module, replayed
from .measures import as_json, machine, relative_error
from .networks import NETWORKS, make_network
from .setting import Setting
from .timing import interleave

Record = dict[str, Any]


def compare(
    setting: Setting,
    expected: torch.Tensor,
    seconds: float,
    layers: Record,
    accuracy: float | None = None,
) -> Record:
    """Both engines and eager PyTorch: errors and times.

    Args:
        setting: what to run.
        expected: the output in float64.
        seconds: how long to measure.
        layers: receives the engines' layers.
        accuracy: the error that one more engine of torch2trt keeps.
    """
    record: Record = {}
    module, example = setting.converted()
    calls: dict[str, Callable[[], Any]] = {"PyTorch": lambda: module(example)}
    wrapped, kept = own_module(setting), _kept(setting)
    record["build_seconds"], _ = timed(lambda: wrapped(setting.example))
    record["from_cache"] = _kept(setting) == kept
    engines = {"torch2trt": wrapped.latest_variant().program.engine}
    record["onnx_build_seconds"], engines["ONNX"] = timed(lambda: onnx_engine(setting))
    if accuracy is not None:
        program = _accurate(setting, accuracy)
        engines[f"accuracy {accuracy:g}"] = program.engine
        record["products_in_float32"] = program.settings.exact
    for name, engine in engines.items():
        calls[name] = replayed(engine, setting.example)
        layers[name] = layer_times(engine, setting.example)
    calls["module"] = lambda: wrapped(setting.example)
    record["errors"] = {name: relative_error(call(), expected) for name, call in calls.items()}
    times = interleave(calls, seconds, cuda=True)
    record["milliseconds"] = {name: t.median for name, t in times.items()}
    record["latency"] = {name: t.latency for name, t in times.items()}
    record["ratio_to_onnx"] = times["torch2trt"].ratio(times["ONNX"])
    record["ratio_to_eager"] = times["torch2trt"].ratio(times["PyTorch"])
    record["layers"] = {name: summary(rows) for name, rows in layers.items()}
    return record


def _accurate(setting: Setting, accuracy: float) -> Any:
    """The program of a module that keeps an accuracy."""
    wrapped = own_module(setting, accuracy=accuracy)
    wrapped(setting.example)
    return wrapped.latest_variant().program


def _kept(setting: Setting) -> set[Path]:
    return set(Path(setting.cache or ".").glob("*.engine"))


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds until the GPU has finished, and the result."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    result = call()
    torch.cuda.synchronize()
    return time.perf_counter() - start, result


def layer_times(engine: Engine, example: torch.Tensor, runs: int = 5) -> list[tuple[str, float]]:
    """The layers in the order they run, with the median of their microseconds; [] if not told."""
    context, array = InferenceContext(engine), example.cpu().numpy()
    context.inference(array)  # the first launch prepares
    rows = []
    for _ in range(runs):
        context.inference(array)
        with suppress(Torch2TrtError):
            rows.append(context.profile().rows)
    return [
        (same[0][0], round(1e3 * statistics.median(ms for _, ms in same), 2)) for same in zip(*rows)
    ]


def summary(rows: Sequence[tuple[str, float]]) -> Record:
    """How many layers there are, what they take, and how much of that is reformatting."""
    copies = [us for name, us in rows if "eformat" in name]
    return {
        "count": len(rows), "microseconds": round(sum(us for _, us in rows), 1),
        "reformats": len(copies), "reformat_microseconds": round(sum(copies), 1),
    }  # fmt: skip


def slowest(layers: dict[str, Sequence[tuple[str, float]]], count: int = 12) -> str:
    """The layers of both engines that take the most time, as text."""
    lines = []
    for engine, rows in layers.items():
        lines.append(f"{engine}: {summary(rows)}")
        lines += [
            f"{us:9.1f} us  {name[:110]}"
            for name, us in sorted(rows, key=lambda row: -row[1])[:count]
        ]
    return "\n".join(lines)


def loading(setting: Setting) -> Record:
    """What a second process pays: the first call from the cache, of which tracing is a part, and an
    engine file with its first call.
    """
    own_module(setting)(setting.example)
    fresh = own_module(setting)
    cached, _ = timed(lambda: fresh(setting.example))
    path = Path(setting.cache or ".") / "saved.engine"
    fresh.save(path)
    from_file, _ = timed(lambda: load(path, cuda_graph=True)(setting.example))
    path.unlink()
    trace, _ = timed(lambda: GraphModule(setting.module, setting.example))
    return {
        "cached_first_call_seconds": cached,
        "trace_seconds": trace,
        "file_and_first_call_seconds": from_file,
    }


def refitting(setting: Setting, steps: int = 3) -> Record:
    """The first call after an optimiser step, and whether a fresh build with these weights gives
    the same bits.
    """
    model = copy.deepcopy(setting.module)
    module = Setting(model, *_rest(setting))
    wrapped = own_module(module, refit=True)
    record: Record = {}
    record["build_seconds"], before = timed(lambda: wrapped(setting.example))
    engine = wrapped.latest_variant().program.engine
    seconds = []
    for _ in range(steps):
        optimiser_step(wrapped, model, setting.example)
        took, after = timed(lambda: wrapped(setting.example))
        seconds.append(took)
    record["seconds"] = seconds
    record["same_engine"] = wrapped.latest_variant().program.engine is engine
    record["changed_output"] = not after.equal(before)
    record["error"] = relative_error(after, precise(model, setting.example))
    folder = Path(setting.cache or ".") / "fresh"
    folder.mkdir(parents=True, exist_ok=True)
    for timings in Path(setting.cache or ".").glob("timings-*.cache"):
        shutil.copy(timings, folder)
    fresh = own_module(module, refit=True, cache=folder)
    record["fresh_build_seconds"], built = timed(lambda: fresh(setting.example))
    shutil.rmtree(folder)
    record["bit_identical"] = bool(built.equal(after))
    record["difference"] = relative_error(after, built.double().cpu())
    return record


def _rest(setting: Setting) -> tuple[Any, ...]:
    return setting.example, setting.dtype, setting.cache, setting.level


def optimiser_step(wrapped: TensorRTModuleWrapper, model: nn.Module, example: torch.Tensor) -> None:
    """One step of SGD on a random batch."""
    wrapped.train()
    optimiser = torch.optim.SGD(model.parameters(), 1e-3)
    batch = torch.randn(4, *example.shape[1:], device=example.device)
    wrapped(batch).square().mean().backward()
    optimiser.step()
    wrapped.eval()


def precise(module: nn.Module, example: torch.Tensor) -> torch.Tensor:
    """The output in float64, computed on the CPU."""
    with torch.no_grad():
        return copy.deepcopy(module).cpu().double()(example.cpu().double())


def run(item: str, options: argparse.Namespace, record: Record, layers: Record) -> Iterator[None]:
    """One NETWORK:DTYPE; gives control back when `record` has more to write."""
    name, _, dtype = item.partition(":")
    if name not in NETWORKS or dtype not in ("float32", "tf32", "float16", "bfloat16"):
        raise InputMismatchError(f"got {item!r}, expected NETWORK:DTYPE as in resnet50:tf32")
    with set_tf32(dtype == "tf32"):
        module, network = make_network(name)
        example = network.example().cuda()
        setting = Setting(module.cuda(), example, dtype, options.cache, options.level)
        record["level"] = options.level
        with torch.no_grad():
            accuracy = options.accuracy if setting.half else None
            expected = precise(module, example)
            record.update(compare(setting, expected, options.seconds, layers, accuracy))
        yield
        if name in options.load:
            record["load"] = loading(setting)
            yield
        if item in options.refit:
            record["refit"] = refitting(setting)


def report(item: str, record: Record, layers: Record) -> str:
    """What the terminal shows of one item."""
    if "ratio_to_onnx" not in record:
        return f"{item}: {record['note']}"
    low, middle, high = record["ratio_to_onnx"]
    lines = [
        f"{item}: {middle:.3f} ({low:.3f}-{high:.3f}) of the ONNX engine,"
        f" build {record['build_seconds']:.1f} s, ONNX {record['onnx_build_seconds']:.1f} s"
    ]
    for name, milliseconds in record["milliseconds"].items():
        latency, error = record["latency"][name], record["errors"][name]
        lines.append(
            f"  {name:14} {milliseconds:8.4f} ms, latency {latency:8.4f} ms, error {error:.1e}"
        )
    lines += [
        f"  {part}: {json.dumps(record[part])}"
        for part in ("load", "refit", "note")
        if part in record
    ]
    return "\n".join([*lines, slowest(layers)] if middle > 1 else lines)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m torch2trt.benchmark.versus_onnx", description=__doc__
    )
    parser.add_argument(
        "items", nargs="+", metavar="NETWORK:DTYPE", help=f"networks: {', '.join(NETWORKS)}"
    )
    parser.add_argument(
        "--cache", required=True, metavar="FOLDER", help="for engines and kernel timings"
    )
    parser.add_argument(
        "--level", type=int, choices=range(6), help="optimization level of both engines"
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="measuring time for each item")
    parser.add_argument(
        "--load", nargs="*", default=[], metavar="NETWORK", help="time loading the engines of these"
    )
    parser.add_argument(
        "--refit", nargs="*", default=[], metavar="NETWORK:DTYPE", help="time refitting these"
    )
    parser.add_argument(
        "--json", metavar="FILE", help="written after each item; items it has already are left out"
    )
    parser.add_argument(
        "--accuracy", type=float, metavar="ERROR", help="in 16 bits, one more engine that keeps it"
    )
    parser.add_argument("--layers", metavar="FILE", help="the layers of both engines, as JSON")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns 0 when every item was measured."""
    options = _arguments(argv)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    results, layers = _read(options.json), _read(options.layers)
    done = results.setdefault("items", {})
    results["machine"] = machine("cuda")
    for item in [item for item in options.items if item not in done]:
        record = done[item] = {"note": "was begun and did not end"}
        layers[item] = {}
        _write(options.json, results)
        try:
            for _ in run(item, options, record, layers[item]):
                _write(options.json, results)
                _write(options.layers, layers)
            del record["note"]
        except (Torch2TrtError, RuntimeError) as error:
            record["note"] = str(error)[:400]
        _write(options.json, results)
        _write(options.layers, layers)
        sys.stdout.write(report(item, record, layers[item]) + "\n")
        sys.stdout.flush()
        torch.cuda.empty_cache()
    return int(any("note" in record for record in done.values()))


def _read(path: str | None) -> Record:
    return json.loads(Path(path).read_text()) if path and Path(path).exists() else {}


def _write(path: str | None, content: Record) -> None:
    if path:
        Path(path).write_text(as_json(content))


if __name__ == "__main__":
    sys.exit(main())
