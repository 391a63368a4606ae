"""Programs that write in place: each gives what eager gives on inputs it was not traced with, or is refused."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from torch2trt.backends.pytorch import TORCH_CONTEXT
from torch2trt.core import GraphModule
from torch2trt.errors import UnsupportedOpError
from torch2trt.functional import functionalize
from torch2trt.trace import trace
from torch2trt.walk import run_node


@dataclass(frozen=True)
class Program:
    """`function` of inputs like `inputs` (shapes, or functions that make one); `refused`: what the refusal says.

    `fresh`: the inputs of the comparison, where they have other sizes than the traced ones; `data_sized`: some sizes
    depend on the values of the inputs.
    """

    name: str
    function: Callable[..., Any]
    inputs: tuple[Any, ...] = ((3, 4),)
    refused: str = ""
    fresh: tuple[Any, ...] = ()
    data_sized: bool = False

    def make(self, specs: tuple[Any, ...] | None = None) -> list[torch.Tensor]:
        return [spec() if callable(spec) else torch.randn(spec) for spec in specs or self.inputs]


PROGRAMS: list[Program] = []


def program(*inputs: Any, **facts: Any) -> Callable[..., Any]:
    """A row of the table."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        PROGRAMS.append(Program(function.__name__, function, inputs or ((3, 4),), **facts))
        return function

    return add


def mask34() -> torch.Tensor:
    return torch.rand(3, 4) > 0.5


def index2() -> torch.Tensor:
    return torch.randperm(3)[:2]


def ints34() -> torch.Tensor:
    return torch.randint(-9, 9, (3, 4))


# ---- a whole tensor ------------------------------------------------------------------------------------------------
@program()
def relu_then_the_name_before(x):
    y = x + 0
    z = F.relu(y, inplace=True)
    return y * 2 + z


@program()
def residual_after_inplace_relu(x):
    y = x * 2
    z = y.relu_()
    y += x
    return z.sum(), y


@program()
def chain_of_activations(x):
    y = x.clone()
    y.mul_(2).add_(1).sigmoid_().sub_(0.5).clamp_(min=0)
    return y


@program()
def clamp_both(x):
    y = x + 1
    y.clamp_(-0.5, 0.5)
    y.clamp_max_(0.25)
    return y


@program()
def read_before_and_after(x):
    y = x + 1
    before = y * 1
    y.exp_()
    return before, y


@program()
def integer_kept(x):
    y = (x * 10).int()
    y.mul_(3)
    y.floor_divide_(2)
    return y


@program()
def half_keeps_its_dtype(x):
    y = x.half()
    y += x
    return y


@program()
def comparison_in_place_keeps_float(x):
    y = x + 0
    y.gt_(0.1)
    return y


@program(ints34)
def int_scalar_promotes_only_outside(x):
    y = x + 0
    y.fill_(3.7)
    z = x * 1
    z[:, 0] = 2.9
    return y, z


@program((3, 4), mask34)
def bool_in_place_operators(x, m):
    n = x > 0
    n |= m
    k = ~n
    k &= m
    k ^= n
    return n, k


@program((3, 4), mask34)
def masked_fill(x, m):
    y = x + 0
    y.masked_fill_(m, float("-inf"))
    return y.softmax(-1)


@program((3, 4), (4,))
def broadcast_other(x, b):
    y = x * 1
    y.add_(b, alpha=2).div_(b.exp())
    return y


@program()
def zero_and_fill(x):
    y = x + 0
    y[1:].zero_()
    y[:, 3].fill_(7)
    return y


@program()
def zero_of_nan(x):
    y = x / 0
    y.zero_()
    return y


@program()
def tril_and_friends(x):
    y = x + 0
    y.tril_()
    y.cumsum_(1)
    return y.neg_()


@program()
def lerp_and_addcmul(x):
    y = x + 0
    y.lerp_(x * 2, 0.3).addcmul_(x, x, value=0.5)
    return y


# ---- views ---------------------------------------------------------------------------------------------------------
@program()
def column_plus_one(x):
    y = x + 0
    y[:, 0] += 1
    return y.sum(1)


@program()
def two_level_view(x):
    y = x + 0
    y[1:][:, 2].mul_(10)
    return y


@program((2, 3, 4, 5))
def three_level_view(x):
    y = x + 0
    y[1].transpose(0, 2)[2:4].select(1, 1).add_(100)
    return y, y[1].sum()


