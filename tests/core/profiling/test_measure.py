"""Cells measured in this process with tiny models: what comes of inference, batches, fine-tunes and quality."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from core.inference import prompt_lookup
from core.load_options import LoadOptions, WeightChoice
from core.models.quantised.linear import QuantisedLinear
from core.profiling import random_model, shapes
from core.profiling.inference import percentile
from core.profiling.measure import measure
from core.profiling.plan import Case, Cell, Subject, TrainingCase
from core.profiling.probes import probing
from core.profiling.result import CellResult, MachineProbe
from core.protocol.messages import Progress
from core.protocol.profiling import CellMeasured, MemorySampled, ProfileCell
from tests.helpers import tiny_models
from tests.helpers.refusals import refused

TINY = shapes.named("tiny")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.write_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def measured(cell: Cell) -> CellResult:
    events = list(measure(ProfileCell("j", cell), lambda: False))
    assert any(isinstance(event, Progress) for event in events)
    assert any(isinstance(event, MemorySampled) and event.marks for event in events)
    last = events[-1]
    assert isinstance(last, CellMeasured) and last.result.state == "done"
    return last.result


def test_one_sequence_is_decoded_by_the_engine_of_chats() -> None:
    result = measured(Cell(TINY, "float32", case=Case(6, 5), repeats=2, threads=1))
    found = result.inference
    assert found is not None and result.load_s > 0
    assert (found.prompt_tokens, found.new_tokens, found.repeats, found.decoder) == (6, 5, 2, "dense")
    assert found.prompt_tokens_per_s > 0 and found.decode_tokens_per_s > 0
    assert 0 < found.token_s_p50 <= found.token_s_p99 and found.prompt_s <= found.first_token_s
    phases = [mark.phase for mark in result.timeline.marks]
    assert phases == ["libraries", "load", "warm_up", "prefill", "decode", "prefill", "decode", "end"]
    assert [mark.round for mark in result.timeline.marks][2:7] == [0, 1, 1, 2, 2]
    assert result.peak_bytes > 50_000_000 and result.card_peak_bytes == 0


def test_every_token_is_a_step_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guessed tokens would come for nothing: the median of the steps would be 0, and the speed nobody's."""

    def take(lookup: object) -> list[int]:
        raise AssertionError("tokens are guessed")

    monkeypatch.setattr(prompt_lookup.Lookup, "take", take)
    found = measured(Cell(TINY, "int8", case=Case(6, 40), repeats=1, threads=1)).inference
    assert found is not None and 0.2 < found.token_s_p50 * found.decode_tokens_per_s < 1.5


@pytest.mark.parametrize("kv_cache", ["plain", "int8"])
def test_a_batch_goes_through_at_once(kv_cache: Any) -> None:
    result = measured(Cell(TINY, "float32", kv_cache, case=Case(3, 4, 40), repeats=1, threads=1))
    found = result.inference
    assert found is not None and (found.prompt_tokens, found.new_tokens, found.decoder) == (120, 160, "batch")
    assert found.kv_cache == ("plain" if kv_cache == "plain" else "int8_compatible")


def test_one_new_token_has_no_steps_to_be_timed() -> None:
    found = measured(Cell(TINY, "float32", case=Case(4, 1), repeats=1, threads=1)).inference
    assert found is not None and (found.decode_tokens_per_s, found.token_s_p50) == (0, 0)


def test_a_batch_of_a_later_family_keeps_no_8_bits() -> None:
    cell = Cell(shapes.from_file(_config("qwen3")), "float32", "int8", case=Case(3, 2, 2), repeats=1)
    with refused("profile_batch_kv"):
        list(measure(ProfileCell("j", cell), lambda: False))


@pytest.mark.parametrize("method", ["lora", "qlora", "full"])
def test_a_fine_tune_is_timed_part_by_part(method: Any) -> None:
    result = measured(Cell(TINY, training=TrainingCase(method, 16, 2), repeats=2, threads=1))
    found = result.training
    assert found is not None and found.steps == 2 and found.step_s > 0
    assert found.step_s == pytest.approx(found.forward_s + found.backward_s + found.optimiser_s, rel=0.5)
    assert (found.weights == "int4") == (method == "qlora")
    assert {"forward", "backward", "optimiser"} <= {mark.phase for mark in result.timeline.marks}


