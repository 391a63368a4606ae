"""TensorRTModule and TVMModule: switch, weights, batch, errors. Engines are simulated."""

import copy
import gc
import logging
import pickle
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import simulated_engine
import torch
from torch import nn

from torch2trt import container, program
from torch2trt.backends import trt_api
from torch2trt.errors import (
    BackendUnavailableError,
    ConversionError,
    EngineBuildError,
    InputMismatchError,
    UnsupportedOpError,
)
from torch2trt.module import TensorRTModule, TensorRTModuleWrapper, TVMModuleWrapper
from torch2trt.settings import parse_dtype
from torch2trt.watch import Watch

pytestmark = pytest.mark.skipif(
    not trt_api.available() or not (trt_api.is_rtx() or torch.cuda.is_available()),
    reason="no TensorRT that defines networks on this machine",
)


@pytest.fixture
def machine(monkeypatch):
    return simulated_engine.install(monkeypatch)


def net():
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5)
    )
    with torch.no_grad():
        layers[1].running_mean.uniform_(-1, 1)
        layers[1].running_var.uniform_(0.5, 2)
    return layers.eval()


def plain_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5)).eval()


def images(batch=1):
    return torch.rand(batch, 3, 4, 4)


def same(got, expected):
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


# --- the switch ----------------------------------------------------------------------------------


def test_train_is_pytorch_with_gradients_and_eval_is_the_engine(machine):
    model = net()
    wrapped = TensorRTModuleWrapper(model, 4).train()
    wrapped(images(2)).sum().backward()
    assert model[0].weight.grad is not None and machine.builds == []
    wrapped.eval()
    x = images(2)
    got = wrapped(x)
    same(got, model(x))
    assert not got.requires_grad and len(machine.builds) == 1


def test_a_wrapper_starts_in_the_mode_of_its_module():
    assert not TensorRTModuleWrapper(net()).training
    assert TensorRTModuleWrapper(net().train()).training


def test_subclass_with_forward_and_keyword_arguments(machine):
    class Net(TensorRTModule):
        def __init__(self):
            super().__init__(max_batchsize=3, workspace=1 << 20)
            self.linear = nn.Linear(4, 2)

        def forward(self, x, scale=None):
            y = self.linear(x)
            return y if scale is None else y * scale

    model = Net().eval()
    x, scale = torch.rand(2, 4), torch.rand(2, 2)
    same(model(x), model.linear(x))
    same(model(x, scale=scale), model.linear(x) * scale)
    same(model(x=x, scale=None), model.linear(x))
    assert machine.builds[0].workspace == 1 << 20


def test_one_engine_for_all_batch_sizes(machine):
    model = net()
    wrapped = TensorRTModuleWrapper(model, 5)
    for batch in (1, 5, 2, 4, 3, 1):
        x = images(batch)
        same(wrapped(x), model(x))
    assert len(machine.builds) == 1
    assert dict(machine.builds[0].profiles[0])["input0"] == (
        (1, 3, 4, 4), (5, 3, 4, 4), (5, 3, 4, 4),
    )  # fmt: skip


def test_a_batch_of_one_is_static(machine):
    TensorRTModuleWrapper(net(), 1)(images())
    assert machine.builds[0].profiles == ()


def test_nested_inputs_and_outputs(machine):
    class Nested(nn.Module):
        def forward(self, pair, options):
            a, b = pair
            total = a + b if options["add"] else a - b
            return {"sum": total, "parts": [a * 2, (b * 3, None)], "name": "net"}

    model = Nested()
    wrapped = TensorRTModuleWrapper(model, 4, input_names=["a", "b"]).eval()
    a, b = torch.rand(2, 3), torch.rand(2, 3)
    for add in (True, False, True):
        got, expected = wrapped((a, b), {"add": add}), model((a, b), {"add": add})
        same(got["sum"], expected["sum"])
        same(got["parts"][0], expected["parts"][0])
        assert got["parts"][1][1] is None and got["name"] == "net"
    assert len(machine.builds) == 2


