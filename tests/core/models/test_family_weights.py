"""Every family with quantised weights: made while loading, or published by GPTQ; it steps as it reads, and answers much
as the plain one."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from core.inference.choice import choose
from core.load_options import LoadOptions
from core.models import load
from core.models.quantised.linear import QuantisedLinear
from tests.helpers import tiny_families, tiny_gptq
from tests.helpers.tiny_families import TINY, covered
from tests.helpers.tiny_gptq import Kind

pytestmark = pytest.mark.filterwarnings("ignore:torch.quantize_per")  # torch on its own packing
IDS = [(7 * i + 3) % 480 for i in range(17)]
AT_LOAD = "rounded while loading; steps give what one pass over the module gives"
BY_NF4 = "by bitsandbytes, on the processor"
BY_GPTQ = "a folder as GPTQ publishes it, by tiny random weights: the logits of the same weights as plain numbers"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("families")


@lru_cache
def folder_of(folders: Path, name: str) -> Path:
    return tiny_families.write(folders / name.replace(" ", "_"), name)


def stepped(found: load.LoadedModel) -> Tensor:
    """The logits after the twelfth token and all later ones, by the decoder that is chosen."""
    decoder = choose(found.model, found.context_length, is_exact=found.placement.is_exact)
    cache = decoder.new_cache(len(IDS))
    for _ in decoder.read(IDS[:12], cache):
        pass
    return torch.stack([decoder.step(id, cache) for id in IDS[12:]]).float()


@torch.inference_mode()
def whole(model: Any) -> Tensor:
    logits: Tensor = model(input_ids=torch.tensor([IDS])).logits[0, 12:].float()
    return logits


def likeness(one: Tensor, other: Tensor) -> float:
    return float(torch.cosine_similarity(one, other, dim=-1).median())


@pytest.mark.parametrize(
    ("weights", "name"),
    [
        pytest.param(weights, *parameter.values, marks=parameter.marks)
        for weights, how in (("int8", AT_LOAD), ("int4", AT_LOAD), ("nf4", BY_NF4))
        for parameter in (covered(name, weights, how) for name in TINY)
    ],
)
def test_weights_are_quantised_while_loading(folders: Path, weights: Any, name: str) -> None:
    found = load.load(folder_of(folders, name), LoadOptions(weights=weights))
    assert found.weights == weights and found.backend
    if weights == "nf4":
        fits_everywhere(found)
    rows = stepped(found)
    assert likeness(rows, whole(found.model)) > 0.999
    if weights == "int8":  # what 4 bits leave of random weights says little
        assert likeness(rows, whole(tiny_families.model(name))) > 0.98


def fits_everywhere(found: load.LoadedModel) -> None:
    """By their form, whatever the processor: bitsandbytes takes other products on newer ones than on older ones."""
    taken = [module for module in found.model.modules() if type(module).__name__ == "Linear4bit"]
    assert taken and not [m for m in taken if m.in_features % 64 or m.out_features % 32]
    plain = [m for m in found.model.modules() if type(m) is torch.nn.Linear and m.out_features >= 16]
    left = [m for m in plain if m.in_features % 64 or m.out_features % 32]
    assert bool(left) == ("layers_stay_plain" in [notice.code for notice in found.notices])


# Families that share an architecture, and so a kind of folder.
GPTQ = {
    "qwen": ("qwen",), "qwen2": ("qwen1_5", "qwen2", "qwen2_5"), "qwen1_5_moe": ("qwen1_5_moe",),
    "qwen2_moe": ("qwen2_moe",), "qwen3": ("qwen3",), "qwen3_moe": ("qwen3_moe",), "qwen3_next": ("qwen3_next",),
    "qwen3_5": ("qwen3_5",), "qwen3_5_moe": ("qwen3_5_moe",), "llama": ("other",),
}  # fmt: skip


def published(architecture: str, bits: int) -> Any:
    weights = f"gptq_int{bits}"
    marks = [pytest.mark.covers(family=family, weights=weights, how=BY_GPTQ) for family in GPTQ[architecture]]
    return pytest.param(architecture, bits, marks=marks)


@pytest.mark.parametrize(("architecture", "bits"), [published(name, bits) for name in GPTQ for bits in (4, 8)])
def test_folders_of_gptq_load(architecture: str, bits: int, tmp_path: Path) -> None:
    kind = Kind(bits, group=128 if architecture in tiny_gptq.SHAPES else 32)
    folder, reference = tiny_gptq.write(tmp_path / "model", architecture, kind)
    found = load.load(folder, LoadOptions())
    assert found.weights == f"int{bits}" and any(isinstance(m, QuantisedLinear) for m in found.model.modules())
    assert likeness(stepped(found), whole(reference)) > 0.99
