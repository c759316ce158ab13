"""The inference worker with real (tiny) models: its jobs one by one, and many at once in a real process."""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from app.launch import worker_argv
from app.supervisor import WorkerSupervisor
from app.workers.host import JobControl, WorkerUnusable, answered
from app.workers.inference_worker import InferenceWorker
from core.chat.turns import GREEDY, Sampling, Turn
from core.chat.vocabulary import Vocabulary
from core.inference.engine import NewToken
from core.load_options import LoadOptions
from core.models import manifest
from core.models.manifest import Manifest
from core.protocol.messages import (
    CountTokens,
    Failed,
    Finished,
    Generate,
    Job,
    JobEvent,
    LoadModel,
    ModelLoaded,
    Progress,
    PromptRead,
    TextDelta,
    Tokenize,
    Tokenized,
    TokensCounted,
)
from core.translation import say
from tests.helpers import tiny_families, tiny_qwen_v1
from tests.helpers.tiny_models import CONTEXT, write_model

HI = (Turn("user", "Hi"),)
SHORT = msgspec.structs.replace(GREEDY, max_new_tokens=12)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def loaded(folder: Path) -> InferenceWorker:
    worker = InferenceWorker()
    assert run(worker.load_model, LoadModel("load", "tiny", str(folder)))[-1] == Finished("load")
    return worker


def run(handler: Any, job: Job, control: JobControl | None = None) -> list[JobEvent]:
    return [event for event in answered(handler, job, control or JobControl()) if event is not None]


def failure(events: list[JobEvent]) -> tuple[str, str]:
    assert isinstance(events[-1], Failed)
    assert say(f"error.{events[-1].code}", **events[-1].params)
    return events[-1].kind, events[-1].code


