"""The captured way gives the lean pass's tokens; here every step is called as it is, for want of a card."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest
import torch

from core.chat.turns import Sampling
from core.inference.adapters import AdapterDecoder
from core.inference.card import loop, rows
from core.inference.card.decoder import CardDecoder
from core.inference.dense import DenseDecoder
from core.inference.engine import Ended, Engine, NewToken, PromptReady, Step
from core.inference.kv_choice import keep
from core.inference.sampling import Sampler
from tests.helpers import tiny_adapters, tiny_models, tiny_qwen_v1

CONTEXT = 128
NAMES = ("llama", "qwen2", "qwen3", "qwen_v1")
PROMPT = [20, 21, 22, 23, 20, 21, 24, 25, 30, 31]
SAMPLED = Sampling(temperature=0.9, top_p=0.8, top_k=20, repetition_penalty=1.1, max_new_tokens=30, seed=5)


@lru_cache
def model(name: str) -> Any:
    return tiny_qwen_v1.model(torch.float32) if name == "qwen_v1" else tiny_models.model(name)


def greedy(count: int = 30) -> Sampling:
    return Sampling(temperature=0.0, top_p=1.0, top_k=0, repetition_penalty=1.0, max_new_tokens=count)


def card(name: str = "qwen3", *, guesses: bool = False) -> CardDecoder:
    decoder = CardDecoder(model(name), CONTEXT, is_exact=False)
    if guesses:
        decoder.extra_cost = 0.0
    return decoder


def lean(name: str = "qwen3") -> DenseDecoder:
    return DenseDecoder(model(name), CONTEXT, is_exact=True)  # which never guesses


def run(decoder: Any, sampling: Sampling, prompt: list[int] = PROMPT, **options: Any) -> list[Step]:
    return list(Engine(decoder, CONTEXT, **options).generate(prompt, sampling))


def ids(steps: list[Step]) -> list[int]:
    return [step.id for step in steps if isinstance(step, NewToken)]


def test_where_passes_are_timed_nothing_is_guessed() -> None:
    found = [run(card(guesses=True), greedy(100), may_guess=may_guess)[-1] for may_guess in (True, False)]
    passes = [end.passes for end in found if isinstance(end, Ended)]
    assert passes[0] < 99 <= passes[1]


@pytest.mark.parametrize("guesses", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_greedy_tokens_are_those_of_the_lean_pass(name: str, guesses: bool) -> None:
    found, expected = run(card(name, guesses=guesses), greedy()), run(lean(name), greedy())
    assert ids(found) == ids(expected)
    assert found[-1] == expected[-1] == Ended("length", 30)


@pytest.mark.parametrize(
    "changes",
    [{}, {"top_k": 0}, {"top_k": 0, "top_p": 1.0}, {"top_p": 1.0}, {"repetition_penalty": 1.0}, {"temperature": 0.0}],
    ids=str,
)
def test_sampled_tokens_are_those_of_the_sampler(changes: dict[str, Any]) -> None:
    import msgspec

    sampling = msgspec.structs.replace(SAMPLED, **changes)
    assert ids(run(card(), sampling, rows=450)) == ids(run(lean(), sampling, rows=450))


def test_a_stop_ends_the_reply_and_the_next_turn_reuses_what_was_said() -> None:
    said = ids(run(lean(), greedy()))
    engines = [Engine(decoder, CONTEXT) for decoder in (card(), card(guesses=True), lean())]
    for engine in engines:
        steps = list(engine.generate(PROMPT, greedy(), stop_ids={said[11]}))
        end = said.index(said[11])
        assert steps[-1] == Ended("stop", end + 1) and ids(steps) == said[:end]
    turns = [list(engine.generate(PROMPT + said[:end] + [7, 8], greedy())) for engine in engines]
    assert ids(turns[0]) == ids(turns[1]) == ids(turns[2])
    assert [s for s in turns[0] if isinstance(s, PromptReady)] == [s for s in turns[2] if isinstance(s, PromptReady)]


@pytest.mark.parametrize("name", NAMES)
def test_logits_are_those_of_the_lean_pass_far_into_the_context(name: str) -> None:
    """Past the trained length of the first generation, where queries are scaled and positions stretched."""
    prompt, found = list(range(20, 120)), []
    for decoder in (card(name), lean(name)):
        cache = decoder.new_cache(len(prompt))
        for _ in decoder.read(prompt, cache):
            pass
        step = decoder.logits_after if isinstance(decoder, CardDecoder) else decoder.step
        found.append(torch.stack([step(id, cache) for id in (40, 41, 42)]))
    torch.testing.assert_close(*found, atol=2e-4, rtol=2e-4)


def test_after_the_end_a_launch_changes_nothing() -> None:
    decoder = card(guesses=True)
    cache = decoder.new_cache(len(PROMPT))
    read(decoder, cache)
    running = decoder.begun(cache, 40, Sampler(greedy(), PROMPT), range(500))  # every token ends it
    assert len(running.launch(20, 1).read()[0]) == 1
    position = running._position.clone()
    for new in (1, 4):
        assert running.launch(30, new).read()[0] == []
    assert torch.equal(running._position, position)


def test_it_stops_where_the_context_is_full() -> None:
    prompt = [3, 4] * 60
    for guesses in (False, True):
        found = run(card(guesses=guesses), greedy(100), prompt)
        assert ids(found) == ids(run(lean(), greedy(100), prompt))
        assert found[-1] == Ended("context_full", CONTEXT - len(prompt))


def test_a_reply_goes_through_every_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "SMALLEST", 8)
    decoder = card(guesses=True)
    engine = Engine(decoder, CONTEXT)
    assert ids(list(engine.generate(PROMPT, greedy(100)))) == ids(run(lean(), greedy(100)))
    kept = decoder._loops[-1][1]
    assert {bucket for bucket, _ in kept._steps} <= {128} and kept._layers[0].room == 128
    fork = list(engine.generate([*PROMPT[:4], 9, 9], greedy(40)))  # of a much longer sequence: views of its own buffers
    assert ids(fork) == ids(run(lean(), greedy(40), [*PROMPT[:4], 9, 9]))


def test_right_guesses_save_passes() -> None:
    steps = run(card(guesses=True), greedy(100))
    end = steps[-1]
    assert isinstance(end, Ended) and end.passes < end.steps - 1  # a tiny model repeats itself soon


def test_a_cancel_leaves_a_cache_that_can_be_used() -> None:
    for decoder in (card(), card(guesses=True)):
        seen: list[Any] = []
        engine = Engine(decoder, CONTEXT)
        for step in engine.generate(PROMPT, greedy(), is_cancelled=lambda seen=seen: len(seen) > 12):
            seen.append(step)
        assert seen[-1].reason == "cancelled"
        more = PROMPT + ids(seen) + [5]
        assert ids(list(engine.generate(more, greedy(20)))) == ids(run(lean(), greedy(20), more))


def test_two_replies_in_turn_do_not_meet() -> None:
    engine = Engine(card(), CONTEXT)
    one, two = engine.generate(PROMPT, greedy()), engine.generate(PROMPT[::-1], greedy())
    seen: tuple[list[Step], list[Step]] = ([], [])
    while len(seen[0]) < 40 and len(seen[1]) < 40:
        for steps, into in zip((one, two), seen, strict=True):
            into.extend([step] if (step := next(steps, None)) is not None else [Ended("length", 0)])
    assert ids(seen[0]) == ids(run(lean(), greedy()))[: len(ids(seen[0]))]
    assert ids(seen[1]) == ids(run(lean(), greedy(), PROMPT[::-1]))[: len(ids(seen[1]))]


def test_int8_rows_give_nearly_the_tokens_of_plain_ones() -> None:
    decoder = card()
    keep(model("qwen3"), decoder, "int8")
    assert decoder.kv_cache == "int8"
    plain, packed = (engine_logits(d) for d in (card(), decoder))
    assert float((plain - packed).norm() / plain.norm()) < 0.02
    cache = decoder.new_cache()
    read(decoder, cache)
    assert isinstance(cache.layers[0], rows.StaticInt8Rows)
    stored = sum(buffer.nbytes for buffer in cache.layers[0].buffers)
    width = cache.layers[0].buffers[0].shape[2]
    assert stored / (cache.layers[0].room * cache.layers[0].buffers[0].shape[0]) == 2 * width + 10


def read(decoder: CardDecoder, cache: Any) -> None:
    for _ in decoder.read(PROMPT, cache):
        pass


def engine_logits(decoder: CardDecoder) -> torch.Tensor:
    cache = decoder.new_cache()
    read(decoder, cache)
    return torch.stack([decoder.logits_after(id, cache) for id in (40, 41, 42)])


def test_settings_that_need_no_other_way_need_no_new_capture() -> None:
    import msgspec

    decoder = card()
    engine, short = Engine(decoder, CONTEXT), msgspec.structs.replace(SAMPLED, max_new_tokens=5)
    list(engine.generate(PROMPT, short))
    first = decoder._loops[-1][1]
    step = next(iter(first._steps.values()))
    for changes in ({"temperature": 0.3, "top_p": 0.5}, {"repetition_penalty": 1.3, "seed": 9}):
        list(engine.generate(PROMPT, msgspec.structs.replace(short, **changes)))
        assert decoder._loops[-1][1] is first and step in first._steps.values()
    list(engine.generate(PROMPT, msgspec.structs.replace(short, top_k=7)))
    assert decoder._loops[-1][1] is not first


def test_an_adapter_takes_part_and_a_changed_one_is_captured_anew(tmp_path: Any) -> None:
    folder = str(tiny_adapters.write(tmp_path / "one", model("qwen3")))

    def engine(decoder: DenseDecoder) -> Engine:
        adapters = AdapterDecoder(model("qwen3"), decoder, lambda module: pytest.fail("through the module"))
        return Engine(adapters, CONTEXT)

    decoder = card()
    mine, theirs = engine(decoder), engine(lean())
    for adapter in (folder, "", folder):
        found = ids(list(mine.generate(PROMPT, greedy(), adapter=adapter)))
        assert found == ids(list(theirs.generate(PROMPT, greedy(), adapter=adapter)))
    assert len(decoder._loops) == loop_count(decoder) == 2


def loop_count(decoder: CardDecoder) -> int:
    return len({id(kept) for _, kept in decoder._loops})


def test_what_a_forgotten_sequence_held_is_free() -> None:
    decoder = card()
    engine = Engine(decoder, CONTEXT)
    list(engine.generate(PROMPT, greedy()))
    assert decoder._loops
    engine.forget()
    assert not decoder._loops


def test_a_capture_that_fails_is_said_and_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*args: Any) -> Any:
        raise loop.CaptureFailed("operation not permitted when stream is capturing")

    monkeypatch.setattr(loop, "captured", refuse)
    monkeypatch.setattr(loop.Loop, "_made", made_as_if_on_a_card)
    assert ids(run(card(), greedy())) == ids(run(lean(), greedy()))
    assert "not permitted" in caplog.text
    caplog.clear()


WITHOUT_CARD = loop.Loop._made


def made_as_if_on_a_card(self: loop.Loop, bucket: int, new: int) -> Any:
    self._is_card = True
    try:
        return WITHOUT_CARD(self, bucket, new)
    finally:
        self._is_card = False
