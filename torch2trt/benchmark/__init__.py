"""The timing table: networks on every backend that is there, side by side in one process.

``python -m torch2trt.benchmark --help`` lists the options.
"""

from .networks import NETWORKS, Network, make_network
from .timing import Timing, interleave

__all__ = ["NETWORKS", "Network", "Timing", "interleave", "make_network"]
