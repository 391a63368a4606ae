"""TensorRT engines of one network by two roads: torch2trt, and TensorRT's parser of ONNX files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..backends import trt_api
from ..build import GRAPH_STREAMS, BuildOptions, build_engine
from ..cache import EngineCache
from ..engine import Engine
from ..errors import BackendUnavailableError, ConversionError
from ..inference import TorchInferenceContext
from ..module import TensorRTModuleWrapper
from .setting import Setting, onnx_bytes

WORKSPACE = 1 << 32


def require_gpu(setting: Setting) -> None:
    """Refuse a setting whose engine cannot run.

    Raises:
        BackendUnavailableError: engines do not run here.
    """
    if not (setting.cuda and trt_api.can_run()):
        raise BackendUnavailableError("no GPU that this TensorRT runs on")


def own_module(setting: Setting, **options: Any) -> TensorRTModuleWrapper:
    """The module in eval mode, to be run by TensorRT from a CUDA graph.

    Args:
        setting: what to run.
        **options: as for ``TensorRTModule``.
    """
    require_gpu(setting)
    level = setting.level
    given = dict(
        dtype=setting.dtype, cuda_graph=True, cache=setting.cache, optimization_level=level
    )
    batch = setting.example.shape[0]
    return TensorRTModuleWrapper(setting.module, batch, WORKSPACE, **{**given, **options}).eval()


def onnx_engine(setting: Setting) -> Engine:
    """The engine that TensorRT builds from the ONNX file of the module.

    Options and kernel timings are those of ``own_module``: a layer that both networks have gets the
    same kernel in both engines if there is a cache folder.
    """
    require_gpu(setting)
    builder = trt_api.create_builder()
    network, parser = parsed(builder, setting)
    plan = build_engine(builder, network, onnx_options(setting))
    del parser  # it owns the weights
    return Engine.from_plan(plan, torch.cuda.current_device())


def parsed(builder: Any, setting: Setting) -> tuple[Any, Any]:
    """The network definition of the ONNX file, and the parser, which has to outlive it.

    Raises:
        ConversionError: the parser does not take the file.
    """
    network = trt_api.create_network(builder)
    parser = trt_api.trt().OnnxParser(network, trt_api.logger())
    weakly = _weakly_typed()
    module, example = (setting.module, setting.example) if weakly else setting.converted()
    if not parser.parse(onnx_bytes(module, example)):
        errors = [str(parser.get_error(i)) for i in range(parser.num_errors)]
        raise ConversionError("ONNX parser: " + "; ".join(errors))
    return network, parser


def onnx_options(setting: Setting) -> BuildOptions:
    """As ``trtexec`` would be called: 16 bits by the builder's flag where there is one."""
    flags = {torch.float16: ("FP16",), torch.bfloat16: ("BF16",)}.get(setting.half, ())
    timings = EngineCache(setting.cache).timing_cache(_place()) if setting.cache else None
    return BuildOptions(
        WORKSPACE, tf32=setting.dtype == "tf32", optimization_level=setting.level,
        aux_streams=GRAPH_STREAMS, flags=flags if _weakly_typed() else (), timing_cache=timings,
    )  # fmt: skip


def _weakly_typed() -> bool:
    return not trt_api.strongly_typed()


def _place() -> str:
    """The name under which ``TensorRTModule`` keeps its kernel timings."""
    return f"{trt_api.version()} {torch.cuda.get_device_name()}"


def replayed(engine: Engine, example: torch.Tensor) -> Callable[[], torch.Tensor]:
    """A call of the engine on `example`, from a CUDA graph."""
    run = TorchInferenceContext(engine, cuda_graph=True).run
    if example.is_floating_point():
        example = example.to(engine.inputs[0].dtype)
    return lambda: run(example)[0]
