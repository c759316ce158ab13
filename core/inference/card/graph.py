"""A call captured as a CUDA graph, or made as it is where there is no card.

Invariant: capturing leaves the call's state as it was; a call that cannot be captured is said so by CaptureFailed,
after which the device can be used on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

WARM_UPS = 2  # the first compiles kernels and finds cuBLAS's workspace, which must not happen while capturing


class CaptureFailed(Exception):
    """Says why, for the log."""


def captured(call: Callable[[], None], state: Sequence[Tensor], device: torch.device) -> Callable[[], None]:
    """What does the same as `call` at the price of one launch. state: all that the call changes and reads again.

    Raises:
        CaptureFailed
    """
    before = [tensor.clone() for tensor in state]
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(device))
    try:
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                call()
                for tensor, kept in zip(state, before, strict=True):
                    tensor.copy_(kept)
            stream.synchronize()
            graph = _capture(call)
    except RuntimeError as error:
        raise CaptureFailed(str(error).splitlines()[0]) from error
    finally:
        torch.cuda.current_stream(device).wait_stream(stream)
    return graph.replay


def _capture(call: Callable[[], None]) -> torch.cuda.CUDAGraph:
    """Not by `torch.cuda.graph`, which collects garbage and empties the allocator first: that takes longer than
    this."""
    graph = torch.cuda.CUDAGraph()
    graph.capture_begin(capture_error_mode="thread_local")  # other threads may allocate meanwhile
    try:
        call()
    except BaseException:
        try:
            graph.capture_end()
        except RuntimeError:  # it says only that the capture is invalid, which the first error explains
            pass
        raise
    graph.capture_end()
    return graph
