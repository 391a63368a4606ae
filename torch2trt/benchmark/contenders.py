"""The ways to run a network that the benchmark compares, each made from a ``Setting``."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ..backends import tvm_module
from ..errors import BackendUnavailableError
from .engines import onnx_engine, own_module, replayed
from .setting import Setting, onnx_bytes

Call = Callable[[], Any]


def _eager(module: nn.Module, example: torch.Tensor) -> Call:
    def call() -> Any:
        with torch.inference_mode():
            return module(example)

    return call


def pytorch(setting: Setting) -> Call:
    """PyTorch eager."""
    return _eager(*setting.converted())


def channels_last(setting: Setting) -> Call:
    """PyTorch eager with channels_last memory format."""
    module, example = setting.converted()
    if example.dim() != 4:
        raise BackendUnavailableError(
            f"channels_last needs images, got an input of {example.dim()} dimensions"
        )
    module = copy.deepcopy(module).to(memory_format=torch.channels_last)
    return _eager(module, example.contiguous(memory_format=torch.channels_last))


def compiled(setting: Setting) -> Call:
    """torch.compile, mode="reduce-overhead" on CUDA."""
    module, example = setting.converted()
    mode = {"mode": "reduce-overhead"} if setting.cuda else {}
    return _eager(torch.compile(copy.deepcopy(module), **mode), example)


def tvm(setting: Setting) -> Call:
    """TVM through torch2trt."""
    from ..module import TVMModuleWrapper

    tvm_module()
    wrapped = TVMModuleWrapper(setting.module, dtype=setting.dtype, check=False)
    return _eager(wrapped.eval(), setting.example)


def tvm_importer(setting: Setting) -> Call:
    """TVM's own importer from torch.export, and its default pipeline."""
    library = tvm_module()
    from tvm import relax
    from tvm.relax.frontend.torch import from_exported_program

    with torch.no_grad():
        exported = torch.export.export(setting.module, (setting.example,))
    target = library.target.Target(
        {"kind": "cuda", "arch": _arch()} if setting.cuda else {"kind": "llvm"}
    )
    with target:
        executable = relax.build(from_exported_program(exported), target)
    device = library.cuda() if setting.cuda else library.cpu()
    machine = relax.VirtualMachine(executable, device)
    example = library.runtime.from_dlpack(setting.example.contiguous())
    return lambda: machine["main"](example)[0]


def _arch() -> str:
    return "sm_{}{}".format(*torch.cuda.get_device_capability())


def onnxruntime(setting: Setting) -> Call:
    """ONNX Runtime on the CPU, from torch.onnx.export."""
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise BackendUnavailableError(
            "ONNX Runtime is not installed: pip install onnxruntime onnx"
        ) from error
    if setting.cuda:
        raise BackendUnavailableError("the ONNX Runtime row is for the CPU")
    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # its threads would wait actively for 20 ms after each call, on the cores of the next contender
    options.add_session_config_entry("session.force_spinning_stop", "1")
    model = onnx_bytes(setting.module, setting.example)
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: setting.example.numpy()}
    return lambda: torch.from_numpy(session.run(None, feed)[0])


def tensorrt(setting: Setting) -> Call:
    """A TensorRT engine through torch2trt, replayed from a CUDA graph."""
    return _eager(own_module(setting), setting.example)


def tensorrt_onnx(setting: Setting) -> Call:
    """A TensorRT engine from the module's ONNX file, through TensorRT's own parser; CUDA graph."""
    return replayed(onnx_engine(setting), setting.example)


CONTENDERS: dict[str, Callable[[Setting], Call]] = {
    "PyTorch": pytorch,
    "PyTorch channels_last": channels_last,
    "torch.compile": compiled,
    "ONNX Runtime": onnxruntime,
    "TVM importer": tvm_importer,
    "TVM": tvm,
    "TensorRT from ONNX": tensorrt_onnx,
    "TensorRT": tensorrt,
}
