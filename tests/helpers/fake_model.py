"""An inference worker without a model: what it answers is said by the first word of the last question.

Run as a program it is the child; ARGV starts it from any working directory. `seed` of the sampling is the rate in words
a second, `max_new_tokens` their number. What is loaded is said by the model's name: "base" cannot chat, "first" is like
the first generation with its notices and its short training length, "broken" and "short" (of memory) cannot be loaded,
"killed" is killed meanwhile, "endless" never ends loading, "carded" lies on a card.
"""

from __future__ import annotations

import json
import os
import re
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
from core.models.qwen_v1.positions import ntk_alpha
from core.protocol.messages import (
    Finished,
    Generate,
    JobEvent,
    LoadModel,
    ModelLoaded,
    Notice,
    Progress,
    PromptRead,
    TextDelta,
    Token,
    Tokenize,
    Tokenized,
)

ARGV = [sys.executable, str(Path(__file__).resolve())]

Events = Iterator[JobEvent | None]


def load(job: LoadModel, control: JobControl) -> Events:
    for done in range(3):
        yield Progress(job.job_id, done, 3, "loading_weights", "bytes")
        time.sleep(0.03)  # as far apart as a window would show them
    while job.name == "endless":
        if control.is_cancelled:
            yield Finished(job.job_id, "cancelled")
            return
        yield None
        time.sleep(0.005)
    if job.name == "broken":
        raise UserError("chat_not_last")  # any sentence of the catalogue
    if job.name == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if job.name == "short":
        raise UserError("memory_too_small", needed="15 GB", free="3 GB")
    loaded.append(_loaded(job))
    yield loaded[-1]
    yield Finished(job.job_id)


def _loaded(job: LoadModel) -> ModelLoaded:
    facts = ("no_card_for_torch", "float32", "precision_as_stored", 1, 4)
    if job.name == "base":
        return ModelLoaded(job.job_id, job.name, "Fake", "cpu", *facts, 4096, False, False, 0.1)
    if job.name == "first":
        notices = [Notice("system_prompt_weak"), Notice("code_never_run", {"files": "modeling_qwen.py"})]
        if job.options.attention == "flash":
            notices.append(Notice("flash_without_card"))
        return ModelLoaded(
            job.job_id, job.name, "QWenLMHeadModel", "cpu", *facts, 8192, True, False, 0.1,
            family="qwen", weights="float32", kv_cache="int8" if "int8" in job.options.kv_cache else "plain",
            trained_length=2048, ntk=True, logn=True, notices=tuple(notices),
        )  # fmt: skip
    device = "cuda:0" if job.name == "carded" else "cpu"
    return ModelLoaded(job.job_id, job.name, "Fake", device, *facts, 4096, True, True, 0.1, thinking="switch")


def generate(job: Generate, control: JobControl) -> Events:
    words = next(turn.text for turn in reversed(job.turns) if turn.role == "user").split()
    tokens = int(words[1]) if words[0] == "long" else len(job.turns)
    trained = loaded[-1].trained_length if loaded else 0
    yield PromptRead(job.job_id, tokens, 0, ntk_alpha=ntk_alpha(tokens, trained) if trained else 1.0)
    yield from ANSWERS[words[0]](job, control)


def long(job: Generate, control: JobControl) -> Events:
    """To "long 5000": as if the prompt had had 5000 tokens."""
    yield TextDelta(job.job_id, "w0 ")
    tokens = int(job.turns[-1].text.split()[1])
    yield Finished(job.job_id, "stop", ReplyFigures(tokens, 1, 0.25, 100.0, context_length=8192))


def tokenize(job: Tokenize, control: JobControl) -> Events:
    """Words with the space before them; a character outside the first plane is two tokens of two bytes each. In pieces,
    as a real worker gives the tokens of a long text."""
    if not Path(job.folder, "config.json").is_file():
        raise UserError("config_missing", folder=job.folder)
    tokens: list[Token] = []
    for word in re.findall(r"<\|\w+\|>|\s*[^\s<]+|\s+|<", job.text):
        data = word.encode()
        if job.unsafe_special and word.startswith("<|"):
            tokens.append(Token(900, word, True, data))
        elif len(word) == 1 and len(data) == 4:
            tokens += [
                Token(1000 + data[0], "\ufffd", False, data[:2]),
                Token(1000 + data[3], "\ufffd", False, data[2:]),
            ]
        else:
            tokens.append(Token(sum(data) % 997, word, False, data))
    for start in range(0, max(1, len(tokens)), 1000):
        yield Tokenized(job.job_id, tuple(tokens[start : start + 1000]), 1851, 1936)
    yield Finished(job.job_id)


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
    read: dict[str, object] = {"turns": turns, "thinking": job.thinking, "continues": job.continues}
    if job.adapter:
        read["adapter"] = job.adapter
    yield TextDelta(job.job_id, json.dumps(read))
    yield end(job, 1, "stop")


def die(job: Generate, control: JobControl) -> Events:
    yield TextDelta(job.job_id, "w0 ")
    time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGKILL)


def hunger(job: Generate, control: JobControl) -> Events:
    yield TextDelta(job.job_id, "w0 ")
    raise MemoryError


def full(job: Generate, control: JobControl) -> Events:
    """Fills the context; there is no room to go on."""
    if job.continues:
        raise UserError("context_full", limit=4096)
    yield TextDelta(job.job_id, "w0 ")
    yield end(job, 1, "context_full")


def deaf(job: Generate, control: JobControl) -> Events:
    yield TextDelta(job.job_id, "w0 ")
    while True:
        time.sleep(0.01)
        yield None


def end(job: Generate, tokens: int, reason: FinishReason) -> Finished:
    return Finished(job.job_id, reason, ReplyFigures(10, tokens, 0.25, 100.0, context_length=4096))


ANSWERS = {
    "words": words,
    "think": think,
    "echo": echo,
    "die": die,
    "hunger": hunger,
    "deaf": deaf,
    "full": full,
    "long": long,
}
loaded: list[ModelLoaded] = []

if __name__ == "__main__":
    serve({LoadModel: load, Generate: generate, Tokenize: tokenize})
