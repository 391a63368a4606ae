"""The results as tables: outcomes per backend, and the failed calls."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ENGINE = "engine"  # the row of the engines that TensorRT builds: "equal" is built, "refused" has no kernel
OUTCOMES = ("equal", "refused", "failed", "untraceable", "excluded")


def scope_of(path: Path) -> set[str]:
    """The operator names of a list, the first word of each line."""
    lines = path.read_text().splitlines()
    return {line.split()[0] for line in lines if line.strip() and not line.startswith("#")}


def counts(results: Sequence[dict[str, Any]]) -> dict[str, Counter[str]]:
    """How often each outcome came, by backend."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for record in results:
        found[record["backend"]][record["outcome"]] += 1
    return found


def share(count: Counter[str]) -> float:
    """The share of equal samples among those that trace."""
    total = count["equal"] + count["refused"] + count["failed"]
    return 100.0 * count["equal"] / total if total else 100.0


def print_table(results: Sequence[dict[str, Any]], backends: Sequence[str], show: str) -> None:
    """Write the outcomes per backend, and the calls of one outcome."""
    found = counts(results)
    lines = [f"{'backend':10}" + "".join(f"{o:>13}" for o in OUTCOMES) + f"{'equal %':>10}"]
    for backend in backends:
        count = found[backend]
        lines.append(f"{backend:10}" + "".join(f"{count[o]:13}" for o in OUTCOMES) + f"{share(count):10.2f}")
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for record in results:
        if record["outcome"] == show:
            groups[record["op"], record["backend"]].append(record)
    for (op, backend), records in sorted(groups.items()):
        kinds = sorted({r["dtype"] for r in records})
        first = records[0]
        lines.append(f"{backend} {op} {','.join(kinds)}: {len(records)} samples {show}; {first['call']}")
        lines.append(f"    {first['detail']}")
    sys.stdout.write("\n".join(lines) + "\n")
