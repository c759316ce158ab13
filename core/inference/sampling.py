"""Logits -> the next token. Knows no model and no text.

Order: penalties, what a constraint forbids, temperature, top-k, top-p, min-p, as in transformers.
Invariant: the same seed gives the same choices from the same logits on every device, for the draw itself happens on the
CPU.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from core.chat.turns import Sampling
from core.inference.constraint import Constraint

FEW = 1024  # so many of the likeliest tokens nearly always hold the probability that top-p asks for


class Sampler:
    """The choices of one sequence."""

    def __init__(
        self, sampling: Sampling, prompt: Sequence[int], rows: int = 0, constraint: Constraint | None = None
    ) -> None:
        """rows: ids from here on are never chosen, being rows of the model's table that stand for no token; 0: none."""
        self._sampling = sampling
        self._constraint = constraint
        self._counts: Tensor | None = None  # (vocabulary,) of the reply's own tokens
        self._rows = rows
        self._seen_ids = list(prompt)
        self._seen: Tensor | None = None  # (vocabulary,) bool, made when the first logits show the size
        self._generator = torch.Generator()
        if sampling.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(sampling.seed % 2**63)

    @torch.inference_mode()
    def pick(self, logits: Tensor) -> int:
        """logits: (vocabulary,), of any precision."""
        scores = self._penalised(self._discouraged(logits[: self._rows or None].float()))
        if self._constraint is not None:
            scores = self._constraint.allowed(scores)
        id = int(scores.argmax()) if self._sampling.temperature <= 0 else self._draw(scores)
        if self._seen is not None:
            self._seen[id] = True
        if self._counts is not None:
            self._counts[id] += 1
        if self._constraint is not None:
            self._constraint.take(id)
        return id

    def _discouraged(self, scores: Tensor) -> Tensor:
        presence, frequency = self._sampling.presence_penalty, self._sampling.frequency_penalty
        if presence == 0 and frequency == 0:
            return scores
        if self._counts is None:
            self._counts = torch.zeros_like(scores)
        return scores - frequency * self._counts - presence * (self._counts > 0)

    def _penalised(self, scores: Tensor) -> Tensor:
        penalty = self._sampling.repetition_penalty
        if penalty == 1:
            return scores
        if self._seen is None:
            self._seen = torch.zeros(scores.shape, dtype=torch.bool, device=scores.device)
            seen = torch.tensor(self._seen_ids, dtype=torch.long, device=scores.device)
            self._seen[seen[seen < scores.shape[0]]] = True
        lowered = torch.where(scores < 0, scores * penalty, scores / penalty)
        return torch.where(self._seen, lowered, scores)

    def _draw(self, scores: Tensor) -> int:
        scores = scores / self._sampling.temperature
        top, ids = top_k(scores, self._sampling.top_k) if self._sampling.top_k > 0 else (scores, None)
        if self._sampling.top_p < 1:
            top, places = top_p(top, self._sampling.top_p)
            ids = places if ids is None else ids[places]
        weights = torch.softmax(top, -1).cpu()
        if self._sampling.min_p > 0:
            weights[weights < self._sampling.min_p * weights.max()] = 0
        place = int(torch.multinomial(weights, 1, generator=self._generator))
        return place if ids is None else int(ids[place])


def top_k(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` highest scores, highest first, and where they are."""
    values, places = scores.topk(min(count, scores.shape[0]))
    return values, places


def top_p(scores: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """The fewest highest scores whose probabilities sum to `share` at least, highest first, and where they are."""
    total = scores.logsumexp(-1)
    for count in sorted({min(FEW, scores.shape[0]), scores.shape[0]}):
        values, places = scores.topk(count)
        before = (values - total).exp().cumsum(-1)
        if float(before[-1]) >= share or count == scores.shape[0]:
            break
    # A token stays when those before it do not reach the share yet; the likeliest always stays.
    keep = 1 + int((before[:-1] < share).sum())
    return values[:keep], places[:keep]
