"""Logits -> the next token. Knows no model and no text.

Order: penalties, what a constraint forbids, temperature, top-k, top-p, min-p, as in transformers. Invariant: the same
seed gives the same choices from the same logits on every device, for all that is random is one number a token, drawn on
the CPU: where it falls among the summed probabilities is the token. So a captured step can be given the numbers ahead.
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
        self,
        sampling: Sampling,
        prompt: Sequence[int],
        rows: int = 0,
        constraint: Constraint | None = None,
        *,
        may_guess: bool = True,
    ) -> None:
        """rows: ids from here on are never chosen, being rows of the model's table that stand for no token; 0: none.
        may_guess: the choices may be guessed and verified several at a time."""
        self.sampling = sampling
        self.rows = rows
        self.may_guess = may_guess
        self.prompt = list(prompt)
        self._constraint = constraint
        self._counts: Tensor | None = None  # (vocabulary,) of the reply's own tokens
        self._seen: Tensor | None = None  # (vocabulary,) bool, made when the first logits show the size
        self._generator = torch.Generator()
        if sampling.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(sampling.seed % 2**63)

    @torch.inference_mode()
    def pick(self, logits: Tensor) -> int:
        """logits: (vocabulary,), of any precision."""
        scores = self._penalised(self._discouraged(logits[: self.rows or None].float()))
        if self._constraint is not None:
            scores = self._constraint.allowed(scores)
        id = int(scores.argmax()) if self.sampling.temperature <= 0 else self._draw(scores)
        if self._seen is not None:
            self._seen[id] = True
        if self._counts is not None:
            self._counts[id] += 1
        if self._constraint is not None:
            self._constraint.take(id)
        return id

    @property
    def is_plainly_greedy(self) -> bool:
        """The choice depends on these logits alone."""
        return self.sampling.temperature <= 0 and self.sampling.repetition_penalty == 1 and self.is_known_to_cards

    @property
    def is_known_to_cards(self) -> bool:
        """Nothing is asked for that a captured step does not do."""
        asked = self.sampling
        return self._constraint is None and asked.min_p == asked.presence_penalty == asked.frequency_penalty == 0

    def draws(self, count: int) -> Tensor:
        """The numbers that the next `count` choices are to be made by, (count,) fp32 from 0 to 1."""
        return torch.rand(count, generator=self._generator)

    def _discouraged(self, scores: Tensor) -> Tensor:
        presence, frequency = self.sampling.presence_penalty, self.sampling.frequency_penalty
        if presence == 0 and frequency == 0:
            return scores
        if self._counts is None:
            self._counts = torch.zeros_like(scores)
        return scores - frequency * self._counts - presence * (self._counts > 0)

    def _penalised(self, scores: Tensor) -> Tensor:
        penalty = self.sampling.repetition_penalty
        if penalty == 1:
            return scores
        if self._seen is None:
            self._seen = torch.zeros(scores.shape, dtype=torch.bool, device=scores.device)
            seen = torch.tensor(self.prompt, dtype=torch.long, device=scores.device)
            self._seen[seen[seen < scores.shape[0]]] = True
        lowered = torch.where(scores < 0, scores * penalty, scores / penalty)
        return torch.where(self._seen, lowered, scores)

    def _draw(self, scores: Tensor) -> int:
        scores = scores / self.sampling.temperature
        top, ids = top_k(scores, self.sampling.top_k) if self.sampling.top_k > 0 else (scores, None)
        if self.sampling.top_p < 1:
            top, places = top_p(top, self.sampling.top_p)
            ids = places if ids is None else ids[places]
        weights = top.cpu().softmax(-1)
        if self.sampling.min_p > 0:
            weights[weights < self.sampling.min_p * weights.max()] = 0
        place = int(place_of(weights, self.draws(1)))
        return place if ids is None else int(ids[place])


def place_of(weights: Tensor, draw: Tensor) -> Tensor:
    """Where a number from 0 to 1, (1,), falls among the sums of weights, (1,) int64; a weight of 0 is never hit."""
    sums = weights.cumsum(-1, dtype=torch.float64)
    return torch.searchsorted(sums, draw * sums[-1:], right=True).clamp_max_(weights.shape[0] - 1)


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


def is_clear(scores: Tensor, precision: torch.dtype, near: float) -> Tensor:
    """Whether the best of each row, (rows, vocabulary) fp32, would be the best had its products been rounded otherwise,
    (rows,) bool. precision: what the scores were computed in; near: a share of their spread that may be rounding."""
    best = scores.topk(2).values
    step = 2 * torch.finfo(precision).eps * best[:, 0].abs()
    return best[:, 0] - best[:, 1] > step + near * scores.std(-1)