def test_inside_other_modules_also_inside_another_engine(machine):
    inner = TensorRTModuleWrapper(nn.Linear(64, 5), 4)
    outer = nn.Sequential(nn.Flatten(), inner).eval()
    x = torch.rand(2, 4, 16)
    same(outer(x), inner.net(x.flatten(1)))
    whole = TensorRTModuleWrapper(outer, 4).eval()
    same(whole(x), inner.net(x.flatten(1)))
    assert len(machine.builds) == 2


def test_integer_outputs_keep_their_type(machine):
    wrapped = TensorRTModuleWrapper(Lambda(lambda x: x.topk(2, 1)[1]), 4).eval()
    x = torch.rand(2, 6)
    got = wrapped(x)
    assert got.dtype == torch.int64 and got.equal(x.topk(2, 1)[1])


class Lambda(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *args):
        return self.function(*args)


# --- the weights ---------------------------------------------------------------------------------


def optimiser_step(wrapped, model):
    wrapped.train()
    optimiser = torch.optim.SGD(model.parameters(), 0.01)
    wrapped(images(4)).square().sum().backward()
    optimiser.step()
    wrapped.eval()


def load_state(wrapped, model):
    state = {k: v + 1 if v.is_floating_point() else v for k, v in model.state_dict().items()}
    model.load_state_dict(state)


def assign_state(wrapped, model):
    state = {k: v + 1 if v.is_floating_point() else v for k, v in model.state_dict().items()}
    model.load_state_dict(state, assign=True)


def copy_in_place(wrapped, model):
    with torch.no_grad():
        model[4].weight.copy_(torch.rand(5, 64))


def new_parameter(wrapped, model):
    model[4].bias = nn.Parameter(torch.rand(5))


def new_data(wrapped, model):
    model[4].bias.data = torch.rand(5)


def buffer_in_place(wrapped, model):
    model[1].running_mean.add_(1)


def low_rank_merge(wrapped, model):
    with torch.no_grad():
        model[4].weight += torch.rand(5, 2) @ torch.rand(2, 64)


def new_submodule(wrapped, model):
    model[2] = nn.Tanh()


def double_and_back(wrapped, model):
    with torch.no_grad():
        model[4].weight.mul_(1.5)
    model.half().float()


CHANGES = [
    optimiser_step, load_state, assign_state, copy_in_place, new_parameter, new_data,
    buffer_in_place, low_rank_merge, new_submodule, double_and_back,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__)
def test_the_next_call_uses_the_new_weights(machine, change):
    model, x = net(), images(2)
    wrapped = TensorRTModuleWrapper(model, 4)
    before = wrapped(x)
    change(wrapped, model)
    expected = model(x)
    assert not torch.allclose(before, expected, rtol=1e-3)
    same(wrapped(x), expected)
    same(wrapped(x), expected)


def test_a_change_is_a_rebuild_once_and_refits_afterwards(machine):
    model, x = net(), images(2)
    wrapped = TensorRTModuleWrapper(model, 4)
    wrapped(x)
    for _ in range(4):
        copy_in_place(wrapped, model)
        same(wrapped(x), model(x))
    assert [b.refit for b in machine.builds] == [False, True]
    assert machine.refits == [{"net.4.linear.weight"}] * 3 or len(machine.refits) == 3


def test_refit_true_never_builds_again_and_false_never_refits(machine):
    for refit, builds, refits in ((True, 1, 2), (False, 3, 0)):
        machine.builds.clear()
        machine.refits.clear()
        model, x = net(), images(2)
        wrapped = TensorRTModuleWrapper(model, 4, refit=refit)
        wrapped(x)
        for _ in range(2):
            copy_in_place(wrapped, model)
            same(wrapped(x), model(x))
        assert (len(machine.builds), len(machine.refits)) == (builds, refits)


def test_a_changed_definition_is_built_again(machine):
    model, x = net(), images(2)
    wrapped = TensorRTModuleWrapper(model, 4, refit=True)
    wrapped(x)
    model[2] = nn.Tanh()
    same(wrapped(x), model(x))
    assert len(machine.builds) == 2 and machine.refits == []


