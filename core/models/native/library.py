"""Builds kernels.cpp for this processor and loads it.

Owns the compiler's command and where its result is kept. Invariant: what is loaded was built from these very sources
by that command on a processor with the same instructions; it appears in its place whole or not at all.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import logging
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from core import hardware, paths
from core.hardware import NATIVE
from core.models.native import structures

log = logging.getLogger("native")

SOURCE = Path(__file__).with_name("kernels.cpp")
FLAGS = (
    "-O3", "-march=native", "-std=c++17", "-shared", "-fPIC", "-pthread", "-fno-math-errno", "-fno-trapping-math", "-w",
)  # fmt: skip
PATIENCE_S = 180
POLL_S = 0.1

Wait = Callable[[], None]


class NotBuilt(Exception):
    """args[0]: why, for the log."""


class _Found:
    """What this process loaded, or that there is nothing."""

    library: ctypes.CDLL | None = None
    is_settled = False


def library(wait: Wait = lambda: None) -> ctypes.CDLL | None:
    """Ours, built if need be, which takes seconds; None where it cannot be had, with the reason in the log.

    wait: called while the compiler runs; what it raises ends the compiler and is raised
    """
    if not _Found.is_settled:
        try:
            _Found.library = _loaded(build(wait))
        except NotBuilt as error:
            log.info("native code is not used: %s", error)
        _Found.is_settled = True
    return _Found.library


def build(wait: Wait = lambda: None) -> Path:
    """The library's file.

    Raises:
        NotBuilt
        What `wait` raises.
    """
    if (place := os.environ.get(NATIVE, "")) == "0":
        raise NotBuilt(f"{NATIVE} is 0")
    if sys.platform == "win32":
        raise NotBuilt("it is not built on Windows")
    if (compiler := hardware.compiler()) is None:
        raise NotBuilt(f"none of {', '.join(hardware.COMPILERS)} is here")
    folder = Path(place) if place else paths.home() / "native"
    target = folder / f"kernels-{_fingerprint(compiler)}.so"
    if not target.exists():
        _compile(compiler, target, wait)
    return target


def _compile(compiler: str, target: Path, wait: Wait) -> None:
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile("w+", errors="replace") as said:
            command = [compiler, *FLAGS, "-o", str(part), str(SOURCE)]
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
            )
            if _ended(child, wait):
                said.seek(0)
                raise NotBuilt(f"{compiler} said: {said.read()[-500:].strip()}")
        os.replace(part, target)
    except OSError as error:
        raise NotBuilt(str(error)) from error
    finally:
        part.unlink(missing_ok=True)


def _ended(child: subprocess.Popen[bytes], wait: Wait) -> int:
    """Its exit status; neither it nor the programs it calls outlive this."""
    deadline = time.monotonic() + PATIENCE_S
    try:
        while True:
            try:
                return child.wait(POLL_S)
            except subprocess.TimeoutExpired:
                wait()
            if time.monotonic() > deadline:
                raise NotBuilt(f"not done after {PATIENCE_S} s")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _loaded(file: Path) -> ctypes.CDLL:
    try:
        found = ctypes.CDLL(str(file))
    except OSError as error:
        raise NotBuilt(str(error)) from error
    for number, structure in enumerate(structures.ALL):
        if found.qw_size(number) != ctypes.sizeof(structure):
            raise NotBuilt(f"{structure.__name__} has another size in C++")
    pointer, whole = ctypes.c_void_p, ctypes.c_int32
    found.qw_product.argtypes, found.qw_product.restype = (pointer, pointer, whole, pointer, whole), None
    found.qw_step.argtypes, found.qw_step.restype = (pointer, pointer, whole, pointer, pointer, whole), None
    return found


def _fingerprint(compiler: str) -> str:
    made = hashlib.sha256()
    for file in sorted(SOURCE.parent.glob("*.[hc]pp")):
        made.update(file.read_bytes())
    made.update(repr((FLAGS, compiler, os.stat(compiler).st_mtime_ns, _instructions())).encode())
    return made.hexdigest()[:16]


def _instructions() -> str:
    """What the processor can: a home may be shared by several machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())
