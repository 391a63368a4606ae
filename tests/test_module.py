"""TensorRTModule: switch, batch, options, errors. Engines are simulated."""

import logging

import pytest
import torch
from module_case import Lambda, copy_in_place, defines_networks, images, net, plain_net, same
from torch import nn

from torch2trt.backends import trt_api
from torch2trt.errors import ConversionError, InputMismatchError
from torch2trt.module import TensorRTModule, TensorRTModuleWrapper
from torch2trt.settings import parse_dtype

pytestmark = defines_networks


# --- the switch -----------------------------------------------------------------------------------


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


# --- the batch and other sizes --------------------------------------------------------------------


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


# --- options --------------------------------------------------------------------------------------


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
        ({"max_batchsize": True}, "max_batchsize: got True"),
        ({"workspace": "1GB"}, "workspace: got '1GB'"),
        ({"input_names": "image"}, "input_names: got 'image'"),
        ({"cache": 3}, "cache: got 3"),
        ({"refit": "x"}, "refit: got 'x'"),
        ({"progress": 3}, "progress: got 3"),
        ({"builder_config_fn": 3}, "builder_config_fn: got 3"),
        ({"optimization_level": 9}, "optimization_level: got 9"),
        ({"precision": "float32"}, "precision: got 'float32'"),
        ({"precision": {"4": "int8"}}, "dtype: got 'int8'"),
        ({"precision": {"layer1": "float32"}}, "precision: got 'layer1', expected the path"),
        ({"dynamic": {"input0": (1, 2, 3)}}, "dynamic: got .*expected {name: {axis:"),
        ({"dynamic": {"input0": {2: 5}}}, "dynamic: got"),
        ({"dynamic": {"input0": {2: (8, 16)}}}, "dynamic: got"),
        ({"dynamic": {"input0": {2: (3, 2, 1)}}}, "0 <= min <= opt <= max"),
        ({"dynamic": {"input0": {2: (8.0, 16.0, 32.0)}}}, "dynamic: got"),
        ({"dynamic": {"input0": {-1: (8, 16, 32)}}}, "axes from 0 on"),
        ({"dynamic": "input0"}, "dynamic: got 'input0'"),
        ({"dynamic": [{"input0": None}]}, "dynamic: got"),
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
    with pytest.raises(InputMismatchError, match=r"dynamic= names the dimensions \[4\]"):
        TensorRTModuleWrapper(net(), 2, dynamic={"input0": {4: (1, 2, 3)}})(images())


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


def test_the_source_of_a_layer_of_torch_is_the_line_of_the_call(machine):
    wrapped = TensorRTModuleWrapper(nn.Linear(3, 4), 2).eval()
    wrapped(torch.randn(2, 3))
    sources = {n.source for n in wrapped.latest_variant().graph.graph.nodes if "linear" in n.kind}
    assert len(sources) == 1 and sources.pop().startswith("test_module.py(")