def test_a_constant_that_tracing_froze_is_followed(machine):
    model = Lambda(lambda x: x * float(model.scale.sum()))
    model.scale = nn.Parameter(torch.ones(3))
    wrapped, x = TensorRTModuleWrapper(model, 1, refit=True).eval(), torch.rand(1, 3)
    same(wrapped(x), x * 3)
    with torch.no_grad():
        model.scale.mul_(2)
    same(wrapped(x), x * 6)


def test_a_tensor_attribute_is_followed(machine):
    model = Lambda(lambda x: x + model.offset)
    model.offset = torch.ones(3)
    wrapped, x = TensorRTModuleWrapper(model, 2).eval(), torch.rand(2, 3)
    same(wrapped(x), x + 1)
    model.offset = torch.full((3,), 5.0)
    same(wrapped(x), x + 5)
    model.offset.mul_(2)
    same(wrapped(x), x + 10)


def test_flipping_between_train_and_eval(machine):
    model, x = net(), images(3)
    wrapped = TensorRTModuleWrapper(model, 4)
    for step in range(10):
        if step % 2:
            optimiser_step(wrapped, model)
        else:
            wrapped.train().eval()
        same(wrapped(x), model(x))
    assert len(machine.builds) == 2


def test_a_submodule_that_changes_its_mode_is_noticed(machine):
    class Scaled(nn.Module):
        def forward(self, x):
            return x * 3 if self.training else x

    model, x = nn.Sequential(Scaled(), nn.ReLU()), images(3)
    wrapped = TensorRTModuleWrapper(model, 4).eval()
    same(wrapped(x), x)
    model[0].train()
    same(wrapped(x), x * 3)


def test_all_variants_follow(machine):
    model = net()
    wrapped = TensorRTModuleWrapper(model, 1)
    small, large = images(), torch.rand(1, 3, 4, 4).double().float()
    wide = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()
    twice = TensorRTModuleWrapper(wide, 1)
    xs = [torch.rand(1, 3, n, n) for n in (5, 7)]
    for x in xs:
        same(twice(x), wide(x))
    with torch.no_grad():
        wide[0].weight.mul_(3)
    for x in xs:
        same(twice(x), wide(x))
    same(wrapped(small), model(small))
    same(wrapped(large), model(large))


def test_what_the_watch_cannot_see_is_seen_after_refit(machine):
    model, x = net(), images()
    wrapped = TensorRTModuleWrapper(model, 2)
    wrapped(x)
    model[4].bias.data.add_(7)
    wrapped.refit()
    same(wrapped(x), model(x))
    wrapped.reset()
    same(wrapped(x), model(x))
    assert len(machine.builds) == 3


@pytest.mark.parametrize("refit", [True, False])
def test_weights_written_while_they_are_read_are_not_lost(machine, monkeypatch, refit):
    model, x = net(), images()
    wrapped = TensorRTModuleWrapper(model, 2, refit=refit, check=False)
    wrapped(x)
    copy_in_place(wrapped, model)
    read, values = program.tensor_bytes, iter([torch.full((5, 64), 0.25)])

    def read_after_a_change(tensor):
        with torch.no_grad():
            for value in values:
                model[4].weight.copy_(value)
        return read(tensor)

    monkeypatch.setattr(program, "tensor_bytes", read_after_a_change)
    wrapped(x)
    same(wrapped(x), model(x))


def test_threads_with_changing_weights_get_old_or_new_never_a_mixture(machine):
    model = nn.Linear(4, 4, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.eye(4))
    wrapped, x = TensorRTModuleWrapper(model, 2, refit=True, check=False).eval(), torch.ones(1, 4)
    wrapped(x)

    def call(_):
        row = wrapped(x)[0]
        return row.unique().tolist()

    def change(factor):
        with torch.no_grad():
            model.weight.copy_(torch.eye(4) * factor)

    with ThreadPoolExecutor(4) as pool:
        calls = []
        for factor in range(2, 8):
            calls += [pool.submit(call, None) for _ in range(4)]
            change(factor)
    allowed = {float(f) for f in range(1, 8)}
    results = [c.result() for c in calls]
    assert all(len(values) == 1 and values[0] in allowed for values in results)
    same(wrapped(x), x * 7)


