"""Loads what the first reply needs before it is needed: the parser, the highlighter, the formulas, in a thread.

Call `warm_up()` once after the first paint. Invariant: the window never waits for it; without it everything works, only
the first reply, code block and formula come later.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_SWITCH_S = 0.0005
_lock = threading.Lock()
_patient = 0
_usual = 0.005


@contextmanager
def patience() -> Iterator[None]:
    """While a thread of ours computes, threads change every half ms, or every turn of the window would cost it 5 ms."""
    global _patient, _usual
    with _lock:
        if not _patient:
            _usual = sys.getswitchinterval()
            sys.setswitchinterval(_SWITCH_S)
        _patient += 1
    try:
        yield
    finally:
        with _lock:
            _patient -= 1
            if not _patient:
                sys.setswitchinterval(_usual)


def warm_up() -> threading.Thread:
    """Start loading; returns the thread, which ends by itself after about a second."""
    thread = threading.Thread(target=_load, name="warm-up", daemon=True)
    thread.start()
    return thread


def _load() -> None:
    from app.ui.transcript import formulas, grammar, highlight

    with patience():
        grammar.parser().parse("# a\n\n- *b* `c` [d](e)\n\n|a|b|\n|-|-|\n|$x$|d|\n")
        for language in ("python", "javascript", "bash", "json"):
            for _ in highlight.pieces("def a(): return 'b'  # c", language):
                pass
        formulas.warm_up()
    gc.collect()
    gc.freeze()  # what is loaded by now stays: the collector need not walk it again, 20 to 40 ms each time
