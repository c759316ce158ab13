"""Records the memory of this process while it works: a thread that takes samples, and the marks of the phases.

Invariant: the highest of every phase is exact where the system or PyTorch keeps it (not merely the largest sample), and
a long measurement keeps no more than MOST samples. It ends the process rather than let the machine run out of memory.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from core.profiling import own_memory
from core.profiling.result import NO_MEMORY, PhaseMemory
from core.profiling.timeline import MemorySample, MemoryTimeline, Phase, PhaseMark

EVERY_S = 0.05
CARD_EVERY_S = 0.2  # asking PyTorch takes time from the loop that keeps the card busy
MOST = 600
LEAST_FREE = 200_000_000  # bytes of the system's memory; below, the desktop would be next


class Recorder:
    """`with Recorder(folder) as recorder: recorder.mark("load") ...`

    model: whose files count as this process's own
    """

    def __init__(self, model: Path | None = None, *, every_s: float = EVERY_S, most: int = MOST) -> None:
        self._model, self._every_s, self._most = model, every_s, most
        self._card_every_s = CARD_EVERY_S * every_s / EVERY_S
        self._began = time.perf_counter()
        self._lock = threading.Lock()
        self._samples: list[MemorySample] = []
        self._marks: list[PhaseMark] = []
        self._taken = 0, 0
        self._dropped = 0
        self._highest: dict[Phase, PhaseMemory] = {}
        self._shared = 0
        self._card: _Card | None = None
        self._watts: list[float] = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="memory samples", daemon=True)

    def __enter__(self) -> Recorder:
        self.mark("libraries")
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over.set()
        self._thread.join()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began

    def on_card(self) -> None:
        """From now on the card's memory is looked at as well. Nothing of ours may be there yet."""
        self._card = _Card()

    def mark(self, phase: Phase, round: int = 0, *, is_fine: bool = False) -> float:
        """The work is `phase` from now on. is_fine: one of many short ones, for which what is shared is not looked at
        anew. Waits for the card, so that the phases do not run into each other; the seconds since the start."""
        if self._card is not None:
            self._card.wait()
        self._close_phase(is_fine)
        at = self.seconds
        with self._lock:
            self._marks.append(PhaseMark(at, phase, round))
            self._samples.append(self._now(at))
        return at

    def finish(self) -> None:
        self.mark("end")

    # --- what was recorded ----------------------------------------------------------

    def take(self) -> tuple[tuple[MemorySample, ...], tuple[PhaseMark, ...]]:
        """What has come since the last time."""
        with self._lock:
            samples, marks = self._taken
            self._taken = len(self._samples), len(self._marks)
            return tuple(self._samples[samples:]), tuple(self._marks[marks:])

    @property
    def timeline(self) -> MemoryTimeline:
        with self._lock:
            return MemoryTimeline(tuple(self._samples), tuple(self._marks), self._dropped)

    @property
    def phases(self) -> tuple[PhaseMemory, ...]:
        return tuple(self._highest.values())

    @property
    def peak_bytes(self) -> int:
        """Reserved on a card, else the process's own."""
        kind = "reserved" if self._card is not None else "own"
        return max((getattr(found, kind) for found in self._highest.values()), default=0)

    @property
    def card_peak_bytes(self) -> int:
        return max((found.allocated for found in self._highest.values()), default=0)

    @property
    def context_bytes(self) -> int:
        """On the card beside PyTorch's allocator. What others take or give back meanwhile is in it, too."""
        return self._card.beside() if self._card is not None else 0

    @property
    def power_w(self) -> float | None:
        return sum(self._watts) / len(self._watts) if self._watts else None

    # --- within ---------------------------------------------------------------------

    def _close_phase(self, is_fine: bool) -> None:
        if not is_fine:
            self._shared = own_memory.shared(self._model)
        if self._marks:
            phase = self._marks[-1].phase
            with self._lock:
                begun = self._marks[-1].at_s
                inside = [sample for sample in self._samples[-self._most :] if sample.at_s >= begun]
            resident = max([own_memory.highest_resident(), own_memory.resident(), *(s.resident for s in inside)])
            allocated, reserved = self._card.highest() if self._card is not None else (0, 0)
            device = max((sample.device for sample in inside), default=0)
            now = PhaseMemory(phase, resident, max(0, resident - self._shared), allocated, reserved, device)
            self._highest[phase] = _higher(self._highest.get(phase), now)
        own_memory.begin_anew()

    def _now(self, at: float) -> MemorySample:
        resident = own_memory.resident()
        own = max(0, resident - self._shared)
        if self._card is None:
            return MemorySample(at, resident, own)
        return MemorySample(at, resident, own, *self._card.now())

    def _sample(self) -> None:
        every = self._every_s
        while not self._is_over.wait(every):
            every = max(every, self._card_every_s) if self._card is not None else every
            if psutil.virtual_memory().available < LEAST_FREE:
                os._exit(NO_MEMORY)
            sample = self._now(self.seconds)
            with self._lock:
                self._samples.append(sample)
                if self._card is not None and self._marks[-1].phase == "decode" and (watts := self._card.watts()):
                    self._watts.append(watts)
                if len(self._samples) >= self._most:
                    every *= 2
                    self._thin_out()

    def _thin_out(self) -> None:
        kept = self._samples[::2]
        self._taken = (self._taken[0] + 1) // 2, self._taken[1]
        self._dropped += len(self._samples) - len(kept)
        self._samples = kept


def _higher(before: PhaseMemory | None, now: PhaseMemory) -> PhaseMemory:
    if before is None:
        return now
    names = ("resident", "own", "allocated", "reserved", "device")
    return PhaseMemory(now.phase, *(max(getattr(before, name), getattr(now, name)) for name in names))


class _Card:
    """The first card, by PyTorch and by NVML where that answers. Made before anything of ours is on it."""

    def __init__(self) -> None:
        import torch

        self._cuda: Any = torch.cuda
        self._nvml: Any = None
        self._handle: Any = None
        try:
            import pynvml

            pynvml.nvmlInit()
            visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]
            if visible.isdigit():
                self._handle = pynvml.nvmlDeviceGetHandleByIndex(int(visible))
            else:
                self._handle = pynvml.nvmlDeviceGetHandleByUUID(visible.encode())
            self._nvml = pynvml
        except Exception:  # WORKAROUND: NVML says no in a dozen ways; then the card is told by PyTorch alone
            self._nvml = None
        self._before = self._device()
        self._cuda.init()

    def wait(self) -> None:
        self._cuda.synchronize()

    def now(self) -> tuple[int, int, int]:
        return self._cuda.memory_allocated(), self._cuda.memory_reserved(), self._device()

    def highest(self) -> tuple[int, int]:
        """Since it was last asked."""
        found = self._cuda.max_memory_allocated(), self._cuda.max_memory_reserved()
        self._cuda.reset_peak_memory_stats()
        return found

    def beside(self) -> int:
        """What has come to the card since we began, less what PyTorch reserves; 0 where NVML does not tell."""
        return max(0, self._device() - self._before - int(self._cuda.memory_reserved())) if self._nvml else 0

    def watts(self) -> float:
        return float(self._asked(lambda: self._nvml.nvmlDeviceGetPowerUsage(self._handle) / 1000) or 0.0)

    def _device(self) -> int:
        return int(self._asked(lambda: self._nvml.nvmlDeviceGetMemoryInfo(self._handle).used) or 0)

    def _asked(self, question: Callable[[], float]) -> float | None:
        if self._nvml is None:
            return None
        try:
            return question()
        except self._nvml.NVMLError:
            return None
