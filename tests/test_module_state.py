"""Modules that keep state between calls, and what a module uses that is no part of it."""

import copy
import sys
import threading
from collections import Counter, OrderedDict, defaultdict
from functools import partial

import pytest
import torch
from module_case import Lambda, defines_networks, same
from torch import nn

from torch2trt.core import GraphModule
from torch2trt.errors import ConversionError, InputMismatchError, UnsupportedOpError
from torch2trt.hidden import hidden
from torch2trt.module import TensorRTModuleWrapper, TVMModuleWrapper
from torch2trt.state import state_kept


@pytest.fixture(params=["tensorrt", "tvm"])
def wrap(request):
    if request.param == "tensorrt":
        defines_networks.args[0] and pytest.skip(defines_networks.kwargs["reason"])
        request.getfixturevalue("machine")
        return lambda net: TensorRTModuleWrapper(net, 8).eval()
    pytest.importorskip("tvm")
    return lambda net: TVMModuleWrapper(net).eval()


class Keeps(nn.Module):
    """A function of the module itself and one input, with some attributes."""

    def __init__(self, function, **attributes):
        super().__init__()
        self.function = function
        self.register_buffer("mean", torch.zeros(3))
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x):
        return self.function(self, x)


def counts(self, x):
    self.count += 1
    return x * self.count


def only_counts(self, x):
    self.count += 1
    return x * 2


def averages(self, x):
    self.mean = self.mean * 0.5 + x.mean(0)
    return x + self.mean


def appends(self, x):
    self.rows.append(x)
    return torch.cat(self.rows)


def remembers(self, x):
    before, self.last = self.last, x
    return x - before if before is not None else x


def tallies(self, x):
    self.tally["calls"] += 1
    return x * 2


@pytest.mark.parametrize(
    "function, attributes, named",
    [
        (counts, {"count": 0}, "net.count"),
        (averages, {}, "net.mean"),
        (appends, {"rows": []}, "net.rows"),
        (remembers, {"last": None}, "net.last"),
    ],
    ids=["number", "buffer", "list", "tensor"],
)
def test_state_between_calls_is_refused_and_left_as_it_was(wrap, function, attributes, named):
    net = Keeps(function, **attributes)
    before = {name: getattr(net, name) for name in ("mean", *attributes)}
    lengths = {name: len(v) for name, v in before.items() if isinstance(v, list)}
    with pytest.raises(UnsupportedOpError, match=f"(?s)Keeps keeps state between calls.*{named}"):
        wrap(net)(torch.randn(4, 3))
    assert all(getattr(net, name) is value for name, value in before.items())
    assert all(len(before[name]) == length for name, length in lengths.items())


@pytest.mark.parametrize(
    "function, attributes, named",
    [(only_counts, {"count": 0}, "count"), (tallies, {"tally": Counter()}, "tally.calls")],
    ids=["number", "counter"],
)
def test_counters_that_no_output_shows_are_told_of(wrap, caplog, function, attributes, named):
    net = Keeps(function, **copy.deepcopy(attributes))
    wrapped, x = wrap(net), torch.randn(4, 3)
    same(wrapped(x), copy.deepcopy(net)(x))
    assert f"Keeps: calls in PyTorch change net.{named}, compiled ones do not" in caplog.text
    assert {name: getattr(net, name) for name in attributes} == attributes
    frozen = GraphModule(net, x).frozen
    assert [(f.source, f.message) for f in frozen] == [
        (named, "another at each call, here as in the trace")
    ]


def fills_once(self, x):
    if self.table is None or len(self.table) < len(x):
        self.table = torch.arange(len(x)).float()
    return x + self.table[: len(x), None]


def shows(self, x):
    self.features = x.relu()
    self.shapes.append(x.shape)
    return self.features * 2


@pytest.mark.parametrize(
    "function, attributes",
    [(fills_once, {"table": None}), (shows, {"features": None, "shapes": []})],
    ids=["table", "intermediates"],
)
def test_what_does_not_change_results_may_be_kept(wrap, function, attributes):
    net = Keeps(function, **copy.deepcopy(attributes))
    wrapped = wrap(net)
    for batch in (4, 2, 6, 4):
        x = torch.randn(batch, 3)
        got = wrapped(x)
        assert {name: getattr(net, name) for name in attributes} == attributes
        same(got, copy.deepcopy(net)(x))


def test_a_traced_module_keeps_no_values_of_the_trace():
    net = Keeps(shows, features=None, shapes=[])
    GraphModule(net, torch.randn(2, 3))
    assert net.features is None and net.shapes == []


def caches(self, x):
    if len(x) not in self.tables:
        self.tables[len(x)] = torch.arange(len(x)).float()
    self.log["rows"].append(len(x))
    return x + self.tables[len(x)][:, None]


@pytest.mark.parametrize("kind", [dict, OrderedDict, partial(defaultdict, list)])
def test_a_trace_leaves_nothing_in_dicts_and_what_they_hold(kind):
    net = Keeps(caches, tables=kind(), log=kind({"rows": []}))
    GraphModule(net, torch.randn(2, 3))
    assert not net.tables and net.log == {"rows": []}


