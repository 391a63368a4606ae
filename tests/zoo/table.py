"""The results of the zoo as a table: how many networks converted, and how exactly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Result = dict[str, Any]


def compact(record: dict[str, Any], group: str) -> Result:
    """What is worth keeping of a worker's record; the detail only where there is no number."""
    result = {"network": record["op"], "group": group, "inputs": record["call"]}
    result.update({key: record[key] for key in ("backend", "outcome")})
    numbers = {key: record[key] for key in ("error", "response", "seconds") if key in record}
    return {**result, **(numbers or {"detail": record["detail"]})}


def said(result: Result) -> str:
    """A result in words."""
    if "error" in result:
        numbers = (result["error"], result["response"], result["seconds"])
        text = "error {:.2g}, response {:.2g}, {:.1f} s".format(*numbers)
    else:
        text = result["detail"]
    return f"{result['backend']} {result['outcome']} ({text})"


def summary(results: Sequence[Result], backends: Sequence[str]) -> str:
    """A Markdown table, and a line for each network that failed, was refused or does not trace."""
    groups = list(dict.fromkeys(r["group"] for r in results))
    lines = [
        "| networks | backend | equal / traced | largest relative error | seconds, all | slowest |",
        "|---|---|---|---|---|---|",
    ]
    for group in groups:
        for backend in backends:
            found = [
                r
                for r in results
                if (r["group"], r["backend"]) == (group, backend) and r["outcome"] != "untraceable"
            ]
            if found:
                lines.append(_row(group, backend, found))
    others = [
        f"{r['network']} {r['inputs']}: {said(r)}" for r in results if r["outcome"] != "equal"
    ]
    return "\n".join([*lines, *others]) + "\n"


def _row(group: str, backend: str, found: Sequence[Result]) -> str:
    equal = [r for r in found if r["outcome"] == "equal"]
    worst = max((r["error"] for r in equal), default=float("nan"))
    slowest = max(equal, key=lambda r: r["seconds"], default={"network": "-", "seconds": 0.0})
    name = slowest["network"].split("/")[-1]
    cells = [
        group, backend, f"{len(equal)} / {len(found)}", f"{worst:.1e}",
        f"{sum(r['seconds'] for r in equal):.0f}",
        f"{name} {slowest['seconds']:.1f} s",
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"
