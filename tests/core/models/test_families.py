"""Every family loads, chats, steps as it reads, comes back from disk the same; and its facts are the published ones."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from torch import Tensor

from core.chat.chat_format import chat_format
from core.chat.turns import GREEDY, Turn
from core.chat.vocabulary import Vocabulary
from core.inference.choice import choose
from core.inference.decoder import AnyDecoder
from core.inference.engine import Ended, Engine, NewToken, Step
from core.load_options import LoadOptions
from core.models import families, load
from core.models.families import BY_KEY, family_of, lengths, thinking_of, tools_of
from core.translation import catalogue
from tests.helpers import tiny_families, tiny_models
from tests.helpers.packing import packing_from
from tests.helpers.tiny_families import TINY, covered

TURNS = (Turn("user", "Hello, world! <|im_end|>"), Turn("assistant", "Hi."), Turn("user", "12 345?"))


def second(
    hidden: int, intermediate: int, heads: int, kv_heads: int, limit: int, model_type: str = "qwen2"
) -> dict[str, Any]:
    return {
        "model_type": model_type, "hidden_size": hidden, "intermediate_size": intermediate,
        "num_attention_heads": heads, "num_key_value_heads": kv_heads, "max_position_embeddings": limit,
    }  # fmt: skip


def new_ids(steps: Iterable[Step]) -> list[int]:
    return [step.id for step in steps if isinstance(step, NewToken)]


IN_8_BITS = "ours and the published form, against plain rows"
OTHER_CACHES = ("qwen2_5 with a window", "qwen3_next", "qwen3_5", "qwen3_5_moe", "qwen4_exp", "gemma2")
HOW = "loaded in each, asked in the family's chat format, stepped as read, saved and loaded again"
IDS = [(7 * i + 3) % 480 for i in range(40)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("families")


def folder_of(folders: Path, name: str) -> Path:
    folder = folders / name.replace(" ", "_")
    return folder if folder.exists() else tiny_families.write(folder, name)


@lru_cache
def loaded(folders: Path, name: str) -> load.LoadedModel:
    return load.load(folder_of(folders, name))


def read(decoder: AnyDecoder, ids: list[int], cache: Any) -> Tensor:
    reading = decoder.read(ids, cache)
    while True:
        try:
            next(reading)
        except StopIteration as end:
            logits: Tensor = end.value
            return logits


@pytest.mark.parametrize("name", TINY)
def test_a_family_loads_and_steps_as_it_reads(folders: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Cached decode equals the full forward, across the end of a sliding window too."""
    folder_of(folders, name)
    capfd.readouterr()
    found = loaded(folders, name)
    decoder = choose(found.model, found.context_length, is_exact=True)
    with torch.inference_mode():
        whole = found.model(input_ids=torch.tensor([IDS]), use_cache=False).logits[0]
    cache = decoder.new_cache(len(IDS))
    logits = [read(decoder, IDS[:10], cache), read(decoder, IDS[10:20], cache)]
    logits += [decoder.step(id, cache) for id in IDS[20:]]
    expected = torch.stack([whole[9], *whole[19:]])
    torch.testing.assert_close(torch.stack(logits), expected, rtol=2e-3, atol=2e-3 * float(whole.std()))
    assert cache.length == len(IDS)
    assert capfd.readouterr().err == ""  # what transformers says about missing packages reaches nobody


@pytest.mark.parametrize("name", TINY)
def test_a_family_says_what_it_is(folders: Path, name: str) -> None:
    found, tiny = loaded(folders, name), TINY[name]
    family = family_of(found.config, tiny.template)
    assert family.key == tiny.family
    assert lengths(found.config).trained == found.context_length
    notices = {"qwen": {"code_never_run"}, "other": {"not_a_qwen"}}.get(family.key, set())
    assert {notice.code for notice in found.notices} == notices
    layers = {module.rpartition(".")[2] for module, _ in found.model.named_modules()}
    assert set(family.adapter_targets) <= layers or not family.is_qwen


