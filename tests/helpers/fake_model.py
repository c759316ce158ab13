"""An inference worker without a model: what it answers is said by the first word of the last question.

Run as a program it is the child; ARGV starts it from any working directory. `seed` of the sampling is the rate in words
a second, `max_new_tokens` their number.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

if __name__ == "__main__":  # started by its path, like a real worker
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from app.workers.host import JobControl, serve
from core.chat.turns import FinishReason, ReplyFigures
from core.errors import UserError
from core.protocol.messages import Finished, Generate, JobEvent, LoadModel, ModelLoaded, Progress, PromptRead, TextDelta

ARGV = [sys.executable, str(Path(__file__).resolve())]

Events = Iterator[JobEvent | None]


def load(job: LoadModel, control: JobControl) -> Events:
    for done in range(3):
        yield Progress(job.job_id, done, 3, "weights", "bytes")
        time.sleep(0.03)  # as far apart as a window would show them
    if job.name == "broken":
        raise UserError("chat_not_last")  # any sentence of the catalogue
    facts = ("Fake", "cpu", "no_card", "float32", "fits", 1, 4, 4096, True, True, 0.1)
    yield ModelLoaded(job.job_id, job.name, *facts, thinking="switch")
    yield Finished(job.job_id)


def generate(job: Generate, control: JobControl) -> Events:
    asked = next(turn.text for turn in reversed(job.turns) if turn.role == "user")
    yield PromptRead(job.job_id, len(job.turns), 0)
    yield from ANSWERS[asked.split()[0]](job, control)


def words(job: Generate, control: JobControl) -> Events:
    """w0 w1 w2 ...; continued, it counts on from the last whole word."""
    first = job.turns[-1].text.count(" ") if job.continues else 0
    begun = time.perf_counter()
    for i in range(job.sampling.max_new_tokens):
        while time.perf_counter() - begun < i / (job.sampling.seed or 1e9):
            if control.is_cancelled:
                yield end(job, i, "cancelled")
                return
            time.sleep(0.001)
            yield None
        yield TextDelta(job.job_id, f"w{first + i} ")
    yield end(job, job.sampling.max_new_tokens, "length")


def think(job: Generate, control: JobControl) -> Events:
    for text in ("let me ", "see"):
        yield TextDelta(job.job_id, text, thinking=True)
    yield TextDelta(job.job_id, "42")
    yield end(job, 3, "stop")


def echo(job: Generate, control: JobControl) -> Events:
    """What the model got to read."""
    turns = [[turn.role, turn.text, turn.thinking] for turn in job.turns]
    yield TextDelta(job.job_id, json.dumps({"turns": turns, "thinking": job.thinking, "continues": job.continues}))
    yield end(job, 1, "stop")


def die(job: Generate, control: JobControl) -> Events:
    yield TextDelta(job.job_id, "w0 ")
    time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGKILL)


def hunger(job: Generate, control: JobControl) -> Events:
    yield TextDelta(job.job_id, "w0 ")
    raise MemoryError


def deaf(job: Generate, control: JobControl) -> Events:
    yield TextDelta(job.job_id, "w0 ")
    while True:
        time.sleep(0.01)
        yield None


def end(job: Generate, tokens: int, reason: FinishReason) -> Finished:
    return Finished(job.job_id, reason, ReplyFigures(10, tokens, 0.25, 100.0, context_length=4096))


ANSWERS = {"words": words, "think": think, "echo": echo, "die": die, "hunger": hunger, "deaf": deaf}

if __name__ == "__main__":
    serve({LoadModel: load, Generate: generate})
