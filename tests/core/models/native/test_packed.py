"""Our own product gives what the reference gives, whatever the weights and however many rows come at once."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from core.models.native.library import library
from core.models.native.packed import Native, fits, pack, unpack
from core.models.quantised.product import multiply_dequantised
from core.models.quantised.rounding import to_int4, to_int8
from core.models.quantised.weight import QuantisedWeight, join_nibbles

pytestmark = pytest.mark.skipif(library() is None, reason="no compiler here")


def random_weight(bits: int, outputs: int, inputs: int, group: int, *, zeros: bool = False) -> QuantisedWeight:
    codes = torch.randint(0, 1 << bits, (outputs, inputs), dtype=torch.uint8)
    scales = (torch.rand(outputs, inputs // group) + 0.5).half()
    found = torch.randint(0, 1 << bits, scales.shape, dtype=torch.int32) if zeros else None
    return QuantisedWeight(join_nibbles(codes) if bits == 4 else codes, scales, found, None, 4 if bits == 4 else 8)


def off(product: Native, x: Tensor, weight: QuantisedWeight) -> float:
    """Of the sum of what is added up, since products of both signs may leave next to nothing; inputs are rounded to
    16 bits, 1.5e-5 at most."""
    whole = multiply_dequantised(torch.eye(x.shape[1]), weight)
    return float((product(x) - multiply_dequantised(x, weight)).norm() / (x.abs() @ whole.abs()).norm())


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(("outputs", "inputs", "group"), [(96, 128, 128), (50, 192, 64), (17, 96, 32), (1, 32, 32)])
@pytest.mark.parametrize("zeros", [False, True])
def test_the_product_is_that_of_the_weights(bits: int, outputs: int, inputs: int, group: int, zeros: bool) -> None:
    weight = random_weight(bits, outputs, inputs, group, zeros=zeros)
    product = Native(weight)
    for rows in (1, 3, 4, 9):
        x = torch.randn(rows, inputs)
        assert off(product, x, weight) < 2e-5
    back = product.weight()
    assert torch.equal(back.codes, weight.codes) and torch.equal(back.scales, weight.scales)
    assert weight.zeros is back.zeros is None or (back.zeros is not None and torch.equal(back.zeros, weight.zeros))


def test_zeros_between_two_codes_are_kept_and_too_large_ones_left_to_others() -> None:
    weight = random_weight(4, 64, 128, 32)
    between = replace(weight, zeros=(torch.randint(0, 31 * 64, weight.scales.shape) / 64).half())
    product, x = Native(between), torch.randn(3, 128)
    assert fits(between) and off(product, x, between) < 2e-5
    back = product.weight().zeros
    assert back is not None and back.dtype == torch.float16 and torch.equal(back, between.zeros)
    assert not fits(replace(weight, zeros=torch.full(weight.scales.shape, 256, dtype=torch.int16)))


@pytest.mark.parametrize("bits", [4, 8])
def test_a_row_gives_the_same_alone_and_among_others(bits: int) -> None:
    product = Native(random_weight(bits, 80, 256, 64))
    x = torch.randn(11, 256)
    together = product(x)
    assert all(torch.equal(product(x[row : row + 1])[0], together[row]) for row in range(11))
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert torch.equal(product(x), together)
    finally:
        torch.set_num_threads(threads)


def test_large_inputs_and_none_at_all_are_not_lost() -> None:
    weight = to_int8(torch.randn(64, 256) * 0.02)
    x = torch.randn(2, 256)
    x[:, 5] *= 1000
    assert off(Native(weight), x, weight) < 1e-4
    assert not Native(weight)(torch.zeros(2, 256)).any()
    assert Native(weight)(x.bfloat16()).dtype == torch.bfloat16
    assert Native(weight)(torch.full((1, 256), float("nan"))).isnan().all(), "a broken model is seen, not hidden"


def test_the_largest_codes_and_inputs_do_not_overflow() -> None:
    for weight in (
        QuantisedWeight(torch.full((32, 4096), 255, dtype=torch.uint8), torch.ones(32, 1), None, None, 8),
        QuantisedWeight(torch.zeros(32, 4096, dtype=torch.uint8), torch.ones(32, 1), None, None, 8),
        QuantisedWeight(torch.full((32, 2048), 255, dtype=torch.uint8), torch.ones(32, 32), None, None, 4),
    ):
        for x in (torch.full((1, 4096), 3.0), torch.full((5, 4096), -3.0)):
            assert off(Native(weight), x, weight) < 2e-5


@pytest.mark.parametrize("bits", [4, 8])
def test_packing_is_undone_exactly_and_costs_no_memory(bits: int) -> None:
    weight = (to_int4 if bits == 4 else to_int8)(torch.randn(64, 128))
    packed = pack(weight.codes, bits)
    assert packed.nbytes == weight.codes.nbytes and torch.equal(unpack(packed, bits), weight.codes)
    assert Native(weight).size_bytes <= 1.1 * weight.size_bytes


def test_groups_that_are_no_whole_blocks_are_left_to_others() -> None:
    assert fits(random_weight(4, 64, 128, 32)) and not fits(random_weight(4, 64, 120, 24))
