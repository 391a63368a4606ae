"""``python -m torch2trt.benchmark``: networks by contenders, as a table, as JSON and as a plot."""

from __future__ import annotations

import argparse
import copy
import itertools
import math
import sys
import time
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from ..backends.flags import set_tf32
from .contenders import CONTENDERS
from .measures import as_json, machine, relative_error
from .networks import NETWORKS, make_network
from .setting import Setting
from .timing import interleave

ORIGINAL = ("resnet50", "inception_v3", "squeezenet1_1")
SUITE = (
    "resnet18", "resnet50", "inception_v3", "squeezenet1_1", "mobilenet_v2", "efficientnet_b0",
    "densenet121", "convnext_tiny", "vit_b_16", "swin_t", "bert_base", "lstm",
)  # fmt: skip
_PYTORCH = ["PyTorch", "PyTorch channels_last", "torch.compile"]
DEFAULT = {
    "cpu": [*_PYTORCH, "ONNX Runtime", "TVM importer", "TVM"],
    "cuda": [*_PYTORCH, "TVM", "TensorRT from ONNX", "TensorRT"],
}


@dataclass(frozen=True)
class Row:
    """One network on one contender.

    Attributes:
        build_seconds: from the module to the end of the first call.
        error: relative error (2-norm) of the output against PyTorch in float64.
        milliseconds: the median; on a GPU of calls that are not waited for one by one.
        latency: on a GPU, the median of single calls that are waited for.
        ratio: to PyTorch eager in the same run.
        note: why there is no figure.
    """

    network: str
    contender: str
    batch: int
    dtype: str
    build_seconds: float | None = None
    error: float | None = None
    milliseconds: float | None = None
    best: float | None = None
    latency: float | None = None
    ratio: float | None = None
    note: str = ""


def measure(
    name: str,
    contenders: Sequence[str],
    batch: int,
    dtype: str,
    device: str,
    seconds: float,
    cache: str | None = None,
) -> list[Row]:
    """Build every contender for one network, check its numbers, and time all of them in turns."""
    module, network = make_network(name)
    example = network.example(batch)
    with torch.no_grad():
        precise = copy.deepcopy(module).double()
        expected = precise(example.double() if example.is_floating_point() else example)
    setting = Setting(module.to(device), example.to(device), dtype, cache)
    rows, calls = {}, {}
    for contender in contenders:
        start = time.perf_counter()
        try:
            call = CONTENDERS[contender](setting)
            error = relative_error(call(), expected)
        except Exception as reason:  # of other people's packages: the row says it
            rows[contender] = Row(name, contender, batch, dtype, note=_first_line(reason))
            continue
        calls[contender] = call
        rows[contender] = Row(name, contender, batch, dtype, time.perf_counter() - start, error)
    times = interleave(calls, seconds, cuda=device == "cuda")
    for contender, timing in times.items():
        rows[contender] = replace(
            rows[contender],
            milliseconds=timing.median,
            best=timing.best,
            latency=timing.latency,
            ratio=timing.median / times["PyTorch"].median if "PyTorch" in times else None,
        )
    return [rows[contender] for contender in contenders]


def _first_line(reason: BaseException) -> str:
    lines = str(reason).strip().splitlines() or [""]
    return f"{type(reason).__name__}: {lines[0][:120]}"


def table(rows: Iterable[Row]) -> str:
    """The rows as aligned text."""
    head = ("network", "contender", "build s", "rel. error", "ms", "ratio")
    lines = [head] + [
        (
            r.network, r.contender, _number(r.build_seconds, ".1f"), _number(r.error, ".1e"),
            _number(r.milliseconds, ".2f"), _number(r.ratio, ".2f") or r.note,
        )
        for r in rows
    ]  # fmt: skip
    widths = [max(len(line[i]) for line in lines) for i in range(5)]
    return "\n".join(
        "  ".join([*(cell.ljust(w) for cell, w in zip(line, widths)), line[5]]).rstrip()
        for line in lines
    )


def _number(value: float | None, spec: str) -> str:
    return "" if value is None else format(value, spec)


