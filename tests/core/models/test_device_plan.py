"""Plans over pretend cards are arithmetic; one plan is carried out, on the only devices every machine has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from core.inference.module import ModuleDecoder
from core.load_options import LoadOptions
from core.models.device_plan import Device, DevicePlan, described, plan
from core.models.footprint import estimate
from core.models.shape import Shape, read_shape, shape_of
from core.translation import say
from tests.helpers import tiny_models

GB = 1_000_000_000
QWEN_7B = {
    "model_type": "qwen", "architectures": ["QWenLMHeadModel"], "hidden_size": 4096, "num_hidden_layers": 32,
    "num_attention_heads": 32, "kv_channels": 128, "intermediate_size": 22016, "vocab_size": 151936,
    "max_position_embeddings": 8192,
}  # fmt: skip


@pytest.fixture(scope="module")
def shape() -> Shape:
    return shape_of(QWEN_7B)


def cards(*free_gb: float, memory_gb: float = 100) -> list[Device]:
    return [
        *(Device(f"cuda:{i}", int(free * GB)) for i, free in enumerate(free_gb)),
        Device("cpu", int(memory_gb * GB)),
    ]


def check(made: DevicePlan, shape: Shape) -> None:
    """What holds for every plan."""
    layers = [layer for share in made.shares for layer in share.layers]
    assert sorted(layers) == list(range(len(shape.layers)))
    assert sum(share.has_embedding for share in made.shares) == sum(share.has_head for share in made.shares) == 1
    assert {*made.modules} >= {block.name for block in shape.blocks}
    if not made.missing_bytes:
        assert all(share.total <= share.device.free_bytes for share in made.shares)


def test_one_card_with_room_gets_everything(shape: Shape) -> None:
    made = plan(shape, context=2048, devices=cards(24, 24))
    check(made, shape)
    assert [share.parts for share in made.shares] == ["embedding 0-31 head"] and not made.notices()
    alone = estimate(shape, LoadOptions(), context=2048, device="cuda")
    assert made.shares[0].total == alone.total


def test_two_cards_share_without_splitting_a_layer(shape: Shape) -> None:
    made = plan(shape, context=2048, devices=cards(12, 12, 12))
    check(made, shape)
    assert [share.device.name for share in made.shares] == ["cuda:0", "cuda:1"] and not made.spilled
    by_name = made.device_map()
    assert by_name["transformer.wte"] == by_name["transformer.h.0"] == by_name["transformer.rotary_emb"] == 0
    assert by_name["transformer.h.31"] == by_name["transformer.ln_f"] == by_name["lm_head"] == 1
    assert described(made.placement()[0][1]).startswith("embedding, layers 0 to ")


def test_a_longer_context_needs_more_cards(shape: Shape) -> None:
    held = [plan(shape, context=length, devices=cards(12, 12, 12)) for length in (2048, 16384)]
    assert [len(made.shares) for made in held] == [2, 3]


def test_what_no_card_has_room_for_lies_in_memory_and_is_said_to_be_slow(shape: Shape) -> None:
    made = plan(shape, context=2048, devices=cards(10))
    check(made, shape)
    assert made.shares[1].device.name == "cpu" and made.spilled[-1] == 31 and not made.shares[1].kv_cache
    code, params = made.notices()[0].code, made.notices()[0].params
    assert params["count"] == len(made.spilled) and "slow" in say(f"notice.{code}", **params)
    whole = plan(shape, context=2048, devices=cards(40)).shares[0]
    largest = max(share.weights for share in made.shares[1:]) / len(made.spilled)
    assert made.shares[0].kv_cache == whole.kv_cache
    assert made.shares[0].workspace == pytest.approx(whole.workspace + largest)


def test_too_big_for_all_of_it(shape: Shape) -> None:
    for devices in (cards(10, memory_gb=2), cards(8)[:1], cards(1)):
        made = plan(shape, context=8192, devices=devices)
        check(made, shape)
        assert made.missing_bytes > 0 and made.notices()[0].code == "plan_too_big"


def test_a_tied_head_stays_with_the_embedding(tmp_path: Path) -> None:
    shape = read_shape(tiny_models.write_model(tmp_path / "m"))
    need = plan(shape, context=64, devices=cards(4)).shares[0]
    made = plan(shape, context=64, devices=cards(*[(need.total - need.weights // 8) / GB / 0.97] * 2))
    check(made, shape)
    assert [share.parts for share in made.shares] == ["embedding 0-0 head", "1-1"]
    assert made.device_map()["lm_head"] == 0


@pytest.mark.errors_logged  # accelerate warns of what we asked for
@pytest.mark.parametrize("family", ["qwen2", "mistral"])
def test_a_plan_carried_out_gives_the_same_logits(family: str, tmp_path: Path) -> None:
    """The processor computes, and half of the layers lie on the disk: what a card and the memory do, in small."""
    folder = tiny_models.write_model(tmp_path / "m", family)
    shape = read_shape(folder)
    need = plan(shape, context=64, devices=[Device("cpu", GB)]).shares[0]
    layer = shape.layers[1].parameters * 4
    devices = [Device("cpu", int((need.total - layer // 2) / 0.97)), Device("disk", GB)]
    made = plan(shape, context=64, devices=devices)
    check(made, shape)
    assert made.spilled == (0, 1) or made.spilled == (1,)
    spread = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, device_map=made.device_map(), offload_folder=str(tmp_path / "disk")
    ).eval()
    assert any(parameter.device.type == "meta" for parameter in spread.parameters())
    assert torch.equal(logits(spread), logits(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()))


def logits(model: Any) -> torch.Tensor:
    decoder = ModuleDecoder(model, 64)
    cache = decoder.new_cache()
    for _ in decoder.read([5, 6, 7, 8], cache):
        pass
    return decoder.step(9, cache)
