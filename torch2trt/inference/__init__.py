"""Running engines: numpy in and out, CUDA tensors in and out, compiled TVM programs."""

from .host import InferenceContext
from .torch_cuda import TorchInferenceContext
from .tvm import TVMInference

__all__ = ["InferenceContext", "TVMInference", "TorchInferenceContext"]