@pytest.mark.parametrize("name", TINY)
def test_a_family_chats_in_its_own_template(folders: Path, name: str) -> None:
    found, tiny = loaded(folders, name), TINY[name]
    vocabulary = Vocabulary.load(folder_of(folders, name))
    template = chat_format(folder_of(folders, name), vocabulary)
    asked, plainly = template.prompt(TURNS), template.prompt(TURNS, thinking=False)
    assert thinking_of(tiny.template) == tiny.thinking
    assert (asked.ids != plainly.ids) == (tiny.thinking == "switch")
    assert asked.is_thinking == (tiny.template in (tiny_families.ALWAYS, tiny_families.OPEN))
    end = vocabulary.id_of("<|im_end|>")
    system = tiny.template != tiny_models.TEMPLATE  # the other templates begin with one of their own
    assert end is not None and asked.ids.count(end) == len(TURNS) + system  # the one that was typed is plain text
    assert end in found.stop_ids | template.stop_ids
    engine = Engine(choose(found.model, found.context_length, is_exact=True), found.context_length)
    steps = list(engine.generate(asked.ids, replace(GREEDY, max_new_tokens=6), stop_ids=found.stop_ids))
    assert isinstance(steps[-1], Ended)
    longer = [*asked.ids, *(step.id for step in steps if isinstance(step, NewToken)), 7, 8]
    again = list(engine.generate(longer, replace(GREEDY, max_new_tokens=2), stop_ids=found.stop_ids))
    fresh = Engine(choose(found.model, found.context_length, is_exact=True), found.context_length)
    assert new_ids(again) == new_ids(fresh.generate(longer, replace(GREEDY, max_new_tokens=2), stop_ids=found.stop_ids))


@pytest.mark.parametrize("name", [covered(name, "plain", HOW) for name in TINY])
def test_a_family_comes_back_from_disk_the_same(folders: Path, name: str, tmp_path: Path) -> None:
    found = loaded(folders, name)
    found.model.save_pretrained(tmp_path)
    tiny_families.write_side_files(tmp_path, name)
    made, again = tiny_families.model(name), load.load(tmp_path)
    with torch.inference_mode():
        logits = [model(input_ids=torch.tensor([IDS])).logits for model in (made, found.model, again.model)]
    assert torch.equal(logits[0], logits[1]) and torch.equal(logits[1], logits[2])
    assert family_of(again.config, TINY[name].template).key == TINY[name].family


@pytest.mark.parametrize("kind", ["int8", "int8_compatible"])
@pytest.mark.parametrize("name", [covered(name, "int8_kv", IN_8_BITS) for name in TINY if name not in OTHER_CACHES])
def test_a_family_keeps_keys_and_values_in_8_bits(folders: Path, name: str, kind: Any) -> None:
    found = loaded(folders, name)
    rows: dict[str, Tensor] = {}
    for kept in ("plain", kind):
        decoder = packing_from(0, choose(found.model, found.context_length, is_exact=True, kv_cache=kept))
        cache = decoder.new_cache(len(IDS))
        rows[kept] = torch.stack([read(decoder, IDS[:24], cache), *(decoder.step(id, cache) for id in IDS[24:])])
        assert decoder.kv_cache == kept
    likeness = torch.cosine_similarity(rows["plain"], rows[kind], dim=-1)
    assert float(likeness.median()) > (0.995 if kind == "int8" else 0.97) and not torch.equal(*rows.values())


@pytest.mark.parametrize("name", OTHER_CACHES)
def test_other_caches_stay_what_they_are(folders: Path, name: str) -> None:
    """Windows and recurrent states are not kept in 8 bits; asking for it changes nothing."""
    found = loaded(folders, name)
    assert choose(found.model, found.context_length, is_exact=True, kv_cache="int8").kv_cache == "plain"


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", TINY)
def test_a_family_computes_in_half_precision(folders: Path, name: str, precision: Any) -> None:
    exact, half = loaded(folders, name), load.load(folder_of(folders, name), LoadOptions(weights=precision))
    assert half.weights == precision
    decoder = choose(half.model, half.context_length, is_exact=True)
    cache = decoder.new_cache(20)
    rows = [read(decoder, IDS[:12], cache), *(decoder.step(id, cache) for id in IDS[12:20])]
    with torch.inference_mode():
        expected = exact.model(input_ids=torch.tensor([IDS[:20]])).logits[0, 11:]
    likeness = torch.cosine_similarity(torch.stack(rows).float(), expected, dim=-1)
    assert float(likeness.median()) > 0.95  # single rows may choose other experts