def text_of(events: list[JobEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def figures(events: list[JobEvent]) -> Any:
    assert isinstance(events[-1], Finished)
    return events[-1].figures


# --- loading -------------------------------------------------------------------


def test_a_loaded_model_says_what_it_is_and_why(folder: Path) -> None:
    events = run(InferenceWorker().load_model, LoadModel("j", "tiny", str(folder)))
    found = next(event for event in events if isinstance(event, ModelLoaded))
    assert (found.name, found.architecture, found.context_length) == ("tiny", "Qwen3ForCausalLM", CONTEXT)
    assert (found.device, found.precision) == ("cpu", "float32") or torch.cuda.is_available()
    assert found.can_chat and found.can_think and found.thinking == "switch"
    assert (found.family, found.trained_length, found.ntk, found.notices) == ("qwen3", CONTEXT, False, ())
    assert found.weight_bytes == found.parameters * 4
    assert say(f"reason.{found.device_reason}") and say(f"reason.{found.precision_reason}")
    stages = [event.stage for event in events if isinstance(event, Progress)]
    assert stages[0] == "loading_libraries" and "loading_weights" in stages
    assert all(say(f"progress.{stage}") for stage in stages)


@pytest.mark.parametrize("precision", ["bfloat16", "float16", "float32"])
def test_a_precision_that_is_asked_for_is_used(folder: Path, precision: Any) -> None:
    events = run(InferenceWorker().load_model, LoadModel("j", "tiny", str(folder), LoadOptions(weights=precision)))
    found = next(event for event in events if isinstance(event, ModelLoaded))
    assert (found.precision, found.precision_reason) == (precision, "precision_asked_for")


@pytest.mark.parametrize("kv_cache", ["int8", "int8_compatible"])
def test_keys_and_values_are_kept_as_asked(folder: Path, kv_cache: Any) -> None:
    worker = InferenceWorker()
    events = run(worker.load_model, LoadModel("j", "tiny", str(folder), LoadOptions(kv_cache=kv_cache)))
    found = next(event for event in events if isinstance(event, ModelLoaded))
    assert (found.kv_cache, found.notices) == (kv_cache, ())
    assert figures(run(worker.generate, Generate("g", HI, SHORT))).new_tokens == 12


def test_keys_and_values_that_cannot_be_put_into_8_bits_are_told(tmp_path: Path) -> None:
    sliding = tiny_families.write(tmp_path / "sliding", "qwen2_5 with a window")
    events = run(InferenceWorker().load_model, LoadModel("j", "sliding", str(sliding), LoadOptions(kv_cache="int8")))
    found = next(event for event in events if isinstance(event, ModelLoaded))
    assert (found.kv_cache, [notice.code for notice in found.notices]) == ("plain", ["kv_stays_plain"])
    assert say("notice.kv_stays_plain")


def test_how_far_positions_are_stretched_is_told(tmp_path: Path) -> None:
    worker = InferenceWorker()
    first = tiny_qwen_v1.write_model(tmp_path / "first")
    assert run(worker.load_model, LoadModel("j", "first", str(first)))[-1] == Finished("j")
    for text, alpha in (("a", 1), ("aa", 3), ("a" * tiny_qwen_v1.TRAINED * 2, 7)):
        events = run(worker.generate, Generate("g", (Turn("user", text),), SHORT))
        assert next(event for event in events if isinstance(event, PromptRead)).ntk_alpha == alpha


def test_a_manifest_may_point_to_the_files(folder: Path, tmp_path: Path) -> None:
    manifest.write(
        tmp_path, Manifest("tiny", "here", "Qwen3ForCausalLM", "qwen3", "float32", 1, CONTEXT, (), location=str(folder))
    )
    assert run(InferenceWorker().load_model, LoadModel("j", "tiny", str(tmp_path)))[-1] == Finished("j")


def damaged(folder: Path, tmp_path: Path, name: str) -> Path:
    copy = tmp_path / "damaged"
    shutil.copytree(folder, copy)
    weights = copy / "model.safetensors"
    if name == "truncated":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif name == "unknown":
        (copy / "config.json").write_text('{"model_type": "parrot", "architectures": ["ParrotForCausalLM"]}')
    elif name == "incomplete":
        from safetensors.torch import load_file, save_file

        tensors = load_file(weights)
        del tensors["model.norm.weight"]
        save_file(tensors, weights, {"format": "pt"})
    elif name == "reshaped":
        from safetensors.torch import load_file, save_file

        tensors = load_file(weights)
        tensors["model.layers.0.mlp.down_proj.weight"] = tensors["model.layers.0.mlp.down_proj.weight"][:, 1:].clone()
        save_file(tensors, weights, {"format": "pt"})
    elif name == "tables":
        config = json.loads((copy / "config.json").read_text())
        (copy / "config.json").write_text(json.dumps({**config, "vocab_size": 200}))
    else:
        (copy / name).unlink()
    return copy


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        ("config.json", "config_missing"),
        ("tokenizer.json", "tokenizer_missing"),
        ("model.safetensors", "weights_missing"),
        ("truncated", "safetensors_truncated"),
        ("unknown", "architecture_unknown"),
        ("incomplete", "weights_incomplete"),
        ("reshaped", "weights_incomplete"),
        ("tables", "tokenizer_too_large"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_refused_in_words(
    folder: Path, tmp_path: Path, damage: str, code: str, capfd: pytest.CaptureFixture[str]
) -> None:
    job = LoadModel("j", "x", str(damaged(folder, tmp_path, damage)))
    assert failure(run(InferenceWorker().load_model, job)) == ("user", code)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("weights", ["int8", "int4", "nf4"])
def test_weights_of_another_shape_are_refused_in_words_whatever_they_become(
    folder: Path, tmp_path: Path, weights: Any
) -> None:
    job = LoadModel("j", "x", str(damaged(folder, tmp_path, "reshaped")), LoadOptions(weights=weights))
    assert failure(run(InferenceWorker().load_model, job)) == ("user", "weights_incomplete")


def test_a_model_too_big_for_the_memory_is_refused_with_numbers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.models.placement.Placement.spare_bytes", lambda self: 1000)
    events = run(InferenceWorker().load_model, LoadModel("j", "tiny", str(folder)))
    assert failure(events)[1] in ("memory_too_small", "memory_card_too_small")


def test_loading_can_be_cancelled(folder: Path) -> None:
    worker, control = InferenceWorker(), JobControl()
    control.cancel()
    assert run(worker.load_model, LoadModel("j", "tiny", str(folder)), control)[-1] == Finished("j", "cancelled")
    assert failure(run(worker.generate, Generate("g", HI))) == ("user", "no_model_loaded")


def test_another_model_takes_the_place_of_the_first(loaded: InferenceWorker, tmp_path: Path) -> None:
    other = write_model(tmp_path / "other", "llama", template=None)
    run(loaded.load_model, LoadModel("j", "other", str(other)))
    events = run(loaded.generate, Generate("g", HI, SHORT))
    assert PromptRead("g", 2, 0) in events, "without a template the text itself is written on"


# --- replies -------------------------------------------------------------------


def test_a_reply_streams_and_carries_its_figures(loaded: InferenceWorker) -> None:
    events = run(loaded.generate, Generate("j", HI, SHORT))
    found = figures(events)
    assert events[0] == PromptRead("j", found.prompt_tokens, 0)
    assert events[-1].reason == "length"  # type: ignore[union-attr]
    assert found.new_tokens == 12 and found.context_length == CONTEXT
    assert 0 < found.first_token_s < 5 and found.tokens_per_s > 0
    assert sum(event.tokens for event in events if isinstance(event, TextDelta)) <= 12
    again = run(loaded.generate, Generate("k", HI, SHORT))
    assert text_of(again) == text_of(events)
    assert figures(again).reused_tokens == found.prompt_tokens - 1


def test_a_stop_string_ends_the_reply_and_is_not_shown(loaded: InferenceWorker) -> None:
    whole = text_of(run(loaded.generate, Generate("j", HI, SHORT)))
    stop = whole[len(whole) // 2 :][:3]
    events = run(loaded.generate, Generate("k", HI, msgspec.structs.replace(SHORT, stop=(stop,))))
    assert text_of(events) == whole[: whole.index(stop)]
    assert events[-1].reason == "stop"  # type: ignore[union-attr]
    assert figures(events).new_tokens <= 12


def test_the_end_of_turn_may_be_named_by_the_tokenizer_alone(folder: Path, tmp_path: Path) -> None:
    worker = InferenceWorker()
    copy = shutil.copytree(folder, tmp_path / "copy")
    vocabulary = Vocabulary.load(copy)
    said = first_id(worker, copy)
    for name in ("config.json", "generation_config.json"):
        values = json.loads((copy / name).read_text("utf-8"))
        (copy / name).write_text(json.dumps(values | {"eos_token_id": None}), "utf-8")
    config = {"eos_token": vocabulary.token(said), "chat_template": vocabulary.template}
    (copy / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    run(worker.load_model, LoadModel("again", "copy", str(copy)))
    events = run(worker.generate, Generate("j", HI, SHORT))
    assert (text_of(events), figures(events).new_tokens) == ("", 0)
    assert events[-1].reason == "stop"  # type: ignore[union-attr]


def first_id(worker: InferenceWorker, folder: Path) -> int:
    """The first token of the model's greedy reply."""
    run(worker.load_model, LoadModel("first", "x", str(folder)))
    model = worker._need_model()
    steps = model.engine.generate(model.template.prompt(HI).ids, SHORT)
    return next(step.id for step in steps if isinstance(step, NewToken))


def test_a_seeded_reply_can_be_had_again(loaded: InferenceWorker) -> None:
    sampling = Sampling(temperature=1.5, top_k=0, top_p=1.0, max_new_tokens=12, seed=3)
    first, second = (text_of(run(loaded.generate, Generate(name, HI, sampling))) for name in "ab")
    assert first == second
    assert text_of(run(loaded.generate, Generate("c", HI, msgspec.structs.replace(sampling, seed=4)))) != first


def test_a_cut_reply_continues_as_if_it_had_not_been_cut(loaded: InferenceWorker) -> None:
    whole = run(loaded.generate, Generate("j", HI, SHORT))
    cut = run(loaded.generate, Generate("k", HI, msgspec.structs.replace(SHORT, max_new_tokens=5)))
    begun = (*HI, Turn("assistant", text_of(cut)))
    rest = run(loaded.generate, Generate("l", begun, SHORT, continues=True))
    assert text_of(whole).startswith(text_of(cut))
    assert figures(rest).reused_tokens >= figures(cut).prompt_tokens


def test_a_full_context_is_no_reply_that_was_cut(loaded: InferenceWorker) -> None:
    """It is told from one that is as long as allowed; going on writes while there is room, and then says why not."""
    question = (Turn("user", "word " * 100),)
    whole = msgspec.structs.replace(GREEDY, max_new_tokens=CONTEXT)
    assert run(loaded.generate, Generate("j", question, SHORT))[-1].reason == "length"  # type: ignore[union-attr]
    filled = run(loaded.generate, Generate("k", question, whole))
    assert filled[-1].reason == "context_full"  # type: ignore[union-attr]
    assert figures(filled).prompt_tokens + figures(filled).new_tokens == CONTEXT
    text = "word "
    while len(loaded._need_model().vocabulary.encode_text("word " * 100 + text)) < CONTEXT - 40:
        text += "word "
    nearly = (*question, Turn("assistant", text))
    rest = run(loaded.generate, Generate("l", nearly, whole, continues=True))
    assert rest[-1].reason == "context_full" and figures(rest).new_tokens > 0  # type: ignore[union-attr]
    over = (*question, Turn("assistant", text + "word " * 40))
    assert failure(run(loaded.generate, Generate("m", over, whole, continues=True))) == ("user", "context_full")


def test_cancel_ends_a_reply_within_one_token(loaded: InferenceWorker) -> None:
    control = JobControl()
    job = Generate("j", HI, msgspec.structs.replace(GREEDY, max_new_tokens=500))
    tokens_after = 0
    events = []
    for event in answered(loaded.generate, job, control):
        events.append(event)
        if isinstance(event, TextDelta):
            tokens_after += event.tokens if control.is_cancelled else 0
            control.cancel()
    assert tokens_after <= 1
    assert events[-1].reason == "cancelled"  # type: ignore[union-attr]


def test_the_oldest_turns_leave_a_full_window(loaded: InferenceWorker) -> None:
    chat = [Turn("user" if place % 2 == 0 else "assistant", f"turn {place} " + "word " * 40) for place in range(21)]
    events = run(loaded.generate, Generate("j", tuple(chat), SHORT))
    read = next(event for event in events if isinstance(event, PromptRead))
    assert read.dropped_turns > 0 and read.dropped_turns % 2 == 0
    assert read.prompt_tokens <= CONTEXT - 12
    assert any(isinstance(event, Progress) and event.stage == "reading_prompt" for event in events)
    too_long = Generate("k", (Turn("user", "word " * CONTEXT),), SHORT)
    assert failure(run(loaded.generate, too_long)) == ("user", "message_too_long")


def test_memory_that_runs_out_is_said_so(loaded: InferenceWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(text: str) -> Any:
        def step(*args: Any) -> Any:
            raise RuntimeError(text)

        return step

    step = "core.inference.dense.DenseDecoder.step"
    monkeypatch.setattr(step, broken("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"))
    assert failure(run(loaded.generate, Generate("j", HI))) == ("oom", "out_of_memory")
    monkeypatch.setattr(step, broken("CUDA error: an illegal memory access was encountered"))
    events: list[JobEvent | None] = []
    with pytest.raises(WorkerUnusable):
        events.extend(answered(loaded.generate, Generate("k", HI), JobControl()))


# --- tokens --------------------------------------------------------------------


def test_text_is_tokenized_safely_unless_asked(folder: Path) -> None:
    def tokens(unsafe: bool) -> Any:
        job = Tokenize("j", str(folder), "Hi <|im_end|> 你", unsafe)
        return next(e.tokens for e in run(InferenceWorker().tokenize, job) if isinstance(e, Tokenized))

    assert not any(token.is_control for token in tokens(False))
    assert [token.text for token in tokens(True) if token.is_control] == ["<|im_end|>"]
    assert "".join(token.text for token in tokens(False)).startswith("Hi <|im_end|> ")


def test_counting_equals_the_prompt(loaded: InferenceWorker) -> None:
    counted = run(loaded.count_tokens, CountTokens("j", HI))[0]
    assert counted == TokensCounted("j", figures(run(loaded.generate, Generate("g", HI, SHORT))).prompt_tokens)
    assert run(loaded.count_tokens, CountTokens("j", ()))[0] == TokensCounted("j", 0)


# --- a real process --------------------------------------------------------------


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> WorkerSupervisor:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as in this process, see tiny_models
    return WorkerSupervisor("inference", worker_argv("inference"))


pytestmark = pytest.mark.loops("asyncio")


async def test_two_chats_and_a_cancelled_third_share_one_model(folder: Path, process: WorkerSupervisor) -> None:
    started = time.perf_counter()
    async with process as worker:
        assert time.perf_counter() - started < 2  # Hello does not wait for torch; the figure itself is benchmarked
        said: dict[str, list[str]] = {"a": [], "b": [], "c": []}
        order: list[str] = []

        async def collect(job: Job) -> JobEvent:
            async for event in worker.run(job):
                if isinstance(event, TextDelta):
                    said[event.job_id].append(event.text)
                    order.append(event.job_id)
                    if len(said["c"]) == 3:
                        worker.cancel("c")
            return event

        assert await collect(LoadModel("load", "tiny", str(folder))) == Finished("load")
        long = msgspec.structs.replace(GREEDY, max_new_tokens=150)
        asked = {name: Generate(name, (Turn("user", f"Hi {name}"),), long) for name in "abc"}
        ends = await asyncio.gather(*(collect(job) for job in asked.values()))
        assert [end.reason for end in ends if isinstance(end, Finished)] == ["length", "length", "cancelled"]
        together = {name: "".join(said[name]) for name in "ab"}
        changes = sum(left != right for left, right in itertools.pairwise(order))
        assert changes > 2  # one after the other it would be 2; a busy reader gets many deltas of one job at once
        for name in "ab":
            said[name].clear()
            await collect(asked[name])
            assert "".join(said[name]) == together[name]


async def test_tokens_are_served_before_torch_is_there(folder: Path) -> None:
    """In a process of its own, as this one has torch."""
    code = (
        "import sys; from app.workers.inference_worker import InferenceWorker; from app.workers.host import JobControl;"
        "from core.protocol.messages import Tokenize;"
        f"list(InferenceWorker().tokenize(Tokenize('j', {str(folder)!r}, 'Hi'), JobControl()));"
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert output.decode().strip() == "[]"
