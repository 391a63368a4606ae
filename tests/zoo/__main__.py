"""``python -m tests.zoo``: whole networks on every backend, as a table and as JSON."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..conformance.pool import Pool
from ..conformance.table import print_table
from .models import networks

BACKENDS = ("torch", "tensorrt", "tvm")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.zoo", description=__doc__)
    parser.add_argument("names", nargs="*", help="networks (torchvision/resnet18) or groups (video); all by default")
    parser.add_argument("--backends", nargs="+", default=["tensorrt", "tvm"], choices=BACKENDS)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=600, help="seconds for a network on a backend")
    parser.add_argument("--json", type=Path, help="write all results to this file")
    return parser.parse_args(argv)


def chosen(names: Sequence[str]) -> list[str]:
    """The networks that are named or whose group is, in that order."""
    found = networks()
    if not names:
        return list(found)
    return list(dict.fromkeys(n.name for name in names for n in found.values() if name in (n.name, n.group)))


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """All results; a line for each network as it ends."""
    jobs = [
        {"op": name, "dtype": "float32", "backends": options.backends, "alone": True, "skip": 0}
        for name in chosen(options.names)
    ]
    results: list[dict[str, Any]] = []
    start = time.monotonic()
    for records in Pool(options.workers, options.timeout, "tests.zoo.worker").run(jobs):
        results += records
        said = "; ".join(f"{r['backend']} {r['outcome']} ({r['detail'][:200]})" for r in records)
        sys.stdout.write(f"{records[0]['op']}: {said}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{len(jobs)} networks, {time.monotonic() - start:.0f} s\n")
    return results


def main(argv: Sequence[str] | None = None) -> int:
    """Run the zoo; the exit code is 1 if a network that traces does not convert, or differs."""
    options = parse(argv)
    results = run(options)
    if options.json:
        options.json.write_text("\n".join(["[", ",\n".join(map(json.dumps, results)), "]"]) + "\n")
    print_table(results, options.backends, "failed")
    return int(any(r["outcome"] in ("failed", "refused") for r in results))


if __name__ == "__main__":
    sys.exit(main())
