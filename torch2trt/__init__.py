"""torch2trt: PyTorch modules and functions to TensorRT engines and TVM programs."""
