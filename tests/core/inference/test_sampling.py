"""The choice of the next token is the one the sampling asks for."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.chat.turns import Sampling
from core.inference import sampling
from core.inference.sampling import Sampler, top_p

PLAIN = Sampling(temperature=1.0, top_p=1.0, top_k=0, repetition_penalty=1.0, seed=1)


def logits(seed: int, size: int = 200) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)) * 3


def changed(**changes: object) -> Sampling:
    import msgspec

    return msgspec.structs.replace(PLAIN, **changes)


def draws(chosen: Sampling, scores: torch.Tensor, count: int = 400) -> Counter[int]:
    sampler = Sampler(chosen, [])
    return Counter(sampler.pick(scores) for _ in range(count))


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=30)
def test_temperature_zero_takes_the_likeliest(seed: int) -> None:
    assert Sampler(changed(temperature=0.0), []).pick(logits(seed)) == int(logits(seed).argmax())


def test_the_same_seed_gives_the_same_choices() -> None:
    def run(seed: int | None) -> list[int]:
        sampler = Sampler(changed(seed=seed), [])
        return [sampler.pick(logits(step)) for step in range(40)]

    assert run(7) == run(7) != run(8)
    assert run(-3) == run(-3)
    assert run(None) != run(None)


@given(seed=st.integers(0, 1000), k=st.integers(0, 300), p=st.floats(0.01, 1), temperature=st.floats(0.1, 3))
@settings(deadline=None, max_examples=40)
def test_only_tokens_that_transformers_keeps_are_chosen(seed: int, k: int, p: float, temperature: float) -> None:
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    scores = TemperatureLogitsWarper(temperature)(None, logits(seed)[None])
    if k:
        scores = TopKLogitsWarper(k)(None, scores)
    if p < 1:
        scores = TopPLogitsWarper(p)(None, scores)
    kept = {int(id) for id in scores[0].isfinite().nonzero()}
    chosen = draws(changed(top_k=k, top_p=p, temperature=temperature), logits(seed), 60)
    assert set(chosen) <= kept


@given(seed=st.integers(0, 1000), share=st.floats(0.01, 0.999))
@settings(deadline=None, max_examples=40)
def test_top_p_keeps_the_fewest_that_reach_the_share(seed: int, share: float) -> None:
    whole = logits(seed).softmax(-1)
    _, places = top_p(logits(seed), share)
    mass = float(whole[places].sum())
    assert mass >= share - 1e-5
    assert len(places) == 1 or mass - float(whole[places[-1]]) < share + 1e-5


def test_a_flat_distribution_needs_more_than_the_first_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "FEW", 16)
    assert len(top_p(torch.zeros(1000), 0.5)[1]) in (500, 501)


def test_draws_follow_the_probabilities() -> None:
    scores = torch.tensor([0.6, 0.3, 0.1]).log()
    found = draws(PLAIN, scores, 3000)
    assert [round(found[id] / 3000, 1) for id in range(3)] == [0.6, 0.3, 0.1]


@given(seed=st.integers(0, 1000), penalty=st.floats(0.5, 2))
@settings(deadline=None, max_examples=30)
def test_repetition_penalty_is_that_of_transformers(seed: int, penalty: float) -> None:
    from transformers import RepetitionPenaltyLogitsProcessor

    prompt = [3, 3, 5, 9]
    sampler = Sampler(changed(temperature=0.0, repetition_penalty=penalty), prompt)
    theirs = RepetitionPenaltyLogitsProcessor(penalty)
    ids = list(prompt)
    for step in range(6):
        scores = logits(seed + step, 12)
        expected = int(theirs(torch.tensor([ids]), scores[None]).argmax())
        assert sampler.pick(scores) == expected
        ids.append(expected)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_rows_without_a_token_are_never_chosen(temperature: float, penalty: float) -> None:
    scores = logits(3, 50)
    scores[40:] += 100
    sampler = Sampler(changed(temperature=temperature, repetition_penalty=penalty), [2, 45], rows=40)
    assert max(sampler.pick(scores) for _ in range(50)) < 40