@pytest.mark.parametrize(
    "buffer",
    [torch.tensor(torch.nan).expand(3), torch.full((2,), torch.nan), torch.empty(3, device="meta")],
    ids=["expanded", "nan", "meta"],
)
def test_buffers_that_are_not_written_to_are_left_alone(buffer):
    net = Keeps(lambda self, x: x * 2)
    net.register_buffer("other", buffer)
    GraphModule(net, torch.randn(2, 3))
    assert buffer._version == 0


def test_buffers_that_a_trace_writes_to_are_as_they_were():
    norm = nn.BatchNorm1d(3)
    with pytest.raises(UnsupportedOpError, match="running_mean"):
        GraphModule(norm, torch.randn(4, 3))
    assert not norm.running_mean.any() and norm.num_batches_tracked == 0


def test_what_is_unchanged_stays_in_use_by_others_while_changes_are_undone():
    net, stop, seen = nn.Linear(3, 2), threading.Event(), set()

    def look():
        while not stop.is_set():
            seen.add(len(net._parameters))

    reader, interval = threading.Thread(target=look), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        reader.start()
        for _ in range(3000):
            with state_kept({"net": net}):
                net.more = 1
    finally:
        stop.set()
        reader.join()
        sys.setswitchinterval(interval)
    assert seen == {2} and not hasattr(net, "more")


class Holder(nn.Module):
    """Uses a layer that it does not own, as `hold` says."""

    def __init__(self, hold, layer):
        super().__init__()
        self.held = hold(layer)

    def forward(self, x):
        held = self.held[0] if isinstance(self.held, list) else self.held
        return held(x)


LAYER = nn.Linear(3, 2)


@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize(
    "hold",
    [
        lambda layer: lambda x: layer(x) * 2,
        lambda layer: [layer],
        lambda layer: layer.forward,
        lambda layer: partial(layer),
        lambda layer: lambda x, layer=layer: layer(x),
        lambda layer: lambda x: (lambda: LAYER(x))(),
    ],
    ids=["closure", "list", "method", "partial", "default", "global"],
)
def test_layers_of_others_are_followed(wrap, hold, trained):
    layer = LAYER.requires_grad_(trained)
    net = Holder(hold, layer)
    wrapped, x = wrap(net), torch.randn(4, 3)
    same(wrapped(x), net(x).detach())
    with torch.no_grad():
        layer.weight.add_(1)
    same(wrapped(x), net(x).detach())
    layer.bias = nn.Parameter(torch.randn(2), requires_grad=trained)
    same(wrapped(x), net(x).detach())


def test_a_name_of_an_attribute_is_no_use_of_the_global_of_that_name():
    net = nn.Module()
    net.LAYER = nn.Identity()
    net.call = lambda x: net.LAYER(x)
    assert [name for name, _ in hidden(net.call)] == ["net"]


@pytest.mark.parametrize(
    "make",
    [
        lambda t: lambda x: x * t,
        lambda t: lambda x, y=t: x * y,
        lambda t: partial(torch.mul, t),
    ],
    ids=["closure", "default", "partial"],
)
def test_tensors_of_others_are_followed(wrap, make):
    scale = torch.randn(3)
    function = make(scale)
    wrapped, x = wrap(Lambda(function)), torch.randn(4, 3)
    same(wrapped(x), function(x))
    scale.mul_(2)
    same(wrapped(x), function(x))
    scale.data = torch.randn(3)
    same(wrapped(x), function(x))


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW", "Adagrad"])
def test_steps_of_fused_optimisers_are_noticed(wrap, kind):
    net, x = nn.Linear(3, 2), torch.randn(4, 3)
    wrapped = wrap(net)
    same(wrapped(x), net(x).detach())
    net(x).sum().backward()
    getattr(torch.optim, kind)(net.parameters(), lr=0.1, fused=True).step()
    same(wrapped(x), net(x).detach())


def test_steps_of_other_models_are_no_change():
    from torch2trt.watch import Watch

    net, other = nn.Linear(3, 2), nn.Linear(3, 2)
    watch = Watch(net)
    other(torch.randn(4, 3)).sum().backward()
    torch.optim.SGD(other.parameters(), lr=0.1, fused=True).step()
    assert watch.unchanged()


def test_lazy_layers_are_made_first(wrap):
    net, x = nn.Sequential(nn.LazyLinear(4), nn.LazyBatchNorm1d()).eval(), torch.randn(4, 3)
    wrapped = wrap(net)
    same(wrapped(x), net(x).detach())
    assert type(net[0]) is nn.Linear
    with torch.no_grad():
        net[0].weight.mul_(2)
    same(wrapped(x), net(x).detach())


def test_scripted_parts_are_followed(wrap):
    part = torch.jit.script(nn.Sequential(nn.Linear(3, 4), nn.ReLU()))
    net, x = nn.Sequential(part, nn.Linear(4, 2)), torch.randn(4, 3)
    for module in (net, part):
        wrapped = wrap(module)
        same(wrapped(x), module(x).detach())
        with torch.no_grad():
            next(part.parameters()).mul_(2)
        same(wrapped(x), module(x).detach())


