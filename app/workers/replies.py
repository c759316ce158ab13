"""One reply of the inference worker: ids from the engine to events, and the clock.

Composes format, engine and stream. Invariant: a reply ends with one Finished that carries its figures.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.workers.host import JobControl
from core.chat.chat_format import ChatFormat, taught_format
from core.chat.stream import Piece, ReplyStream
from core.chat.turns import FinishReason, ReplyFigures, Sampling
from core.chat.vocabulary import Vocabulary
from core.chat.window import Prompt
from core.errors import UserError
from core.load_options import KVChoice
from core.models import memory
from core.protocol.messages import Finished, Generate, JobEvent, Notice, Progress, PromptRead, TextDelta

if TYPE_CHECKING:
    from core.inference.adapters import AdapterDecoder
    from core.inference.constraint import Constraint
    from core.inference.engine import Engine
    from core.inference.llama_cpp import LlamaCppDecoder
    from core.models.load import LoadedModel

REPLY_SHARE = 8  # of the window, an eighth at most is kept free for the reply

Events = Iterator[JobEvent | None]


@dataclass(frozen=True, slots=True)
class ReadyModel:
    """All that answers with one model."""

    loaded: LoadedModel
    vocabulary: Vocabulary
    template: ChatFormat
    engine: Engine
    adapters: AdapterDecoder | LlamaCppDecoder
    kv_asked: KVChoice = "auto"
    name: str = ""

    @property
    def stop_ids(self) -> frozenset[int]:
        """Those of the configs and those of the format: in some models only one of them ends a chat turn."""
        return self.loaded.stop_ids | self.template.stop_ids

    def format_of(self, adapter: str) -> ChatFormat:
        """An adapter may have taught a base model to chat."""
        return self.template if self.template.can_chat or not adapter else taught_format(Path(adapter), self.vocabulary)

    def need_adapter(self, adapter: str) -> None:
        """Have an adapter in memory as its files are now.

        Raises:
            UserError: it cannot be used on this model.
        """
        if self.adapters.has_changed(adapter):
            self.adapters.drop(adapter)
            self.engine.forget()  # what was read with the old weights
        self.adapters.need(adapter)

    def batch_module(self, adapter: str) -> Any | None:
        """The module through which several prompts go at once. None where each has to go through the engine: models of
        another engine, and keys and values in 8 bits."""
        from core.inference.adapters import AdapterDecoder  # with torch, which is there once a model is loaded

        if not isinstance(self.adapters, AdapterDecoder) or self.adapters.kv_cache != "plain":
            return None
        return self.adapters.module(adapter)

    def prompt_limit(self, sampling: Sampling) -> int:
        """How many tokens a prompt may have so that there is room for the reply."""
        context = self.loaded.context_length
        return context - max(1, min(sampling.max_new_tokens, context // REPLY_SHARE))

    def stream(
        self, template: ChatFormat, prompt: Prompt, sampling: Sampling, *, continues: bool = False
    ) -> ReplyStream:
        return ReplyStream(
            self.vocabulary,
            stop=(*sampling.stop, *prompt.stop),
            can_think=template.can_think,
            is_thinking=prompt.is_thinking,
            continues=continues,
        )

    @property
    def notices(self) -> tuple[Notice, ...]:
        found = () if self.template.can_chat else (Notice("base_model"),)
        is_plain = self.kv_asked.startswith("int8") and self.adapters.kv_cache == "plain"
        return (*found, Notice("kv_stays_plain")) if is_plain else found


class Reply:
    """One Generate job under way: ids to events, and the clock."""

    def __init__(
        self,
        job: Generate,
        control: JobControl,
        model: ReadyModel,
        *,
        make_prompt: Callable[[ChatFormat], Prompt] | None = None,
        template: ChatFormat | None = None,
        constrained: Callable[[Prompt], Constraint] | None = None,
    ) -> None:
        """make_prompt: in place of the job's turns; template: in place of the model's own format; constrained: what the
        reply to the prompt must look like."""
        self._job, self._control, self._model = job, control, model
        self._make_prompt, self._template, self._constrained = make_prompt, template, constrained
        self._started = time.perf_counter()
        self._first_token_at = self._thinking_until = 0.0
        self._prompt_tokens = self._reused_tokens = self._new_tokens = 0

    def events(self) -> Events:
        from core.inference.engine import Ended, NewToken, PromptReady, Reading

        job, model = self._job, self._model
        if job.adapter:
            yield Progress(job.job_id, 0, stage="loading_adapter")
            model.need_adapter(job.adapter)
        template = self._template or model.format_of(job.adapter)
        prompt = self._make_prompt(template) if self._make_prompt else self._prompt(template)
        stream = model.stream(template, prompt, job.sampling, continues=job.continues)
        steps = model.engine.generate(
            prompt.ids,
            job.sampling,
            stop_ids=model.loaded.stop_ids | template.stop_ids,
            adapter=job.adapter,
            is_cancelled=lambda: self._control.is_cancelled,
            constraint=self._constrained(prompt) if self._constrained else None,
        )
        for step in steps:
            match step:
                case None:
                    yield None
                case Reading(done, total):
                    yield Progress(job.job_id, done, total, "reading_prompt", "tokens")
                case PromptReady(total, reused, alpha):
                    self._prompt_tokens, self._reused_tokens = total, reused
                    yield PromptRead(job.job_id, total, reused, prompt.dropped_turns, alpha)
                case NewToken(id):
                    yield from self._deltas(stream.push(id))
                    self._note_token(stream)
                    if stream.is_stopped:
                        yield self._finished("stop", self._new_tokens)
                        return
                    yield None
                case Ended(reason, count):
                    yield from self._deltas(stream.finish())
                    yield self._finished(reason, count)

    def _prompt(self, template: ChatFormat) -> Prompt:
        """
        Raises:
            UserError: context_full when a reply fills it that shall go on; else as fitting_prompt.
        """
        job, context = self._job, self._model.loaded.context_length
        make = partial(template.fitting_prompt, job.turns, thinking=job.thinking, continues=job.continues)
        try:
            return make(self._model.prompt_limit(job.sampling))
        except UserError as error:
            if not job.continues or error.code != "message_too_long":
                raise
        try:
            return make(context - 1)  # what little room there is
        except UserError as error:
            raise UserError("context_full", limit=context) from error

    def _deltas(self, pieces: list[Piece]) -> Iterator[TextDelta]:
        for piece in pieces:
            yield TextDelta(self._job.job_id, piece.text, piece.is_thinking, piece.tokens)

    def _note_token(self, stream: ReplyStream) -> None:
        now = time.perf_counter()
        self._new_tokens += 1
        if self._new_tokens == 1:
            self._first_token_at = now
        if stream.is_thinking:
            self._thinking_until = now

    def _finished(self, reason: FinishReason, steps: int) -> Finished:
        decoding_s = time.perf_counter() - self._first_token_at
        figures = ReplyFigures(
            prompt_tokens=self._prompt_tokens,
            new_tokens=self._new_tokens,
            first_token_s=self._first_token_at - self._started if self._new_tokens else 0.0,
            tokens_per_s=(steps - 1) / decoding_s if steps > 1 and self._new_tokens else 0.0,
            reused_tokens=self._reused_tokens,
            thinking_s=max(0.0, self._thinking_until - self._first_token_at),
            context_length=self._model.loaded.context_length,
            memory_bytes=memory.taken(self._model.loaded.placement.device.type),
        )
        return Finished(self._job.job_id, reason, figures)
