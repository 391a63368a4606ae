"""What of a program each backend can express, and how: a dry run that goes on behind refusals."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch

from .backends import trt_api, tvm_context_class
from .backends.base import Context
from .backends.pytorch import TORCH_CONTEXT
from .context import use_context
from .core import GraphModule
from .errors import BackendUnavailableError, ConversionError, Torch2TrtError
from .graph import Graph, Node
from .registry import has_symbolic
from .trace import Frozen
from .walk import run_node, unsupported, uses

BACKENDS = ("torch", "tensorrt", "tvm")
CONSTANT = "constant"


@dataclass(frozen=True)
class Support:
    """How one backend takes one node.

    Attributes:
        ok: whether it takes it.
        ops: what it becomes, in order: TensorRT layer types, Relax operators; empty where nothing
            is emitted.
        reason: why it is refused; "constant" where it depends on no input and is computed ahead.
    """

    ok: bool
    ops: tuple[str, ...] = ()
    reason: str = ""

    def __str__(self) -> str:
        if not self.ok:
            return f"no: {self.reason}"
        return " ".join(_counted(self.ops)) or self.reason or "nothing to do"


@dataclass(frozen=True)
class Row:
    """One node of the program.

    Attributes:
        name: kind and overload, "aten::sum.dim_IntList".
        scope: unique and readable, "layer1.0.conv1._convolution".
        module: the module path; source: the line of the user's program.
        support: by backend; a backend that is not installed is missing.
    """

    name: str
    scope: str
    module: str
    source: str
    support: Mapping[str, Support]


@dataclass(frozen=True)
class Coverage:
    """What of a program each backend can express. ``str()`` is a report, ``rows`` the data.

    Attributes:
        rows: the nodes in order; ``prim`` nodes, which make lists and constants, are left out.
        unavailable: backend -> why it could not be asked.
        frozen: what tracing turned into constants, with source lines.
    """

    rows: tuple[Row, ...]
    unavailable: Mapping[str, str]
    frozen: tuple[Frozen, ...]

    @property
    def kinds(self) -> dict[str, list[Row]]:
        """The rows by node kind, the most frequent first."""
        found: dict[str, list[Row]] = {}
        for row in self.rows:
            found.setdefault(row.name, []).append(row)
        return dict(sorted(found.items(), key=lambda item: (-len(item[1]), item[0])))

    def refused(self, backend: str) -> list[Row]:
        """The nodes that a backend does not take."""
        return [row for row in self.rows if backend in row.support and not row.support[backend].ok]

    def __str__(self) -> str:
        backends = [b for b in BACKENDS if b not in self.unavailable]
        lines = [f"{len(self.rows)} nodes of {len(self.kinds)} kinds"]
        for backend, reason in self.unavailable.items():
            lines.append(f"{backend}: not available: {reason}")
        for backend in backends:
            taken = len(self.rows) - len(self.refused(backend))
            lines.append(f"{backend}: {taken} of {len(self.rows)} nodes")
        lines += ["", *_table(self.kinds, backends)]
        for backend in backends:
            lines += _refusals(backend, self.refused(backend))
        if self.frozen:
            lines += ["", "turned into constants by tracing:", *(f"  {f}" for f in self.frozen)]
        return "\n".join(lines)


def coverage(
    module: Callable[..., Any], inputs: Any, *, kwargs: Mapping[str, Any] | None = None
) -> Coverage:
    """Ask every installed backend how it takes each node of a program. Nothing is compiled.

    Args:
        module: an ``nn.Module``, a ``ScriptModule`` or a function of tensors.
        inputs: one example tensor, or a sequence of positional arguments.
        kwargs: keyword arguments.

    Returns:
        The report. Behind a refused node the dry run goes on with an input of the recorded shape,
        so that all refusals are found at once.

    Raises:
        ConversionError, UnsupportedOpError: the program cannot be traced into a graph at all, see
            ``GraphModule``.

    Example:
        report = torch2trt.coverage(net, x)
        print(report)
        report.refused("tensorrt")  # the rows of nodes that TensorRT does not take
    """
    traced = GraphModule(module, inputs, example_kwargs=kwargs)
    found: dict[str, dict[str, Support]] = {"torch": _in_torch(traced.graph)}
    unavailable = {}
    for backend, dry_run in (("tensorrt", _TensorRTRun), ("tvm", _TVMRun)):
        try:
            found[backend] = _fill_fused(traced.graph, dry_run().run(traced))
        except BackendUnavailableError as error:
            unavailable[backend] = str(error)
    nodes = [n for n in traced.graph.nodes if not n.kind.startswith("prim::")]
    served = [{b: support[n.scope] for b, support in found.items()} for n in nodes]
    rows = [Row(n.name, n.scope, n.module, n.source, s) for n, s in zip(nodes, served)]
    return Coverage(tuple(rows), unavailable, traced.frozen)


def _in_torch(graph: Graph) -> dict[str, Support]:
    missing = {node.scope for node in unsupported(graph, TORCH_CONTEXT)}
    return {
        n.scope: Support(False, (), "no handler")
        if n.scope in missing
        else Support(True, (n.kind,))
        for n in graph.nodes
    }


def _fill_fused(graph: Graph, found: dict[str, Support]) -> dict[str, Support]:
    """Nodes that the backend's own rewriting removed: their work is done by another node."""
    return {
        n.scope: found.get(n.scope, Support(True, (), "merged into the node before"))
        for n in graph.nodes
    }


