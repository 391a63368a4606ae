"""The operator table, read from the handlers: what works on which backend, how, what is refused."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from . import handlers
from .backends import tvm_context_class
from .backends.base import SymbolicContext
from .errors import BackendUnavailableError, Torch2TrtError
from .registry import Op, operators

START, END = "<!-- ops -->", "<!-- /ops -->"
_HELPERS = ("is_tensor", "is_dim", "shape", "dtype", "operand", "constant", "literal", "unique")


@dataclass(frozen=True)
class Entry:
    """One operator of the table.

    Attributes:
        name: "aten::sum".
        overloads: those that it serves, empty for all of them.
        support: backend -> "yes" or "no"; a backend that is not installed is missing.
        how: the primitives and operators that it is made of.
        refusals: the reasons it may give.
    """

    name: str
    overloads: tuple[str, ...]
    support: Mapping[str, str]
    how: tuple[str, ...]
    refusals: tuple[str, ...]


@dataclass(frozen=True)
class _Reading:
    """What the source of a function says.

    Attributes:
        primitives: those of the context that it calls, "unary abs".
        operators: the other operators that it calls.
        helpers: the functions of the handlers that it calls.
        refusals: what it says when it refuses.
        refuses: whether it does nothing else.
    """

    primitives: tuple[str, ...]
    operators: tuple[Op, ...]
    helpers: tuple[Callable[..., Any], ...]
    refusals: tuple[str, ...]
    refuses: bool


def entries() -> list[Entry]:
    """The operator table, by name."""
    groups: dict[str, dict[Op, list[str]]] = {}
    for name, operator in operators().items():
        kind, _, overload = name.partition(".")
        groups.setdefault(kind, {}).setdefault(operator, []).append(overload)
    contexts = _installed_contexts()
    return [_entry(kind, group, contexts) for kind, group in groups.items()]


def _entry(kind: str, group: Mapping[Op, list[str]], contexts: Mapping[str, type]) -> Entry:
    served = sorted(n for names in group.values() for n in names)
    overloads = [] if "" in served else served
    support = {"torch": "yes" if _in_torch(kind) else "no"}
    for backend, context in contexts.items():
        works = any(_expressible(operator, context, ()) for operator in group)
        support[backend] = "yes" if works else "no"
    readings = [reading for operator in group for reading in _readings(operator)]
    how = [name for r in readings for name in [*r.primitives, *(_title(o) for o in r.operators)]]
    refusals = [reason for r in readings for reason in r.refusals]
    return Entry(
        kind, tuple(overloads), support, tuple(dict.fromkeys(how)), tuple(dict.fromkeys(refusals))
    )


def _in_torch(kind: str) -> bool:
    namespace, _, base = kind.partition("::")
    return (
        namespace != "aten" or hasattr(torch.ops.aten, base) or hasattr(torch.ops.aten, f"{base}_")
    )


def _title(operator: Op) -> str:
    return operator.names[0].removeprefix("aten::").partition(".")[0]


def _tensorrt_context_class() -> type:
    from .backends.tensorrt import TensorRTContext

    return TensorRTContext


_CONTEXTS = {"tensorrt": _tensorrt_context_class, "tvm": tvm_context_class}


def _installed_contexts() -> dict[str, type]:
    found = {}
    for backend, context_class in _CONTEXTS.items():
        try:
            found[backend] = context_class()
        except (ImportError, BackendUnavailableError):
            continue
    return found


# --- reading the handlers ------------------------------------------------------------------------


def _emitter(operator: Op, context: type) -> Callable[..., Any]:
    return next(
        (operator.emitters[b] for b in context.lineage if b in operator.emitters), operator.function
    )


def _expressible(operator: Op, context: type, above: tuple[Op, ...]) -> bool:
    """Whether the operator, and all it is made of, has what it takes in a context."""
    if operator in above:
        return True
    reading = _whole(_emitter(operator, context))
    if reading.refuses or any(_lacks(context, primitive) for primitive in reading.primitives):
        return False
    return all(_expressible(o, context, (*above, operator)) for o in reading.operators) or bool(
        reading.primitives
    )


def _lacks(context: type, primitive: str) -> bool:
    name = primitive.split()[0]
    own = getattr(context, name, None)
    if own is None:
        return True
    return own is getattr(SymbolicContext, name, None) and "_missing" in inspect.getsource(own)


def _readings(operator: Op) -> Iterator[_Reading]:
    for function in [operator.function, *operator.emitters.values()]:
        yield _whole(function)


@lru_cache(maxsize=4096)
def _whole(function: Callable[..., Any]) -> _Reading:
    """A function together with the helpers it calls, at any depth."""
    first = _read(function)
    seen, waiting, readings = {function}, list(first.helpers), [first]
    while waiting:
        helper = waiting.pop(0)
        if helper not in seen:
            seen.add(helper)
            readings.append(_read(helper))
            waiting += readings[-1].helpers

    def joined(name: str) -> tuple[Any, ...]:
        return tuple(dict.fromkeys(value for r in readings for value in getattr(r, name)))

    return _Reading(
        joined("primitives"), joined("operators"), (), joined("refusals"), first.refuses
    )


@lru_cache(maxsize=4096)
def _read(function: Callable[..., Any]) -> _Reading:
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    body = next(n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.Lambda)))
    names = _names(function)
    primitives, called, helpers, refusals = [], [], [], []
    for node in ast.walk(body):
        if isinstance(node, ast.Call) and _is_context(node.func):
            if node.func.attr == "refuse":
                refusals.append(_text(node.args[0], names))
            elif node.func.attr not in _HELPERS and hasattr(SymbolicContext, node.func.attr):
                primitives.append(_primitive(node, names))
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            value = names.get(node.id)
            if isinstance(value, Op):
                called.append(value)
            elif (
                inspect.isfunction(value)
                and value.__module__.startswith(handlers.__name__)
                and _is_helper(value)
            ):
                helpers.append(value)
    return _Reading(
        tuple(primitives), tuple(called), tuple(helpers), tuple(refusals), _only_refuses(body)
    )


def _names(function: Callable[..., Any]) -> dict[str, Any]:
    """What the names in a function mean, those in its lambdas and inner functions included."""
    codes = [function.__code__]
    for code in codes:
        codes.extend(c for c in code.co_consts if inspect.iscode(c))
    used = {name for code in codes for name in code.co_names}
    found = {name: value for name, value in function.__globals__.items() if name in used}
    return {**found, **inspect.getclosurevars(function).nonlocals}


def _is_helper(function: Callable[..., Any]) -> bool:
    first = next(iter(inspect.signature(function).parameters), "")
    return first == "ctx" and not function.__module__.endswith(".common")


def _is_context(function: ast.expr) -> bool:
    return (
        isinstance(function, ast.Attribute)
        and isinstance(function.value, ast.Name)
        and function.value.id == "ctx"
    )


def _primitive(call: ast.Call, names: Mapping[str, Any]) -> str:
    name = call.func.attr
    if name not in ("unary", "binary", "reduce", "cumulative", "arg_reduce") or not call.args:
        return name
    first = call.args[0]
    value = first.value if isinstance(first, ast.Constant) else names.get(getattr(first, "id", ""))
    return f"{name} {value}" if isinstance(value, str) else name


def _only_refuses(body: ast.FunctionDef | ast.Lambda) -> bool:
    statements = body.body if isinstance(body.body, list) else []
    first = next(
        (
            s
            for s in statements
            if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))
        ),
        None,
    )
    return isinstance(first, ast.Raise)


def _text(expression: ast.expr, names: Mapping[str, Any]) -> str:
    """A message as it is written, with {...} for what it fills in."""
    if isinstance(expression, ast.Constant):
        return str(expression.value)
    if isinstance(expression, ast.JoinedStr):
        return "".join(_text(part, names) for part in expression.values)
    if isinstance(expression, ast.BinOp):
        return _text(expression.left, names) + _text(expression.right, names)
    if isinstance(expression, ast.FormattedValue):
        value = names.get(getattr(expression.value, "id", ""))
        return value if isinstance(value, str) else f"{{{ast.unparse(expression.value)}}}"
    value = names.get(getattr(expression, "id", ""))
    return value if isinstance(value, str) else f"{{{ast.unparse(expression)}}}"


# --- writing the table ---------------------------------------------------------------------------


def as_text(table: Sequence[Entry]) -> str:
    """The table for a terminal."""
    lines = [f"{len(table)} operators: {_summary(table)}"]
    for entry in table:
        marks = " ".join(f"{b}:{v:3}" for b, v in entry.support.items())
        overloads = f" [{', '.join(entry.overloads)}]" if entry.overloads else ""
        lines.append(f"{entry.name + overloads:52} {marks}  {', '.join(entry.how)}")
        lines += [f"{'':8}refused: {reason}" for reason in entry.refusals]
    return "\n".join(lines)


def as_markdown(table: Sequence[Entry]) -> str:
    """The table for README, a line per operator."""
    lines = [
        f"{len(table)} operators: {_summary(table)}. With their in-place forms; all overloads "
        "where none is named.",
        "",
        "| Operator | PyTorch | TensorRT | TVM | Made of | Refused |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for entry in table:
        overloads = f" ({', '.join(entry.overloads)})" if entry.overloads else ""
        marks = " | ".join(entry.support.get(b, "?") for b in ("torch", "tensorrt", "tvm"))
        cells = [
            f"`{entry.name}`{overloads}",
            marks,
            ", ".join(entry.how),
            "; ".join(entry.refusals),
        ]
        lines.append(
            "| " + " | ".join(c.replace("|", "\\|") if c is not marks else c for c in cells) + " |"
        )
    return "\n".join(lines)


def _summary(table: Sequence[Entry]) -> str:
    titles = {"torch": "PyTorch", "tensorrt": "TensorRT", "tvm": "TVM"}
    counts = {
        b: sum(e.support.get(b) == "yes" for e in table)
        for b in titles
        if any(b in e.support for e in table)
    }
    return ", ".join(f"{number} on {titles[b]}" for b, number in counts.items())


def update(path: Path, text: str) -> bool:
    """Put `text` between the marks of a file; says whether that changed the file.

    Raises:
        Torch2TrtError: the file has no such marks, or a backend is missing, so that the table would
            lose a column.
    """
    missing = sorted(_CONTEXTS.keys() - _installed_contexts().keys())
    if missing:
        raise Torch2TrtError(
            f"the table needs all backends, and {', '.join(missing)} is not installed here"
        )
    before = path.read_text(encoding="utf-8")
    head, start, rest = before.partition(START)
    _, end, tail = rest.partition(END)
    if not start or not end:
        raise Torch2TrtError(f"{path}: expected the marks {START} and {END} around the table")
    after = f"{head}{START}\n{text}\n{END}{tail}"
    if after != before:
        path.write_text(after, encoding="utf-8")
    return after != before
