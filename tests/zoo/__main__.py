"""``python -m tests.zoo``: whole networks on every backend, as a table and as JSON."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..conformance.pool import Pool
from .models import networks
from .table import Result, compact, said, summary

BACKENDS = ("torch", "tensorrt", "tvm")
_NETWORKS_PER_PROCESS = 4  # a process keeps memory


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.zoo", description=__doc__)
    parser.add_argument(
        "names", nargs="*", help="networks (torchvision/resnet18) or groups (video); all by default"
    )
    parser.add_argument("--backends", nargs="+", default=["tensorrt", "tvm"], choices=BACKENDS)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument(
        "--timeout", type=float, default=600, help="seconds for a network on a backend"
    )
    parser.add_argument(
        "--json", type=Path, help="write all results to this file, after each network"
    )
    parser.add_argument(
        "--resume", action="store_true", help="keep what the file says and leave those networks out"
    )
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="begin no network after this time"
    )
    return parser.parse_args(argv)


def chosen(names: Sequence[str]) -> list[str]:
    """The networks that are named or whose group is, in that order."""
    found = networks()
    if not names:
        return list(found)
    return list(
        dict.fromkeys(n.name for name in names for n in found.values() if name in (n.name, n.group))
    )


def read(options: argparse.Namespace) -> list[Result]:
    """The results of an earlier run, where they are to be kept."""
    if options.resume and options.json and options.json.exists():
        return json.loads(options.json.read_text())
    return []


def write(results: Sequence[Result], path: Path | None) -> None:
    """Write the results as JSON, one a line."""
    if path:
        path.write_text("\n".join(["[", ",\n".join(map(json.dumps, results)), "]"]) + "\n")


def jobs(
    options: argparse.Namespace, done: set[tuple[str, str]], start: float
) -> Iterator[dict[str, Any]]:
    """A job for each network that some backend has not seen, as long as there is time."""
    for name in chosen(options.names):
        backends = [b for b in options.backends if (name, b) not in done]
        if backends and time.monotonic() - start < options.seconds:
            yield {"op": name, "dtype": "float32", "backends": backends, "alone": True, "skip": 0}


def run(options: argparse.Namespace) -> list[Result]:
    """All results; a line for each network as it ends."""
    results = read(options)
    start, count = time.monotonic(), 0
    groups = {name: network.group for name, network in networks().items()}
    waiting = jobs(options, {(r["network"], r["backend"]) for r in results}, start)
    pool = Pool(options.workers, options.timeout, "tests.zoo.worker")
    while some := list(itertools.islice(waiting, options.workers * _NETWORKS_PER_PROCESS)):
        for records in pool.run(some):
            new = [compact(record, groups[record["op"]]) for record in records]
            results += new
            count += 1
            write(results, options.json)
            sys.stdout.write(f"{new[0]['network']}: {'; '.join(map(said, new))}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{count} networks, {time.monotonic() - start:.0f} s\n")
    return results


def main(argv: Sequence[str] | None = None) -> int:
    """Run the zoo; the exit code is 1 if a network that traces does not convert, or differs."""
    options = parse(argv)
    results = run(options)
    sys.stdout.write(summary(results, options.backends))
    return int(any(r["outcome"] in ("failed", "refused") for r in results))


if __name__ == "__main__":
    sys.exit(main())
