"""GPTQ's tensors mean what the published formula says, in every variant; what is written is read again bit by bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import quants as gguf_quants
from gguf.constants import GGMLQuantizationType
from torch import Tensor

from core.errors import UserError
from core.models.quantised import packing
from core.models.quantised.card import TILE, learn_tile
from core.models.quantised.card import unpack as unpack_tiles
from core.models.quantised.grid import on_grid
from core.models.quantised.rounding import group_of, rounded, to_int4, to_int8
from core.models.quantised.scheme import Scheme, scheme_of
from core.models.quantised.weight import QuantisedWeight, join_nibbles, split_nibbles

torch.set_num_threads(1)
INPUTS, OUTPUTS = 256, 64
ONES = {4: 0x11111111, 8: 0x01010101}


def random_tensors(bits: int, group: int, *, desc_act: bool) -> dict[str, Tensor]:
    """Any bits at all: whatever they say must be read."""
    size = INPUTS if group == -1 else group
    index = torch.arange(INPUTS) // size
    words = torch.iinfo(torch.int32)

    def some(*shape: int) -> Tensor:
        return torch.randint(words.min, words.max, shape, dtype=torch.int32)

    return {
        "qweight": some(INPUTS * bits // 32, OUTPUTS),
        "qzeros": some(INPUTS // size, OUTPUTS * bits // 32),
        "scales": torch.rand(INPUTS // size, OUTPUTS).half(),
        "g_idx": (index[torch.randperm(INPUTS)] if desc_act else index).int(),
    }


def by_formula(tensors: dict[str, Tensor], bits: int, added: int) -> Tensor:
    """scale * (code - (zero + added)), code by code, as published; (in, out)."""
    per_word, mask = 32 // bits, (1 << bits) - 1
    qweight, qzeros = (tensors[name].long() & 0xFFFFFFFF for name in ("qweight", "qzeros"))
    codes = torch.stack([(qweight >> (bits * i)) & mask for i in range(per_word)], 1).reshape(INPUTS, OUTPUTS)
    zeros = torch.stack([(qzeros >> (bits * i)) & mask for i in range(per_word)], 2).reshape(-1, OUTPUTS) + added
    group = tensors["g_idx"].long()
    return tensors["scales"].double()[group] * (codes - zeros[group])


@pytest.mark.parametrize("desc_act", [False, True])
@pytest.mark.parametrize("group", [32, 64, 128, -1])
@pytest.mark.parametrize("bits", [4, 8])
def test_tensors_are_read_and_written_exactly(bits: Any, group: int, desc_act: bool) -> None:
    tensors = random_tensors(bits, group, desc_act=desc_act)
    for zeros, added in (("less_one", 1), ("plain", 0)):
        scheme = Scheme(bits, group, zeros)  # type: ignore[arg-type]
        weight = packing.read(tensors, scheme)
        assert torch.equal(weight.in_order_of_input(weight.dequantised()).T.double(), by_formula(tensors, bits, added))
        assert (weight.order is not None) == (desc_act and group != -1)
        written = packing.write(weight, scheme)
        assert all(torch.equal(written[name], tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize("bits", [4, 8])
def test_zeros_that_borrowed_from_their_neighbours_come_back(bits: Any) -> None:
    """gptqmodel subtracts one from each zero of a word by one subtraction; a zero of 0 borrows from the next one."""
    tensors = random_tensors(bits, 64, desc_act=False)
    borrowed = tensors | {"qzeros": tensors["qzeros"] - ONES[bits]}
    scheme = Scheme(bits, 64, "less_one_carried")
    weight = packing.read(borrowed, scheme)
    assert torch.equal(weight.dequantised().T.double(), by_formula(tensors, bits, 0))
    assert torch.equal(packing.write(weight, scheme)["qzeros"], borrowed["qzeros"])


@pytest.mark.parametrize(("bits", "word"), [(4, 0x77777777), (8, 0x7F7F7F7F)])
def test_symmetric_weights_keep_no_zeros(bits: Any, word: int) -> None:
    tensors = random_tensors(bits, 128, desc_act=False)
    tensors["qzeros"].fill_(word)
    assert packing.read(tensors, Scheme(bits, 128)).zeros is None


def test_malformed_layers_are_refused() -> None:
    good = random_tensors(4, 64, desc_act=False)
    index = good["g_idx"]
    for bad in (
        {"scales": good["scales"][:-1]},
        {"qzeros": good["qzeros"][:, :-1]},
        {"g_idx": index[:-1]},
        {"g_idx": index + 1},
        {"g_idx": torch.zeros_like(index)},
    ):
        with pytest.raises(packing.Malformed):
            packing.read(good | bad, Scheme(4, 64))
    with pytest.raises(packing.Malformed):
        packing.read(good, Scheme(4, 96))
    without = {name: tensor for name, tensor in good.items() if name != "g_idx"}
    assert torch.equal(packing.read(without, Scheme(4, 64)).codes, packing.read(good, Scheme(4, 64)).codes)


GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128}


@pytest.mark.parametrize(
    ("config", "scheme"),
    [
        (GPTQ, Scheme(4, 128)),
        (GPTQ | {"bits": 8, "group_size": -1}, Scheme(8, -1)),
        (GPTQ | {"checkpoint_format": "gptq_v2"}, Scheme(4, 128, "plain")),
        (GPTQ | {"meta": {"quantizer": ["gptqmodel:1.4.0"]}}, Scheme(4, 128, "less_one_carried")),
        (GPTQ | {"dynamic": {"-:.*gate": {}, "+:.*up": {"bits": 4}}}, Scheme(4, 128)),
        ({"bits": 4, "group_size": 32}, Scheme(4, 32)),
        (None, None),
    ],
)
def test_what_a_config_says(config: Any, scheme: Scheme | None, tmp_path: Path) -> None:
    assert scheme_of({"quantization_config": config}, tmp_path) == scheme


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({"quant_method": "awq", "bits": 4}, "quantisation_method"),
        ({"quant_method": "compressed-tensors"}, "quantisation_method"),
        ({"quant_method": "fp8"}, "quantisation_method"),
        (GPTQ | {"bits": 3}, "quantisation_field"),
        (GPTQ | {"bits": "4"}, "quantisation_field"),
        (GPTQ | {"group_size": 0}, "quantisation_field"),
        (GPTQ | {"group_size": None}, "quantisation_field"),
        (GPTQ | {"checkpoint_format": "marlin"}, "quantisation_field"),
        (GPTQ | {"pack_dtype": "int16"}, "quantisation_field"),
        (GPTQ | {"dynamic": {"+:.*up": {"bits": 8}}}, "quantisation_field"),
        ([4], "quantisation_field"),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(config: Any, code: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        scheme_of({"quantization_config": config}, tmp_path)
    assert refused.value.code == code and str(refused.value)


def test_the_side_file_speaks_where_the_config_does_not(tmp_path: Path) -> None:
    (tmp_path / "quantize_config.json").write_text('{"bits": 8, "group_size": 64}')
    assert scheme_of({}, tmp_path) == Scheme(8, 64)
    (tmp_path / "quantize_config.json").write_text("{")
    with pytest.raises(UserError) as refused:
        scheme_of({}, tmp_path)
    assert refused.value.code == "config_unreadable"


# --- rounding -------------------------------------------------------------------


def test_rounding_is_as_near_as_the_steps_allow() -> None:
    weight = torch.randn(48, 320)
    weight[3] = 0
    weight[4] = weight[4].abs() + 1
    eight, four = to_int8(weight), to_int4(weight)
    assert bool(((eight.dequantised() - weight).abs() <= eight.scales / 2 * 1.001).all())
    steps = four.scales.float().repeat_interleave(four.group_size, 1)
    # An end of a group may be missed by the rounding of its zero and of its scale to bf16.
    assert bool(((four.dequantised() - weight).abs() <= steps * 1.1).all())
    assert float((four.dequantised() - weight).norm() / weight.norm()) < 0.12
    assert not eight.dequantised()[3].any() and not four.dequantised()[3].any()


@pytest.mark.parametrize("kind", [GGMLQuantizationType.Q4_0, GGMLQuantizationType.Q4_1])
def test_weights_that_had_4_bits_are_found_again_as_they_were(kind: GGMLQuantizationType) -> None:
    plain = (torch.randn(64, 320) * 0.02).numpy()
    stored = torch.from_numpy(gguf_quants.dequantize(gguf_quants.quantize(plain, kind), kind)).bfloat16()
    found = to_int4(stored)
    assert found.group_size == 32
    assert float((found.dequantised() - stored.float()).norm() / stored.float().norm()) < 0.005
    assert float((rounded(stored).dequantised() - stored.float()).norm() / stored.float().norm()) > 0.05


def test_groups_of_few_values_and_of_one_sign_are_found_too() -> None:
    """As Q4_K has them: not every group has its outermost codes, and one may lie above or below zero as a whole."""
    codes = torch.randint(1, 14, (64, 10, 32)).float()
    steps = torch.randint(1, 64, (64, 10, 1)) * 1e-3
    stored = (steps * (codes - torch.rand(64, 10, 1) * 18)).view(64, 320).bfloat16()
    stored[0, :32], stored[0, 32:64], stored[0, 64:96] = 0, 0.5, -0.5
    found = on_grid(stored)
    assert found is not None
    assert float((found.dequantised() - stored.float()).norm() / stored.float().norm()) < 0.005
    assert not found.dequantised()[0, :32].any()


@pytest.mark.parametrize("kind", [GGMLQuantizationType.Q5_0, GGMLQuantizationType.Q8_0])
def test_weights_of_more_bits_are_not_taken_for_those_of_4(kind: GGMLQuantizationType) -> None:
    plain = (torch.randn(64, 320) * 0.02).numpy()
    stored = torch.from_numpy(gguf_quants.dequantize(gguf_quants.quantize(plain, kind), kind)).bfloat16()
    assert on_grid(stored) is None and on_grid(torch.randn(64, 320)) is None
    of_4_bits = rounded(torch.randn(64, 320)).dequantised().bfloat16()
    assert on_grid(of_4_bits) is not None
    assert on_grid(torch.cat((of_4_bits, torch.randn(64, 320).bfloat16()))) is None, "a layer is on a grid as a whole"


def test_a_group_divides_the_width() -> None:
    assert [group_of(inputs) for inputs in (576, 1536, 96, 50)] == [64, 64, 32, 50]
    assert to_int4(torch.randn(16, 50)).groups == 1


# --- the layout of the kernel on cards -------------------------------------------


def test_an_unknown_layout_of_tiles_is_learnt() -> None:
    """With a packing of our own in place of the card's: any permutation inside a tile is found and undone."""
    places = torch.randperm(TILE[0] * TILE[1])

    def pack(codes: Tensor) -> Tensor:
        plain = split_nibbles(codes)
        down, across = plain.shape[0] // TILE[0], plain.shape[1] // TILE[1]
        tiles = plain.view(down, TILE[0], across, TILE[1]).transpose(1, 2).reshape(down * across, -1)
        return join_nibbles(tiles[:, places]).view(torch.int32)

    codes = torch.randint(0, 16, (32, 384), dtype=torch.uint8)
    found = learn_tile(pack, torch.device("cpu"))
    assert torch.equal(unpack_tiles(pack(join_nibbles(codes)), (32, 384), found), codes)


def test_sizes_count_every_tensor() -> None:
    weight = to_int4(torch.randn(64, 128))
    assert isinstance(weight, QuantisedWeight)
    assert weight.size_bytes == 64 * 128 // 2 + 64 * 2 * (2 + 1)
