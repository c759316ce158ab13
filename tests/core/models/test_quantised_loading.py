"""GPTQ folders load to what their weights stand for; plain ones are quantised at load; what does not fit is told."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import cosine_similarity

from core.errors import UserError
from core.inference.choice import choose
from core.load_options import LoadOptions, WeightChoice
from core.models import manifest
from core.models.checkpoint import examine
from core.models.importing import import_model
from core.models.load import LoadStep, load, weight_bytes
from core.models.native.library import library
from core.models.quantised import bits_and_bytes
from core.models.quantised.choice import pack
from core.models.quantised.gptq import Files, Filling
from core.models.quantised.linear import Int4Linear, Int8Linear, QuantisedLinear
from core.models.tree import config_of, empty
from core.translation import say
from tests.helpers import tiny_families, tiny_gptq, tiny_models
from tests.helpers.tiny_gptq import Kind

IDS = [(7 * i + 3) % 480 for i in range(24)]
# Every value of each, and every pair of them at least once.
KINDS = [
    Kind(4, 128), Kind(4, 32, desc_act=True, sym=False), Kind(4, 64, sym=False, zeros="plain"),
    Kind(4, -1, desc_act=True), Kind(4, -1, sym=False, zeros="less_one_carried"), Kind(4, 32),
    Kind(4, 64, desc_act=True),
    Kind(4, 128, desc_act=True, sym=False, zeros="plain"),
    Kind(8, 128, sym=False), Kind(8, 32, desc_act=True), Kind(8, 64), Kind(8, -1, desc_act=True, sym=False),
    Kind(8, 128, desc_act=True, zeros="plain"), Kind(8, 32, sym=False, zeros="less_one_carried"), Kind(8, -1),
    Kind(8, 64, desc_act=True, sym=False),
]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gptq")


@lru_cache
def written(place: Path, architecture: str, kind: Kind) -> tuple[Path, Any]:
    name = f"{architecture} {kind}".translate(str.maketrans(" (),=", "_____"))
    return tiny_gptq.write(place / name, architecture, kind)


@torch.inference_mode()
def logits(model: Any, ids: list[int] = IDS) -> Tensor:
    found: Tensor = model(torch.tensor([ids])).logits[0].float()
    return found


def likeness(found: Tensor, expected: Tensor) -> float:
    return float(cosine_similarity(found.double().flatten(), expected.double().flatten(), dim=0))


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("architecture", ["qwen", "qwen2", "qwen3"])
def test_logits_are_those_of_the_dequantised_model(place: Path, architecture: str, kind: Kind) -> None:
    folder, reference = written(place, architecture, kind)
    expected = logits(reference)
    found = examine(folder)
    assert found.scheme is not None
    for dtype, limit in ((torch.float32, 0.9999), (torch.bfloat16, 0.999), (torch.float16, 0.999)):
        model = empty(folder, config_of(folder), dtype, None)
        files = Files(folder, found.weight_files)
        Filling(model, files, found.scheme, dtype, torch.device("cpu"), keeps_packed=True).run(lambda done, total: None)
        pack(model, dtype)
        # The first token alone goes through the products for one row.
        assert likeness(logits(model), expected) >= limit
        assert likeness(logits(model, IDS[:1]), expected[:1]) >= limit


@pytest.mark.parametrize(("architecture", "bits"), [("qwen", 4), ("qwen2", 8), ("qwen3", 4)])
def test_a_gptq_folder_loads_and_decodes(place: Path, architecture: str, bits: int) -> None:
    folder, reference = written(place, architecture, Kind(bits, 128))
    steps: list[LoadStep] = []
    loaded = load(folder, tell=steps.append)
    assert loaded.weights == examine(folder).weights == f"int{bits}" and loaded.placement.dtype == torch.float16
    by_torch = "int4pack" if bits == 4 else "fbgemm"
    assert loaded.backend == ("native" if library() else by_torch) and say(f"reason.{loaded.backend_reason}")
    assert loaded.parameters == sum(p.numel() for p in reference.parameters())
    assert loaded.weight_bytes < 0.75 * loaded.parameters * 2 and steps[-1].done == steps[-1].total > 0
    assert {step.stage for step in steps} == {"loading_weights"}
    kind = Int4Linear if bits == 4 else Int8Linear
    blocks = [m for n, m in loaded.model.named_modules() if isinstance(m, QuantisedLinear)]
    assert len(blocks) == (10 if architecture == "qwen" else 14) and all(type(block) is kind for block in blocks)
    decoder = choose(loaded.model, loaded.context_length, is_exact=False)
    cache = decoder.new_cache(len(IDS))
    for _ in decoder.read(IDS[:-1], cache):
        pass
    assert likeness(decoder.step(IDS[-1], cache), logits(reference)[-1]) >= 0.999
    assert loaded.model.generation_config.eos_token_id is not None


def test_a_plain_precision_turns_the_weights_back(place: Path) -> None:
    folder, reference = written(place, "qwen2", Kind(4, 32, desc_act=True, sym=False))
    loaded = load(folder, LoadOptions(weights="float32"))
    assert (loaded.weights, loaded.backend, loaded.notices) == ("float32", "", ())
    assert torch.equal(logits(loaded.model), logits(reference))
    assert torch.equal(
        loaded.model.model.layers[1].mlp.down_proj.weight, reference.model.layers[1].mlp.down_proj.weight
    )


def test_another_quantisation_is_not_made_of_a_quantised_one(place: Path) -> None:
    folder, _ = written(place, "qwen2", Kind(4, 128))
    loaded = load(folder, LoadOptions(weights="int8"))
    assert loaded.weights == "int4" and [notice.code for notice in loaded.notices] == ["weights_already_quantised"]


def test_experts_are_put_back_together(place: Path) -> None:
    folder, reference = written(place, "qwen3_moe", Kind(4, 32, sym=False, zeros="plain"))
    exact = load(folder, LoadOptions(weights="float32"))
    assert torch.equal(logits(exact.model), logits(reference))
    loaded = load(folder)
    assert likeness(logits(loaded.model), logits(reference)) >= 0.999
    assert [notice.code for notice in loaded.notices] == ["experts_dequantised"] and loaded.weights == "int4"


def test_a_quantised_folder_is_imported_as_what_it_is(place: Path, tmp_path: Path) -> None:
    folder, _ = written(place, "qwen", Kind(4, 128))
    work = import_model(folder, "tiny", tmp_path / "models")
    try:
        while True:
            next(work)
    except StopIteration as end:
        facts = manifest.read(end.value)
    assert facts.weights == "int4" and "quantize_config.json" in {file.name for file in facts.files}


def edited(change: Callable[[dict[str, Tensor]], Any]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")

    return apply


def configured(**changes: Any) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        for key, value in changes.items():
            config["quantization_config"][key] = value
        (folder / "config.json").write_text(json.dumps(config))

    return apply


def without_any_config(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    del config["quantization_config"]
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "quantize_config.json").unlink()


LAYER = "model.layers.1.mlp.up_proj"


@pytest.mark.parametrize(
    ("harm", "code"),
    [
        (edited(lambda t: t.pop(f"{LAYER}.qzeros")), "weights_incomplete"),
        (edited(lambda t: t.pop("model.layers.0.self_attn.q_proj.bias")), "weights_incomplete"),
        (edited(lambda t: t.pop("model.norm.weight")), "weights_incomplete"),
        (edited(lambda t: [t.pop(n) for n in list(t) if n.startswith(LAYER)]), "weights_incomplete"),
        (edited(lambda t: t.update({"model.norm.weight": torch.ones(3).half()})), "weights_incomplete"),
        (edited(lambda t: t.update({f"{LAYER}.qweight": t[f"{LAYER}.qweight"][:-16].clone()})), "quantisation_layer"),
        (edited(lambda t: t.update({f"{LAYER}.g_idx": t[f"{LAYER}.g_idx"] + 1})), "quantisation_layer"),
        (edited(lambda t: t.update({"model.layers.7.mlp.up_proj.qweight": t[f"{LAYER}.qweight"].clone()})),
         "weights_unexpected"),
        (edited(lambda t: t.update({"model.ghost.weight": torch.ones(3)})), "weights_unexpected"),
        (configured(group_size=64), "quantisation_layer"),
        (configured(bits=8), "quantisation_layer"),
        (configured(bits=3), "quantisation_field"),
        (configured(quant_method="awq"), "quantisation_method"),
        (without_any_config, "quantisation_undeclared"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told(place: Path, tmp_path: Path, harm: Callable[[Path], None], code: str) -> None:
    folder = shutil.copytree(written(place, "qwen2", Kind(4, 128))[0], tmp_path / "broken")
    harm(folder)
    with pytest.raises(UserError) as refused:
        load(folder)
    assert refused.value.code == code and str(refused.value)


def test_stored_buffers_and_zero_biases_are_no_strangers_but_real_biases_count(place: Path, tmp_path: Path) -> None:
    source, reference = written(place, "qwen2", Kind(4, 128))
    folder = shutil.copytree(source, tmp_path / "more")
    bias = torch.randn(256).half()
    harmless = {
        "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(16),
        "model.layers.0.input_layernorm.bias": torch.zeros(128),
        "lm_head.bias": torch.zeros(512),
        f"{LAYER}.bias": bias,
    }
    edited(lambda tensors: tensors.update(harmless))(folder)
    found = logits(load(folder).model)
    layer = reference.get_submodule(LAYER)
    layer.bias = torch.nn.Parameter(bias.float())
    expected = logits(reference)
    layer.bias = None
    assert likeness(found, expected) >= 0.999


# --- at load --------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tied embeddings, bf16, wide enough for groups of 64."""
    folder = tmp_path_factory.mktemp("plain")
    shape = tiny_gptq.SHAPES["qwen3"]
    tiny_models.model("qwen3", torch.bfloat16, **shape).save_pretrained(folder)
    tiny_models.write_tokenizer(folder)
    return folder


