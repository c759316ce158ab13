"""Speed of one case: prompts of random tokens, answered to a fixed length by the engine that answers chats.

Every step is a pass of its own: greedy chats also guess tokens from the text, but what that gains is the text's doing
and not the model's, and random models say the same again and again. Invariant: a warm-up of the same shape comes before
and does not count; every round has a prompt of its own, so that nothing is taken over from the one before; every figure
is the median of the rounds.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import msgspec

from core.chat.turns import GREEDY
from core.errors import UserError
from core.inference.batch import Answered, BatchProgress, answer_all
from core.inference.engine import Ended, Engine, NewToken, PromptReady, Reading
from core.profiling.loading import Ready, loading
from core.profiling.measure import Measuring, Step
from core.profiling.plan import Case, Cell
from core.profiling.recorder import Recorder
from core.profiling.result import InferenceFigures

WARM_UP_TOKENS = 16
SEED = 1024  # as the README's script


@dataclass(slots=True)
class Round:
    """One answer (or a batch of them). prompt_s: until the prompt was read; token_s: of each step after the first."""

    prompt_s: float = 0.0
    first_s: float = 0.0
    whole_s: float = 0.0
    token_s: list[float] = field(default_factory=list)
    new_tokens: int = 0


def measured(cell: Cell, recorder: Recorder) -> Measuring:
    assert cell.case is not None
    ready: Ready | None = None
    for step in loading(cell, recorder):
        if isinstance(step, Ready):
            ready = step
        else:
            yield step
    assert ready is not None
    yield {"load_s": ready.load_s}
    case, rounds = cell.case, list[Round]()
    answering = _Batches(ready, cell) if case.batch > 1 else _Singly(ready)
    for number in range(cell.repeats + 1):
        is_warm_up = number == 0
        prompts = _prompts(case, ready.vocabulary_size, number)
        new = min(case.new, WARM_UP_TOKENS) if is_warm_up else case.new
        recorder.mark("warm_up" if is_warm_up else "prefill", number)
        told = Round()
        for token in answering.run(prompts, new, told, recorder, number):
            stage = "profile_warm_up" if is_warm_up else "profile_round"
            yield Step(stage, (number - 1) * case.new + token if number else 0, cell.repeats * case.new, "tokens")
        if not is_warm_up:
            rounds.append(told)
    yield {"inference": _figures(rounds, case, cell, ready)}


def _prompts(case: Case, size: int, number: int) -> list[list[int]]:
    """Tokens by chance, never the same ones twice."""
    chance = random.Random(SEED + number)
    return [[chance.randrange(size) for _ in range(case.prompt)] for _ in range(case.batch)]


class _Singly:
    def __init__(self, ready: Ready) -> None:
        self._engine = Engine(ready.decoder, ready.loaded.context_length, keep_bytes=0, may_guess=False)

    def run(self, prompts: list[list[int]], new: int, told: Round, recorder: Recorder, number: int) -> Iterator[int]:
        sampling = msgspec.structs.replace(GREEDY, max_new_tokens=new)
        began = last = time.perf_counter()
        for step in self._engine.generate(prompts[0], sampling):
            now = time.perf_counter()
            match step:
                case PromptReady():
                    told.prompt_s = now - began
                    if number:
                        recorder.mark("decode", number, is_fine=True)
                    last = time.perf_counter()
                    began += last - now  # the mark is not the model's time
                case NewToken():
                    if told.new_tokens:
                        told.token_s.append(now - last)
                    else:
                        told.first_s = now - began
                    last = now
                    told.new_tokens += 1
                    yield told.new_tokens
                case Reading():
                    yield 0
                case Ended() | None:
                    pass
        told.whole_s = last - began


class _Batches:
    """Many prompts at once, as files of questions are answered."""

    def __init__(self, ready: Ready, cell: Cell) -> None:
        self._loaded = ready.loaded
        if cell.kv_cache not in ("auto", "plain"):
            if not hasattr(ready.loaded.model.config, "use_cache_quantization"):
                raise UserError("profile_batch_kv")
            ready.loaded.model.config.use_cache_quantization = True

    def run(self, prompts: list[list[int]], new: int, told: Round, recorder: Recorder, number: int) -> Iterator[int]:
        sampling = msgspec.structs.replace(GREEDY, max_new_tokens=new)
        began = last = time.perf_counter()
        loaded = self._loaded
        steps = answer_all(
            loaded.model, prompts, sampling, context_length=loaded.context_length, rows=0, cache_bytes=1 << 62,
            is_exact=loaded.placement.is_exact, most_rows=len(prompts),
        )  # fmt: skip
        for step in steps:
            now = time.perf_counter()
            match step:
                case BatchProgress():
                    if not told.new_tokens:
                        told.prompt_s = told.first_s = now - began
                        if number:
                            recorder.mark("decode", number, is_fine=True)
                            last = time.perf_counter()
                            began += last - now
                            now = last
                    else:
                        told.token_s.append(now - last)
                    last = now
                    told.new_tokens += 1
                    yield told.new_tokens
                case Answered():
                    pass
                case None:
                    yield 0
        told.whole_s = last - began


def _figures(rounds: Sequence[Round], case: Case, cell: Cell, ready: Ready) -> InferenceFigures:
    def of(value: Any) -> float:
        return float(median(value(one) for one in rounds))

    times = sorted(second for one in rounds for second in one.token_s)
    loaded = ready.loaded
    return InferenceFigures(
        prompt_tokens=case.prompt * case.batch,
        new_tokens=rounds[0].new_tokens * case.batch,
        prompt_s=of(lambda one: one.prompt_s),
        prompt_tokens_per_s=of(lambda one: case.prompt * case.batch / one.prompt_s if one.prompt_s else 0.0),
        first_token_s=of(lambda one: one.first_s),
        decode_tokens_per_s=of(lambda one: case.batch * len(one.token_s) / sum(one.token_s) if one.token_s else 0.0),
        token_s_p50=percentile(times, 0.5),
        token_s_p99=percentile(times, 0.99),
        whole_tokens_per_s=of(lambda one: case.batch * one.new_tokens / one.whole_s if one.whole_s else 0.0),
        repeats=len(rounds),
        weights=loaded.weights,
        backend=loaded.backend,
        precision=str(loaded.placement.dtype).removeprefix("torch."),
        kv_cache=ready.decoder.kv_cache if case.batch == 1 else _kept(cell),
        attention=loaded.attention,
        decoder=ready.decoder_name if case.batch == 1 else "batch",
        device=ready.device,
        parameters=loaded.parameters,
        weight_bytes=loaded.weight_bytes,
    )


def _kept(cell: Cell) -> str:
    return "plain" if cell.kv_cache in ("auto", "plain") else "int8_compatible"


def percentile(ordered: Sequence[float], share: float) -> float:
    """The least of the sorted values that `share` of them do not exceed; 0 where there are none."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]
