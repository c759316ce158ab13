"""A stop before the first step of a resumed run: its checkpoint becomes the result, and no step is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

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
