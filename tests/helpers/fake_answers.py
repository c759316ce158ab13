"""A model worker for tests of commands: it says how it was asked, and some questions do what they say.

Run as a program it is the child; ARGV starts it. A model called "base" is a base model.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

if __name__ == "__main__":  # started by its path, like a real worker
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import msgspec

from app.workers.host import JobControl, serve
from core.chat.turns import ReplyFigures, Turn
from core.protocol.messages import (
    BatchAnswer,
    Finished,
    Generate,
    GenerateBatch,
    JobEvent,
    LoadModel,
    ModelLoaded,
    Notice,
    Progress,
    PromptRead,
    TextDelta,
)

ARGV = [sys.executable, str(Path(__file__).resolve())]

Events = Iterator[JobEvent | None]
LOADED: dict[str, object] = {}


def load(job: LoadModel, control: JobControl) -> Events:
    LOADED.update(msgspec.to_builtins(job.options))
    notices = (Notice("base_model"),) if job.name == "base" else (Notice("not_a_qwen"), Notice("system_prompt_weak"))
    facts = ModelLoaded(
        job.job_id, job.name, "Fake", "cpu", "no_card", "float32", "fits", 1, 4, 4096, job.name != "base", False, 0.1
    )
    yield msgspec.structs.replace(facts, notices=notices)
    yield Finished(job.job_id)


def generate(job: Generate, control: JobControl) -> Events:
    yield PromptRead(job.job_id, len(job.turns), 0)
    asked = {"turns": said(job.turns), "adapter": job.adapter, "options": LOADED}
    yield TextDelta(job.job_id, json.dumps(asked))
    yield Finished(job.job_id, "stop", ReplyFigures(len(job.turns), 1, 0.25, 100.0, context_length=4096))


def generate_batch(job: GenerateBatch, control: JobControl) -> Events:
    """The last conversation first."""
    for index, turns in reversed(list(enumerate(job.conversations))):
        word = turns[-1].text.split()[0]
        if word == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if word == "interrupt":
            os.kill(os.getppid(), signal.SIGINT)
            while not control.wait(0.001):
                yield None
            yield Finished(job.job_id, "cancelled")
            return
        if word == "long":
            yield BatchAnswer(job.job_id, index, "", "", "stop", 0, 0, "message_too_long", {"tokens": 9, "limit": 8})
        else:
            yield BatchAnswer(job.job_id, index, json.dumps(said(turns)), job.adapter, "stop", len(turns), 3)
        yield Progress(job.job_id, 3 * (len(job.conversations) - index), None, "answering", "tokens")
    yield Finished(job.job_id)


def said(turns: tuple[Turn, ...]) -> list[tuple[str, str]]:
    return [(turn.role, turn.text) for turn in turns]


if __name__ == "__main__":
    serve({LoadModel: load, Generate: generate, GenerateBatch: generate_batch})
