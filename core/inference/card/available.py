"""What of the card's decoding this machine can use, each answer with its reason for the log.

Invariant: looking imports no Triton and starts no CUDA where there is no card.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec

import torch

OLDEST = 8  # compute capability: the first with bf16


def why_no_graph(device: torch.device) -> str:
    """Why no step can be captured for a model on that device; empty when one can."""
    if device.type != "cuda":
        return f"the model is on {device.type}"
    return "" if hasattr(torch.cuda, "CUDAGraph") else "this build of torch captures no graphs"


@lru_cache(maxsize=8)
def why_no_kernels(device: torch.device) -> str:
    """Why the fused kernels cannot run there; empty when they can. Whether they are right is tried where they are
    used."""
    if device.type != "cuda":
        return f"the model is on {device.type}"
    if find_spec("triton") is None:
        return "Triton is not installed"
    capability = torch.cuda.get_device_capability(device)
    if capability[0] < OLDEST:
        return f"the card's compute capability is {capability[0]}.{capability[1]}, the kernels need {OLDEST}.0"
    return ""