@program()
def old_view_reads_new_base(x):
    y = x + 0
    view = y[:, 1:3]
    y.mul_(3)
    return view, view.sum()


@program()
def old_view_of_old_view(x):
    y = x + 0
    v = y.t()
    w = v[1:]
    y[0] = 5
    v[:, 1] = 6
    return w, y


@program()
def overlapping_views(x):
    y = x + 0
    a, b = y[:, :3], y[:, 1:]
    before = b.clone()
    a.add_(1)
    b.mul_(2)
    return a, b, y, before


@program((6,))
def shifted_sums(x):
    y = x + 0
    for i in range(1, 6):
        y[i] += y[i - 1]
    return y


@program((4, 5))
def loop_over_rows(x):
    out = torch.zeros_like(x)
    for i in range(4):
        out[i] = x[i] * i
        out[i, 0] += 1
    return out


@program()
def transposed_add(x):
    y = x + 0
    y.t().add_(1)
    return y


@program()
def flat_slice_zero(x):
    y = x + 0
    y.view(-1)[3:5].zero_()
    return y


@program()
def flatten_shares(x):
    y = x + 0
    y.flatten().add_(1)
    return y


@program()
def flatten_copies(x):
    y = x + 0
    z = y.t().flatten()
    z.add_(1)
    return y, z


@program()
def reshape_copies_of_slice(x):
    y = x + 0
    z = y[:, 1:3].reshape(-1)
    z += 1
    return y, z


@program()
def reshape_shares_of_whole(x):
    y = x + 0
    z = y.reshape(2, 6)
    z[0] = -1
    return y, z


@program()
def contiguous_is_the_same(x):
    y = x + 0
    y.contiguous().mul_(2)
    return y


@program()
def contiguous_is_a_copy(x):
    y = x + 0
    y.t().contiguous().mul_(2)
    return y


@program()
def to_is_the_same(x):
    y = x + 0
    y.to(torch.float32).mul_(2)
    y.double().mul_(100)
    return y


@program()
def dropout_in_eval_is_the_same(x):
    y = x + 0
    z = F.dropout(y, 0.5, False)
    z += 1
    return y


@program()
def type_as_is_the_same(x):
    y = x + 0
    y.type_as(x).add_(1)
    return y.detach().mul_(2), y


@program((2, 3, 4))
def permute_movedim_squeeze(x):
    y = x + 0
    y.permute(2, 0, 1)[0].mul_(2)
    y.movedim(0, -1)[1].add_(1)
    y.unsqueeze(1).squeeze(1)[0].sub_(3)
    y.swapaxes(0, 2)[3].neg_()
    y.permute(-1, 0, 1)[1] = 0
    return y


@program((2, 3, 4))
def narrow_and_unflatten(x):
    y = x + 0
    y.narrow(2, 1, 2).mul_(2)
    y.narrow(2, -2, 2).add_(1)
    y.unflatten(2, (2, 2))[..., 1] = 9
    return y


@program((4, 4))
def diagonal(x):
    y = x + 0
    y.diagonal().zero_()
    y.diagonal(1).add_(5)
    return y


@program()
def view_after_strided_write(x):
    y = x + 0
    y.t().copy_(x.t().contiguous())
    return y.view(-1)


@program()
def t_in_place(x):
    y = x + 0
    z = y[0]
    y.t_()
    y[1] = 3
    return y, z


@program((1, 3, 1, 4))
def squeeze_in_place(x):
    y = x + 0
    y.squeeze_(2).unsqueeze_(0)
    y[0, 0, 1] = 3
    return y


@program((5, 6))
def negative_index_and_step(x):
    y = x + 0
    y[-2:, ::2] = 1
    y[-1, -1] = 2
    y[..., 1::3] *= 4
    return y


@program((5, 6))
def clamped_slice(x):
    y = x + 0
    y[3:100] = 1
    y[:, -100:1] += 2
    return y


# ---- copies and assignment -----------------------------------------------------------------------------------------
@program((3, 4), (3, 2))
def strided_assignment(x, y):
    z = x + 0
    z[..., ::2] = y
    return z


@program((3, 4), (4,))
def assignment_broadcasts(x, row):
    y = x + 0
    y[1:] = row
    y[0] = row.sum()
    return y


