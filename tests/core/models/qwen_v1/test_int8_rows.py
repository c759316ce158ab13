"""The published 8-bit rows: the worked example, how far a value moves, and chunks without a spread."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.models.qwen_v1.int8_rows import dequantise, quantise_chunk


def test_the_published_example() -> None:
    rows = quantise_chunk(torch.tensor([[[[0.5, -1.0], [2.0, 0.25]]]]))
    assert rows.levels.tolist() == [[[[127, 0], [255, 106]]]]
    assert rows.levels.dtype == torch.uint8
    assert rows.scale.flatten().tolist() == pytest.approx([0.0117647] * 2, abs=5e-8)
    assert rows.zero.flatten().tolist() == pytest.approx([85] * 2, abs=1e-4)
    assert dequantise(rows).flatten().tolist() == pytest.approx([0.4941, -1, 2, 0.2471], abs=5e-5)


@given(st.integers(0, 9999), st.integers(1, 9), st.sampled_from([torch.float32, torch.bfloat16, torch.float16]))
@settings(deadline=None, max_examples=30)
def test_every_value_comes_back_within_its_scale(seed: int, tokens: int, dtype: torch.dtype) -> None:
    states = (torch.randn(2, 3, tokens, 8, generator=torch.Generator().manual_seed(seed)) * 3).to(dtype)
    rows = quantise_chunk(states)
    assert rows.levels.shape == states.shape and rows.scale.shape == rows.zero.shape == (2, 3, tokens, 1)
    assert rows.scale.dtype == rows.zero.dtype == dtype
    # Where the stored zero point is rounded, the ends of the range are cut off by as much.
    slack = {torch.float32: 1.001, torch.float16: 1.2, torch.bfloat16: 2.5}[dtype]
    assert bool(((dequantise(rows) - states).abs() <= slack * rows.scale).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("value", [0.0, 1.25, -3.5])
def test_a_chunk_without_a_spread_comes_back_as_it_was(dtype: torch.dtype, value: float) -> None:
    states = torch.full((1, 2, 3, 4), value, dtype=dtype)
    assert torch.equal(dequantise(quantise_chunk(states)), states)


def test_a_narrow_chunk_far_from_zero_stays_finite() -> None:
    states = torch.linspace(100, 100.1, 16, dtype=torch.float32).view(1, 1, 2, 8).half()
    torch.testing.assert_close(dequantise(quantise_chunk(states)), states, atol=0.1, rtol=0)
