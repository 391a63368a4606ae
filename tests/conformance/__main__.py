"""``python -m tests.conformance``: the operator database on every backend, as a table and as JSON."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .pool import Pool
from .samples import dtypes, operators
from .table import ENGINE, print_table, scope_of

BACKENDS = ("torch", "tensorrt", "tvm")


def requests(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A job for each chosen operator and dtype."""
    listed = scope_of(options.listed) if options.listed else None
    for name, op in operators().items():
        if options.ops and not any(name == o or name.startswith(f"{o}.") for o in options.ops):
            continue
        if listed is not None and _is_listed(op, listed) == options.others:
            continue
        for dtype in dtypes(op):
            short = str(dtype).removeprefix("torch.")
            if not options.dtypes or short in options.dtypes:
                yield {
                    "op": name, "dtype": short, "limit": options.limit, "backends": options.backends,
                    "build": options.build, "alone": False, "skip": 0,
                }  # fmt: skip


def _is_listed(op: Any, listed: set[str]) -> bool:
    names = {op.name.split(".")[-1], op.aten_name or "", op.name.replace(".", "_")}
    return any(f"aten::{name}" in listed for name in names)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("ops", nargs="*", help="names of the database (nn.functional.pad); all by default")
    parser.add_argument("--backends", nargs="+", default=list(BACKENDS), choices=BACKENDS)
    parser.add_argument("--dtypes", nargs="+", help="float32, float16, int64, bool; all by default")
    parser.add_argument("--limit", type=int, default=8, help="samples per operator and dtype")
    parser.add_argument("--listed", type=Path, help="a file of operator names: only these are run")
    parser.add_argument("--others", action="store_true", help="only those that are not in the file of --listed")
    parser.add_argument("--build", action="store_true", help="also build TensorRT engines (the row engine)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=120, help="seconds for one operator and dtype")
    parser.add_argument("--json", type=Path, help="write all results to this file")
    parser.add_argument("--show", choices=("failed", "refused", "none"), default="failed")
    return parser.parse_args(argv)


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """All results of the chosen jobs."""
    jobs = list(requests(options))
    results: list[dict[str, Any]] = []
    start = time.monotonic()
    for count, found in enumerate(Pool(options.workers, options.timeout).run(jobs), 1):
        results += found
        if sys.stderr.isatty() or count % 20 == 0 or count == len(jobs):
            sys.stderr.write(f"\r{count}/{len(jobs)} jobs, {time.monotonic() - start:.0f} s ")
            sys.stderr.flush()
    sys.stderr.write("\n")
    return results


def main(argv: Sequence[str] | None = None) -> int:
    """Run the suite; the exit code is 1 if anything failed."""
    options = parse(argv)
    results = run(options)
    if options.json:
        options.json.write_text("\n".join(["[", ",\n".join(map(json.dumps, results)), "]"]))
    print_table(results, [*options.backends, *([ENGINE] if options.build else [])], options.show)
    return int(any(r["outcome"] == "failed" for r in results))


if __name__ == "__main__":
    sys.exit(main())