@program(ints34, (3,))
def assignment_casts(x, column):
    y = x + 0
    y[:, 1] = column * 10
    return y


@program()
def zeros_filled_by_slices(x):
    out = torch.zeros_like(x)
    out[:, :2] = x[:, 2:]
    out[:, 2:] = x[:, :2] * 2
    return out


@program()
def new_zeros_filled(x):
    out = x.new_zeros(3, 8)
    out[:, ::2] = x
    out[:, 1::2] = -x
    return out


@program((2, 3, 4))
def rotary_halves(x):
    out = torch.empty_like(x)
    out[..., 0::2] = x[..., 0::2] - x[..., 1::2]
    out[..., 1::2] = x[..., 0::2] + x[..., 1::2]
    return out


@program((3, 4), index2, (2, 4))
def assignment_by_index(x, i, v):
    y = x + 0
    y[i] = v
    y[:, i] += 1
    return y


@program((3, 4), mask34, data_sized=True)
def assignment_by_mask(x, m):
    y = x + 0
    y[m] = 0
    y[~m] += 2
    return y


@program((3, 4), mask34)
def index_put_on_a_view(x, m):
    y = x + 0
    y[1:][m[1:]] = 4
    return y


@program((3, 4), index2, (2, 4))
def index_family(x, i, v):
    y = x + 0
    y.index_add_(0, i, v)
    y.index_copy_(0, i, v * 2)
    y[:, 1:].index_fill_(0, i, 3)
    return y


@program((3, 4), lambda: torch.randint(0, 3, (2, 4)), (2, 4))
def scatter_family(x, i, v):
    y = x + 0
    y.scatter_(0, i, 1.5)
    y.scatter_add_(0, i, v)
    y.scatter_reduce_(0, i, v, "amax")
    return y


@program((3, 4), mask34, (12,))
def masked_scatter(x, m, v):
    y = x + 0
    y.masked_scatter_(m, v)
    return y


@program()
def copy_between_views(x):
    y = x + 0
    y[0].copy_(y[2])
    y[:, 0].copy_(y[:, 3] * 2)
    return y


@program()
def swap_columns(x):
    y = x + 0
    keep = y[:, 0].clone()
    y[:, 0] = y[:, 1]
    y[:, 1] = keep
    return y


@program()
def swap_without_clone(x):
    y = x + 0
    keep = y[:, 0]
    y[:, 0] = y[:, 1]
    y[:, 1] = keep
    return y


# ---- lists and tuples of tensors -----------------------------------------------------------------------------------
@program((3, 6))
def chunks(x):
    y = x + 0
    a, b, c = y.chunk(3, 1)
    a += 1
    b.mul_(2)
    return y, a, c


@program((5, 2))
def split_sizes(x):
    y = x + 0
    a, b = y.split([2, 3])
    b.zero_()
    y.add_(1)
    return a, b, y


@program((3, 4))
def unbind(x):
    y = x + 0
    rows = y.unbind(0)
    rows[1].neg_()
    rows[2][:2].add_(1)
    return y, torch.stack(rows)


@program((3, 7))
def tensor_split(x):
    y = x + 0
    a, b, c = y.tensor_split(3, dim=1)
    b[:, 0] = c[:, 0]
    return y


@program()
def list_reads_late(x):
    parts = [x + 1, x + 2]
    both = torch.cat(parts)
    parts[0].mul_(5)
    return torch.cat(parts), both


@program((3, 4))
def mapped_rows(x):
    y = x + 0
    for row in y:
        row /= row.sum()
    return y


# ---- out= ----------------------------------------------------------------------------------------------------------
@program()
def out_argument(x):
    out = torch.empty_like(x)
    torch.add(x, 1, out=out)
    return out


@program()
def out_is_a_view(x):
    y = x + 0
    torch.mul(x[:, 0], 2, out=y[:, 3])
    return y


@program()
def out_grows_from_empty(x):
    out = torch.empty(0)
    torch.mul(x, 2, out=out)
    return out + 1


@program()
def out_of_two_results(x):
    values, indices = torch.empty(3), torch.empty(3, dtype=torch.int64)
    torch.max(x, 1, out=(values, indices))
    return values, indices


@program(ints34)
def out_casts(x):
    out = torch.zeros(3, 4)
    torch.add(x, 1, out=out)
    return out


