"""A model worker for tests of the terminal: it says what the question asks it to, piece by piece.

`say TEXT`, `escaped TEXT` (as in Python's strings), `think TEXT // TEXT`, `forever`, `die` (after some words), `full`,
`turns` (the conversation), `how` (the sampling). Run as a program it is the child; `python fake_talker.py
--front ...` is the command line with it as its worker. A model called "base" is a base model, and writes its text on.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

if __name__ == "__main__":  # started by its path, like a real worker
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import msgspec

from app.workers.host import JobControl, serve
from core.chat.turns import FinishReason, ReplyFigures
from core.protocol.messages import Finished, Generate, JobEvent, LoadModel, ModelLoaded, Notice, PromptRead, TextDelta

PIECE = 7  # characters that come at once

Events = Iterator[JobEvent | None]
MODEL = [""]


def load(job: LoadModel, control: JobControl) -> Events:
    MODEL[0] = job.name.rpartition("/")[2]
    can_chat = MODEL[0] != "base"
    facts = ModelLoaded(job.job_id, job.name, "Fake", "cpu", "", "float32", "", 1, 4, 4096, can_chat, can_chat, 0.1)
    yield msgspec.structs.replace(facts, notices=() if can_chat else (Notice("base_model"),))
    yield Finished(job.job_id)


def generate(job: Generate, control: JobControl) -> Events:
    yield PromptRead(job.job_id, len(job.turns), 0)
    word, _, rest = job.turns[-1].text.partition(" ")
    word = "turns" if word == ":help" else word
    if job.continues or MODEL[0] == "base":
        word, rest = "say", f" and on after {job.turns[-1].text[-5:]!r}"
    reason: FinishReason = "context_full" if word == "full" else "stop"
    for text, thinking in pieces(word, rest, job):
        if control.wait(0.001):
            reason = "cancelled"
            break
        yield TextDelta(job.job_id, text, thinking)
        if word == "die":
            os.kill(os.getpid(), signal.SIGKILL)
    yield Finished(job.job_id, reason, ReplyFigures(len(job.turns), 9, 0.25, 100.0, context_length=4096))


def pieces(word: str, rest: str, job: Generate) -> Iterator[tuple[str, bool]]:
    match word:
        case "forever":
            number = 0
            while True:
                number += 1
                yield f"word{number} ", False
        case "turns":
            yield " ".join(f"{turn.role}:{turn.text}" for turn in job.turns), False
        case "how":
            names = ("top_p", "top_k", "max_new_tokens", "seed")
            yield " ".join(f"{name}={getattr(job.sampling, name)}" for name in names), False
        case "think":
            thought, _, answer = rest.partition(" // ")
            yield from cut(thought, True)
            yield from cut(answer, False)
        case "escaped":
            yield rest.encode().decode("unicode_escape"), False
        case "die":
            yield "Some words came. ", False
        case _:
            yield from cut(rest, False)


def cut(text: str, thinking: bool) -> Iterator[tuple[str, bool]]:
    for at in range(0, len(text), PIECE):
        yield text[at : at + PIECE], thinking


def front(arguments: list[str]) -> int:
    from app.cli.entry import run
    from app.services import inference

    inference.worker_argv = lambda name: [sys.executable, str(Path(__file__).resolve())]  # type: ignore[assignment]
    return run(arguments)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--front"]:
        sys.exit(front(sys.argv[2:]))
    serve({LoadModel: load, Generate: generate})