def test_copies_and_pickles_carry_no_engine(machine):
    model, x = net(), images()
    wrapped = TensorRTModuleWrapper(model, 2)
    expected = wrapped(x)
    for other in (copy.deepcopy(wrapped), pickle.loads(pickle.dumps(wrapped))):
        same(other(x), expected)
        with torch.no_grad():
            other.net[4].bias.add_(1)
        same(other(x), expected + 1)
    same(wrapped(x), expected)
    assert set(wrapped.state_dict()) == {f"net.{k}" for k in model.state_dict()}


def test_a_network_does_not_outlive_its_build(monkeypatch):
    alive = weakref.WeakSet()
    create = trt_api.create_network

    def created(builder):
        alive.add(network := create(builder))
        return network

    monkeypatch.setattr(trt_api, "create_network", created)
    wrapped = TensorRTModuleWrapper(net(), 4)
    graph, inputs, definition = wrapped._defined((images(),), {})
    assert len(alive) == 1
    del definition
    gc.collect()
    assert len(alive) == 0 and graph.graph.nodes


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_nothing_of_the_users_module_is_written(machine, dtype):
    model, x = net() if dtype == "float32" else plain_net(), images()
    attributes = {name: dict(m.__dict__) for name, m in model.named_modules()}
    watch, state = Watch(model), copy.deepcopy(model.state_dict())
    TensorRTModuleWrapper(model, 2, dtype=dtype, check=False)(x)
    assert watch.unchanged()
    assert attributes == {name: dict(m.__dict__) for name, m in model.named_modules()}
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())


# --- the batch and other sizes -------------------------------------------------------------------


def test_a_batch_that_is_too_large_names_input_and_limit(machine):
    wrapped = TensorRTModuleWrapper(net(), 3, input_names=["image"])
    with pytest.raises(InputMismatchError, match="'image': got shape .4, 3, 4, 4.*1 to 3"):
        wrapped(images(4))
    wrapped(images(3))
    with pytest.raises(InputMismatchError, match="max_batchsize"):
        wrapped(images(7))
    assert len(machine.builds) == 1


def test_a_program_that_reads_the_batch_in_python_gets_one_engine_per_size(machine, caplog):
    model = Lambda(lambda x: torch.cat([x[i : i + 1] * (i + 1) for i in range(x.shape[0])]))
    wrapped = TensorRTModuleWrapper(model, 4).eval()
    with caplog.at_level(logging.WARNING, "torch2trt.module"):
        for batch in (1, 3, 2, 3):
            x = torch.rand(batch, 2)
            same(wrapped(x), model(x))
    assert len(machine.builds) == 3 and "one program per input size" in caplog.text


def test_a_batch_of_one_that_has_another_shape_gets_its_own_engine(machine):
    wrapped = TensorRTModuleWrapper(Lambda(lambda x: x.squeeze() * 2), 4).eval()
    for batch in (1, 3, 1):
        x = torch.rand(batch, 5)
        same(wrapped(x), x.squeeze() * 2)


def test_other_dynamic_dimensions_by_name(machine):
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()).eval()
    sizes = {"input0": {2: (4, 8, 16), 3: (4, 8, 16)}}
    wrapped = TensorRTModuleWrapper(model, 2, dynamic=sizes)
    for shape in ((1, 3, 4, 16), (2, 3, 9, 5)):
        x = torch.rand(shape)
        same(wrapped(x), model(x))
    assert len(machine.builds) == 1
    with pytest.raises(InputMismatchError, match="dimension 3 between 4 and 16"):
        wrapped(torch.rand(1, 3, 4, 17))