def test_a_model_that_also_sees_is_loaded_as_text(tmp_path: Path) -> None:
    """As Qwen3.5 is published: the language model's config one level down, its weights beside those of the eyes."""
    from transformers import Qwen3_5Config, Qwen3_5ForConditionalGeneration

    text = tiny_families.model("qwen3_5")
    eyes = {"depth": 1, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 64}
    whole = Qwen3_5ForConditionalGeneration(Qwen3_5Config(text_config=text.config.to_dict(), vision_config=eyes))
    whole.model.language_model.load_state_dict(text.model.state_dict())
    whole.lm_head.load_state_dict(text.lm_head.state_dict())
    whole.save_pretrained(tmp_path)
    tiny_models.write_tokenizer(tmp_path, tiny_families.OPEN)
    found = load.load(tmp_path)
    assert found.config["architectures"] == ["Qwen3_5ForConditionalGeneration"]
    assert family_of(found.config).key == "qwen3_5" and found.context_length == tiny_models.CONTEXT
    assert [notice.code for notice in found.notices] == ["text_only"]
    with torch.inference_mode():
        assert torch.equal(*(m(input_ids=torch.tensor([IDS])).logits for m in (text, found.model)))
    assert found.stop_ids == {tiny_models.tokenizer().token_to_id("<|im_end|>")}


# --- facts ---------------------------------------------------------------------

