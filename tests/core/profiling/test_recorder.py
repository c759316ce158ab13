"""The memory of this process over time: exact peaks, marked phases, a bounded number of samples."""

from __future__ import annotations

import mmap
import sys
import threading

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