def geometric_means(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """The geometric mean of the ratios to PyTorch eager, by dtype and batch, then by contender."""
    ratios: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        if row.ratio:
            of = ratios.setdefault(f"{row.dtype}, batch {row.batch}", {})
            of.setdefault(row.contender, []).append(row.ratio)
    return {
        of: {name: math.exp(sum(map(math.log, v)) / len(v)) for name, v in by.items()}
        for of, by in ratios.items()
    }


def plot(rows: Sequence[Row], path: str) -> None:
    """Bars of the times relative to PyTorch eager."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    labels = {(r.network, r.dtype, r.batch): _label(r, rows) for r in rows}
    names = [n for n in dict.fromkeys(r.contender for r in rows) if n != "PyTorch"]
    figure, axes = plt.subplots(figsize=(2 + 1.2 * len(labels), 4))
    for i, name in enumerate(names):
        found = {(r.network, r.dtype, r.batch): r.ratio or 0 for r in rows if r.contender == name}
        places = [p + i * 0.8 / len(names) for p in range(len(labels))]
        axes.bar(places, [found.get(of, 0) for of in labels], 0.8 / len(names), label=name)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_xticks(
        [p + 0.4 for p in range(len(labels))], list(labels.values()), rotation=30, ha="right"
    )
    axes.set_ylabel("time / PyTorch eager")
    axes.legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _label(row: Row, rows: Sequence[Row]) -> str:
    several = [
        str(getattr(row, name))
        for name in ("dtype", "batch")
        if len({getattr(r, name) for r in rows}) > 1
    ]
    return " ".join([row.network, *several])


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m torch2trt.benchmark", description=__doc__)
    add = parser.add_argument
    suite = "the twelve networks; the device is the suite's name"
    add("--suite", choices=("cpu", "cuda"), help=suite)
    for name, known in (("--networks", NETWORKS), ("--contenders", CONTENDERS)):
        add(name, nargs="+", choices=known, metavar="NAME", help=f"of {', '.join(known)}")
    add("--batch", type=int, nargs="+", default=[1])
    dtypes = ("float32", "tf32", "float16", "bfloat16")
    add("--dtype", nargs="+", default=["float32"], choices=dtypes)
    threads = "of PyTorch, TVM and ONNX Runtime alike; default: PyTorch's"
    add("--threads", type=int, help=threads)
    add("--seconds", type=float, default=5.0, help="measuring time for each network")
    add("--cache", metavar="FOLDER", help="keep TensorRT engines here")
    add("--json", metavar="FILE", help="write the figures and the machine they are of")
    add("--plot", metavar="PNG")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns 0 when every row has a figure or a reason."""
    arguments = _arguments(argv)
    device = arguments.suite or ("cuda" if torch.cuda.is_available() else "cpu")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    contenders = arguments.contenders or DEFAULT[device]
    options = device, arguments.seconds, arguments.cache
    rows: list[Row] = []
    for dtype, batch, name in itertools.product(
        arguments.dtype, arguments.batch, _networks(arguments)
    ):
        with set_tf32(dtype == "tf32"):
            new = measure(name, contenders, batch, dtype, *options)
        rows += new
        torch.compiler.reset()
        sys.stdout.write(table(new) + "\n\n")
        sys.stdout.flush()
        if arguments.json:
            _write(arguments.json, rows, device)
    sys.stdout.write("geometric means of the ratios to PyTorch:\n")
    for of, means in geometric_means(rows).items():
        figures = ", ".join(f"{name} {value:.2f}" for name, value in means.items())
        sys.stdout.write(f"{of}: {figures}\n")
    if arguments.plot:
        plot(rows, arguments.plot)
    return 0


def _networks(arguments: argparse.Namespace) -> Sequence[str]:
    return arguments.networks or (SUITE if arguments.suite else ORIGINAL)


def _write(path: str, rows: Sequence[Row], device: str) -> None:
    record = {
        "machine": machine(device),
        "rows": [asdict(row) for row in rows],
        "geometric_means": geometric_means(rows),
    }
    Path(path).write_text(as_json(record))


if __name__ == "__main__":
    sys.exit(main())
