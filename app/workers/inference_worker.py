"""The inference worker: holds one model and answers chats, counts and tokenizations with it, many at once.

Composes template, engine and stream into events. Invariant: at most one model is in memory, the old one is let go
before the next is read; and torch is imported neither before Hello nor in the thread that steps the jobs.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from app.workers.host import JobControl, WorkerUnusable, serve
from core.chat.stream import Piece, ReplyStream
from core.chat.template import ChatTemplate, Prompt
from core.chat.turns import FinishReason, ReplyFigures
from core.chat.vocabulary import Vocabulary
from core.errors import UserError
from core.models import families, manifest
from core.models.qwen_v1.positions import LongContext
from core.protocol.messages import (
    CountTokens,
    Finished,
    Generate,
    JobEvent,
    LoadModel,
    ModelLoaded,
    Progress,
    PromptRead,
    TextDelta,
    Token,
    Tokenize,
    Tokenized,
    TokensCounted,
)

if TYPE_CHECKING:
    from core.inference.engine import Engine
    from core.models.load import LoadedModel

POLL_S = 0.02
# How long OpenMP's threads wait for each other before they sleep. By default they hold the processor so long that on a
# busy machine a token of the starter takes 290 ms and more in place of 25; with this 110; an idle one loses nothing.
SPIN_COUNT = "5000"
LIBRARIES = ("core.inference.choice", "core.models.load", "transformers.models.auto.modeling_auto")
REPLY_SHARE = 8  # of the window, an eighth at most is kept free for the reply

Events = Iterator[JobEvent | None]


def main() -> None:
    """Be the worker until the front says Shutdown or is gone."""
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    worker = InferenceWorker()
    serve(
        {
            LoadModel: worker.load_model,
            Generate: worker.generate,
            CountTokens: worker.count_tokens,
            Tokenize: worker.tokenize,
        },
        after_hello=worker.warm,
    )
    # A library may still be on its way in, in a thread that finalisation would tear in the middle of C++.
    sys.stderr.flush()
    os._exit(0)


@dataclass(frozen=True, slots=True)
class _Model:
    loaded: LoadedModel
    vocabulary: Vocabulary
    template: ChatTemplate
    engine: Engine

    @property
    def stop_ids(self) -> frozenset[int]:
        """Those of the configs, and the tokenizer's own end: in some models only one of them ends a chat turn."""
        end = self.vocabulary.id_of(self.vocabulary.named.get("eos_token", ""))
        return self.loaded.stop_ids | ({end} if end is not None else set())