# ---- as models do --------------------------------------------------------------------------------------------------
@program((2, 3, 4, 4, 7))
def detection_head(x):
    y = x.sigmoid()
    grid = torch.stack(torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij"), -1).float()
    y[..., 0:2] = (y[..., 0:2] * 2 - 0.5 + grid) * 8
    y[..., 2:4] = (y[..., 2:4] * 2) ** 2 * 3
    return y.view(2, -1, 7)


@program((2, 4, 5), (2, 2, 5))
def kv_cache(cache, new):
    cache = cache.clone()
    cache[:, 1:3] = new
    return cache, (cache[:, :3] @ new.transpose(1, 2)).softmax(1)


@program((1, 5, 4), fresh=((3, 5, 4),))
def batch_of_one_traced(x):
    y = x + 0
    y[:, 0] = 1
    y[:, 1:2] += torch.ones(1, 1, 4)
    y[:, 2] = torch.arange(4.0)
    y.flatten(1)[:, 3] = 2
    y.transpose(1, 2)[:, 0].mul_(2)
    return y


@program((2, 6, 4), fresh=((5, 6, 4),))
def other_batch(x):
    y = x + 0
    y.view(x.size(0), -1)[:, 3:5] = 0
    a, b = y.chunk(2, 1)
    a += b.mean(1, keepdim=True)
    out = torch.zeros(x.shape[0], 6, 8)
    out[..., :4] = y
    out[..., 4:] += x
    return out


@program((2, 5, 8))
def positional_embedding(x):
    position = torch.zeros(5, 8)
    steps = torch.arange(5.0).unsqueeze(1)
    position[:, 0::2] = torch.sin(steps * torch.arange(4.0))
    position[:, 1::2] = torch.cos(steps * torch.arange(4.0))
    x = x + 0
    x += position
    return x


@program((4, 4))
def causal_mask(x):
    mask = torch.full((4, 4), float("-inf")).triu_(1)
    y = x + 0
    y += mask
    return y.softmax(-1)


@program((2, 4, 6, 6))
def window_mask(x):
    image = torch.zeros(1, 6, 6, 1)
    for count, h in enumerate((slice(0, -3), slice(-3, -1), slice(-1, None))):
        image[:, h, :, :] = count
    return x + image.permute(0, 3, 1, 2)


@program((2, 4, 5))
def temporal_shift(x):
    out = torch.zeros_like(x)
    out[:, :-1, :2] = x[:, 1:, :2]
    out[:, 1:, 2:4] = x[:, :-1, 2:4]
    out[:, :, 4:] = x[:, :, 4:]
    return out


# ---- inputs --------------------------------------------------------------------------------------------------------
@program()
def writes_to_its_input(x):
    x.add_(1)
    x[:, 0] = 0
    return x * 2


# ---- refusals ------------------------------------------------------------------------------------------------------
@program(refused="several elements at one address")
def expanded_write(x):
    y = x[:1].expand(3, 4)
    y.index_put_((torch.arange(2),), torch.zeros(2, 4))
    return y


@program((6,), refused="sees memory that was written")
def as_strided_after_write(x):
    y = x + 0
    v = y.as_strided((2, 2), (2, 1))
    y.add_(1)
    return v


@program((6,), refused="writes through a view")
def write_through_unfold(x):
    y = x + 0
    y.unfold(0, 2, 2).add_(1)
    return y


@program((6,))
def unfold_reads_and_forgets(x):
    y = x + 0
    v = y.unfold(0, 3, 1)
    y[2:] = 4
    w = (x * 2).unfold(0, 2, 2)
    w.add_(1)
    return v, w


@program((3,), refused="a constant of the trace")
def constant_written(x):
    t = torch.tensor([1.0, 2.0, 3.0])
    t += x
    return t


@program((3,), refused="has no functional form")
def random_fill(x):
    y = x + 0
    y.normal_()
    return y


@program((1, 4), refused="may write to the same memory")
def copy_only_for_larger_batches(x):
    y = x + 0
    z = y.t().contiguous()
    z.add_(1)
    return y


@program((3, 4), refused="resizes its out= argument")
def out_resized(x):
    y = torch.zeros(1)
    torch.add(x, 1, out=y)
    return y


def compare(got: Any, expected: Any) -> None:
    torch.testing.assert_close(got, expected, rtol=0, atol=0, equal_nan=True)


def converted(case: Program) -> GraphModule:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return GraphModule(case.function, case.make())


@pytest.mark.parametrize("case", [p for p in PROGRAMS if not p.refused], ids=lambda p: p.name)
def test_equals_eager(case: Program) -> None:
    module = converted(case)
    assert not [node for node in module.graph.nodes if node.mutates]
    for _ in range(2):
        inputs = case.make(case.fresh or None)
        expected = case.function(*(x.clone() for x in inputs))
        compare(module(*(x.clone() for x in inputs)), expected)


@pytest.mark.parametrize("case", [p for p in PROGRAMS if p.refused], ids=lambda p: p.name)
def test_refused(case: Program) -> None:
    with pytest.raises(UnsupportedOpError) as caught:
        converted(case)
    assert case.refused in str(caught.value)
    assert all("test_functional.py(" in reason for reason in caught.value.reasons)


def test_the_table_is_large_enough() -> None:
    assert len(PROGRAMS) >= 40


def kinds(function: Callable[..., Any], *inputs: torch.Tensor) -> list[str]:
    nodes = functionalize(trace(function, inputs).graph).nodes
    return [node.kind.split("::")[1] for node in nodes if node.kind != "prim::Constant"]


def test_a_copy_to_itself_costs_nothing() -> None:
    assert kinds(column_plus_one, torch.randn(3, 4)) == [
        "add", "select", "add", "select_scatter", "ListConstruct", "sum",
    ]  # fmt: skip


def test_inplace_activations_cost_nothing() -> None:
    def function(x):
        return F.relu(F.relu6(x * 2, inplace=True), inplace=True) + 1

    assert kinds(function, torch.randn(3)) == ["mul", "relu6", "relu", "add"]


def test_elements_of_a_list_are_joined_once_per_write() -> None:
    assert kinds(chunks, torch.randn(3, 6)) == [
        "add", "chunk", "ListUnpack", "add", "mul", "ListConstruct", "cat",
    ]  # fmt: skip


def test_a_graph_that_writes_to_nothing_is_returned_as_it_is() -> None:
    graph = trace(lambda x: (x[:, 0] + 1).relu(), torch.randn(3, 4)).graph
    assert functionalize(graph) is graph


@pytest.mark.parametrize("case", [p for p in PROGRAMS if not p.refused and not p.data_sized], ids=lambda p: p.name)
def test_names_scopes_and_recorded_values(case: Program) -> None:
    graph = converted(case).graph
    names = [v.name for v in (*graph.inputs, *(v for n in graph.nodes for v in n.outputs))]
    scopes = [n.scope for n in graph.nodes]
    assert len(set(names)) == len(names)
    assert len(set(scopes)) == len(scopes)
    operators = [n for n in graph.nodes if n.kind.startswith("aten::") and n.kind != "aten::Int"]
    assert all("test_functional.py(" in n.source for n in operators)
    env: dict[str, Any] = dict(zip((v.name for v in graph.inputs), case.make()))
    for node in graph.nodes:
        check_recorded(node, env)


def check_recorded(node: Any, env: dict[str, Any]) -> None:
    """Run one node and compare shape and dtype of its outputs with what the graph says."""
    arguments = [env[v.name] for v in node.inputs]
    outputs = run_node(node, arguments, lambda path: None, TORCH_CONTEXT, False)
    for value, output in zip(node.outputs, outputs):
        env[value.name] = output
        if value.type == "Tensor" and isinstance(output, torch.Tensor) and value.shape is not None:
            assert tuple(output.shape) == value.shape, node
            assert output.dtype == value.dtype, node


def test_writes_to_an_input_warn_once() -> None:
    with pytest.warns(UserWarning, match="writes to its inputs") as caught:
        module = GraphModule(writes_to_its_input, torch.randn(3, 4))
    assert len(caught.list) == 1 or sum("writes to its inputs" in str(w.message) for w in caught.list) == 1
    x = torch.randn(3, 4)
    before = x.clone()
    module(x)
    compare(x, before)


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))
        self.register_buffer("calls", torch.zeros(2))

    def forward(self, x):
        self.calls[0] += 1
        self.scale.mul_(x.mean())
        return x * self.scale


