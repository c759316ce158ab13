"""How lengths past the trained one are read: the published numbers, and that nothing changes before."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.models.qwen_v1.positions import LongContext, logn_scale, ntk_alpha, stretched_base


@pytest.mark.parametrize(
    ("length", "alpha"),
    [(1, 1), (2048, 1), (2049, 3), (4096, 3), (4097, 7), (8192, 7), (8193, 15), (16384, 15)],
)
def test_alpha_rises_with_each_doubling(length: int, alpha: float) -> None:
    assert ntk_alpha(length, 2048) == alpha


@given(st.integers(1, 200_000), st.integers(1, 40_000))
def test_alpha_is_the_published_formula(length: int, trained: int) -> None:
    assert ntk_alpha(length, trained) == max(2 ** math.ceil(math.log2(length / trained) + 1) - 1, 1)


@pytest.mark.parametrize(("alpha", "base"), [(1, 10000), (3, 30527.737), (7, 72195.86), (15, 156588.323)])
def test_the_base_is_stretched_as_published(alpha: float, base: float) -> None:
    assert stretched_base(10000.0, alpha, 128) == pytest.approx(base, abs=0.005)


def test_logn_leaves_the_trained_positions_alone() -> None:
    assert logn_scale(1, 2048) == logn_scale(2048, 2048) == 1
    assert logn_scale(4096, 2048) == pytest.approx(math.log(4096) / math.log(2048))
    assert logn_scale(5, 1) == 1  # no logarithm to scale by


def test_a_config_says_how_far_a_prompt_reaches() -> None:
    now = LongContext.from_config({"seq_length": 2048, "max_position_embeddings": 8192, "use_logn_attn": False})
    assert now == LongContext(2048, 8192, has_ntk=True, has_logn=False)
    assert [now.alpha(length) for length in (2048, 2049)] == [1, 3]
    august = LongContext.from_config({"n_positions": 6144, "use_dynamic_ntk": False})
    assert (august.extended_length, august.trained_length, august.alpha(99_999)) == (6144, 6144, 1)
    assert LongContext.from_config({"seq_length": "many"}).trained_length == 8192
