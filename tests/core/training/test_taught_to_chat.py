"""A base model that is taught to chat: what it has learned beside the factors is saved, asked and merged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from core.chat.chat_format import chat_format
from core.chat.chatml import ChatMl
from core.chat.turns import Turn
from core.chat.vocabulary import Vocabulary
from core.inference.adapters import AdapterDecoder
from core.inference.choice import choose_with_adapters
from core.load_options import LoadOptions
from core.models.checkpoint import examine
from core.models.load import load
from core.models.steps import result
from core.training import merging, preparing, run_files, session
from core.training.merging import Lineage, asked_with
from core.training.recipe import Recipe
from core.training.run_files import RunFiles
from tests.helpers import tiny_models, tiny_qwen_v1

pytestmark = pytest.mark.errors_logged


class Nobody:
    """Wants nothing of the run."""

    is_paused = is_cancelled = False


def base_model(folder: Path, kind: str) -> Path:
    """Which knows no conversations: of the first generation, or later with a head of its own or without."""
    if kind == "first":
        return tiny_qwen_v1.write_model(folder, is_chat=False)
    folder.mkdir()
    tiny_models.model("qwen2", tie_word_embeddings=kind == "tied").save_pretrained(folder)
    tiny_models.write_tokenizer(folder, None)
    return folder


def trained(tmp_path: Path, base: Path, new_tokens: Any, method: Any = "lora") -> tuple[RunFiles, Any]:
    """The run, and the model as it was in training."""
    turns = [{"from": "user", "value": "hello"}, {"from": "assistant", "value": "The quick brown fox"}]
    file = tmp_path / "rows.json"
    file.write_text(json.dumps([{"id": "1", "conversations": turns}] * 4))
    recipe = Recipe(
        model="base", data=str(file), validation_share=0.0, steps=6, batch=4, rank=2, learning_rate=0.05,
        new_tokens=new_tokens, device="cpu", mask="original", method=method,
    )  # fmt: skip
    run = run_files.create(tmp_path / "runs", recipe, base, "base")
    kept: list[Any] = []
    original = preparing.prepare

    def remembering(*arguments: Any) -> Any:
        kept.append(original(*arguments))
        return kept[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "prepare", remembering)
        for _ in session.train("job", run, Nobody()):
            pass
    kept[0].head and kept[0].head.give_logits()
    return run, kept[0].model.eval()


@torch.inference_mode()
def logits(decoder: AdapterDecoder, ids: list[int], adapter: str = "") -> torch.Tensor:
    reading: Iterator[None] = decoder.read(ids, decoder.new_cache(len(ids), adapter))
    while True:
        try:
            next(reading)
        except StopIteration as end:
            found: torch.Tensor = end.value
            return found


@pytest.mark.parametrize("new_tokens", ["auto", "full"])
@pytest.mark.parametrize("kind", ["first", "tied", "untied"])
@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
def test_what_was_learned_of_the_marks_is_kept(tmp_path: Path, kind: str, new_tokens: str) -> None:
    base = base_model(tmp_path / "base", kind)
    run, model = trained(tmp_path, base, new_tokens)
    vocabulary = Vocabulary.load(base)
    chat = asked_with(base, run.result, vocabulary)
    assert isinstance(chat, ChatMl) and not chat_format(base, vocabulary).can_chat
    ids = vocabulary.encode_control("<|im_start|>hello<|im_end|>")
    with torch.inference_mode():
        expected = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].float()
    atol = 2e-4 * float(expected.abs().max())
    exact = LoadOptions(weights="float32")
    decoder = choose_with_adapters(load(base, exact).model, 64, is_exact=True)
    plain = logits(decoder, ids)
    torch.testing.assert_close(logits(decoder, ids, str(run.result)), expected, rtol=0, atol=atol)
    assert not torch.allclose(plain, expected, atol=10 * atol)
    whole = result(merging.merge(Lineage(run.result, base, "learned", "base"), "whole", tmp_path / "models")).folder
    merged = choose_with_adapters(load(whole, exact).model, 64, is_exact=True)
    torch.testing.assert_close(logits(merged, ids), expected, rtol=0, atol=atol)
    assert chat_format(whole, Vocabulary.load(whole)).can_chat
    assert "```toml" in (whole / "README.md").read_text()


@pytest.mark.parametrize("kind", ["first", "tied"])
def test_a_base_that_was_trained_whole_says_that_it_chats(tmp_path: Path, kind: str) -> None:
    run, _ = trained(tmp_path, base_model(tmp_path / "base", kind), "auto", "full")
    vocabulary = Vocabulary.load(run.result)
    turns = (Turn("user", "hello"),)
    assert chat_format(run.result, vocabulary).prompt(turns).ids == ChatMl(vocabulary).prompt(turns).ids
    assert examine(run.result).can_chat