def test_a_fine_tune_of_a_model_on_the_disk(folder: Path) -> None:
    work = TrainingCase("lora", 16, 2, embeddings=True)
    result = measured(Cell(Subject("t", str(folder)), training=work, repeats=1, threads=1))
    found = result.training
    assert found is not None
    assert found.trained_parameters > tiny_models.VOCABULARY * 64  # the tables are among them


def test_quality_of_noise_is_that_of_the_logits_themselves(folder: Path) -> None:
    """Stepping token by token gives the perplexity of one whole pass."""
    from core.chat.vocabulary import Vocabulary
    from core.paths import resources

    found = measured(Cell(Subject("t", str(folder)), "float32", threads=1)).quality
    assert found is not None and found.text.startswith("alice.txt ")
    ids = Vocabulary.load(folder).encode_text((resources() / "alice.txt").read_text("utf-8"))[: found.tokens + 64]
    model = tiny_models.model("qwen3")
    with torch.inference_mode():
        logits = model(torch.tensor([ids])).logits[0, 63:-1].float()
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(ids[64:]))
    assert found.perplexity == pytest.approx(math.exp(float(loss)), rel=1e-3)


def test_a_cancelled_cell_has_no_result() -> None:
    events = list(measure(ProfileCell("j", Cell(TINY, "float32", case=Case(4, 4))), lambda: True))
    assert not any(isinstance(event, CellMeasured) for event in events)


# --- random weights, probes ----------------------------------------------------------------------


def _config(kind: str) -> Path:
    from tempfile import mkdtemp

    config = tiny_models.config(kind)
    place = Path(mkdtemp())
    config.save_pretrained(place)
    return place / "config.json"


@pytest.mark.parametrize("kind", ["qwen2", "qwen3", "llama", "qwen"])
@pytest.mark.parametrize("weights", ["float32", "int8", "int4"])
def test_random_weights_make_the_model_that_loading_would(kind: str, weights: WeightChoice, tmp_path: Path) -> None:
    subject = TINY if kind == "qwen" else shapes.from_file(_config(kind))
    loaded = random_model.make(subject.config, LoadOptions(weights=weights))
    ids = torch.tensor([[1, 2, 3]])
    with torch.inference_mode():
        first, again = (loaded.model(ids).logits for _ in range(2))
    assert torch.isfinite(first).all() and torch.equal(first, again) and float(first.std()) > 0
    assert loaded.weights == weights
    spread = torch.cat([layer.weight_of().dequantised().flatten() for layer in loaded.model.modules()
                        if isinstance(layer, QuantisedLinear)]) if weights != "float32" else None  # fmt: skip
    assert spread is None or float(spread.float().std()) == pytest.approx(0.02, rel=0.1)
    if weights == "float32":
        assert sum(p.numel() for p in loaded.model.parameters()) == loaded.parameters
        assert not any(p.is_meta for p in loaded.model.parameters())


def test_random_nf4_is_refused_in_words() -> None:
    with refused("profile_random_nf4"):
        random_model.make(TINY.config, LoadOptions(weights="nf4"))


def test_the_limits_of_the_machine_say_how_they_were_measured() -> None:
    *steps, found = probing("cpu", 1, bytes_=1 << 20, side=64)
    assert isinstance(found, MachineProbe) and len(steps) == 4
    for rate in (found.read, found.copy, found.matrix_bf16, found.matrix_fp32):
        assert rate.value > 0 and rate.how.endswith("_processor")


def test_percentiles() -> None:
    times = [float(value) for value in range(1, 101)]
    assert (percentile(times, 0.5), percentile(times, 0.99), percentile([3.0], 0.99)) == (50, 99, 3)
    assert percentile([], 0.5) == 0
