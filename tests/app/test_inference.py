"""The inference service with its real worker and the real starter model."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

import msgspec
import psutil
import pytest

from app.services.inference import InferenceService, ModelFiles
from core.chat.turns import GREEDY, Turn
from core.errors import UserError
from core.load_options import LoadOptions
from core.protocol.messages import Failed, Finished, Generate, JobEvent, Progress, TextDelta

pytestmark = [pytest.mark.loops("asyncio"), pytest.mark.timeout(120)]


def service(models: Path, keep_s: float = 0.0) -> InferenceService:
    def locate(name: str) -> ModelFiles:
        if not (models / name).is_dir():
            raise UserError("model_unknown_first", name=name)
        return ModelFiles(name, models / name)

    return InferenceService(locate, keep_loaded_s=lambda: keep_s)


def question(job_id: str, words: str = "Tell me a long story about a river.") -> Generate:
    return Generate(job_id, (Turn("user", words),), GREEDY)


async def read(inference: InferenceService, job: Generate, stop_after: int = 10**9) -> list[JobEvent]:
    """All events; the job is cancelled after so many pieces of text."""
    events: list[JobEvent] = []
    async for event in inference.generate("starter", job):
        events.append(event)
        if sum(isinstance(seen, TextDelta) for seen in events) == stop_after:
            inference.cancel(job.job_id)
    return events


async def test_two_chats_share_one_model_and_a_third_is_cancelled(starter_models: Path) -> None:
    inference = service(starter_models)
    try:
        a, b, c = await asyncio.gather(
            *(read(inference, question(name), n) for name, n in (("a", 8), ("b", 8), ("c", 1)))
        )
    finally:
        await inference.close()
    for events in (a, b, c):
        assert events[-1] == Finished(events[-1].job_id, "cancelled", events[-1].figures)  # type: ignore[union-attr]
    words = ["".join(e.text for e in events if isinstance(e, TextDelta)) for events in (a, b)]
    assert words[0][:20] == words[1][:20], "the same question, greedy, gets the same answer beside others"
    assert any(isinstance(event, Progress) for event in a), "who waits for the model is told how far it is"


async def test_a_killed_worker_costs_its_reply_and_nothing_else(starter_models: Path) -> None:
    inference = service(starter_models)
    try:
        events: list[JobEvent] = []
        async for event in inference.generate("starter", question("a")):
            events.append(event)
            if isinstance(event, TextDelta) and len([e for e in events if isinstance(e, TextDelta)]) == 2:
                for child in psutil.Process().children():
                    os.kill(child.pid, signal.SIGKILL)
        last = events[-1]
        assert isinstance(last, Failed) and last.kind == "died"
        assert inference.state.phase == "none"
        again = await read(inference, question("b"), 2)
        assert isinstance(again[-1], Finished) and again[-1].reason == "cancelled"
    finally:
        await inference.close()


async def test_cancel_while_the_model_loads(starter_models: Path) -> None:
    inference = service(starter_models)
    try:
        events: list[JobEvent] = []
        async for event in inference.generate("starter", question("a")):
            events.append(event)
            inference.cancel("a")
        assert events[-1] == Finished("a", "cancelled") and not any(isinstance(e, TextDelta) for e in events)
    finally:
        await inference.close()


async def test_a_model_that_is_not_there_is_told_and_harms_nothing(starter_models: Path) -> None:
    inference = service(starter_models)
    try:
        with pytest.raises(UserError) as told:
            await inference.load("nothing-here")
        assert told.value.params["name"] == "nothing-here"
        assert (await inference.load("starter")).parameters > 100_000_000
    finally:
        await inference.close()


async def test_memory_is_given_back_after_the_time_without_a_question(starter_models: Path) -> None:
    inference = service(starter_models, keep_s=0.2)
    ended = asyncio.Event()
    try:
        await read(inference, question("a"), 1)
        inference.changed.listen(lambda state: ended.set() if state.phase == "none" else None)
        async with asyncio.timeout(20):
            await ended.wait()
    finally:
        await inference.close()
    assert not psutil.Process().children()


async def test_an_adapter_and_its_base_answer_in_turn_on_one_loaded_model(
    starter_models: Path, starter_adapter: Path
) -> None:
    files = ModelFiles("starter", starter_models / "starter")
    # Exact, because random factors leave the likeliest token hardly likelier than others.
    inference = InferenceService(
        lambda name: replace(files, adapter=starter_adapter if name == "poet" else None),
        options=lambda base: LoadOptions(weights="float32"),
    )
    short = msgspec.structs.replace(GREEDY, max_new_tokens=6)
    try:
        job = Generate("j", (Turn("user", "Count from one to five."),), short)
        answers, loads = [], 0
        for name in ("starter", "poet", "starter", "poet"):
            events = [event async for event in inference.generate(name, job)]
            stages = {event.stage for event in events if isinstance(event, Progress)}
            loads += "loading_weights" in stages
            assert ("loading_adapter" in stages) == (name == "poet") and isinstance(events[-1], Finished)
            answers.append("".join(event.text for event in events if isinstance(event, TextDelta)))
        assert answers[0] == answers[2] != answers[1] == answers[3] and loads == 1
    finally:
        await inference.close()


@pytest.fixture
def starter_adapter(starter_models: Path, tmp_path: Path) -> Path:
    """LoRA on the starter's first two layers, made by PEFT on a model that has no others."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from tests.helpers import tiny_adapters

    config = AutoConfig.from_pretrained(
        starter_models / "starter", num_hidden_layers=2, vocab_size=8, pad_token_id=None
    )
    layers = AutoModelForCausalLM.from_config(config)
    targets = ["q_proj", "v_proj", "down_proj"]
    return tiny_adapters.write(tmp_path / "adapter", layers, target_modules=targets, base="starter")
