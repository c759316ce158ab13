"""The model of a cell, ready to decode: as the inference worker loads one, or with random weights.

Invariant: the decoder is the one that a chat would get, chosen and checked in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from core.chat.chat_format import ChatFormat, chat_format
from core.chat.folder_json import table_rows
from core.chat.vocabulary import Vocabulary
from core.inference.choice import choose
from core.inference.decoder import AnyDecoder
from core.load_options import LoadOptions
from core.models import memory
from core.models.checkpoint import examine
from core.models.load import LoadedModel, Loading, LoadStep
from core.profiling import random_model
from core.profiling.measure import Step
from core.profiling.plan import Cell
from core.profiling.recorder import Recorder

NOWHERE = "/nowhere"  # the folder of a model that comes from no files


@dataclass(slots=True)
class Ready:
    """vocabulary, chat: of a model on the disk, as the inference worker holds them; load_s: until it could decode."""

    loaded: LoadedModel
    decoder: AnyDecoder
    vocabulary: Vocabulary | None
    chat: ChatFormat | None
    load_s: float

    @property
    def device(self) -> str:
        return str(self.loaded.placement.device)

    @property
    def vocabulary_size(self) -> int:
        if self.vocabulary is not None:
            return self.vocabulary.size
        return int(self.loaded.model.config.get_text_config().vocab_size)

    @property
    def decoder_name(self) -> str:
        """ "dense" for our lean pass, "module" for that of transformers."""
        return type(self.decoder).__name__.removesuffix("Decoder").lower()


def loading(cell: Cell, recorder: Recorder) -> Iterator[Step | Ready]:
    """Steps, and in the end the model."""
    began = recorder.mark("load")
    yield Step("loading_weights")
    vocabulary = chat = None
    folder = Path(cell.subject.folder or NOWHERE)
    if not cell.subject.is_random:
        vocabulary = Vocabulary.load(folder)
        vocabulary.need_rows(table_rows(folder), folder)
        chat = chat_format(folder, vocabulary)
        memory.trim_heap()
    found: list[AnyDecoder] = []

    def decode(loaded: LoadedModel, tell: Any) -> None:
        made = choose(
            loaded.model, loaded.context_length, is_exact=loaded.placement.is_exact, kv_cache=cell.kv_cache,
            tell=lambda done, total: tell(LoadStep("packing_weights", done, total)),
        )  # fmt: skip
        found.append(made)

    work = Loading(
        folder, _options(cell, folder), random_model.loader(cell.subject) if cell.subject.is_random else None, decode
    )
    for step in work:
        if step is not None:
            yield Step(step.stage, step.done, step.total)
    loaded, decoder = work.model, found[0]
    yield Ready(loaded, decoder, vocabulary, chat, recorder.seconds - began)


def _options(cell: Cell, folder: Path) -> LoadOptions:
    """Weights in the form they are stored in are loaded as a chat does it when nothing is asked for: a precision that
    is asked for by name would be computed as transformers rounds it, which is slower on a processor."""
    stored = "bfloat16" if cell.subject.is_random else examine(folder).precision
    return replace(cell.options, weights="auto") if cell.weights == stored else cell.options
