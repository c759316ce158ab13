"""Adapters give what PEFT gives, any number of them at once on one base model that stays what it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.utils import logging as their_logging

from core.errors import UserError
from core.inference import adapters as adapters_module
from core.inference.adapters import AdapterDecoder
from core.inference.choice import choose
from core.inference.dense import DenseDecoder
from core.inference.module import ModuleDecoder
from core.models.families import BY_KEY
from core.models.quantised.linear import Int4Linear, Int8Linear
from core.models.quantised.weight import Bits, QuantisedWeight, join_nibbles
from tests.helpers import tiny_adapters, tiny_families, tiny_models
from tests.helpers.tiny_families import TINY, covered

their_logging.set_verbosity_error()  # as loading a model does
CONTEXT = 128
IDS = [(7 * i + 3) % 480 for i in range(17)]
HOW = "LoRA put on by PEFT and saved: the logits are PEFT's own, and the base's again when it is off"
DENSE = list(BY_KEY["qwen3"].adapter_targets)
Make = Callable[[], Any]


def decoder(model: Any, *, is_exact: bool = True) -> AdapterDecoder:
    plain = choose(model, CONTEXT, is_exact=is_exact)
    return AdapterDecoder(model, plain, lambda module: ModuleDecoder(module, CONTEXT))


def logits(found: AdapterDecoder, adapter: str, ids: Sequence[int] = IDS) -> Tensor:
    """After the tokens from the twelfth on; the first twelve are read, the others stepped."""
    cache = found.new_cache(len(ids), adapter)
    reading = found.read(ids[:12], cache)
    rows: list[Tensor] = []
    while not rows:
        try:
            next(reading)
        except StopIteration as end:
            rows.append(end.value)
    rows += [found.step(id, cache) for id in ids[12:]]
    return torch.stack(rows)


@torch.inference_mode()
def whole(model: Any) -> Tensor:
    """The same from one forward pass of a module."""
    found: Tensor = model(input_ids=torch.tensor([IDS])).logits[0, 11:]
    return found


def same(found: Tensor, expected: Tensor, tolerance: float = 2e-4) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * float(expected.std()))


KINDS: dict[str, dict[str, Any]] = {
    "plain": {"target_modules": DENSE},
    "rank by layer": {"target_modules": DENSE, "rank_pattern": {"down_proj": 2}, "alpha_pattern": {"up_proj": 32}},
    "rslora": {"target_modules": DENSE, "r": 16, "use_rslora": True},
    "one layer": {"target_modules": ["v_proj"], "layers_to_transform": [1]},
    "dora": {"target_modules": DENSE, "use_dora": True},
    "lora bias": {"target_modules": ["o_proj", "gate_proj"], "lora_bias": True},
    "biases": {"target_modules": ["q_proj", "k_proj"], "bias": "all"},
    "head and embedding": {"target_modules": DENSE, "modules_to_save": ["lm_head", "embed_tokens"]},
    "head": {"target_modules": [*DENSE, "lm_head"]},
    "rows": {"target_modules": DENSE, "trainable_token_indices": {"embed_tokens": [3, 10, 24], "lm_head": [3, 11]}},
    "norms": {"target_modules": DENSE, "modules_to_save": ["input_layernorm"]},
    "factors of the embedding": {"target_modules": [*DENSE, "embed_tokens"]},
}


def made(architecture: str = "qwen2") -> Any:
    return tiny_models.model(architecture, tie_word_embeddings=False)


@pytest.mark.parametrize("is_exact", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_gives_what_peft_gives(kind: str, is_exact: bool, tmp_path: Path) -> None:
    """With is_exact by torch alone, else tokens go through native code where that is here and takes the adapter."""
    folder = tiny_adapters.write(tmp_path / "a.b", made(), **KINDS[kind])
    model = made()
    found = decoder(model, is_exact=is_exact)
    base = logits(found, "")
    expected = whole(tiny_adapters.through_peft(made(), folder))
    same(logits(found, str(folder)), expected)
    assert float((expected - base).abs().max()) > 0.1 * float(base.std())  # it does change something
    assert torch.equal(logits(found, ""), base)  # and leaves nothing behind
    assert torch.equal(whole(model), whole(made()))
    assert isinstance(found._way(str(folder)), DenseDecoder) == (kind not in ("norms", "factors of the embedding"))


@pytest.mark.parametrize("kind", KINDS)
def test_the_module_gives_the_same_as_the_lean_pass(kind: str, tmp_path: Path) -> None:
    folder = str(tiny_adapters.write(tmp_path / "adapter", made(), **KINDS[kind]))
    model = made()
    plain = ModuleDecoder(model, CONTEXT)
    through_module = AdapterDecoder(model, plain, lambda module: ModuleDecoder(module, CONTEXT))
    base = logits(through_module, "")
    same(logits(through_module, folder), logits(decoder(made()), folder))
    assert torch.equal(logits(through_module, ""), base)


@pytest.mark.parametrize("name", [covered(name, "adapter", HOW) for name in TINY])
def test_every_kind_of_family_takes_adapters_on_its_layers(name: str, tmp_path: Path) -> None:
    targets = list(BY_KEY[TINY[name].family].adapter_targets)
    folder = tiny_adapters.write(tmp_path / "adapter", tiny_families.model(name), target_modules=targets)
    model = tiny_families.model(name)
    found = decoder(model)
    base = logits(found, "")
    same(logits(found, str(folder)), whole(tiny_adapters.through_peft(tiny_families.model(name), folder)), 5e-3)
    assert torch.equal(logits(found, ""), base)


def test_an_adapter_of_a_first_generation_base_brings_embedding_and_head(tmp_path: Path) -> None:
    """As the published script trains it, with the layers that the script forgot to save."""
    options = {"target_modules": ["c_attn", "c_proj", "w1", "w2"], "modules_to_save": ["wte", "lm_head"], "r": 8}
    folder = tiny_adapters.write(tmp_path / "adapter", tiny_families.model("qwen"), lora_alpha=2, **options)
    model = tiny_families.model("qwen")
    found = decoder(model)
    base = logits(found, "")
    same(logits(found, str(folder)), whole(tiny_adapters.through_peft(tiny_families.model("qwen"), folder)))
    assert torch.equal(logits(found, ""), base) and isinstance(found._way(str(folder)), DenseDecoder)


def test_factors_of_fused_experts_go_through_peft(tmp_path: Path) -> None:
    options = {"target_modules": ["q_proj"], "target_parameters": ["mlp.experts.gate_up_proj"]}
    folder = tiny_adapters.write(tmp_path / "adapter", tiny_families.model("qwen3_moe"), **options)
    model = tiny_families.model("qwen3_moe")
    found = decoder(model)
    base = logits(found, "")
    same(logits(found, str(folder)), whole(tiny_adapters.through_peft(tiny_families.model("qwen3_moe"), folder)), 5e-3)
    assert torch.equal(logits(found, ""), base)


@pytest.mark.parametrize("kind", ["plain", "dora", "head and embedding", "rows"])
def test_merged_equals_unmerged(kind: str, tmp_path: Path) -> None:
    folder = tiny_adapters.write(tmp_path / "adapter", made("qwen3"), **KINDS[kind])
    merged = tiny_adapters.through_peft(made("qwen3"), folder).merge_and_unload()
    same(logits(decoder(made("qwen3")), str(folder)), whole(merged))


def test_sequences_with_different_adapters_are_stepped_in_turn(tmp_path: Path) -> None:
    kinds = ("plain", "dora", "norms", "rows")
    folders = [""] + [str(tiny_adapters.write(tmp_path / kind, made(), seed=1, **KINDS[kind])) for kind in kinds]
    alone = [logits(decoder(made()), folder) for folder in folders]
    together = decoder(made())
    caches = [together.new_cache(len(IDS), folder) for folder in folders]
    for cache in caches:
        for _ in together.read(IDS[:12], cache):
            pass
    found: list[list[Tensor]] = [[] for _ in folders]
    for id in IDS[12:]:
        for rows, cache in zip(found, caches, strict=True):
            rows.append(together.step(id, cache))
    for rows, expected in zip(found, alone, strict=True):
        same(torch.stack(rows), expected[1:], 1e-5)


def test_only_the_adapters_used_last_stay_in_memory(tmp_path: Path) -> None:
    model = made()
    found = decoder(model)
    kinds = ("plain", "dora", "norms", "rslora", "one layer", "factors of the embedding")
    folders = [str(tiny_adapters.write(tmp_path / kind, made(), **KINDS[kind])) for kind in kinds]
    first = logits(found, folders[0])
    old = found.new_cache(1, folders[2])
    for folder in folders[1:]:
        logits(found, folder)
    assert len(found._ways) == adapters_module.KEPT and folders[0] not in found._ways
    assert torch.equal(logits(found, folders[0]), first)
    found.step(3, old)  # a sequence whose adapter was dropped has it read again


def test_an_adapter_that_was_written_anew_is_noticed(tmp_path: Path) -> None:
    folder = tiny_adapters.write(tmp_path / "adapter", made(), target_modules=DENSE)
    found = decoder(made())
    before = logits(found, str(folder))
    assert not found.has_changed(str(folder))
    tiny_adapters.write(folder, made(), seed=1, target_modules=DENSE)
    assert found.has_changed(str(folder))
    found.drop(str(folder))
    assert not torch.equal(logits(found, str(folder)), before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_near(dtype: torch.dtype, tmp_path: Path) -> None:
    folder = tiny_adapters.write(tmp_path / "adapter", made(), target_modules=DENSE)
    half = tiny_models.model("qwen2", dtype, tie_word_embeddings=False)
    expected = whole(tiny_adapters.through_peft(tiny_models.model("qwen2", dtype, tie_word_embeddings=False), folder))
    found = logits(decoder(half), str(folder))
    assert found.dtype == dtype
    same(found.float(), expected.float(), 0.15)


def test_an_adapter_of_another_model_is_refused_in_words(tmp_path: Path) -> None:
    wide = tiny_models.model("qwen2", hidden_size=128)
    deep = tiny_models.model("qwen2", num_hidden_layers=3)
    for number, (model, code) in enumerate(((wide, "adapter_does_not_fit"), (deep, "adapter_layer_unknown"))):
        folder = tiny_adapters.write(tmp_path / str(number), model, target_modules=DENSE)
        found = decoder(made())
        with pytest.raises(UserError) as error:
            found.new_cache(4, str(folder))
        assert error.value.code == code and str(error.value)
        assert torch.equal(logits(found, ""), logits(decoder(made()), ""))


def test_what_peft_cannot_load_either_is_said(tmp_path: Path) -> None:
    options = {"target_modules": ["q_proj"], "target_parameters": ["mlp.experts.gate_up_proj"]}
    folder = tiny_adapters.write(tmp_path / "adapter", tiny_families.model("qwen3_moe"), **options)
    model = made("qwen3")
    found = decoder(model)
    with pytest.raises(UserError) as error:
        found.new_cache(4, str(folder))
    assert error.value.code in ("adapter_layer_unknown", "adapter_unusable") and str(error.value)
    good = tiny_adapters.write(tmp_path / "good", made("qwen3"), **KINDS["norms"])
    same(logits(found, str(good)), whole(tiny_adapters.through_peft(made("qwen3"), good)))
    assert torch.equal(logits(found, ""), logits(decoder(made("qwen3")), ""))


def quantised(model: Any, bits: Bits) -> tuple[Any, Any]:
    """The model with coarse weights, kept as codes; and the same weights as plain numbers."""
    plain = made("qwen3")
    plain.load_state_dict(model.state_dict())
    kind = Int4Linear if bits == 4 else Int8Linear
    for name, layer in list(model.named_modules()):
        if name.endswith("_proj"):
            scales = layer.weight.detach().abs().amax(-1, keepdim=True) / (2 ** (bits - 1) - 1)
            codes = ((layer.weight.detach() / scales).round() + 2 ** (bits - 1)).to(torch.uint8)
            weight = QuantisedWeight(join_nibbles(codes) if bits == 4 else codes, scales, None, None, bits)
            model.set_submodule(name, kind(weight))
            plain.get_submodule(name).weight.data = weight.dequantised()
    return model, plain


@pytest.mark.filterwarnings("ignore:torch.quantize_per")  # torch on its own packing
@pytest.mark.parametrize("kind", ["plain", "dora", "norms"])
@pytest.mark.parametrize("bits", [4, 8])
def test_adapters_on_quantised_weights(bits: Bits, kind: str, tmp_path: Path) -> None:
    folder = tiny_adapters.write(tmp_path / "adapter", made("qwen3"), **KINDS[kind])
    model, plain = quantised(made("qwen3"), bits)
    lean = DenseDecoder(model, CONTEXT, is_exact=True)
    found = AdapterDecoder(model, lean, lambda module: ModuleDecoder(module, CONTEXT))
    base = logits(found, "")
    same(base, whole(plain), 0.02)
    same(logits(found, str(folder)), whole(tiny_adapters.through_peft(plain, folder)), 0.02)
    assert torch.equal(logits(found, ""), base)


def test_a_batch_takes_turns_with_other_adapters(tmp_path: Path) -> None:
    """Passes of the module itself, here rows at once, between steps of sequences with other adapters."""
    kinds = ("plain", "norms", "dora")
    folders = ["", *(str(tiny_adapters.write(tmp_path / kind, made(), **KINDS[kind])) for kind in kinds)]
    found = decoder(made())
    expected = [whole(made()), *(whole(tiny_adapters.through_peft(made(), Path(folder))) for folder in folders[1:])]
    modules = [found.module(folder) for folder in folders]
    for _ in range(2):
        for module, rows in zip(modules, expected, strict=True):
            with torch.inference_mode():
                same(module(input_ids=torch.tensor([IDS, IDS])).logits[1, 11:], rows)
            found.step(3, found.new_cache(1, folders[1]))
    assert modules[0].config.vocab_size == 512
