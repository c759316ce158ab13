"""Answers many prompts at once through the transformers module, whatever its architecture.

Owns the order of things in a batch: prompts of like lengths together, padded on the left; every row has its own
sampler and its own end, and rows that ended leave at once. Invariant: a row is answered as it would be alone (in fp32;
half precisions round differently in products of another shape), and after a cancel no further step is taken.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from core.chat.turns import FinishReason, Sampling
from core.errors import UserError
from core.inference.batch_cache import bytes_per_token, keep_rows, new_cache
from core.inference.sampling import Sampler
from core.inference.wide_products import wide_products

MAX_ROWS = 32
CACHE_BYTES = 1 << 30
# Tokens of all rows that are read in one pass; a cancel waits for one.
CHUNK, CPU_CHUNK = 2048, 256


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """answered of total prompts are; new_tokens were chosen for them and for those under way."""

    answered: int
    total: int
    new_tokens: int


@dataclass(frozen=True, slots=True)
class Answered:
    """The reply to one prompt; `index` is its place among the prompts, `ids` come without the token that ended it.

    steps: tokens that were chosen, the one that ended it among them
    """

    index: int
    ids: tuple[int, ...]
    reason: FinishReason
    steps: int


BatchStep = BatchProgress | Answered | None


def answer_all(
    model: Any,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    *,
    context_length: int,
    stop_ids: Collection[int] = (),
    rows: int = 0,
    ends: Callable[[int, int], bool] = lambda index, id: False,
    is_cancelled: Callable[[], bool] = lambda: False,
    cache_bytes: int = CACHE_BYTES,
    is_exact: bool = False,
    most_rows: int = MAX_ROWS,
) -> Iterator[BatchStep]:
    """The reply to every prompt, in any order, each as soon as it ended; None wherever others may have their turn.

    rows: as Sampler. ends: asked after every new token (index of the prompt, id) whether its reply ends there, for stop
    texts. cache_bytes: what keys and values may take; most_rows: prompts that are answered together at most. is_exact:
    nothing is computed in another precision than the model's. A cancel ends every prompt under way as "cancelled", and
    the iterator; prompts that were not begun are not answered then.

    Raises:
        UserError: prompt_too_long before anything is read; logits_unusable.
    """
    for prompt in prompts:
        if len(prompt) >= context_length:
            raise UserError("prompt_too_long", tokens=len(prompt), limit=context_length - 1)
    budget = cache_bytes // bytes_per_token(model.config, model.dtype)
    told = _Told(len(prompts))
    for group in _groups(
        [len(prompt) for prompt in prompts], sampling.max_new_tokens, context_length, budget, most_rows
    ):
        begun = [_Row(at, list(prompts[at]), Sampler(sampling, prompts[at], rows)) for at in group]
        batch = _Batch(model, begun, is_exact=is_exact)
        limits = _Limits(sampling.max_new_tokens, context_length, frozenset(stop_ids), ends)
        yield from batch.answers(limits, told, is_cancelled)
        if is_cancelled():
            return


def _groups(
    lengths: Sequence[int], new_tokens: int, context_length: int, budget: int, most_rows: int = MAX_ROWS
) -> Iterator[list[int]]:
    """Places of prompts that are answered together: longest first, so that what cannot fit is known soon."""
    group: list[int] = []
    room = 0
    for at in sorted(range(len(lengths)), key=lambda at: -lengths[at]):
        if group and (len(group) == most_rows or (len(group) + 1) * room > budget):
            yield group
            group = []
        if not group:
            room = min(lengths[at] + new_tokens, context_length)
        group.append(at)
    if group:
        yield group


@dataclass(slots=True)
class _Told:
    total: int
    answered: int = 0
    new_tokens: int = 0

    def progress(self) -> BatchProgress:
        return BatchProgress(self.answered, self.total, self.new_tokens)


@dataclass(frozen=True, slots=True)
class _Limits:
    max_new_tokens: int
    context_length: int
    stop_ids: frozenset[int]
    ends: Callable[[int, int], bool]


@dataclass(slots=True)
class _Row:
    index: int
    prompt: list[int]
    sampler: Sampler
    ids: list[int] = field(default_factory=list)

    def take(self, id: int, limits: _Limits) -> Answered | None:
        """The answer, if `id` is its last token."""
        steps = len(self.ids) + 1
        if id in limits.stop_ids:
            return self.answer("stop", steps)
        self.ids.append(id)
        if limits.ends(self.index, id):
            return self.answer("stop", steps)
        if len(self.prompt) + steps >= limits.context_length:
            return self.answer("context_full", steps)
        return self.answer("length", steps) if steps >= limits.max_new_tokens else None

    def answer(self, reason: FinishReason, steps: int) -> Answered:
        return Answered(self.index, tuple(self.ids), reason, steps)


class _Batch:
    """Rows that are computed together. The mask is (rows, tokens so far), 0 where a row is padded."""

    def __init__(self, model: Any, rows: list[_Row], *, is_exact: bool) -> None:
        self._model, self._rows = model, rows
        lengths = [len(row.prompt) for row in rows]
        self._width = max(lengths)
        self._cache = new_cache(model.config, lengths)
        self._mask = torch.zeros(len(rows), self._width, dtype=torch.long, device=model.device)
        for place, length in enumerate(lengths):
            self._mask[place, self._width - length :] = 1
        self._products = nullcontext() if is_exact else wide_products(model)
        self._takes_positions = "position_ids" in inspect.signature(model.forward).parameters

    def answers(self, limits: _Limits, told: _Told, is_cancelled: Callable[[], bool]) -> Iterator[BatchStep]:
        logits: Tensor | None = None
        for start, end in self._chunks():
            if is_cancelled():
                yield from self._abandon()
                return
            logits = self._read(start, end)
            yield None
        while self._rows:
            assert logits is not None
            if limits.max_new_tokens < 1:
                yield from (row.answer("length", 0) for row in self._rows)
                return
            chosen = self._choose(logits)
            ended = [row.take(id, limits) for row, id in zip(self._rows, chosen, strict=True)]
            told.new_tokens += len(chosen)
            told.answered += sum(answer is not None for answer in ended)
            yield from (answer for answer in ended if answer)
            going = [place for place, answer in enumerate(ended) if answer is None]
            yield told.progress()
            self._keep(going)
            if self._rows and is_cancelled():
                yield from self._abandon()
                return
            if self._rows:
                logits = self._step([chosen[place] for place in going])

    def _abandon(self) -> Iterator[Answered]:
        return (row.answer("cancelled", len(row.ids)) for row in self._rows)

    def _chunks(self) -> Iterator[tuple[int, int]]:
        tokens = CPU_CHUNK if self._model.device.type == "cpu" else CHUNK
        size = max(1, tokens // len(self._rows))
        return ((start, min(start + size, self._width)) for start in range(0, self._width, size))

    def _choose(self, logits: Tensor) -> list[int]:
        if bool(logits.isnan().any()):
            raise UserError("logits_unusable")
        return [row.sampler.pick(scores) for row, scores in zip(self._rows, logits, strict=True)]

    def _read(self, start: int, end: int) -> Tensor:
        """The part of the padded prompts from `start` to `end`; the logits after it, (rows, vocabulary)."""
        padded = [[0] * (self._width - len(row.prompt)) + row.prompt for row in self._rows]
        return self._forward([ids[start:end] for ids in padded], self._mask[:, :end])

    def _step(self, ids: list[int]) -> Tensor:
        self._mask = torch.nn.functional.pad(self._mask, (0, 1), value=1)
        return self._forward([[id] for id in ids], self._mask)

    @torch.inference_mode()
    def _forward(self, ids: list[list[int]], mask: Tensor) -> Tensor:
        tokens = torch.tensor(ids, device=self._model.device)
        places = {}
        if self._takes_positions:
            places["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
        with self._products:
            output = self._model(
                input_ids=tokens, attention_mask=mask, past_key_values=self._cache, use_cache=True, logits_to_keep=1,
                **places,
            )  # fmt: skip
        logits: Tensor = output.logits[:, -1]
        return logits

    @torch.inference_mode()
    def _keep(self, places: list[int]) -> None:
        """Let the other rows go, and their memory with them."""
        if len(places) == len(self._rows):
            return
        self._rows = [self._rows[place] for place in places]
        if places:
            self._mask = self._mask[places]
            keep_rows(self._cache, places)
