"""`qwen-workbench chat --batch QUESTIONS --out ANSWERS`: a file of questions in, a file of answers out.

Invariant: whatever ends it, the answers that came are in the file, and the same command goes on with the others.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
import uuid
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from app.cli.notices import Notices
from app.cli.session import inference
from app.services.inference import InferenceService, as_error
from core.chat.batch_file import AnswerFile, Question, read_questions
from core.chat.turns import Sampling
from core.errors import UserError
from core.figures import count, duration
from core.load_options import LoadOptions
from core.protocol.messages import BatchAnswer, Failed, Finished, GenerateBatch, Progress
from core.translation import say

INTERRUPTED, INCOMPLETE = 130, 1
QUIET_S = 10.0  # between two lines of progress where nobody watches
SETTLED_S = 2.0  # a speed from less is noise


@dataclass(frozen=True, slots=True)
class BatchWork:
    model: str
    questions: Path
    out: Path
    system: str
    sampling: Sampling
    adapter: str
    options: LoadOptions
    as_json: bool


def run_batch(work: BatchWork) -> int:
    """The exit code."""
    if _is_same(work.out, work.questions):
        raise UserError("batch_out_is_input", file=str(work.out))
    questions = read_questions(work.questions, work.system)
    made_with = {"model": work.model} | ({"adapter": work.adapter} if work.adapter else {})
    with AnswerFile(work.out, questions, made_with, _settings(work)) as answers:
        earlier = len(questions) - len(answers.missing)
        reason = asyncio.run(_answer(work, questions, answers)) if answers.missing else "stop"
    return _conclude(work, answers, len(questions), earlier, reason)


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # one of them is not there
        return False


def _settings(work: BatchWork) -> dict[str, Any]:
    """What else makes an answer what it is; the system prompt by its checksum, which may be long."""
    system = {"system": sha256(work.system.encode()).hexdigest()[:16]} if work.system else {}
    form = {"weights": work.options.weights, "kv_cache": work.options.kv_cache}
    sampling = msgspec.to_builtins(work.sampling)
    return {**system, **form, **sampling, "stop": list(sampling["stop"])}


async def _answer(work: BatchWork, questions: list[Question], answers: AnswerFile) -> str:
    missing = answers.missing
    turns = tuple(questions[place].turns for place in missing)
    job = GenerateBatch(uuid.uuid4().hex, turns, work.sampling, adapter=work.adapter)
    loop = asyncio.get_running_loop()
    async with inference(work.options) as service:
        loop.add_signal_handler(signal.SIGINT, service.cancel, job.job_id)
        try:
            return await _write(service, work, job, answers, missing)
        finally:
            loop.remove_signal_handler(signal.SIGINT)


async def _write(
    service: InferenceService, work: BatchWork, job: GenerateBatch, answers: AnswerFile, missing: list[int]
) -> str:
    shown = _Shown(len(missing), work.sampling.max_new_tokens)
    notices = Notices(has_system_prompt=any(turns[0].role == "system" for turns in job.conversations))
    async for event in service.generate_batch(work.model, job):
        match event:
            case Progress(stage="answering"):
                shown.tokens(event.done)
            case Progress():
                shown.stage(event.stage)
            case BatchAnswer():
                notices.tell(service)
                answers.write(missing[event.index], _row(event))
                shown.answered(event)
            case Finished():
                shown.end()
                return event.reason
            case Failed():
                shown.end()
                raise as_error(event)
            case _:
                pass
    raise RuntimeError("the batch has no end")


def _row(answer: BatchAnswer) -> dict[str, Any]:
    if answer.error:
        return {"error": say(f"error.{answer.error}", **answer.params)}
    figures = {"prompt_tokens": answer.prompt_tokens, "new_tokens": answer.new_tokens}
    return {"text": answer.text, "thinking": answer.thinking, "finish_reason": answer.reason, "figures": figures}


def _conclude(work: BatchWork, answers: AnswerFile, total: int, earlier: int, reason: str) -> int:
    failed, missing = len(answers.failed), len(answers.missing)
    told = {"total": total, "answered": total - missing, "failed": failed, "earlier": earlier}
    if work.as_json:
        print(json.dumps({"model": work.model, "out": str(work.out), **told, "finish_reason": reason}))
    if reason == "cancelled":
        print(say("cli.batch_stopped", answered=total - missing, total=total, file=str(work.out)), file=sys.stderr)
        return INTERRUPTED
    if failed:
        print(say("cli.batch_failed", failed=failed, total=total, file=str(work.out)), file=sys.stderr)
        return INCOMPLETE
    if not work.as_json:
        print(say("cli.batch_done", count=total, file=str(work.out)))
    return 0


class _Shown:
    """Progress on stderr: a line that changes where somebody watches, else a new one now and then."""

    def __init__(self, total: int, longest: int) -> None:
        self._total, self._longest = total, longest
        self._answered = self._tokens = self._whole_tokens = 0
        self._first: tuple[float, int] | None = None  # when there were tokens first, and how many
        self._told = time.monotonic()
        self._is_watched = sys.stderr.isatty()

    def stage(self, stage: str) -> None:
        if self._is_watched:
            self._say(say(f"progress.{stage}"))

    def tokens(self, done: int) -> None:
        self._tokens = done
        self._tell()

    def answered(self, answer: BatchAnswer) -> None:
        self._answered += 1
        self._whole_tokens += answer.new_tokens
        self._tokens = max(self._tokens, self._whole_tokens)
        self._tell()

    def end(self) -> None:
        if self._is_watched:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def _tell(self) -> None:
        now = time.monotonic()
        self._first = self._first or (now, self._tokens)
        if not self._is_watched and now - self._told < QUIET_S:
            return
        self._told = now
        words = say("cli.batch_progress", done=self._answered, total=self._total, tokens=count(self._tokens))
        self._say(words + self._left(now))

    def _left(self, now: float) -> str:
        """By the tokens per second so far and the length of the answers that are whole; until there is one, how long
        it takes at most. Nothing where the ones under way are longer than those."""
        assert self._first is not None
        seconds, tokens = now - self._first[0], self._tokens - self._first[1]
        each = self._whole_tokens / self._answered if self._answered else self._longest
        tokens_left = (self._total - self._answered) * each - (self._tokens - self._whole_tokens)
        if seconds < SETTLED_S or not tokens or tokens_left <= 0:
            return ""
        time_left = duration(tokens_left * seconds / tokens)
        return say("cli.batch_left" if self._answered else "cli.batch_left_at_most", time=time_left)

    def _say(self, words: str) -> None:
        start, end = ("\r", "\033[K") if self._is_watched else ("", "\n")
        print(f"{start}{words}", end=end, file=sys.stderr, flush=True)