def test_several_profiles_in_one_engine(machine):
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()).eval()
    small, large = ({"input0": {2: (n, n, n + 2), 3: (n, n, n + 2)}} for n in (4, 10))
    wrapped = TensorRTModuleWrapper(model, 2, dynamic=[small, large])
    for size in (4, 6, 10, 12):
        x = torch.rand(2, 3, size, size)
        same(wrapped(x), model(x))
    assert len(machine.builds) == 1 and len(machine.builds[0].profiles) == 2
    with pytest.raises(InputMismatchError, match="nor any other of 2 profiles"):
        wrapped(torch.rand(1, 3, 8, 8))


def test_a_new_static_size_is_a_new_engine(machine):
    model = nn.Conv2d(3, 4, 3).eval()
    wrapped = TensorRTModuleWrapper(model, 2)
    for size in (4, 6, 4):
        x = torch.rand(1, 3, size, size)
        same(wrapped(x), model(x))
    assert len(machine.builds) == 2


# --- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", torch.float16, "half", "bfloat16", "tf32", "float32"])
def test_precisions(machine, dtype):
    model, x = plain_net(), images(2)
    wrapped = TensorRTModuleWrapper(model, 2, dtype=dtype)
    got = wrapped(x)
    error = ((got - model(x)).norm() / model(x).norm()).item()
    kind = str(parse_dtype(dtype)[0])
    low = {"torch.float16": 1e-5, "torch.bfloat16": 1e-4}.get(kind, 0)
    high = {"torch.float16": 5e-3, "torch.bfloat16": 4e-2}.get(kind, 1e-5)
    assert got.dtype == torch.float32 and low <= error <= high
    assert machine.builds[0].tf32 == (dtype == "tf32")


def test_tensorrt_data_types_are_dtypes():
    assert parse_dtype(trt_api.trt().float16) == (torch.float16, False)
    assert parse_dtype("tf32") == (torch.float32, True)
    for wrong in ("int8", torch.int32, torch.float64, trt_api.trt().int32, 7, None):
        with pytest.raises(ConversionError, match="expected float32"):
            parse_dtype(wrong)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"max_batchsize": 0}, "max_batchsize: got 0"),
        ({"max_batchsize": "4"}, "max_batchsize"),
        ({"workspace": -1}, "workspace"),
        ({"dtype": "fp8"}, "dtype: got 'fp8'"),
    ],
)
def test_wrong_arguments_are_refused_at_once(options, message):
    with pytest.raises(ConversionError, match=message):
        TensorRTModuleWrapper(net(), **options)


def test_wrong_names_are_refused(machine):
    for options, message in (
        ({"input_names": ["a", "b"]}, "got 2 names, expected 1"),
        ({"dynamic": {"z": {2: (1, 2, 3)}}}, "dynamic: got .'z'."),
    ):
        with pytest.raises(ConversionError, match=message):
            TensorRTModuleWrapper(net(), 2, **options)(images())


def test_net_post_fn_may_add_layers_and_change_outputs(machine):
    def twice(network, outputs):
        trt = trt_api.trt()
        layer = network.add_elementwise(outputs[0], outputs[0], trt.ElementWiseOperation.SUM)
        return [outputs[0], layer.get_output(0)]

    model, x = net(), images(2)
    one, two = TensorRTModuleWrapper(model, 4, net_post_fn=twice)(x)
    same(one, model(x))
    same(two, model(x) * 2)
    seen = []
    look = TensorRTModuleWrapper(model, 4, net_post_fn=lambda n, o: seen.append(n.num_layers))
    same(look(x), model(x))
    assert seen[0] > 0


def test_builder_config_fn_is_called(machine):
    seen = []
    TensorRTModuleWrapper(net(), 1, builder_config_fn=seen.append)(images())
    assert len(seen) == 1 and hasattr(seen[0], "set_flag")


def test_verbose_writes_a_line_per_node(machine, capsys):
    TensorRTModuleWrapper(net(), 1, verbose=True)(images())
    assert "net.0._convolution" in capsys.readouterr().out


def test_a_cache_saves_the_build(machine, tmp_path):
    model, x = net(), images(2)
    for _ in range(2):
        same(TensorRTModuleWrapper(model, 4, cache=tmp_path)(x), model(x))
    assert len(machine.builds) == 1
    copy_in_place(None, model)
    same(TensorRTModuleWrapper(model, 4, cache=tmp_path)(x), model(x))
    TensorRTModuleWrapper(model, 4, cache=tmp_path, dtype="tf32", check=False)(x)
    assert len(machine.builds) == 3


