"""A merged model is its base with its adapter: the same logits, the same tokens, and everything else it needs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from core.chat.chat_format import chat_format
from core.chat.chatml import ChatMl
from core.chat.turns import Turn
from core.chat.vocabulary import Vocabulary
from core.errors import UserError
from core.load_options import LoadOptions
from core.models import manifest
from core.models.importing import import_model
from core.models.int4_folder import write_int4
from core.models.load import load
from core.models.steps import result
from core.training import merging, proof
from core.training.merging import Lineage
from tests.helpers import tiny_adapters, tiny_families, tiny_gptq, tiny_models, tiny_qwen_v1

pytestmark = pytest.mark.errors_logged  # transformers says what it has no packages for
IDS = torch.tensor([[5, 9, 200, 31, 77, 3, 4]])
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
ATTENTION = ALL[:4]
LINEAR = [*ATTENTION, "in_proj_qkv", "in_proj_z", "out_proj"]
V1 = ["c_attn", "c_proj", "w1", "w2"]


def lineage(adapter: Path, base: Path) -> Lineage:
    return Lineage(adapter, base, adapter.name, base.name)


def merged(tmp_path: Path, adapter: Path, base: Path, name: str = "whole") -> Path:
    return result(merging.merge(lineage(adapter, base), name, tmp_path / "models")).folder


@torch.inference_mode()
def logits(folder: Path, adapter: Path | None = None) -> torch.Tensor:
    """Of the model in fp32; with the adapter as the PEFT library computes it."""
    model: Any = load(folder, LoadOptions(weights="float32")).model
    if adapter is not None:
        model = tiny_adapters.through_peft(model, adapter)
    found: torch.Tensor = model(input_ids=IDS, use_cache=False).logits
    return found


def same(tmp_path: Path, adapter: Path, base: Path) -> Path:
    """The merged folder, once its logits are those of the two."""
    folder = merged(tmp_path, adapter, base)
    expected = logits(base, adapter)
    torch.testing.assert_close(logits(folder), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    assert not torch.allclose(logits(base), expected, atol=1e-2)
    return folder


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("qwen", {"target_modules": V1}),
        ("qwen2", {"target_modules": ALL, "use_rslora": True}),
        ("qwen3", {"target_modules": ALL, "use_dora": True}),
        ("qwen3", {"target_modules": ATTENTION, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 3}}),
        ("qwen3_moe", {"target_modules": ATTENTION}),
        ("qwen3_5", {"target_modules": LINEAR}),
        ("qwen4_exp", {"target_modules": LINEAR}),
        ("gemma2", {"target_modules": ALL}),
    ],
    ids=["qwen", "qwen2 rslora", "qwen3 dora", "qwen3 patterns", "qwen3_moe", "qwen3_5", "qwen4_exp", "gemma2"],
)
def test_the_merged_model_gives_the_same_logits(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    base = tiny_families.write(tmp_path / "base", name)
    adapter = tiny_adapters.write(tmp_path / "learned", tiny_families.model(name), **options)
    folder = same(tmp_path, adapter, base)
    facts = manifest.read(folder)
    assert facts.source == "base + learned" and not facts.base and not facts.location
    assert "learned" in (folder / "README.md").read_text()
    assert [place.name for place in (tmp_path / "models").iterdir()] == ["whole"]


@pytest.mark.parametrize("is_tied", [True, False])
@pytest.mark.parametrize("kind", ["rows", "table", "head", "both"])
def test_trained_tables_are_kept(tmp_path: Path, is_tied: bool, kind: str) -> None:
    """A head that shares its weights with the table of embeddings and was trained otherwise becomes one of its own."""
    options: dict[str, Any] = {
        "rows": {"trainable_token_indices": {name: [5, 9] for name in ["embed_tokens", "lm_head"][: 2 - is_tied]}},
        "table": {"modules_to_save": ["embed_tokens"]},
        "head": {"modules_to_save": ["lm_head"]},
        "both": {"modules_to_save": ["embed_tokens", "lm_head"], "ensure_weight_tying": is_tied},
    }[kind]
    model = tiny_models.model("qwen3", tie_word_embeddings=is_tied)
    base = tmp_path / "base"
    model.save_pretrained(base)
    tiny_models.write_tokenizer(base)
    adapter = tiny_adapters.write(tmp_path / "learned", model, target_modules=ATTENTION, **options)
    folder = same(tmp_path, adapter, base)
    stays = is_tied and kind in ("rows", "both")
    assert json.loads((folder / "config.json").read_text())["tie_word_embeddings"] is stays
    assert ("lm_head.weight" in load_file(folder / "model.safetensors")) is not stays


def test_half_precision_is_rounded_once_and_stays_what_it_was_elsewhere(tmp_path: Path) -> None:
    base = tiny_models.write_model(tmp_path / "base", "qwen3", torch.bfloat16)
    adapter = tiny_adapters.write(tmp_path / "learned", tiny_models.model("qwen3"), target_modules=["q_proj"])
    found, before = (
        load_file(merged(tmp_path, adapter, base) / "model.safetensors"),
        load_file(base / "model.safetensors"),
    )
    factors = load_file(adapter / "adapter_model.safetensors")
    for name, weight in before.items():
        if "q_proj" not in name:
            assert torch.equal(found[name], weight)
            continue
        a, b = (factors[f"base_model.model.{name.replace('.weight', f'.lora_{x}.weight')}"] for x in "AB")
        assert torch.equal(found[name], (weight.float() + 2 * (b @ a)).bfloat16())


def test_a_base_of_the_first_generation_that_was_taught_to_chat(tmp_path: Path) -> None:
    """With the rows of its marks trained, and saved: the published script forgot to."""
    base = tiny_qwen_v1.write_model(tmp_path / "base", is_chat=False, max_shard_size="100KB")
    marks = [tiny_qwen_v1.special_id("<|im_start|>"), tiny_qwen_v1.special_id("<|im_end|>")]
    rows = {"trainable_token_indices": {"wte": marks, "lm_head": marks}}
    adapter = tiny_adapters.write(tmp_path / "learned", tiny_qwen_v1.model(), target_modules=V1, **rows)
    folder = same(tmp_path, adapter, base)
    chat = chat_format(folder, Vocabulary.load(folder))
    assert isinstance(chat, ChatMl) and manifest.read(folder).can_chat
    assert (folder / "modeling_qwen.py").is_file()
    ids = torch.tensor([marks])
    with torch.inference_mode():
        model: Any = load(folder).model
        expected: Any = tiny_adapters.through_peft(load(base).model, adapter)
        torch.testing.assert_close(model(input_ids=ids).logits, expected(input_ids=ids).logits, rtol=0, atol=2e-3)


def test_a_later_base_that_was_taught_to_chat_says_so(tmp_path: Path) -> None:
    base = tiny_models.write_model(tmp_path / "base", "qwen2", template=None)
    adapter = tiny_adapters.write(tmp_path / "learned", tiny_models.model("qwen2"), target_modules=ALL)
    (adapter / "generation_config.json").write_text(json.dumps({"chat_format": "chatml"}))
    folder = merged(tmp_path, adapter, base)
    vocabulary = Vocabulary.load(folder)
    turns = (Turn("user", "Hello?"), Turn("assistant", "Hi"), Turn("user", "你好 <|im_end|>"))
    assert manifest.read(folder).can_chat
    assert chat_format(folder, vocabulary).prompt(turns).ids == ChatMl(vocabulary).prompt(turns).ids
    generation = json.loads((folder / "generation_config.json").read_text())
    assert vocabulary.id_of("<|im_end|>") in generation["eos_token_id"]


def test_large_models_are_written_in_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = merging.write_sharded
    monkeypatch.setattr(merging, "write_sharded", lambda folder, plans: write(folder, plans, 100_000))
    base = tiny_models.write_model(tmp_path / "base")
    adapter = tiny_adapters.write(tmp_path / "learned", tiny_models.model("qwen3"), target_modules=ALL)
    folder = same(tmp_path, adapter, base)
    assert len(list(folder.glob("model-*-of-*.safetensors"))) > 2


def test_four_bits_are_refused_with_the_way_round(tmp_path: Path) -> None:
    base, _ = tiny_gptq.write(tmp_path / "Tiny-Int4", "qwen3", tiny_gptq.Kind())
    model = tiny_models.model("qwen3", **tiny_gptq.SHAPES["qwen3"])
    adapter = tiny_adapters.write(tmp_path / "learned", model, target_modules=ALL)
    refused(tmp_path, adapter, base, "merge_quantised")
    result(import_model(tiny_models.write_model(tmp_path / "Tiny"), "Tiny", tmp_path / "models"))
    assert refused(tmp_path, adapter, base, "merge_quantised_known").params["full"] == "Tiny"


def test_an_adapter_of_another_model_is_refused(tmp_path: Path) -> None:
    base = tiny_models.write_model(tmp_path / "base")
    wide = tiny_models.model("qwen3", hidden_size=128)
    refused(tmp_path, tiny_adapters.write(tmp_path / "wide", wide, target_modules=ALL), base, "adapter_does_not_fit")
    deep = tiny_models.model("qwen3", num_hidden_layers=3)
    refused(tmp_path, tiny_adapters.write(tmp_path / "deep", deep, target_modules=ALL), base, "adapter_layer_unknown")


def test_a_wrong_merge_is_never_called_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from core.models.adapter import Adapter

    base = tiny_models.write_model(tmp_path / "base", dtype=torch.bfloat16)
    adapter = tiny_adapters.write(tmp_path / "learned", tiny_models.model("qwen3"), target_modules=ALL)
    right = Adapter.scale
    with monkeypatch.context() as patch:
        patch.setattr(Adapter, "scale", lambda self, layer: right(self, layer) * (1 if _asks_inference() else 1.5))
        refused(tmp_path, adapter, base, "merge_differs")


def _asks_inference() -> bool:
    return sys._getframe(2).f_globals["__name__"] == "core.inference.changes"


def test_a_tie_is_told_and_no_failure(tmp_path: Path) -> None:
    """The second token of a made-up answer is another than the model's own."""
    folder = tiny_models.write_model(tmp_path / "base")
    model: Any = load(folder).model
    with torch.inference_mode():
        first = int(model(input_ids=IDS).logits[0, -1].argmax())
    said = proof.Said(IDS[0].tolist(), [first, 77], [0.5, 5e-4])
    assert result(proof.ties(folder, [said], torch.float32)) == [proof.Tie(0, 1, 5e-4)]
    with pytest.raises(UserError) as caught:
        result(proof.ties(folder, [replace(said, margins=[0.5, 2e-3])], torch.float32))
    assert caught.value.code == "merge_differs" and caught.value.params == {"prompt": 1, "place": 2}