class InferenceWorker:
    def __init__(self) -> None:
        self._model: _Model | None = None
        self._imports = threading.Thread(target=_import_libraries, name="imports", daemon=True)
        self._is_warm = False

    def warm(self) -> None:
        """Begin to import what the first model will need (some seconds)."""
        if not self._is_warm:
            self._is_warm = True
            self._imports.start()

    def load_model(self, job: LoadModel, control: JobControl) -> Events:
        started = time.perf_counter()
        folder = model_files(Path(job.folder))
        vocabulary = Vocabulary.load(folder)
        self._let_go()
        yield Progress(job.job_id, 0, stage="loading_libraries")
        self.warm()
        while self._imports.is_alive() and not control.is_cancelled:
            self._imports.join(POLL_S)
            yield None
        if not control.is_cancelled:
            with _sorted_errors():
                yield from self._load(job, control, folder, vocabulary)
        if control.is_cancelled or self._model is None:
            self._let_go()
            yield Finished(job.job_id, "cancelled")
            return
        yield _model_loaded(job, self._model, time.perf_counter() - started)
        yield Finished(job.job_id)

    def _load(self, job: LoadModel, control: JobControl, folder: Path, vocabulary: Vocabulary) -> Events:
        from core.inference.choice import choose
        from core.inference.engine import Engine
        from core.models.load import Loading

        loading = Loading(folder, job.options)
        try:
            for step in loading:
                if control.is_cancelled:
                    loading.abandon()
                yield Progress(job.job_id, step.done, step.total or None, step.stage) if step else None
        finally:
            loading.abandon()
        if not control.is_cancelled:
            loaded = loading.model
            kv_cache = job.options.kv_cache
            decoder = choose(loaded.model, loaded.context_length, is_exact=loaded.placement.is_exact, kv_cache=kv_cache)
            engine = Engine(decoder, loaded.context_length, keep_bytes=loaded.placement.spare_bytes() // 4)
            self._model = _Model(loaded, vocabulary, ChatTemplate(vocabulary), engine)

    def generate(self, job: Generate, control: JobControl) -> Events:
        model = self._need_model()
        with _sorted_errors(model.engine):
            yield from _Reply(job, control, model).events()

    def count_tokens(self, job: CountTokens, control: JobControl) -> Events:
        model = self._need_model()
        count = len(model.template.prompt(job.turns).ids) if job.turns else 0
        yield TokensCounted(job.job_id, count)
        yield Finished(job.job_id)

    def tokenize(self, job: Tokenize, control: JobControl) -> Events:
        vocabulary = _vocabulary(model_files(Path(job.folder)))
        ids = vocabulary.encode_control(job.text) if job.unsafe_special else vocabulary.encode_text(job.text)
        tokens = tuple(Token(id, vocabulary.shown(id), id in vocabulary.control_ids) for id in ids)
        yield Tokenized(job.job_id, tokens)
        yield Finished(job.job_id)

    def _need_model(self) -> _Model:
        if self._model is None:
            raise UserError("no_model_loaded")
        return self._model

    def _let_go(self) -> None:
        if self._model is None:
            return
        self._model = None
        gc.collect()
        import torch  # there already: a model was loaded

        torch.cuda.empty_cache()


class _Reply:
    """One Generate job under way: ids to events, and the clock."""

    def __init__(self, job: Generate, control: JobControl, model: _Model) -> None:
        self._job, self._control, self._model = job, control, model
        self._started = time.perf_counter()
        self._first_token_at = self._thinking_until = 0.0
        self._prompt_tokens = self._reused_tokens = self._new_tokens = 0

    def events(self) -> Events:
        from core.inference.engine import Ended, NewToken, PromptReady, Reading

        job, model = self._job, self._model
        context = model.loaded.context_length
        room = max(1, min(job.sampling.max_new_tokens, context // REPLY_SHARE))
        prompt = _prompt(model.template, job, context - room)
        stream = ReplyStream(
            model.vocabulary,
            stop=job.sampling.stop,
            can_think=model.template.can_think,
            is_thinking=prompt.is_thinking,
            continues=job.continues,
        )
        steps = model.engine.generate(
            prompt.ids,
            job.sampling,
            stop_ids=model.stop_ids,
            adapter=job.adapter,
            is_cancelled=lambda: self._control.is_cancelled,
        )
        for step in steps:
            match step:
                case None:
                    yield None
                case Reading(done, total):
                    yield Progress(job.job_id, done, total, "reading_prompt", "tokens")
                case PromptReady(total, reused):
                    self._prompt_tokens, self._reused_tokens = total, reused
                    yield PromptRead(job.job_id, total, reused, prompt.dropped_turns)
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
        )
        return Finished(self._job.job_id, reason, figures)


def _prompt(template: ChatTemplate, job: Generate, limit: int) -> Prompt:
    if not template.can_chat:
        return template.plain_prompt(job.turns, limit)
    return template.fitting_prompt(job.turns, limit, thinking=job.thinking, continues=job.continues)


def model_files(folder: Path) -> Path:
    """Where the files of a model lie: the library's manifest in `folder` may point elsewhere."""
    if not (folder / manifest.FILE_NAME).is_file():
        return folder
    return manifest.files_folder(folder, manifest.read(folder))


@lru_cache(maxsize=2)
def _vocabulary(folder: Path) -> Vocabulary:
    return Vocabulary.load(folder)


def _import_libraries() -> None:
    for name in LIBRARIES:
        import_module(name)


@contextmanager
def _sorted_errors(engine: Engine | None = None) -> Iterator[None]:
    """Torch's errors as what they are: memory ran out, or the card's state is not to be trusted any more."""
    try:
        yield
    except RuntimeError as error:
        kind, text = type(error).__name__, str(error)
        if kind == "OutOfMemoryError" or "can't allocate memory" in text:
            if engine is not None:
                engine.forget()
            raise MemoryError(text) from error
        if kind == "AcceleratorError" or "CUDA error" in text:
            raise WorkerUnusable from error
        raise


def _model_loaded(job: LoadModel, model: _Model, seconds: float) -> ModelLoaded:
    loaded, placement = model.loaded, model.loaded.placement
    family = families.family_of(loaded.config, model.vocabulary.template)
    first = LongContext.from_config(loaded.config) if family.key == "qwen" else None
    return ModelLoaded(
        job_id=job.job_id,
        name=job.name,
        architecture=loaded.architecture,
        device=str(placement.device),
        device_reason=placement.device_reason,
        precision=str(placement.dtype).removeprefix("torch."),
        precision_reason=placement.precision_reason,
        parameters=loaded.parameters,
        weight_bytes=loaded.weight_bytes,
        context_length=loaded.context_length,
        can_chat=model.template.can_chat,
        can_think=model.template.can_think,
        seconds=seconds,
        family=family.key,
        thinking=families.thinking_of(model.vocabulary.template),
        weights=loaded.weights,
        backend=loaded.backend,
        backend_reason=loaded.backend_reason,
        attention=loaded.attention,
        trained_length=families.lengths(loaded.config, family).trained or loaded.context_length,
        ntk=first is not None and first.has_ntk,
        logn=first is not None and first.has_logn,
        notices=loaded.notices,
    )