def test_state_is_refused_all_at_once() -> None:
    with pytest.raises(UnsupportedOpError) as caught:
        GraphModule(Counting(), torch.randn(3, 4))
    assert len(caught.value.reasons) == 2
    assert "calls: a parameter or buffer" in str(caught.value)
    assert "forward" in caught.value.reasons[0]


def test_batch_norm_in_training_mode_is_refused() -> None:
    with pytest.raises(UnsupportedOpError, match="num_batches_tracked: a parameter or buffer"):
        GraphModule(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), torch.randn(2, 3, 4, 4))


def test_batch_statistics_without_state_are_converted() -> None:
    norm = nn.BatchNorm2d(3, track_running_stats=False)
    norm.train()
    x = torch.randn(2, 3, 4, 4)
    compare(GraphModule(nn.Sequential(norm, nn.ReLU(inplace=True)), x)(x * 2), norm(x * 2).relu())


def test_running_statistics_passed_as_inputs() -> None:
    def normalised(x, mean, var):
        return F.batch_norm(x, mean, var, training=True)

    def and_reads_them(x, mean, var):
        return F.batch_norm(x, mean, var, training=True) + mean.sum()

    inputs = [torch.randn(4, 3), torch.zeros(3), torch.ones(3)]
    with pytest.warns(UserWarning, match="writes to its inputs"):
        module = GraphModule(normalised, inputs)
    fresh = [torch.randn(4, 3), torch.randn(3), torch.rand(3)]
    compare(module(*(v.clone() for v in fresh)), normalised(*(v.clone() for v in fresh)))
    with pytest.raises(UnsupportedOpError, match="updates running statistics"):
        GraphModule(and_reads_them, inputs)


