"""What is kept of a run that ends before its first step, and what its checkpoints answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec import structs
from safetensors.torch import load_file

from core.chat.chat_format import chat_format
from core.chat.turns import GREEDY, Turn
from core.chat.vocabulary import Vocabulary
from core.inference.choice import choose_with_adapters
from core.inference.engine import Engine, NewToken
from core.load_options import LoadOptions
from core.models.load import Loading
from core.protocol.messages import Finished, Metrics
from tests.core.training.test_session import Wish, create, data, folder, follow, losses, recipe

__all__ = ["data", "folder"]  # fixtures
pytestmark = pytest.mark.errors_logged


class AtOnce(Wish):
    is_cancelled = True  # type: ignore[assignment]


class Rest(Wish):
    is_paused = True  # type: ignore[assignment]


@pytest.mark.parametrize("changes", [{}, {"method": "full", "learning_rate": 1e-3}])
def test_the_last_checkpoint_becomes_the_result(
    tmp_path: Path, folder: Path, data: Path, changes: dict[str, Any]
) -> None:
    run = create(tmp_path, folder, recipe(data, **changes))
    first = list(follow(run, Wish(pause_at=4)))
    assert not run.result.exists()
    events = list(follow(run, AtOnce()))
    assert events[-1] == Finished("job", "cancelled") and not any(isinstance(event, Metrics) for event in events)
    name = "model.safetensors" if changes else "adapter_model.safetensors"
    kept, saved = load_file(run.result / name), load_file(run.checkpoint(5) / name)
    assert kept.keys() == saved.keys() and all(torch.equal(kept[key], saved[key]) for key in kept)
    assert run.saved_steps()[-1] == 5 and "| 5 of 8 |" in (run.result / "README.md").read_text()
    assert list(follow(run, Rest()))[-1] == Finished("job", "paused")
    assert list(losses(first)) + list(losses(list(follow(run)))) == list(range(1, 9))


def test_a_run_that_was_stopped_before_it_learned_anything_leaves_nothing(
    tmp_path: Path, folder: Path, data: Path
) -> None:
    run = create(tmp_path, folder, recipe(data))
    assert list(follow(run, AtOnce()))[-1] == Finished("job", "cancelled")
    assert not run.result.exists() and not run.saved_steps()


def test_samples_and_chat_answer_the_same(tmp_path: Path, folder: Path, data: Path) -> None:
    """The samples chose ids that stand for no token, which a chat never does."""
    prompts = tuple(f"Explain hello {number}" for number in range(3))
    run = create(tmp_path, folder, recipe(data, steps=4, save_every=4, prompts=prompts, answer_tokens=12))
    list(follow(run))
    loading = Loading(folder, LoadOptions(weights="float32"))
    for _ in loading:
        pass
    loaded, vocabulary = loading.model, Vocabulary.load(folder)
    decoder = choose_with_adapters(loaded.model, loaded.context_length, is_exact=True)
    decoder.need(str(run.checkpoint(4)))
    chat = chat_format(folder, vocabulary)
    assert vocabulary.size < loaded.model.config.vocab_size
    engine = Engine(decoder, loaded.context_length, keep_bytes=0, rows=vocabulary.size)
    sampling = structs.replace(GREEDY, max_new_tokens=12)
    for sample in (answer for answer in run.answers() if answer.step == 4):
        ids = chat.prompt((Turn("user", sample.prompt),), thinking=False).ids
        steps = engine.generate(ids, sampling, stop_ids=loaded.stop_ids, adapter=str(run.checkpoint(4)))
        assert vocabulary.decode([step.id for step in steps if isinstance(step, NewToken)]) == sample.text
