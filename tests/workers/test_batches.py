"""Batches, and the first generation and base models, in the inference worker with real (tiny) models."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import msgspec
import pytest

from app.workers.host import JobControl
from app.workers.inference_worker import InferenceWorker
from core.chat.turns import GREEDY, Sampling, Turn
from core.load_options import LoadOptions
from core.protocol.messages import (
    BatchAnswer,
    CountTokens,
    Finished,
    Generate,
    GenerateBatch,
    JobEvent,
    LoadModel,
    ModelLoaded,
    Notice,
    PromptRead,
    Tokenize,
    Tokenized,
    TokensCounted,
)
from tests.helpers import tiny_adapters, tiny_models, tiny_qwen_v1
from tests.workers.test_inference_worker import figures, run, text_of

SHORT = msgspec.structs.replace(GREEDY, max_new_tokens=10)
ASKED = tuple((Turn("user", text),) for text in ("Hi", "Explain how rainbows form, step by step.", "你好", "x" * 40))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_models.write_model(folder / "later")
    tiny_qwen_v1.write_model(folder / "first")
    tiny_qwen_v1.write_model(folder / "base", is_chat=False)
    return folder


def loaded(folder: Path) -> tuple[InferenceWorker, ModelLoaded]:
    worker = InferenceWorker()
    events = run(worker.load_model, LoadModel("load", folder.name, str(folder)))
    return worker, next(event for event in events if isinstance(event, ModelLoaded))


def answers(events: list[JobEvent]) -> dict[int, BatchAnswer]:
    return {event.index: event for event in events if isinstance(event, BatchAnswer)}


@pytest.mark.parametrize("name", ["later", "first"])
def test_a_batch_answers_as_chats_would(folders: Path, name: str) -> None:
    worker, _ = loaded(folders / name)
    events = run(worker.generate_batch, GenerateBatch("b", ASKED, SHORT))
    found = answers(events)
    assert sorted(found) == [0, 1, 2, 3] and events[-1] == Finished("b")
    for index, turns in enumerate(ASKED):
        alone = run(worker.generate, Generate("g", turns, SHORT))
        answer = found[index]
        assert answer.thinking + answer.text == text_of(alone)
        assert (answer.reason, answer.new_tokens) == (alone[-1].reason, figures(alone).new_tokens)  # type: ignore[union-attr]
        assert answer.prompt_tokens == figures(alone).prompt_tokens


def test_a_batch_is_answered_with_its_adapter(folders: Path, tmp_path: Path) -> None:
    adapter = str(tiny_adapters.write(tmp_path / "adapter", tiny_models.model("qwen3"), target_modules=["q_proj"]))
    worker, _ = loaded(folders / "later")
    for folder in (adapter, ""):
        found = answers(run(worker.generate_batch, GenerateBatch("b", ASKED, SHORT, adapter=folder)))
        alone = [text_of(run(worker.generate, Generate("g", turns, SHORT, adapter=folder))) for turns in ASKED]
        assert [found[index].thinking + found[index].text for index in range(len(ASKED))] == alone


def test_a_batch_keeps_keys_and_values_as_a_chat_does(folders: Path) -> None:
    """In 8 bits the conversations go one by one."""
    worker = InferenceWorker()
    run(worker.load_model, LoadModel("load", "first", str(folders / "first"), LoadOptions(kv_cache="int8_compatible")))
    found = answers(run(worker.generate_batch, GenerateBatch("b", ASKED, SHORT)))
    alone = [text_of(run(worker.generate, Generate("g", turns, SHORT))) for turns in ASKED]
    assert [found[index].text for index in range(len(ASKED))] == alone


def test_stop_strings_end_answers_of_a_batch(folders: Path) -> None:
    worker, _ = loaded(folders / "later")
    whole = answers(run(worker.generate_batch, GenerateBatch("b", ASKED[:2], SHORT)))[0].text
    stop = whole[len(whole) // 2 :][:3]
    sampling = msgspec.structs.replace(SHORT, stop=(stop,))
    found = answers(run(worker.generate_batch, GenerateBatch("b", ASKED[:2], sampling)))[0]
    assert (found.text, found.reason) == (whole[: whole.index(stop)], "stop")


def test_one_that_is_too_long_stops_no_other(folders: Path) -> None:
    worker, _ = loaded(folders / "later")
    long = (Turn("user", "word " * tiny_models.CONTEXT),)
    found = answers(run(worker.generate_batch, GenerateBatch("b", (ASKED[0], long, ASKED[1]), SHORT)))
    assert [found[index].error for index in range(3)] == ["", "message_too_long", ""]


def test_a_cancelled_batch_ends_and_keeps_what_is_whole(folders: Path) -> None:
    worker, _ = loaded(folders / "later")
    control = JobControl()
    long = msgspec.structs.replace(GREEDY, max_new_tokens=400)
    steps = worker.generate_batch(GenerateBatch("b", ASKED, long), control)
    for _ in range(20):
        assert not isinstance(next(steps), Finished)
    control.cancel()
    rest = [event for event in steps if event is not None]
    assert rest == [Finished("b", "cancelled")]


# --- the first generation ---------------------------------------------------------


def test_a_chat_model_of_the_first_generation_answers(folders: Path) -> None:
    worker, facts = loaded(folders / "first")
    assert facts.can_chat and not facts.can_think and "base_model" not in [notice.code for notice in facts.notices]
    model = worker._need_model()
    end = len(tiny_qwen_v1.ranks())
    assert model.stop_ids >= {end, end + 1, end + 2}
    counted = run(worker.count_tokens, CountTokens("c", ASKED[0]))[0]
    assert counted == TokensCounted("c", len(model.template.prompt(ASKED[0]).ids))


def test_the_last_token_is_not_lost_at_the_longest_reply(folders: Path) -> None:
    """The published code drops it when no end of turn came."""
    worker, _ = loaded(folders / "first")
    shorter, longer = (
        run(worker.generate, Generate("g", ASKED[0], msgspec.structs.replace(GREEDY, max_new_tokens=tokens)))
        for tokens in (9, 10)
    )
    assert figures(longer).new_tokens == figures(shorter).new_tokens + 1
    model = worker._need_model()
    said = text_of(longer)
    assert said.startswith(text_of(shorter).rstrip("\ufffd")) and said != text_of(shorter)
    assert model.vocabulary.decode(model.vocabulary.encode_text(said)) == unicodedata.normalize("NFC", said)


def test_a_question_that_is_no_nfc_shifts_no_answer(folders: Path) -> None:
    """The published code counts the characters of the question in the decoded text."""
    worker, _ = loaded(folders / "first")
    composed, apart = (
        text_of(run(worker.generate, Generate("g", (Turn("user", text),), SHORT)))
        for text in ("caf\u00e9", "cafe\u0301")
    )
    assert composed == apart != ""


def test_rows_above_the_vocabulary_are_told_and_never_said(folders: Path) -> None:
    worker, _ = loaded(folders / "first")
    sampling = Sampling(temperature=5.0, top_p=1.0, top_k=0, max_new_tokens=60, seed=1)
    size = worker._need_model().vocabulary.size
    found = answers(run(worker.generate_batch, GenerateBatch("b", ASKED, sampling)))
    assert all(answer.new_tokens > 0 for answer in found.values())
    told = run(worker.tokenize, Tokenize("t", str(folders / "first"), "Hi<|im_end|>", True))[0]
    assert isinstance(told, Tokenized) and (told.entries, told.rows) == (size, tiny_qwen_v1.VOCABULARY)
    assert [(token.text, token.data) for token in told.tokens][-1] == ("<|im_end|>", b"<|im_end|>")


def test_a_base_model_writes_on_and_says_what_it_is(folders: Path) -> None:
    worker, facts = loaded(folders / "base")
    assert not facts.can_chat and Notice("base_model") in facts.notices
    turns = (Turn("system", "unread"), Turn("user", "You"), Turn("assistant", " the"), Turn("user", "\n\n"))
    events = run(worker.generate, Generate("g", turns, SHORT))
    vocabulary = worker._need_model().vocabulary
    tokens = len(vocabulary.encode_text("You the\n\n"))
    assert PromptRead("g", tokens, 0) in events
    assert run(worker.count_tokens, CountTokens("c", turns))[0] == TokensCounted("c", tokens)
    found = answers(run(worker.generate_batch, GenerateBatch("b", (turns,), SHORT)))
    assert found[0].text == text_of(events)
