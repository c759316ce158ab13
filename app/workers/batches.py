"""Many conversations of one GenerateBatch: prompts, answers and what could not be answered, to events.

Invariant: each conversation is answered as a chat with it would be, and one that cannot be answered stops no other.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from app.workers.host import JobControl
from app.workers.replies import Events, ReadyModel
from core.chat.stream import Piece, ReplyStream
from core.chat.turns import FinishReason
from core.chat.window import Prompt
from core.errors import UserError
from core.protocol.messages import BatchAnswer, Finished, GenerateBatch, Progress

if TYPE_CHECKING:
    from core.inference.batch import Answered, BatchStep

TELL_S = 0.25


@dataclass(slots=True)
class _Conversation:
    index: int
    prompt: Prompt
    stream: ReplyStream
    pieces: list[Piece] = field(default_factory=list)

    def text(self, *, thinking: bool) -> str:
        return "".join(piece.text for piece in self.pieces if piece.is_thinking == thinking)


class Batch:
    def __init__(self, job: GenerateBatch, control: JobControl, model: ReadyModel) -> None:
        self._job, self._control, self._model = job, control, model
        self._conversations: list[_Conversation] = []
        self._told_at = time.perf_counter()

    def events(self) -> Events:
        if self._job.adapter:
            yield Progress(self._job.job_id, 0, stage="loading_adapter")
            self._model.need_adapter(self._job.adapter)
        yield from self._prompts()
        module = self._model.batch_module(self._job.adapter)
        for step in self._one_by_one() if module is None else self._together(module):
            yield from self._events_of(step)
        yield Finished(self._job.job_id, "cancelled" if self._control.is_cancelled else "stop")

    def _prompts(self) -> Events:
        job, model = self._job, self._model
        limit, template = model.prompt_limit(job.sampling), model.format_of(job.adapter)
        for index, turns in enumerate(job.conversations):
            yield None
            if self._control.is_cancelled:
                return
            try:
                prompt = template.fitting_prompt(turns, limit, thinking=job.thinking)
            except UserError as error:
                yield BatchAnswer(job.job_id, index, "", "", "stop", 0, 0, error.code, error.params)
                continue
            stream = model.stream(template, prompt, job.sampling)
            self._conversations.append(_Conversation(index, prompt, stream))

    def _together(self, module: Any) -> Iterator[BatchStep]:
        from core.inference.batch import answer_all

        loaded = self._model.loaded
        return answer_all(
            module,
            [one.prompt.ids for one in self._conversations],
            self._job.sampling,
            context_length=loaded.context_length,
            stop_ids=self._stop_ids,
            rows=self._model.vocabulary.size,
            ends=self._ends,
            is_cancelled=lambda: self._control.is_cancelled,
            cache_bytes=loaded.placement.spare_bytes() // 4,
            is_exact=loaded.placement.is_exact,
        )

    @property
    def _stop_ids(self) -> frozenset[int]:
        return self._model.loaded.stop_ids | self._model.format_of(self._job.adapter).stop_ids

    def _one_by_one(self) -> Iterator[BatchStep]:
        """Through the engine of chats, which keeps keys and values as was asked for."""
        from core.inference.batch import BatchProgress

        new_tokens = 0
        for place in range(len(self._conversations)):
            if self._control.is_cancelled:
                return
            answer = yield from self._alone(place)
            new_tokens += len(answer.ids)
            yield answer
            yield BatchProgress(place + 1, len(self._conversations), new_tokens)

    def _alone(self, place: int) -> Generator[None, None, Answered]:
        from core.inference.batch import Answered
        from core.inference.engine import Ended, NewToken

        ids: list[int] = []
        steps = self._model.engine.generate(
            self._conversations[place].prompt.ids,
            self._job.sampling,
            stop_ids=self._stop_ids,
            adapter=self._job.adapter,
            is_cancelled=lambda: self._control.is_cancelled,
        )
        for step in steps:
            yield None
            if isinstance(step, Ended):
                return Answered(place, tuple(ids), step.reason, step.steps)
            if isinstance(step, NewToken):
                ids.append(step.id)
                if self._ends(place, step.id):
                    break
        return Answered(place, tuple(ids), "stop", len(ids))

    def _ends(self, place: int, id: int) -> bool:
        one = self._conversations[place]
        one.pieces += one.stream.push(id)
        return one.stream.is_stopped

    def _events_of(self, step: BatchStep) -> Events:
        from core.inference.batch import Answered, BatchProgress

        match step:
            case None:
                yield None
            case BatchProgress():
                yield self._progress(step.new_tokens)
            case Answered(reason="cancelled"):
                pass
            case Answered():
                yield self._answer(self._conversations[step.index], step.reason, len(step.ids))

    def _progress(self, new_tokens: int) -> Progress | None:
        now = time.perf_counter()
        if now - self._told_at < TELL_S:
            return None
        self._told_at = now
        return Progress(self._job.job_id, new_tokens, None, "answering", "tokens")

    def _answer(self, one: _Conversation, reason: FinishReason, new_tokens: int) -> BatchAnswer:
        if not one.stream.is_stopped:
            one.pieces += one.stream.finish()
        return BatchAnswer(
            job_id=self._job.job_id,
            index=one.index,
            text=one.text(thinking=False),
            thinking=one.text(thinking=True),
            reason=reason,
            prompt_tokens=len(one.prompt.ids),
            new_tokens=new_tokens,
        )
