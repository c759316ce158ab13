"""What a child worker does about the death of the front process, below Python.

Usually end-of-file on stdin tells it, and it ends with its jobs and its group. Invariant: on Linux a worker whose
interpreter is stuck (an extension that holds the GIL) and cannot read that dies too, a second later.
"""

from __future__ import annotations

import ctypes
import math
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Let the kernel end this process about a second after its parent, unless leave_within() comes first.

    SIGKILL would take from a healthy worker the time to bury its own children, and a handler in Python needs the GIL.
    So the signal is SIGHUP, number 1, and its handler is libc's alarm(): called with 1, it sends SIGALRM, whose default
    is death, in one second. The "parent" is the thread that started us, so that thread must last.
    """
    if sys.platform != "linux":
        return
    parent = os.getppid()
    libc = ctypes.CDLL(None)
    libc.signal(signal.SIGHUP, ctypes.cast(libc.alarm, ctypes.c_void_p))
    libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGHUP), 0, 0, 0)
    if os.getppid() != parent:  # it died before we asked
        signal.alarm(1)


def leave_within(grace_s: float) -> None:
    """The end is known and under way in Python: the kernel need only help if it takes longer than grace_s."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).signal(signal.SIGHUP, ctypes.c_void_p(int(signal.SIG_IGN)))
    signal.alarm(math.ceil(grace_s) + 1)
