"""What this machine has: memory, cards, processor. Each answer is a reading of now, taken without torch.

Invariant: a card is only reported when NVIDIA's own library (NVML) answers; its absence comes with the reason.
"""

from __future__ import annotations

import logging
import os
import platform
import shutil
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import psutil

log = logging.getLogger("hardware")

COMPILERS = ("g++", "clang++", "c++")
NATIVE = "QWEN_WORKBENCH_NATIVE"  # in the environment: where our own code is built; "0": compute by torch alone


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes; `used` is what programs cannot get (total minus available)."""

    total: int
    used: int

    @property
    def free(self) -> int:
        return self.total - self.used


@dataclass(frozen=True, slots=True)
class Card:
    name: str
    memory: Memory
    driver: str


def system_memory() -> Memory:
    reading = psutil.virtual_memory()
    return Memory(reading.total, reading.total - reading.available)


def cards() -> tuple[list[Card], str]:
    """The NVIDIA cards with their memory now, and the reason key when there are none (`reason.<key>`)."""
    reason = _start_nvml()
    if reason:
        return [], reason
    import pynvml

    found = []
    driver = _text(pynvml.nvmlSystemGetDriverVersion())
    for index in range(pynvml.nvmlDeviceGetCount()):
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        name = _text(pynvml.nvmlDeviceGetName(handle))
        found.append(Card(name, Memory(int(memory.total), int(memory.used)), driver))
    return found, "" if found else "no_card"


def usable_cards() -> tuple[str, ...]:
    """The cards a process started from here computes on, by what CUDA_VISIBLE_DEVICES calls them: it may hide some."""
    there = len(cards()[0])
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    if shown is None:
        return tuple(map(str, range(there)))
    names = [name.strip() for name in shown.split(",")]
    visible = names[: names.index("-1")] if "-1" in names else names  # what follows -1 is hidden
    return tuple(filter(None, visible))[:there]


@lru_cache(maxsize=1)
def _start_nvml() -> str:
    """Once per process; "" when NVML answers."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        log.info("NVML: %s", error)
        return "no_driver"
    return ""


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


@lru_cache(maxsize=1)
def processor() -> tuple[str, frozenset[str]]:
    """The processor's name and, on Linux, its feature flags ("avx2", "avx512_bf16", "amx_int8" ...)."""
    name, flags = platform.processor() or platform.machine(), frozenset[str]()
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return name, flags
    for line in text.split("\n\n")[0].splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            name = value.strip()
        elif key.strip() == "flags":
            flags = frozenset(value.split())
    return name, flags


def compiler() -> str | None:
    """The path of a C++ compiler; CXX in the environment comes first."""
    names = (chosen,) if (chosen := os.environ.get("CXX")) else COMPILERS
    return next((path for name in names if (path := shutil.which(name))), None)


@lru_cache(maxsize=1)
def builds_native() -> bool:
    """Our own code for the processor can be had here, as far as can be told without building it."""
    return os.environ.get(NATIVE) != "0" and platform.system() != "Windows" and compiler() is not None
