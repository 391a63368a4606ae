"""Modules of TVM that the releases with Relay name differently."""

from tvm import te

try:
    from tvm import tirx
    from tvm.sym import Analyzer
except ImportError:
    from tvm import tir as tirx
    from tvm.arith import Analyzer

__all__ = ["Analyzer", "te", "tirx"]
