"""Logits -> the next token on the device, as `sampling.Sampler` chooses it, and whether it ends the reply.

Invariant: what is random comes from outside, one number a token, so the tokens are those that Sampler would choose from
these logits with the same seed (but for what rounding does to a sum); and what the user may move without choosing
another way (temperature, top-p, penalty) lies in tensors, so it needs no new capture.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from core.chat.turns import Sampling
from core.inference.sampling import Sampler, place_of

STOPS = 8  # ids that end a reply are kept in whole eights


@dataclass(frozen=True, slots=True)
class Way:
    """What a captured choice is made for. top_k: 0 for all; rows: as Sampler; stops: how many ids there is room for."""

    is_greedy: bool
    top_k: int
    has_top_p: bool
    has_penalty: bool
    rows: int
    stops: int

    @classmethod
    def of(cls, sampling: Sampling, rows: int, stop_ids: Collection[int]) -> Way:
        is_greedy = sampling.temperature <= 0
        return cls(
            is_greedy,
            0 if is_greedy else max(sampling.top_k, 0),
            not is_greedy and sampling.top_p < 1,
            sampling.repetition_penalty != 1,
            rows,
            -(-max(len(stop_ids), 1) // STOPS) * STOPS,
        )


class Choosing:
    """The choices of one sequence. most: tokens it can choose."""

    def __init__(self, way: Way, vocabulary: int, most: int, device: torch.device) -> None:
        self.way = way
        self._draws = torch.zeros(1 if way.is_greedy else most, device=device)
        self._chosen = torch.zeros(1, dtype=torch.int64, device=device)  # how many
        self._temperature = torch.ones(1, device=device)
        self._top_p = torch.ones(1, device=device)
        self._penalty = torch.ones(1, device=device)
        self._stop_ids = torch.full((way.stops,), -1, dtype=torch.int64, device=device)
        size = way.rows or vocabulary
        self._seen = torch.zeros(size if way.has_penalty else 0, dtype=torch.bool, device=device)
        self._true = torch.ones(1, dtype=torch.bool, device=device)

    @property
    def state(self) -> tuple[Tensor, ...]:
        """What a choice changes."""
        return (self._chosen, self._seen)

    def begin(self, sampler: Sampler, id: int, stop_ids: Collection[int]) -> None:
        """For a sequence that has `id` after the prompt."""
        sampling, device = sampler.sampling, self._chosen.device
        self._chosen.zero_()
        if not self.way.is_greedy:
            count = min(len(self._draws), sampling.max_new_tokens + 1)
            self._draws[:count] = sampler.draws(count).to(device)
            self._temperature.fill_(sampling.temperature)
            self._top_p.fill_(sampling.top_p)
        self._penalty.fill_(sampling.repetition_penalty)
        self._stop_ids.fill_(-1)
        self._stop_ids[: len(stop_ids)] = torch.tensor(sorted(stop_ids), dtype=torch.int64).to(device)
        if self.way.has_penalty:
            seen = [id for id in {*sampler.prompt, id} if id < len(self._seen)]
            self._seen.zero_()
            self._seen[torch.tensor(seen, dtype=torch.int64).to(device)] = True

    def pick(self, logits: Tensor) -> Tensor:
        """(vocabulary,) -> (1,) int64"""
        scores = self._penalised(logits[: self.way.rows or None].float())
        id = scores.argmax(-1, keepdim=True) if self.way.is_greedy else self._drawn(scores)
        if self.way.has_penalty:
            self._seen.index_copy_(0, id, self._true)
        self._chosen.add_(1)
        return id

    def ends(self, ids: Tensor) -> Tensor:
        """Which of these end the reply, (n,) bool."""
        return (ids[:, None] == self._stop_ids).any(-1)

    def _penalised(self, scores: Tensor) -> Tensor:
        if not self.way.has_penalty:
            return scores
        lowered = torch.where(scores < 0, scores * self._penalty, scores / self._penalty)
        return torch.where(self._seen, lowered, scores)

    def _drawn(self, scores: Tensor) -> Tensor:
        way, ids = self.way, None
        scores = scores / self._temperature
        if way.top_k:
            scores, ids = scores.topk(min(way.top_k, scores.shape[0]))
        elif way.has_top_p:
            scores, ids = scores.sort(descending=True)
        weights = scores.softmax(-1)
        if way.has_top_p:
            # A token stays when those before it do not reach the share yet; the likeliest always stays.
            sums = weights.cumsum(-1)
            before = torch.cat((torch.zeros_like(sums[:1]), sums[:-1]))
            weights = weights * (before < self._top_p)
        place = place_of(weights, self._draws.index_select(0, self._chosen.clamp_max(len(self._draws) - 1)))
        return place if ids is None else ids.index_select(0, place)
