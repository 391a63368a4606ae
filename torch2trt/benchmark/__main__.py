"""``python -m torch2trt.benchmark``: networks times contenders, as a table, as JSON and as a plot."""

from __future__ import annotations

import argparse
import copy
import json
import math
import platform
import sys
import time
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import Torch2TrtError
from .contenders import CONTENDERS, Setting
from .networks import NETWORKS, make_network
from .timing import interleave

ORIGINAL = ("resnet50", "inception_v3", "squeezenet1_1")
SUITE = (
    "resnet18", "resnet50", "inception_v3", "squeezenet1_1", "mobilenet_v2", "efficientnet_b0", "densenet121",
    "convnext_tiny", "vit_b_16", "swin_t", "bert_base", "lstm",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One network on one contender.

    Attributes:
        build_seconds: from the module to the end of the first call.
        error: relative error (2-norm) of the output against PyTorch in float64.
        milliseconds: the median; ratio: to PyTorch eager in the same run.
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
    ratio: float | None = None
    note: str = ""


def measure(
    name: str, contenders: Sequence[str], batch: int, dtype: str, device: str, seconds: float, cache: str | None = None
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
        except (Torch2TrtError, RuntimeError, ImportError) as reason:
            rows[contender] = Row(name, contender, batch, dtype, note=str(reason).splitlines()[0][:120])
            continue
        calls[contender] = call
        rows[contender] = Row(name, contender, batch, dtype, time.perf_counter() - start, error)
    for contender, timing in interleave(calls, seconds, cuda=device == "cuda").items():
        rows[contender] = _timed(rows[contender], timing.median, timing.best)
    eager = rows[contenders[0]].milliseconds if contenders[0] == "PyTorch" else None
    return [_with_ratio(rows[c], eager) for c in contenders]


def _timed(row: Row, median: float, best: float) -> Row:
    return Row(**{**asdict(row), "milliseconds": median, "best": best})


def _with_ratio(row: Row, eager: float | None) -> Row:
    ratio = row.milliseconds / eager if eager and row.milliseconds else None
    return Row(**{**asdict(row), "ratio": ratio})


def relative_error(result: Any, expected: torch.Tensor) -> float:
    """The 2-norm of the difference to `expected` over the 2-norm of `expected`."""
    tensor = result if isinstance(result, torch.Tensor) else torch.from_dlpack(result)
    return float((tensor.detach().cpu().double() - expected).norm() / expected.norm())


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
    return "\n".join("  ".join([*(cell.ljust(w) for cell, w in zip(line, widths)), line[5]]).rstrip() for line in lines)


def _number(value: float | None, spec: str) -> str:
    return "" if value is None else format(value, spec)


def geometric_means(rows: Sequence[Row]) -> dict[str, float]:
    """The geometric mean of the ratios to PyTorch eager, by contender."""
    ratios: dict[str, list[float]] = {}
    for row in rows:
        if row.ratio:
            ratios.setdefault(row.contender, []).append(row.ratio)
    return {name: math.exp(sum(map(math.log, values)) / len(values)) for name, values in ratios.items()}


def plot(rows: Sequence[Row], path: str) -> None:
    """Bars of the times relative to PyTorch eager."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    networks = list(dict.fromkeys(r.network for r in rows))
    names = [n for n in dict.fromkeys(r.contender for r in rows) if n != "PyTorch"]
    figure, axes = plt.subplots(figsize=(2 + 1.2 * len(networks), 4))
    for i, name in enumerate(names):
        heights = [next((r.ratio or 0 for r in rows if (r.network, r.contender) == (n, name)), 0) for n in networks]
        axes.bar([p + i * 0.8 / len(names) for p in range(len(networks))], heights, 0.8 / len(names), label=name)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_xticks([p + 0.4 for p in range(len(networks))], networks, rotation=30, ha="right")
    axes.set_ylabel("time / PyTorch eager")
    axes.legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    plt.close(figure)


def machine(device: str) -> dict[str, Any]:
    """What the figures were measured on."""
    facts = {"torch": torch.__version__, "threads": torch.get_num_threads(), "processor": _processor()}
    if device == "cuda":
        facts["gpu"] = torch.cuda.get_device_name()
    return facts


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    names = [line for line in cpuinfo.read_text().splitlines() if "model name" in line] if cpuinfo.exists() else []
    return names[0].split(":")[1].strip() if names else platform.processor()


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m torch2trt.benchmark", description=__doc__)
    parser.add_argument("--suite", choices=("cpu", "cuda"), help="the twelve networks; the device is the suite's name")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, metavar="NAME", help=f"of {', '.join(NETWORKS)}")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, metavar="NAME", help=f"of {', '.join(CONTENDERS)}")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--dtype", default="float32", choices=("float32", "tf32", "float16", "bfloat16"))
    parser.add_argument("--seconds", type=float, default=5.0, help="measuring time for each network")
    parser.add_argument("--cache", metavar="FOLDER", help="keep TensorRT engines here")
    parser.add_argument("--json", metavar="FILE", help="write the figures and the machine they are of")
    parser.add_argument("--plot", metavar="PNG")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns 0 when every row has a figure or a reason."""
    arguments = _arguments(argv)
    device = arguments.suite or ("cuda" if torch.cuda.is_available() else "cpu")
    networks = arguments.networks or (SUITE if arguments.suite else ORIGINAL)
    contenders = arguments.contenders or _default_contenders(device)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = arguments.dtype == "tf32"
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    rows: list[Row] = []
    for name in networks:
        new = measure(name, contenders, arguments.batch, arguments.dtype, device, arguments.seconds, arguments.cache)
        rows += new
        sys.stdout.write(table(new) + "\n\n")
        sys.stdout.flush()
    means = geometric_means(rows)
    sys.stdout.write("geometric mean of the ratios to PyTorch: ")
    sys.stdout.write(", ".join(f"{name} {value:.2f}" for name, value in means.items()) + "\n")
    if arguments.json:
        record = {"machine": machine(device), "rows": [asdict(r) for r in rows], "geometric_means": means}
        Path(arguments.json).write_text(json.dumps(record, indent=1) + "\n")
    if arguments.plot:
        plot(rows, arguments.plot)
    return 0


def _default_contenders(device: str) -> list[str]:
    """PyTorch first, then what the original's table had, then the other roads; TVM's importer only when asked for."""
    if device == "cuda":
        return ["PyTorch", "torch.compile", "TVM", "TensorRT from ONNX", "TensorRT"]
    return ["PyTorch", "PyTorch channels_last", "torch.compile", "ONNX Runtime", "TVM"]


if __name__ == "__main__":
    sys.exit(main())