class _DryRun(ABC):
    """A walk that notes what each node becomes, and replaces what is refused by new inputs."""

    ctx: Context

    def __init__(self) -> None:
        self.numbers = count()
        self.found: dict[str, Support] = {}

    @abstractmethod
    def emitted(self) -> Iterator[str]:
        """What was emitted since the last call."""

    def run(self, traced: GraphModule) -> dict[str, Support]:
        """How each node is taken, by scope."""
        graph, env = self.ctx.rewrite(traced.graph), {}
        with use_context(self.ctx):
            for value in graph.inputs:
                env[value.name] = self.stand_in(value.shape, value.dtype)
            remaining = uses(graph)
            for node in graph.nodes:
                arguments = [env.get(v.name) for v in node.inputs]
                if all(v.name in env for v in node.inputs):
                    outputs = self.step(node, arguments, traced.trace.attribute)
                else:
                    outputs = self.replaced(
                        node, "what it takes comes from a refused node, as no tensor"
                    )
                env.update(outputs)
                for value in node.inputs:
                    remaining[value.name] -= 1
                    if not remaining[value.name]:
                        env.pop(value.name, None)
        return self.found

    def step(
        self, node: Node, arguments: list[Any], attribute: Callable[[str], Any]
    ) -> dict[str, Any]:
        """Emit a node; its outputs by name."""
        self.ctx.node = node
        list(self.emitted())
        try:
            outputs = run_node(node, arguments, attribute, self.ctx, exact=True)
        except ConversionError as error:
            return self.replaced(node, _reason(node, error))
        finally:
            self.ctx.node = None
        ops = tuple(self.emitted())
        symbolic = has_symbolic(self.ctx, arguments)
        self.found[node.scope] = Support(True, ops, "" if ops or symbolic else CONSTANT)
        return {value.name: output for value, output in zip(node.outputs, outputs)}

    def replaced(self, node: Node, reason: str) -> dict[str, Any]:
        """Note a refusal; new inputs for the outputs of the node that are tensors."""
        self.found[node.scope] = Support(False, (), reason)
        outputs = {}
        for value in node.outputs:
            if value.shape is not None and value.dtype is not None:
                try:
                    outputs[value.name] = self.stand_in(value.shape, value.dtype)
                except Torch2TrtError:
                    continue
        return outputs

    def stand_in(self, shape: Sequence[int] | None, dtype: torch.dtype | None) -> Any:
        """A new network input."""
        return self.ctx.input(f"value{next(self.numbers)}", shape, dtype)


class _TensorRTRun(_DryRun):
    def __init__(self) -> None:
        super().__init__()
        trt = trt_api.trt()
        from .backends.tensorrt import TensorRTContext

        self.kind_of = trt.ILayer.type.__get__
        self.builder = trt_api.create_builder()
        self.ctx = TensorRTContext(trt_api.create_network(self.builder))
        self.seen = 0

    def emitted(self) -> Iterator[str]:
        network = self.ctx.network
        for index in range(self.seen, network.num_layers):
            kind = self.kind_of(network.get_layer(index)).name
            if kind != "CONSTANT":
                yield kind.lower()
        self.seen = network.num_layers


class _TVMRun(_DryRun):
    def __init__(self) -> None:
        super().__init__()
        record = self.calls = []

        class Recorder(tvm_context_class()):
            """Takes note of the calls that are emitted."""

            def emit(self, expr: Any, role: str = "") -> Any:
                record.append(_called(expr))
                return super().emit(expr, role)

        self.ctx = Recorder()

    def emitted(self) -> Iterator[str]:
        names = [name for name in self.calls if name]
        self.calls.clear()
        yield from names


def _called(expr: Any) -> str:
    """The operator or generated function that a Relax call names, empty for other expressions."""
    operator = getattr(expr, "op", None)
    name = str(getattr(operator, "name", ""))
    if name == "relax.call_tir":
        return str(expr.args[0].name_hint).rstrip("0123456789").rstrip("_")
    return name.removeprefix("relax.")


def _reason(node: Node, error: Exception) -> str:
    return str(error).removeprefix(f"{node.where}: ")


def _counted(names: Sequence[str]) -> list[str]:
    return [f"{names.count(n)}x{n}" if names.count(n) > 1 else n for n in dict.fromkeys(names)]


def _table(kinds: Mapping[str, Sequence[Row]], backends: Sequence[str]) -> list[str]:
    """A line per kind: count, and per backend the nodes it takes and what the first one becomes."""
    lines = []
    for name, rows in kinds.items():
        lines.append(f"{len(rows):5} {name}")
        for backend in backends[1:]:
            taken = [row.support[backend] for row in rows if row.support[backend].ok]
            forms = list(dict.fromkeys(map(str, taken)))
            more = f" (and {len(forms) - 1} other forms)" if len(forms) > 1 else ""
            count_of = "" if len(taken) == len(rows) else f"{len(taken)} of {len(rows)}: "
            lines.append(f"      {backend:9} {count_of}{forms[0] if forms else 'no'}{more}")
    return lines


def _refusals(backend: str, rows: Sequence[Row]) -> list[str]:
    if not rows:
        return []
    lines = ["", f"refused by {backend}:"]
    for row in rows:
        place = row.module or "the top module"
        lines.append(f"  {row.name} in {place} ({row.source}): {row.support[backend].reason}")
    return lines
