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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from app.workers.batches import Batch
from app.workers.host import JobControl, WorkerUnusable, serve
from app.workers.outside_jobs import OutsideJobs
from app.workers.replies import ReadyModel, Reply
from app.workers.tokens import shown_token
from core.chat.chat_format import ChatFormat, chat_format
from core.chat.folder_json import table_rows
from core.chat.vocabulary import Vocabulary
from core.errors import UserError
from core.models import families, manifest, memory
from core.models.qwen_v1.positions import LongContext
from core.protocol.messages import (
    CountTokens,
    Finished,
    Generate,
    GenerateBatch,
    JobEvent,
    LoadModel,
    MeasureForms,
    ModelLoaded,
    Progress,
    Tokenize,
    Tokenized,
    TokensCounted,
)
from core.protocol.serving import OpenDoor

if TYPE_CHECKING:
    from core.inference.adapters import AdapterDecoder
    from core.inference.engine import Engine
    from core.inference.llama_cpp import LlamaCppDecoder
    from core.models.load import LoadedModel, LoadStep

POLL_S = 0.02
# How long OpenMP's threads wait for each other before they sleep. By default they hold the processor so long that on a
# busy machine a token of the starter takes 290 ms and more in place of 25; with this 110; an idle one loses nothing.
SPIN_COUNT = "5000"
LIBRARIES = ("core.inference.choice", "core.models.load", "transformers.models.auto.modeling_auto")
TOKENS_A_PIECE = 2000  # so that neither side is held up by a long text

Events = Iterator[JobEvent | None]


def main() -> None:
    """Be the worker until the front says Shutdown or is gone."""
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    worker = InferenceWorker()
    serve(
        {
            LoadModel: worker.load_model,
            Generate: worker.generate,
            GenerateBatch: worker.generate_batch,
            CountTokens: worker.count_tokens,
            Tokenize: worker.tokenize,
            MeasureForms: worker.measure_forms,
            OpenDoor: worker.outside.open_door,
        },
        after_hello=worker.warm,
        with_inlet=worker.outside.use,
    )
    # A library may still be on its way in, in a thread that finalisation would tear in the middle of C++.
    sys.stderr.flush()
    os._exit(0)


