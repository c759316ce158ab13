"""The proof that a merged model is its base with the adapter: both answer the same questions, greedily.

Owns what is asked and when a difference is one of rounding. Invariant: the merged model is asked along the very tokens
that the base with the adapter chose, so every token is held against the same ones before it, also after a tie.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from core.chat.chat_format import ChatFormat
from core.chat.turns import Turn
from core.errors import UserError
from core.inference.adapters import AdapterDecoder
from core.inference.choice import TOLERANCE, choose_with_adapters
from core.models.adapter import Adapter
from core.models.load import LoadedModel, Loading
from core.models.steps import Step, Work

PROMPTS = (
    "Who are you?",
    "Explain in two sentences why the sky is blue.",
    "用一句话介绍你自己。",
    "Write a Python function that reverses a string.",
)
TOKENS = 24  # of an answer


@dataclass(frozen=True, slots=True)
class Said:
    """What was answered to one prompt.

    margins: by how much each token was ahead of the second, in units of the spread of the logits
    """

    prompt: Sequence[int]
    tokens: list[int]
    margins: list[float]


@dataclass(frozen=True, slots=True)
class Tie:
    """A place where the two chose differently because both tokens were as good as equal."""

    prompt: int
    place: int
    margin: float


def said_with_adapter(folder: Path, found: Adapter, chat: ChatFormat, prompts: Sequence[str]) -> Work[list[Said]]:
    """The answers of the base in `folder` with the adapter.

    Raises:
        UserError: as load and read_changes; adapter_unusable.
    """
    decoder, loaded = yield from _ready(folder)
    adapter = str(found.folder)
    decoder.need(adapter)
    stop_ids = loaded.stop_ids | chat.stop_ids
    said: list[Said] = []
    for prompt in prompts[: len(PROMPTS)]:
        ids = chat.prompt((Turn("user", prompt),), thinking=False).ids
        tokens: list[int] = []
        margins: list[float] = []
        for logits in _steps(decoder, ids, tokens, adapter):
            top = logits.topk(2)
            token = int(top.indices[0])
            margins.append(_margin(top.values, logits))
            tokens.append(token)
            yield Step("proving", 0)
            if token in stop_ids or len(tokens) == TOKENS:
                break
        said.append(Said(ids, tokens, margins))
    del loaded, decoder
    _give_back()
    return said


def ties(folder: Path, said: Sequence[Said], stored: torch.dtype) -> Work[list[Tie]]:
    """Where the merged model in `folder` chooses otherwise within what rounding to `stored` explains.

    Raises:
        UserError: merge_differs.
    """
    decoder, loaded = yield from _ready(folder)
    bound = TOLERANCE.get(stored, TOLERANCE[torch.bfloat16])
    found: list[Tie] = []
    for number, expected in enumerate(said):
        fed: list[int] = []
        for place, logits in enumerate(_steps(decoder, expected.prompt, fed)):
            if int(logits.argmax()) != expected.tokens[place]:
                if not expected.margins[place] <= bound:
                    raise UserError("merge_differs", prompt=number + 1, place=place + 1)
                found.append(Tie(number, place, expected.margins[place]))
            fed.append(expected.tokens[place])
            yield Step("proving", 0)
            if len(fed) == len(expected.tokens):
                break
    del loaded, decoder
    _give_back()
    return found


def _ready(folder: Path) -> Work[tuple[AdapterDecoder, LoadedModel]]:
    """A model as it is decoded for people."""
    decoders: list[AdapterDecoder] = []

    def decode(loaded: LoadedModel, tell: object) -> None:
        is_exact = loaded.placement.is_exact
        decoders.append(choose_with_adapters(loaded.model, loaded.context_length, is_exact=is_exact))

    loading = Loading(folder, then=decode)
    try:
        for step in loading:
            yield Step("loading", 0) if step else None
    finally:
        loading.abandon()
    return decoders[0], loading.model


def _steps(decoder: AdapterDecoder, prompt: Sequence[int], tokens: list[int], adapter: str = "") -> Iterator[Tensor]:
    """The logits after the prompt, and then after each token that is put into `tokens` meanwhile."""
    cache = decoder.new_cache(len(prompt) + TOKENS, adapter)
    reading = decoder.read(prompt, cache)
    while True:
        try:
            next(reading)
        except StopIteration as end:
            yield end.value.float()
            break
    while True:
        yield decoder.step(tokens[-1], cache).float()


def _margin(top: Tensor, logits: Tensor) -> float:
    spread = float(logits.std())
    return float(top[0] - top[1]) / spread if spread > 0 else 0.0


def _give_back() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
