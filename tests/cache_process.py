"""A process that takes a small engine from a cache: python -m tests.cache_process FOLDER WHAT.

It says `ready`, waits for a line, and then writes JSON: how many engines it built, and the SHA-256
of the plan that it got. WHAT is `plain`; `stall`, which writes half of the entry, says `half` and
sleeps; or `full`, whose files may not grow beyond 4096 bytes.
"""

import hashlib
import json
import logging
import resource
import sys
import time

import torch
from torch import nn

from torch2trt import TensorRTModuleWrapper, container, files, program


def say(text):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def stalled(path, parts):
    def halves():
        *head, plan, _ = parts
        yield from head
        yield plan[: plan.nbytes // 2]
        say("half")
        time.sleep(600)

    files.write_atomic(path, halves())


def main(folder, what):
    logging.basicConfig(level=logging.WARNING)
    builds = []
    build = program.build_engine

    def counted(*args):
        builds.append(args)
        time.sleep(0.5)
        return build(*args)

    program.build_engine = counted
    if what == "stall":
        container.write_atomic = stalled
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU()).eval()
    wrapped = TensorRTModuleWrapper(net, 1, cache=folder, optimization_level=0)
    _, inputs, definition = wrapped._defined((torch.randn(1, 3, 8, 8),), {})
    say("ready")
    sys.stdin.readline()
    if what == "full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    _, plan = program.TensorRTProgram(inputs, wrapped.settings, 0).plan(definition, False)
    say(json.dumps({"built": len(builds), "plan": hashlib.sha256(plan).hexdigest()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
