"""``python -m tests.conformance``: the operator database on every backend, as tables and as JSON.

The operators of listed.txt, those that converters to TensorRT or TVM handle, have a table of their
own and must reach the goals; a sample of any other is equal or refused.
"""

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
from .table import ENGINE, GOALS, missed, print_table

BACKENDS = ("torch", "tensorrt", "tvm")
LISTED = frozenset((Path(__file__).parent / "listed.txt").read_text().split())


def requests(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A job for each chosen operator and dtype."""
    for name, op in operators().items():
        if options.ops and not any(name == o or name.startswith(f"{o}.") for o in options.ops):
            continue
        if options.listed != options.others and is_listed(op) == options.others:
            continue
        for dtype in dtypes(op):
            short = str(dtype).removeprefix("torch.")
            if not options.dtypes or short in options.dtypes:
                yield {
                    "op": name, "dtype": short, "limit": options.limit,
                    "backends": options.backends, "build": options.build,
                    "alone": False, "skip": 0,
                }  # fmt: skip


def is_listed(op: Any) -> bool:
    """Whether an operator of the database is one of listed.txt."""
    names = {op.name.split(".")[-1], op.aten_name or "", op.name.replace(".", "_")}
    return any(f"aten::{name}" in LISTED for name in names)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    add = parser.add_argument
    add("ops", nargs="*", help="names of the database (nn.functional.pad); all by default")
    add("--backends", nargs="+", default=list(BACKENDS), choices=BACKENDS)
    add("--dtypes", nargs="+", help="float32, float16, int64, bool; all by default")
    add("--limit", type=int, default=8, help="samples per operator and dtype")
    add("--listed", action="store_true", help="only the operators of listed.txt")
    add("--others", action="store_true", help="only the operators that are not in listed.txt")
    add("--build", action="store_true", help="also build TensorRT engines (the row engine)")
    add("--workers", type=int, default=2)
    add("--timeout", type=int, default=120, help="seconds for one operator and dtype")
    add("--json", type=Path, help="write all results to this file")
    add("--show", choices=("failed", "refused", "none"), default="failed")
    return parser.parse_args(argv)


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """All results of the chosen jobs."""
    jobs = list(requests(options))
    results: list[dict[str, Any]] = []
    start = time.monotonic()
    for count, found in enumerate(Pool(options.workers, options.timeout).run(jobs), 1):
        results += [{**r, "listed": is_listed(operators()[r["op"]])} for r in found]
        if sys.stderr.isatty() or count % 20 == 0 or count == len(jobs):
            sys.stderr.write(f"\r{count}/{len(jobs)} jobs, {time.monotonic() - start:.0f} s ")
            sys.stderr.flush()
    sys.stderr.write("\n")
    return results


def main(argv: Sequence[str] | None = None) -> int:
    """Run the suite; the exit code is 1 if a sample failed or a goal is missed."""
    options = parse(argv)
    start = time.monotonic()
    results = run(options)
    if options.json:
        options.json.write_text("\n".join(["[", ",\n".join(map(json.dumps, results)), "]"]))
    print_table(results, [*options.backends, *([ENGINE] if options.build else [])], options.show)
    lacking = missed(results, {} if options.ops else GOALS)
    minutes = (time.monotonic() - start) / 60
    sys.stdout.write(f"{minutes:.1f} minutes; {'; '.join(lacking) or 'all goals are reached'}\n")
    return int(bool(lacking))


if __name__ == "__main__":
    sys.exit(main())