@pytest.mark.parametrize(
    ("weights", "least", "backend"),
    [("int8", 0.999, "fbgemm"), ("int4", 0.9, "int4pack"), ("nf4", 0.9, "bitsandbytes")],
)
def test_plain_weights_are_quantised_at_load(plain: Path, weights: WeightChoice, least: float, backend: str) -> None:
    before, steps = load(plain), []
    loaded = load(plain, LoadOptions(weights=weights), steps.append)
    backend = "native" if library() and weights != "nf4" else backend
    assert (loaded.weights, loaded.backend, loaded.parameters) == (weights, backend, before.parameters)
    assert say(f"reason.{loaded.backend_reason}") and loaded.weight_bytes < 0.85 * before.weight_bytes
    assert all(say(f"progress.{step.stage}") for step in steps)
    decoder = choose(loaded.model, loaded.context_length, is_exact=False)
    assert likeness(logits(loaded.model), logits(before.model)) > least
    cache = decoder.new_cache(len(IDS))
    for _ in decoder.read(IDS, cache):
        pass
    assert torch.isfinite(decoder.step(5, cache)).all()


def test_a_tied_head_gets_eight_bits_of_its_own(plain: Path) -> None:
    model = load(plain, LoadOptions(weights="int4")).model
    assert isinstance(model.lm_head, Int8Linear) and isinstance(model.model.layers[0].mlp.up_proj, Int4Linear)
    assert model.model.embed_tokens.weight.dtype == torch.bfloat16 and not model.config.tie_word_embeddings
    assert weight_bytes(model) > model.lm_head.size_bytes + model.model.embed_tokens.weight.nbytes