def test_a_refittable_engine_from_the_cache_gets_the_present_weights(machine, tmp_path):
    model, x = net(), images(2)
    TensorRTModuleWrapper(model, 4, cache=tmp_path, refit=True)(x)
    copy_in_place(None, model)
    same(TensorRTModuleWrapper(model, 4, cache=tmp_path, refit=True)(x), model(x))
    assert len(machine.builds) == 1 and len(machine.refits) == 1


# --- the check after the build -------------------------------------------------------------------


def spoil(monkeypatch, change):
    run = simulated_engine.SimulatedEngine.run
    monkeypatch.setattr(
        simulated_engine.SimulatedEngine, "run", lambda e, *x: tuple(map(change, run(e, *x)))
    )


def test_an_engine_that_is_not_finite_is_an_error(machine, monkeypatch):
    spoil(monkeypatch, lambda y: y * float("inf"))
    wrapped = TensorRTModuleWrapper(plain_net(), 2, dtype="float16")
    with pytest.raises(EngineBuildError, match="not finite .*float32"):
        wrapped(images())
    wrapped.train()(images(2)).sum().backward()


def test_an_overflow_names_the_first_layer(machine):
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    with torch.no_grad():
        model[1].weight.fill_(1e5)
    wrapped = TensorRTModuleWrapper(model, 2, dtype="float16")
    with pytest.raises(EngineBuildError, match=r"not finite come from aten::linear in net.1 \("):
        wrapped(torch.rand(2, 4) + 1)
    kept = {"net.1": "float32", "net.3": "float32"}
    wrapped = TensorRTModuleWrapper(model, 2, dtype="float16", precision=kept)
    wrapped(torch.rand(2, 4) + 1)


def test_an_engine_that_differs_is_a_warning_with_the_error(machine, monkeypatch, caplog):
    spoil(monkeypatch, lambda y: y * 1.5)
    with caplog.at_level(logging.WARNING, "torch2trt.module"):
        TensorRTModuleWrapper(net(), 2)(images())
    assert (
        "differs from PyTorch by 0.5 (relative error), more than the expected 0.0001" in caplog.text
    )
    caplog.clear()
    TensorRTModuleWrapper(net(), 2, check=False)(images())
    assert caplog.text == ""


# --- errors --------------------------------------------------------------------------------------


def works_in_training(wrapped):
    wrapped.train()
    wrapped(images(2)).sum().backward()
    assert wrapped.net[0].weight.grad is not None
    wrapped.eval()


def test_an_operator_without_a_handler(machine):
    model = nn.Sequential(*net(), Lambda(lambda x: torch.linalg.cholesky(x @ x.T)))
    wrapped = TensorRTModuleWrapper(model.eval(), 4)
    with pytest.raises(UnsupportedOpError, match="cholesky"):
        wrapped(images(2))
    model[5].function = lambda x: x + 1
    wrapped.reset()
    x = images(2)
    same(wrapped(x), model(x))


def test_a_forward_that_returns_no_tensor(machine):
    wrapped = TensorRTModuleWrapper(Lambda(lambda x: "text"), 4).eval()
    with pytest.raises(ConversionError, match="expected tensors"):
        wrapped(images(2))


def test_no_tensor_among_the_inputs(machine):
    with pytest.raises(InputMismatchError, match="got no tensor"):
        TensorRTModuleWrapper(net(), 4)(3)


def test_a_tensor_on_another_device_is_named(machine, monkeypatch):
    wrapped = TensorRTModuleWrapper(net(), 4)
    monkeypatch.undo()
    monkeypatch.setattr(trt_api, "can_run", lambda: True)
    with pytest.raises(InputMismatchError, match="'input0': got a tensor on cpu, expected a CUDA"):
        wrapped(images(2))
    works_in_training(wrapped)