@pytest.mark.parametrize(
    "function, message",
    [
        (lambda x: torch.func.grad(lambda y: (y * y).sum())(x), "transforms of torch.func"),
        (lambda x: x.view(torch.int32), r"x.view\(torch.int32\) reads the bytes"),
        (torch.compile(nn.Linear(3, 2)), "hide what they compute"),
        (lambda x: torch.func.functional_call(nn.ReLU(), {}, (x,)), "functional_call is not"),
        (lambda x: {0: x}[x.shape[0] - 4], "KeyError"),
    ],
    ids=["grad", "view", "compile", "functional_call", "key"],
)
def test_what_cannot_be_traced_is_named_with_its_line(wrap, function, message):
    with pytest.raises(ConversionError, match=message) as failure:
        wrap(Lambda(function))(torch.randn(4, 3))
    assert ".py(" in str(failure.value) and "Wrapper" not in str(failure.value)


def test_transforms_of_a_compiled_module_say_what_to_do(wrap):
    wrapped, x = wrap(nn.Linear(3, 2)), torch.randn(4, 3)
    for transform in (torch.func.vmap, lambda f: torch.func.grad(lambda x: f(x).sum())):
        with pytest.raises(InputMismatchError, match="Call it on the whole batch"):
            transform(wrapped)(x)
    with pytest.raises(InputMismatchError, match=r"use\s+.train\(\) for derivatives"):
        torch.export.export(wrapped, (x,))


def test_transforms_of_a_module_that_has_run_say_what_to_do():
    pytest.importorskip("tvm")
    wrapped, x = TVMModuleWrapper(nn.Linear(3, 2)).eval(), torch.randn(4, 3)
    wrapped(x)
    with pytest.raises(InputMismatchError, match="Call it on the whole batch"):
        torch.func.vmap(wrapped)(torch.randn(5, 4, 3))


def test_a_program_that_writes_to_its_inputs_is_checked_on_copies(wrap):
    wrapped = wrap(Lambda(lambda x: x.add_(1) * 2))
    x = torch.randn(4, 3)
    before = x.clone()
    with pytest.warns(UserWarning, match="writes to its inputs"):
        got = wrapped(x)
    same(got, (before + 1) * 2)
    same(wrapped(x), got)
    same(x, before)


@pytest.mark.parametrize("first", [True, False])
def test_inputs_that_share_memory_are_refused_where_one_is_written_to(wrap, first):
    wrapped, x = wrap(Lambda(lambda x, y: x.add_(1) + y)), torch.randn(6, 3)
    if not first:
        same(wrapped(x[:3], x[3:]), x[:3] + 1 + x[3:])
        same(wrapped(x[3:], x[:3]), x[:3] + 1 + x[3:])
    for y in (x[:4], x[2:]):
        with pytest.raises(InputMismatchError, match="0 and 1 share memory.*aten::add_.*py"):
            wrapped(x[:4], y)
    same(wrap(Lambda(torch.add))(x, x), x + x)


def test_inputs_with_other_strides_are_refused_where_they_count(wrap):
    wrapped, x = wrap(Lambda(lambda x: x.as_strided((2, 2), (1, 2)))), torch.randn(3, 3)
    for _ in range(2):
        same(wrapped(x), x.as_strided((2, 2), (1, 2)))
    with pytest.raises(InputMismatchError, match=r"got strides \(1, 3\), expected \(3, 1\)"):
        wrapped(x.t())


FROM_DATA = {
    "if": lambda x: x * 2 if x.sum() > 0 else -x,
    "item": lambda x: x * x.max().item(),
    "int": lambda x: x[: int(x.abs().sum() * 0 + 2)],
    "list": lambda x: (x, x.sum(0).tolist()),
    "array": lambda x: x + torch.from_numpy(x.numpy() * 2),
}
FROM_SIZES = {
    "if": lambda x: x * 2 if x.shape[0] > 2 else x,
    "int": lambda x: x.view(int(x.shape[0] * x.shape[1]))[: x.shape[0] // 2 + len(x)],
    "numel": lambda x: x if x.numel() > 3 else -x,
    "zeros": lambda x: x if torch.zeros_like(x).sum() == 0 else -x,
}


@pytest.mark.parametrize("name", FROM_DATA)
def test_numbers_from_values_of_the_inputs_are_told_of(wrap, caplog, name):
    wrap(Lambda(FROM_DATA[name]))(torch.rand(4, 3))
    assert "Lambda: Python numbers and branches are those" in caplog.text
    assert "test_module_state.py(" in caplog.text


@pytest.mark.parametrize("name", FROM_SIZES)
def test_numbers_from_sizes_are_not_told_of(name):
    pytest.importorskip("tvm")
    graph = GraphModule(FROM_SIZES[name], torch.rand(4, 3))
    assert not graph.trace.from_data


def test_frozen_scripts_are_refused_with_a_reason(wrap):
    script = torch.jit.freeze(torch.jit.script(nn.Sequential(nn.Linear(3, 2)).eval()))
    with pytest.raises(ConversionError, match="RecursiveScriptModule cannot be traced"):
        wrap(script)(torch.randn(4, 3))