# ---- random programs -----------------------------------------------------------------------------------------------
VIEWS: list[Callable[[torch.Tensor, random.Random], torch.Tensor]] = [
    lambda t, r: t[r.randrange(t.shape[0])] if t.dim() > 1 else t,
    lambda t, r: t.narrow(r.randrange(t.dim()), 0, 1),
    lambda t, r: t[..., r.randrange(t.shape[-1]) :],
    lambda t, r: t[:: r.choice([1, 2])],
    lambda t, r: t.transpose(0, -1),
    lambda t, r: t.unsqueeze(r.randrange(t.dim() + 1)),
    lambda t, r: t.flatten(),
    lambda t, r: t.reshape(-1, t.shape[-1]),
    lambda t, r: r.choice(t.chunk(2, r.randrange(t.dim()))),
    lambda t, r: r.choice(t.unbind(0)) if t.dim() > 1 else t,
    lambda t, r: t.permute(*r.sample(range(t.dim()), t.dim())),
    lambda t, r: t.contiguous(),
    lambda t, r: t.squeeze(),
    lambda t, r: t.diagonal() if t.dim() > 1 else t,
    lambda t, r: t.detach(),
]
WRITES: list[Callable[[torch.Tensor, torch.Tensor, random.Random], Any]] = [
    lambda t, s, r: t.add_(s.amax()),
    lambda t, s, r: t.mul_(0.5),
    lambda t, s, r: t.zero_(),
    lambda t, s, r: t.fill_(r.random()),
    lambda t, s, r: t.copy_(s.amin()),
    lambda t, s, r: t.relu_(),
    lambda t, s, r: t.masked_fill_(t > 0.5, 0.25),
    lambda t, s, r: t.copy_(s.clone()) if s.shape == t.shape else t.neg_(),
]


def random_program(seed: int) -> Callable[[torch.Tensor], tuple[torch.Tensor, ...]]:
    def function(x):
        r = random.Random(seed)
        tensors = [x + 0, x * 2]
        results = []
        for _ in range(r.randrange(3, 9)):
            source = r.choice(tensors)
            for _ in range(r.randrange(1, 3)):
                source = r.choice(VIEWS)(source, r) if source.dim() else source
            tensors.append(source)
            if r.random() < 0.7:
                r.choice(WRITES)(r.choice(tensors), r.choice(tensors), r)
            if r.random() < 0.3:
                results.append(r.choice(tensors) * 3)
        return (*results, *tensors)

    return function


@pytest.mark.parametrize("seed", range(60))
def test_random_program(seed: int) -> None:
    function = random_program(seed)
    try:
        module = GraphModule(function, torch.randn(2, 4, 6))
    except UnsupportedOpError as error:
        assert "may write to the same memory" in str(error)
        return
    x = torch.randn(2, 4, 6)
    compare(module(x.clone()), function(x.clone()))