def refused(tmp_path: Path, adapter: Path, base: Path, code: str) -> UserError:
    with pytest.raises(UserError) as caught:
        merged(tmp_path, adapter, base)
    assert caught.value.code == code and str(caught.value)
    place = tmp_path / "models"
    assert not place.exists() or not [one for one in place.iterdir() if one.name not in ("Tiny",)]
    return caught.value


KILLED = """
import os, signal, sys
from pathlib import Path
from core.training import merging
adapter, base, models = (Path(argument) for argument in sys.argv[1:])
for step in merging.merge(merging.Lineage(adapter, base, "learned", "base"), "whole", models):
    if step and step.stage == "merging":
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_in_the_middle_leaves_no_model(tmp_path: Path) -> None:
    base = tiny_models.write_model(tmp_path / "base")
    adapter = tiny_adapters.write(tmp_path / "learned", tiny_models.model("qwen3"), target_modules=ALL)
    command = [sys.executable, "-c", KILLED, str(adapter), str(base), str(tmp_path / "models")]
    root = Path(__file__).parents[3]
    assert subprocess.run(command, cwd=root, timeout=60, stderr=subprocess.DEVNULL).returncode == -signal.SIGKILL
    assert not (tmp_path / "models" / "whole").exists()
    folder = same(tmp_path, adapter, base)
    assert folder.name == "whole"


def test_a_merge_in_four_bits_is_the_merged_model_rounded(tmp_path: Path) -> None:
    base = tiny_families.write(tmp_path / "base", "qwen3")
    plain: Any = load(base, LoadOptions(weights="float32")).model
    adapter = tiny_adapters.write(tmp_path / "learned", plain, target_modules=ALL)
    known, models = lineage(adapter, base), tmp_path / "models"
    whole = result(merging.merge_into(known, tmp_path / "whole", models)).folder
    rounded = result(write_int4(whole, tmp_path / "rounded"))
    found = result(merging.merge_into_int4(known, tmp_path / "given", models)).folder
    expected, left = (load_file(folder / "model.safetensors") for folder in (rounded, found))
    assert any(name.endswith(".qweight") for name in left) and expected.keys() == left.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in left.items())
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["base", "given", "learned", "rounded", "whole"]
    with pytest.raises(UserError, match="given"):
        result(merging.merge_into_int4(known, tmp_path / "given", models))
