"""The inference worker answers with the adapter a job names, as its files are now, in the format it was taught."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from app.workers.host import JobControl, answered
from app.workers.inference_worker import InferenceWorker
from core.chat.turns import Turn
from core.protocol.messages import (
    BatchAnswer,
    Failed,
    Finished,
    Generate,
    GenerateBatch,
    JobEvent,
    LoadModel,
    Progress,
    PromptRead,
)
from core.translation import say
from tests.helpers import tiny_adapters, tiny_models
from tests.workers.test_inference_worker import HI, SHORT, run, text_of

TARGETS = ["q_proj", "v_proj", "up_proj"]


@pytest.fixture(scope="module", params=["qwen3", "mistral"], ids=["lean", "module"])
def architecture(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def base(architecture: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that does not chat by itself."""
    return tiny_models.write_model(tmp_path_factory.mktemp("models") / "base", architecture, template=None)


@pytest.fixture
def worker(base: Path) -> InferenceWorker:
    made = InferenceWorker()
    assert run(made.load_model, LoadModel("load", "base", str(base)))[-1] == Finished("load")
    return made


def adapter(folder: Path, architecture: str, seed: int = 0, **config: int) -> Path:
    model = tiny_models.model(architecture, **config)
    return tiny_adapters.write(folder, model, seed=seed, target_modules=TARGETS, base="base")


def ask(worker: InferenceWorker, folder: Path | None, turns: tuple[Turn, ...] = HI) -> list[JobEvent]:
    return run(worker.generate, Generate("j", turns, SHORT, adapter=str(folder or "")))


def test_each_job_has_its_own_adapter(worker: InferenceWorker, architecture: str, tmp_path: Path) -> None:
    one, two = (adapter(tmp_path / str(seed), architecture, seed) for seed in (1, 2))
    alone = text_of(ask(worker, None))
    answers = [text_of(ask(worker, folder)) for folder in (one, None, two, one, None)]
    assert answers[1] == answers[4] == alone and answers[0] == answers[3]
    assert len({alone, answers[0], answers[2]}) == 3
    stages = [event.stage for event in ask(worker, one) if isinstance(event, Progress)]
    assert stages[0] == "loading_adapter" and say("progress.loading_adapter")


def test_an_adapter_that_was_trained_on_answers_anew(
    worker: InferenceWorker, architecture: str, tmp_path: Path
) -> None:
    folder = adapter(tmp_path / "adapter", architecture, 1)
    before = text_of(ask(worker, folder))
    adapter(folder, architecture, 2)
    after = text_of(ask(worker, folder))
    assert before != after == text_of(ask(worker, adapter(tmp_path / "copy", architecture, 2)))


def test_an_adapter_may_have_taught_its_base_to_chat(
    worker: InferenceWorker, architecture: str, tmp_path: Path
) -> None:
    folder = adapter(tmp_path / "adapter", architecture)

    def prompt_tokens() -> int:
        return next(event.prompt_tokens for event in ask(worker, folder) if isinstance(event, PromptRead))

    plain = prompt_tokens()
    (folder / "chat_template.jinja").write_text(tiny_models.TEMPLATE)
    assert prompt_tokens() > plain + 2


def test_an_adapter_that_does_not_fit_costs_its_reply_only(
    worker: InferenceWorker, architecture: str, tmp_path: Path
) -> None:
    alone = text_of(ask(worker, None))
    for folder in (adapter(tmp_path / "wide", architecture, intermediate_size=128), tmp_path / "gone"):
        last = ask(worker, folder)[-1]
        assert isinstance(last, Failed) and last.kind == "user" and say(f"error.{last.code}", **last.params)
    assert text_of(ask(worker, None)) == alone


def test_batches_and_chats_with_other_adapters_run_side_by_side(
    worker: InferenceWorker, architecture: str, tmp_path: Path
) -> None:
    folder = adapter(tmp_path / "adapter", architecture, 1)
    questions = tuple((Turn("user", words),) for words in ("Hi", "12 345", "The quick brown fox"))
    alone = {name: [text_of(ask(worker, name, turns)) for turns in questions] for name in (None, folder)}
    batches = {
        name: answered(
            worker.generate_batch, GenerateBatch("b", questions, SHORT, adapter=str(name or "")), JobControl()
        )
        for name in alone
    }
    found: dict[Path | None, dict[int, str]] = {name: {} for name in alone}
    for pair in itertools.zip_longest(*batches.values()):
        for name, event in zip(alone, pair, strict=True):
            if isinstance(event, BatchAnswer):
                found[name][event.index] = event.text
    assert {name: [texts[at] for at in range(3)] for name, texts in found.items()} == alone
    assert alone[None] != alone[folder]
