"""The memory of this process over time: exact peaks, marked phases, a bounded number of samples."""

from __future__ import annotations

import mmap
import sys
import threading
from types import SimpleNamespace

import pytest

from core.profiling.recorder import Recorder

MB = 1_000_000


def touched(size: int) -> mmap.mmap:
    """So many bytes that are really there."""
    block = mmap.mmap(-1, size)
    for place in range(0, size, mmap.PAGESIZE):
        block[place] = 1
    return block


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel keeps the peak on Linux only")
def test_a_peak_between_two_samples_is_seen_and_belongs_to_its_phase() -> None:
    with Recorder(every_s=60) as recorder:
        recorder.mark("load")
        touched(80 * MB).close()
        recorder.mark("prefill", 1)
        recorder.mark("decode", 1, is_fine=True)
        recorder.finish()
        phases = {found.phase: found for found in recorder.phases}
        assert phases["load"].own - phases["prefill"].own > 70 * MB
        assert recorder.peak_bytes == max(found.own for found in recorder.phases)
        assert [mark.phase for mark in recorder.timeline.marks] == ["libraries", "load", "prefill", "decode", "end"]
        assert phases["load"].own <= phases["load"].resident


def test_samples_are_handed_on_once_and_thinned_out() -> None:
    many = threading.Event()
    with Recorder(every_s=0.001, most=40) as recorder:
        while recorder.timeline.dropped < 40:
            many.wait(0.005)
        samples, marks = recorder.take()
        assert marks and len(samples) <= 40
        assert len(recorder.timeline.samples) <= 40
        later, _ = recorder.take()
        assert not samples or not later or later[0].at_s > samples[-1].at_s
        times = [sample.at_s for sample in recorder.timeline.samples]
        assert times == sorted(times)
    assert recorder.power_w is None and recorder.context_bytes == 0


class Cuda:
    """A card with what recording asks of it: 1000 bytes are held from the beginning by others."""

    def __init__(self) -> None:
        self.allocated = self.reserved = self.highest = self.most_reserved = 0
        self.waits = 0

    def init(self) -> None:
        self.context = 300

    def hold(self, size: int) -> None:
        self.allocated, self.reserved = size, 2 * size
        self.highest, self.most_reserved = max(self.highest, size), max(self.most_reserved, 2 * size)

    def synchronize(self) -> None:
        self.waits += 1

    def memory_allocated(self) -> int:
        return self.allocated

    def memory_reserved(self) -> int:
        return self.reserved

    def max_memory_allocated(self) -> int:
        return self.highest

    def max_memory_reserved(self) -> int:
        return self.most_reserved

    def reset_peak_memory_stats(self) -> None:
        self.highest, self.most_reserved = self.allocated, self.reserved


def test_on_a_card_phases_have_what_pytorch_kept_and_what_lies_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import pynvml
    import torch

    card = Cuda()

    def used(handle: object) -> SimpleNamespace:
        return SimpleNamespace(used=1000 + card.reserved + getattr(card, "context", 0))

    for name in (name for name in dir(Cuda) if not name.startswith("_") and name != "hold"):
        monkeypatch.setattr(torch.cuda, name, getattr(card, name))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: "card")
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", used)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetPowerUsage", lambda handle: 250_000)
    decoded = threading.Event()
    with Recorder(every_s=0.002) as recorder:
        recorder.on_card()
        recorder.mark("load")
        card.hold(50)
        card.hold(20)
        recorder.mark("decode", 1)
        while recorder.power_w is None:
            decoded.wait(0.002)
        recorder.finish()
        phases = {found.phase: found for found in recorder.phases}
    assert (phases["load"].allocated, phases["load"].reserved) == (50, 100)
    assert (phases["decode"].allocated, phases["decode"].reserved, phases["decode"].device) == (20, 40, 1340)
    assert (recorder.peak_bytes, recorder.card_peak_bytes, recorder.context_bytes) == (100, 50, 300)
    assert recorder.power_w == 250 and card.waits == 3
