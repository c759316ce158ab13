"""In which precision and with which attention a model runs, with the reason."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from core.errors import UserError
from core.load_options import AttentionChoice, KVChoice, LoadOptions, WeightChoice
from core.models import attention
from core.models.attention import choose_attention
from core.models.checkpoint import Precision
from core.models.placement import Placement, place
from core.translation import say

FIRST: dict[str, Any] = {"model_type": "qwen", "bf16": False, "fp16": False, "fp32": False}


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make this machine one with a card of that capability; 0 is none."""

    def be(capability: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: capability > 0)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (capability, 0))

    return be


@pytest.mark.parametrize(
    ("capability", "stored", "asked", "precision", "reason"),
    [
        (8, "bfloat16", "", torch.bfloat16, "card_with_bf16"),
        (8, "float16", "", torch.float16, "precision_as_stored"),
        (8, "bfloat16", "fp16", torch.float16, "precision_of_config"),
        (8, "bfloat16", "fp32", torch.float32, "precision_of_config"),
        (7, "bfloat16", "", torch.float16, "card_without_bf16"),
        (7, "bfloat16", "bf16", torch.float16, "card_without_bf16"),
        (6, "bfloat16", "", torch.float32, "card_without_half"),
        (6, "bfloat16", "bf16", torch.float32, "card_without_half"),
        (0, "bfloat16", "fp32", torch.float32, "precision_of_config"),
        (0, "float32", "bf16", torch.float32, "precision_as_stored"),
    ],
)
def test_the_precision_of_the_first_generation(
    card: Any, capability: int, stored: Precision, asked: str, precision: torch.dtype, reason: str
) -> None:
    card(capability)
    found = place(LoadOptions(), stored, FIRST | ({asked: True} if asked else {}))
    assert (found.dtype, found.precision_reason, found.is_exact) == (precision, reason, False)
    assert say(f"reason.{reason}")


def test_a_processor_keeps_the_weights_as_they_are_stored(card: Any) -> None:
    card(0)
    found = place(LoadOptions(), "bfloat16", FIRST | {"fp16": True})
    assert found.dtype == torch.bfloat16
    assert found.precision_reason in ("processor_with_bf16", "processor_reads_in_fp32")


@pytest.mark.parametrize("weights", ["int8", "int4", "nf4"])
@pytest.mark.parametrize("is_fast", [True, False])
def test_weights_that_are_quantised_are_not_said_to_stay_as_they_are(
    card: Any, monkeypatch: pytest.MonkeyPatch, weights: WeightChoice, is_fast: bool
) -> None:
    card(0)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: is_fast)
    found = place(LoadOptions(weights=weights), "bfloat16")
    assert found.dtype == torch.bfloat16
    assert found.precision_reason == ("precision_beside_packed" if is_fast else "processor_beside_packed")
    assert place(LoadOptions(weights="int8"), "float32").precision_reason == "precision_beside_packed"
    card(8)
    assert place(LoadOptions(weights=weights), "float16").precision_reason == "precision_beside_packed"
    assert say("reason.precision_beside_packed")


def test_what_a_person_asks_for_goes_before_the_config(card: Any) -> None:
    card(8)
    found = place(LoadOptions(weights="float32"), "bfloat16", FIRST | {"fp16": True})
    assert (found.dtype, found.precision_reason, found.is_exact) == (torch.float32, "precision_asked_for", True)


def test_a_config_that_asks_for_two_precisions_is_refused() -> None:
    with pytest.raises(UserError, match=r"bf16, fp32"):
        place(LoadOptions(), "bfloat16", FIRST | {"bf16": True, "fp32": True})
    place(LoadOptions(), "bfloat16", {"model_type": "qwen2", "bf16": True, "fp32": True})  # means nothing there


@pytest.mark.parametrize(
    ("choice", "kv_cache", "precision", "capability", "installed", "expected"),
    [
        ("auto", "auto", torch.bfloat16, 8, True, (None, "")),
        ("eager", "int8", torch.bfloat16, 8, True, ("eager", "")),
        ("flash", "auto", torch.bfloat16, 8, True, ("flash_attention_2", "")),
        ("flash", "int8", torch.bfloat16, 8, True, (None, "flash_without_int8_cache")),
        ("flash", "int8_compatible", torch.float16, 8, True, (None, "flash_without_int8_cache")),
        ("flash", "plain", torch.float32, 8, True, (None, "flash_without_half_precision")),
        ("flash", "plain", torch.float16, 7, True, (None, "flash_without_card")),
        ("flash", "plain", torch.float16, 0, True, (None, "flash_without_card")),
        ("flash", "plain", torch.float16, 9, False, (None, "flash_not_installed")),
        ("flash", "int8", torch.bfloat16, 0, True, (None, "flash_without_card")),  # another KV cache would not help
        ("flash", "int8", torch.float32, 8, False, (None, "flash_not_installed")),
    ],
)
def test_flash_attention_where_it_can_be_had(
    card: Any, monkeypatch: pytest.MonkeyPatch, choice: AttentionChoice, kv_cache: KVChoice, precision: torch.dtype,
    capability: int, installed: bool, expected: tuple[str | None, str],
) -> None:  # fmt: skip
    card(capability)
    monkeypatch.setattr(attention, "find_spec", lambda name: installed or None)
    where = Placement(torch.device("cuda" if capability else "cpu"), "", precision, "", False)
    found, notices = choose_attention(LoadOptions(attention=choice, kv_cache=kv_cache), where)
    assert (found, "".join(notice.code for notice in notices)) == expected
    assert all(say(f"notice.{notice.code}") for notice in notices)


def test_the_processor_can_be_chosen_beside_a_card(card: Any) -> None:
    card(8)
    chosen, own = place(LoadOptions(device="cpu"), "bfloat16"), place(LoadOptions(), "bfloat16")
    assert (chosen.device.type, chosen.device_reason) == ("cpu", "processor_asked_for")
    assert (own.device.type, own.device_reason) == ("cuda", "runs_on_card")