def test_a_failed_build_is_tried_again_and_train_works(machine):
    model, x = net(), images(2)
    wrapped = TensorRTModuleWrapper(model, 4)
    machine.fail = EngineBuildError("out of workspace")
    for _ in range(2):
        with pytest.raises(EngineBuildError, match="out of workspace"):
            wrapped(x)
    works_in_training(wrapped)
    machine.fail = None
    same(wrapped(x), model(x))


def test_a_failed_rebuild_never_gives_old_results(machine):
    model, x = net(), images(2)
    wrapped = TensorRTModuleWrapper(model, 4)
    wrapped(x)
    copy_in_place(wrapped, model)
    machine.fail = KeyboardInterrupt()
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            wrapped(x)
    machine.fail = None
    same(wrapped(x), model(x))


@pytest.mark.skipif(trt_api.can_run(), reason="says what happens where engines cannot run")
def test_without_a_gpu_eval_says_what_can_be_done():
    wrapped = TensorRTModuleWrapper(net(), 4)
    with pytest.raises(BackendUnavailableError, match=r"GPU.*simulate.*build"):
        wrapped(images(2))
    works_in_training(wrapped)


def test_without_tensorrt_eval_names_the_package(monkeypatch):
    trt_api.trt.cache_clear()
    monkeypatch.setenv("TORCH2TRT_TENSORRT", "no_such_tensorrt")
    try:
        with pytest.raises(BackendUnavailableError, match="pip install"):
            TensorRTModuleWrapper(net(), 4)(images(2))
    finally:
        trt_api.trt.cache_clear()


# --- without a GPU -------------------------------------------------------------------------------


def test_simulate_gives_the_engines_numbers():
    model, x = net(), images(3)
    same(TensorRTModuleWrapper(model, 4).simulate(x), model(x))


@pytest.mark.skipif(
    not (trt_api.available() and trt_api.is_rtx()),
    reason="builds ahead of time with TensorRT-RTX only",
)
def test_build_writes_a_file_that_says_how_to_call_it(tmp_path):
    path = tmp_path / "net.engine"
    TensorRTModuleWrapper(net(), 4, input_names=["image"]).build(path, images())
    description, plan = container.read(path)
    assert description["library"] == trt_api.version() and len(plan) > 1000
    assert description["inputs"][0]["ranges"] == [[[1, 3, 4, 4], [4, 3, 4, 4], [4, 3, 4, 4]]]
    call = description["extra"]["call"]
    assert call["input_names"] == ["image"] and call["output_leaves"] == [{"tensor": True}]
    assert any("net.0" in scope for scope in description["extra"]["sources"])


# --- TVM -----------------------------------------------------------------------------------------

needs_tvm = pytest.mark.skipif(
    __import__("importlib.util").util.find_spec("tvm") is None, reason="TVM is not installed"
)


@needs_tvm
def test_tvm_trains_runs_and_follows_the_weights():
    model, x = net(), images(2)
    wrapped = TVMModuleWrapper(model)
    same(wrapped(x), model(x))
    for change in (copy_in_place, buffer_in_place, optimiser_step, new_submodule):
        change(wrapped, model)
        same(wrapped(x), model(x))
    other = images(3)
    same(wrapped(other), model(other))
    wrapped.train()(x).sum().backward()


@needs_tvm
def test_tvm_nested_outputs_and_names():
    model = Lambda(lambda a, b: {"sum": a + b, "more": (a * 2, None)})
    wrapped = TVMModuleWrapper(model, input_names=["a", "b"]).eval()
    a, b = torch.rand(2, 3), torch.rand(2, 3)
    got = wrapped(a, b)
    same(got["sum"], a + b)
    same(got["more"][0], a * 2)
    assert got["more"][1] is None
    with pytest.raises(ConversionError, match="got 2 names"):
        wrapped(a)


@needs_tvm
def test_tvm_graph_post_fn_sees_the_module():
    seen = []
    model, x = net(), images()
    same(TVMModuleWrapper(model, graph_post_fn=seen.append)(x), model(x))
    assert "main" in str(seen[0])
