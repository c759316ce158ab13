"""The limits of this machine as PyTorch reaches them: bandwidth and matrix rate, each the best of several tries.

On a card a copy of GIGABYTE-sized blocks and a large product of matrices, timed with the card's own clock waits; on a
processor a sum (which only reads), a copy, and smaller products. Invariant: every rate tells how it was measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import psutil
import torch

from core.errors import Param
from core.profiling.machine import this_machine, versions
from core.profiling.measure import Step
from core.profiling.result import MachineProbe, Rate

TRIES = 5
CARD_BYTES, PROCESSOR_BYTES = 1 << 30, 256 << 20
CARD_SIDE, PROCESSOR_SIDE = 8192, 1024
STEPS = 4


def probing(device: str = "auto", threads: int = 0, *, bytes_: int = 0, side: int = 0) -> Iterator[Step | MachineProbe]:
    """Steps, and in the end what was found. bytes_, side: of the blocks and matrices, 0 for the usual ones."""
    on_card = device != "cpu" and torch.cuda.is_available()
    place = torch.device("cuda" if on_card else "cpu")
    torch.set_num_threads(threads or torch.get_num_threads())
    block = bytes_ or (CARD_BYTES if on_card else min(PROCESSOR_BYTES, psutil.virtual_memory().available // 8))
    size = side or (CARD_SIDE if on_card else PROCESSOR_SIDE)
    yield Step("probing", 0, STEPS)
    read = _sums(block, place)
    yield Step("probing", 1, STEPS)
    copy = _copies(block, place)
    yield Step("probing", 2, STEPS)
    half = _product(size, torch.bfloat16, place)
    yield Step("probing", 3, STEPS)
    full = _product(size // 2 if on_card else size, torch.float32, place)
    where = "card" if on_card else "processor"
    megabytes: dict[str, Param] = {"size": f"{block / 1e6:.0f} MB", "tries": TRIES}
    yield MachineProbe(
        machine=this_machine(),
        device=place.type,
        threads=torch.get_num_threads(),
        measured_at=datetime.now(UTC),
        versions=versions(),
        read=Rate(read, f"read_{where}", megabytes),
        copy=Rate(copy, f"copy_{where}", megabytes),
        matrix_bf16=Rate(half, f"matrix_{where}", {"side": size, "tries": TRIES, "precision": "BF16"}),
        matrix_fp32=Rate(
            full, f"matrix_{where}", {"side": size // 2 if on_card else size, "tries": TRIES, "precision": "FP32"}
        ),
    )


def _sums(block: int, place: torch.device) -> float:
    source = torch.rand(block // 4, device=place)
    return _best(source.sum, place, source.nbytes)


def _copies(block: int, place: torch.device) -> float:
    source = torch.rand(block // 4, device=place)
    target = torch.empty_like(source)
    return _best(lambda: target.copy_(source), place, 2 * source.nbytes)


def _product(side: int, dtype: torch.dtype, place: torch.device) -> float:
    left = torch.randn(side, side, device=place).to(dtype)
    right = torch.randn(side, side, device=place).to(dtype)
    out = torch.empty_like(left)
    return _best(lambda: torch.mm(left, right, out=out), place, 2 * side**3)


def _best(work: Callable[[], object], place: torch.device, amount: float) -> float:
    """amount of the work, a second; the first try warms up."""
    seconds = []
    with torch.inference_mode():
        for _ in range(TRIES + 1):
            began = time.perf_counter()
            work()
            if place.type == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - began)
    return amount / min(seconds[1:])