class InferenceWorker:
    def __init__(self) -> None:
        self._model: ReadyModel | None = None
        self._imports = threading.Thread(target=_import_libraries, name="imports", daemon=True)
        self._is_warm = False
        self._is_let_in = True  # requests from outside wait while a model is exchanged
        self.outside = OutsideJobs(lambda: self._model if self._is_let_in else None, sorted_errors)

    def warm(self) -> None:
        """Begin to import what the first model will need (some seconds)."""
        if not self._is_warm:
            self._is_warm = True
            self._imports.start()

    def load_model(self, job: LoadModel, control: JobControl) -> Events:
        started = time.perf_counter()
        folder = model_files(Path(job.folder))
        vocabulary = Vocabulary.load(folder)
        vocabulary.need_rows(table_rows(folder), folder)
        template = chat_format(folder, vocabulary)
        memory.trim_heap()  # reading a vocabulary takes twice what it keeps
        self._is_let_in = False
        try:
            yield from self._exchange(job, control, folder, vocabulary, template)
        finally:
            self._is_let_in = True
        if control.is_cancelled or self._model is None:
            self._let_go()
            yield Finished(job.job_id, "cancelled")
            return
        yield _model_loaded(job, self._model, time.perf_counter() - started)
        yield Finished(job.job_id)

    def _exchange(
        self, job: LoadModel, control: JobControl, folder: Path, vocabulary: Vocabulary, template: ChatFormat
    ) -> Events:
        while self.outside.is_busy and not control.is_cancelled:
            yield None
        self._let_go()
        yield Progress(job.job_id, 0, stage="loading_libraries")
        self.warm()
        while self._imports.is_alive() and not control.is_cancelled:
            self._imports.join(POLL_S)
            yield None
        if not control.is_cancelled:
            with sorted_errors():
                yield from self._load(job, control, folder, vocabulary, template)

    def _load(
        self, job: LoadModel, control: JobControl, folder: Path, vocabulary: Vocabulary, template: ChatFormat
    ) -> Events:
        from core.inference import llama_cpp
        from core.inference.choice import choose_with_adapters
        from core.inference.engine import Engine
        from core.models.load import Loading, LoadStep

        gguf, notices = llama_cpp.usable_file(Path(job.folder), job.options)
        kv_cache = job.options.kv_cache
        decoders: list[AdapterDecoder | LlamaCppDecoder] = []

        def decode(loaded: LoadedModel, tell: Callable[[LoadStep], None]) -> None:
            length, is_exact = loaded.context_length, loaded.placement.is_exact
            if gguf:
                decoders.append(llama_cpp.LlamaCppDecoder(loaded.model, length, kv_cache))
                return

            def packed(done: int, total: int) -> None:
                tell(LoadStep("packing_weights", done, total))

            chosen = choose_with_adapters(loaded.model, length, is_exact=is_exact, kv_cache=kv_cache, tell=packed)
            decoders.append(chosen)

        loading = Loading(folder, job.options, partial(llama_cpp.load, gguf) if gguf else None, decode)
        try:
            for step in loading:
                if control.is_cancelled:
                    loading.abandon()
                yield Progress(job.job_id, step.done, step.total or None, step.stage) if step else None
        finally:
            loading.abandon()
        if not control.is_cancelled:
            loaded, decoder = loading.model, decoders[0]
            loaded = replace(loaded, notices=(*loaded.notices, *notices))
            keep_bytes = loaded.placement.spare_bytes() // 4
            engine = Engine(decoder, loaded.context_length, keep_bytes=keep_bytes, rows=vocabulary.size)
            self._model = ReadyModel(loaded, vocabulary, template, engine, decoder, kv_cache, job.name)

    def generate(self, job: Generate, control: JobControl) -> Events:
        model = self._need_model()
        with sorted_errors(model.engine):
            yield from Reply(job, control, model).events()

    def generate_batch(self, job: GenerateBatch, control: JobControl) -> Events:
        model = self._need_model()
        with sorted_errors(model.engine):
            yield from Batch(job, control, model).events()

    def count_tokens(self, job: CountTokens, control: JobControl) -> Events:
        model = self._need_model()
        count = len(model.template.prompt(job.turns).ids) if job.turns else 0
        yield TokensCounted(job.job_id, count)
        yield Finished(job.job_id)

    def tokenize(self, job: Tokenize, control: JobControl) -> Events:
        folder = model_files(Path(job.folder))
        vocabulary, rows = _vocabulary(folder), table_rows(folder)
        yield None
        ids = vocabulary.encode_control(job.text) if job.unsafe_special else vocabulary.encode_text(job.text)
        for start in range(0, max(len(ids), 1), TOKENS_A_PIECE):
            if control.is_cancelled:
                yield Finished(job.job_id, "cancelled")
                return
            tokens = tuple(shown_token(vocabulary, id) for id in ids[start : start + TOKENS_A_PIECE])
            yield Tokenized(job.job_id, tokens, vocabulary.entries, rows)
        yield Finished(job.job_id)

    def measure_forms(self, job: MeasureForms, control: JobControl) -> Events:
        """Some tenths of a second for each form, in which nobody else is answered."""
        while self._imports.is_alive():
            self._imports.join(POLL_S)
            yield None
        from core.profiling import form_speeds
        from core.profiling.form_trial import trying

        for found in trying():
            if control.is_cancelled:
                yield Finished(job.job_id, "cancelled")
                return
            if isinstance(found, form_speeds.FormSpeeds):
                form_speeds.keep(found)
            yield None
        yield Finished(job.job_id)

    def _need_model(self) -> ReadyModel:
        if self._model is None:
            raise UserError("no_model_loaded")
        return self._model

    def _let_go(self) -> None:
        if self._model is None:
            return
        self._model = None
        self.outside.forget()
        gc.collect()
        import torch  # there already: a model was loaded

        torch.cuda.empty_cache()


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
def sorted_errors(engine: Engine | None = None) -> Iterator[None]:
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


def _model_loaded(job: LoadModel, model: ReadyModel, seconds: float) -> ModelLoaded:
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
        kv_cache=model.adapters.kv_cache,
        attention=loaded.attention,
        trained_length=families.lengths(loaded.config, family).trained or loaded.context_length,
        ntk=first is not None and first.has_ntk,
        logn=first is not None and first.has_logn,
        placement=loaded.parts,
        notices=(*loaded.notices, *model.notices),
    )