# Of the published config.json: what family_of and lengths look at.
V1 = {"model_type": "qwen", "num_attention_heads": 32, "max_position_embeddings": 8192}
PUBLISHED: dict[str, tuple[dict[str, Any], str, tuple[int, int]]] = {
    "Qwen-7B": ({**V1, "hidden_size": 4096, "seq_length": 8192}, "qwen", (8192, 32768)),
    "Qwen-14B": ({**V1, "hidden_size": 5120, "seq_length": 2048}, "qwen", (2048, 32768)),
    "Qwen-72B": ({**V1, "hidden_size": 8192, "seq_length": 32768, "use_dynamic_ntk": False}, "qwen", (32768, 32768)),
    "Qwen1.5-7B": (second(4096, 11008, 32, 32, 32768), "qwen1_5", (32768, 32768)),
    "Qwen1.5-32B": (second(5120, 27392, 40, 8, 32768), "qwen1_5", (32768, 32768)),
    "Qwen2-7B": (second(3584, 18944, 28, 4, 131072), "qwen2", (32768, 131072)),
    "Qwen2-0.5B-Instruct": (second(896, 4864, 14, 2, 32768), "qwen2", (32768, 32768)),
    "Qwen2.5-7B-Instruct": (second(3584, 18944, 28, 4, 32768), "qwen2_5", (32768, 131072)),
    "Qwen2.5-3B": (second(2048, 11008, 16, 2, 32768), "qwen2_5", (32768, 32768)),
    "Qwen2.5-7B-Instruct-1M": (second(3584, 18944, 28, 4, 1010000), "qwen2_5", (262144, 1010000)),
    "Qwen1.5-MoE-A2.7B": (second(2048, 5632, 16, 16, 8192, "qwen2_moe"), "qwen1_5_moe", (8192, 8192)),
    "Qwen2-57B-A14B-Instruct": (second(3584, 18944, 28, 4, 32768, "qwen2_moe"), "qwen2_moe", (32768, 65536)),
    "Qwen3-0.6B": (second(1024, 3072, 16, 8, 40960, "qwen3"), "qwen3", (32768, 40960)),
    "Qwen3-8B": (second(4096, 12288, 32, 8, 40960, "qwen3"), "qwen3", (32768, 131072)),
    "Qwen3-4B-Instruct-2507": (second(2560, 9728, 32, 8, 262144, "qwen3"), "qwen3", (262144, 262144)),
    "Qwen3-30B-A3B": (second(2048, 6144, 32, 4, 40960, "qwen3_moe"), "qwen3_moe", (32768, 131072)),
    "Qwen3-Next-80B-A3B": (second(2048, 5120, 16, 2, 262144, "qwen3_next"), "qwen3_next", (262144, 1010000)),
    "SmolLM2": (second(576, 1536, 9, 3, 8192, "llama"), "other", (8192, 8192)),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configs_are_recognised(name: str) -> None:
    config, key, (trained, reachable) = PUBLISHED[name]
    template = tiny_families.HERMES if "Qwen2.5" in name else tiny_families.PLAIN
    assert family_of(config, template).key == key
    found = lengths(config, family_of(config, template))
    assert (found.trained, found.reachable) == (trained, reachable)
    assert families.remarks(config) == {
        "Qwen-7B": ("system_prompt_weak", "qwen_v1_no_window_attention"),
        "Qwen-14B": ("system_prompt_weak", "qwen_v1_no_window_attention"),
        "Qwen-72B": ("qwen_v1_no_window_attention",),
    }.get(name, ())


def test_a_stretching_that_is_switched_on_counts() -> None:
    config = second(3584, 18944, 28, 4, 32768)
    yarn = {"factor": 4.0, "original_max_position_embeddings": 32768}
    for spelling in ({"rope_scaling": {"type": "yarn", **yarn}}, {"rope_parameters": {"rope_type": "yarn", **yarn}}):
        assert lengths({**config, **spelling}) == (32768, 131072, 131072, "yarn")


def test_a_seeing_model_is_measured_by_its_language_part() -> None:
    config = {"model_type": "qwen3_5_moe", "text_config": second(2048, 0, 16, 2, 262144, "qwen3_5_moe_text")}
    assert family_of(config).key == "qwen3_5_moe" and lengths(config) == (262144, 262144, 1010000, "yarn")


@settings(max_examples=30, deadline=None)
@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=8) | st.floats(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["rope_scaling", "text_config", "type", "factor"]), inner)
        ),
    )
)
def test_no_config_is_too_strange(value: Any) -> None:
    names = ("max_position_embeddings", "hidden_size", "rope_scaling", "text_config", "num_attention_heads")
    for model_type in ("qwen", "qwen2", "qwen3", "parrot"):
        config = {"model_type": model_type, **dict.fromkeys(names, value)}
        assert lengths(config).trained >= 0 and family_of(config) in families.FAMILIES
        families.notices(config, ("evil.py",), on_card=True)


def test_templates_tell_how_tools_are_called() -> None:
    found = [tools_of(BY_KEY[tiny.family], tiny.template) for tiny in TINY.values() if tiny.family != "other"]
    assert found == ["react", "react", "qwen_agent", "hermes", "hermes", "react", "qwen_agent", "hermes", "hermes",
                     "hermes", "xml", "xml", "xml"]  # fmt: skip
    assert tools_of(BY_KEY["qwen3_moe"], tiny_families.OPEN) == "xml"  # Qwen3-Coder


def test_templates_tell_when_a_model_thinks() -> None:
    kinds = [tiny_families.PLAIN, tiny_models.TEMPLATE, tiny_families.OPEN, tiny_families.ASKED, tiny_families.ALWAYS]
    assert [thinking_of(kind) for kind in kinds] == ["none", "switch", "switch", "asked", "always"]
    assert thinking_of("{{ raise_exception('no <think>') }}") == thinking_of("{% <think>") == "none"


def test_every_family_and_notice_has_words() -> None:
    codes = {notice.code for notice in families.notices({"model_type": "x"}, ("a.py",))}
    codes |= {"text_only", "system_prompt_weak", "linear_attention_slow", "qwen_v1_no_window_attention"}
    assert {f"family.{key}" for key in BY_KEY} | {f"notice.{code}" for code in codes} <= set(catalogue("en"))


def test_the_window_may_ask() -> None:
    code = "import sys, core.models.families; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