def test_experts_and_narrow_gates_stay_plain(tmp_path: Path) -> None:
    folder = tiny_families.write(tmp_path / "moe", "qwen2_moe")
    loaded = load(folder, LoadOptions(weights="int8"))
    assert "experts_stay_plain" in [notice.code for notice in loaded.notices]
    mlp = loaded.model.model.layers[0].mlp
    assert type(mlp.shared_expert_gate) is torch.nn.Linear and isinstance(mlp.shared_expert.up_proj, Int8Linear)
    assert likeness(logits(loaded.model), logits(load(folder).model)) > 0.99


def test_nf4_without_its_package_is_refused_in_words(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bits_and_bytes, "obstacle", lambda kind, device: "ImportError: no such package")
    with pytest.raises(UserError) as refused:
        load(plain, LoadOptions(weights="nf4"))
    assert refused.value.code == "nf4_unavailable" and "no such package" in str(refused.value)


def test_a_change_of_mind_ends_the_loading(plain: Path, place: Path) -> None:
    class Enough(Exception):
        pass

    def tell(step: LoadStep) -> None:
        if step.done >= 2:
            raise Enough

    for folder, options in (
        (plain, LoadOptions(weights="int4")),
        (written(place, "qwen2", Kind(4, 128))[0], LoadOptions()),
    ):
        with pytest.raises(Enough):
            load(folder, options, tell)


def test_a_longer_context_stretches_positions_as_published(tmp_path: Path) -> None:
    shape = {"hidden_size": 2560, "max_position_embeddings": 40_960, "num_hidden_layers": 1, "intermediate_size": 32}
    tiny_models.model("qwen3", torch.bfloat16, **shape).save_pretrained(tmp_path)
    tiny_models.write_tokenizer(tmp_path)
    own = load(tmp_path)
    assert own.context_length == 40_960 and own.model.model.rotary_emb.rope_type == "default"
    shorter = load(tmp_path, LoadOptions(context_length=1000))
    assert shorter.context_length == 1000 and not shorter.notices
    longer = load(tmp_path, LoadOptions(context_length=65_536))
    assert longer.context_length == 65_536 and longer.model.model.rotary_emb.rope_type == "yarn"
    assert longer.model.config.rope_parameters["factor"] == 2.0
    assert [notice.code for notice in longer.notices] == ["context_stretched"]
    most = load(tmp_path, LoadOptions(context_length=10_000_000, weights="int8"))
    assert most.context_length == 131_072 and most.model.model.rotary_emb.rope_type == "yarn"
    assert [notice.code for notice in most.notices] == ["context_shortened", "context_stretched"]
    assert all(say(f"notice.{notice.code}", **notice.params) for notice in most.notices)


def test_bitsandbytes_cannot_fetch_a_program_from_a_hub(tmp_path: Path) -> None:
    (tmp_path / "kernels.py").write_text("raise SystemExit('asked for a program')")
    program = (
        "from core.models.quantised.bits_and_bytes import fetching_nothing\nimport sys\n"
        "with fetching_nothing(): import bitsandbytes\nsys.exit(3)"
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).parents[3]}"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
