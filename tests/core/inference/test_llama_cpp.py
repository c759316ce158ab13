"""llama.cpp behind our engine. It is an optional part that builds from source: skipped where it is not installed."""

from __future__ import annotations

import gc
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from transformers import AutoModelForCausalLM

from core.chat.turns import GREEDY
from core.errors import UserError
from core.inference import llama_cpp
from core.inference.engine import Engine, NewToken
from core.inference.llama_cpp import LlamaCppDecoder, usable_file
from core.load_options import LoadOptions
from core.models import manifest
from core.models.importing import import_model
from core.models.load import LoadedModel, Loading
from core.models.steps import result
from tests.helpers.tiny_gguf import tiny_model, write_gguf

ASKED = LoadOptions(engine="llama_cpp")
IDS = [token * 7 % 250 for token in range(300)]

installed = pytest.mark.skipif(find_spec("llama_cpp") is None, reason="llama-cpp-python is not installed")


@pytest.fixture
def imported(tmp_path: Path) -> Path:
    """A model of the library that came from a GGUF file."""
    file = write_gguf(tmp_path / "m.gguf", tiny_model("qwen2"))
    return result(import_model(file, "tiny", tmp_path / "models"))


def loaded(folder: Path) -> LoadedModel:
    file, notices = usable_file(folder, ASKED)
    assert file and not notices
    loading = Loading(folder, ASKED, lambda *rest: llama_cpp.load(file, *rest))
    list(loading)
    return loading.model


def decoder(folder: Path, kv_cache: Any = "plain") -> LlamaCppDecoder:
    return LlamaCppDecoder(loaded(folder).model, 512, kv_cache)


def read(made: LlamaCppDecoder, cache: Any, ids: list[int]) -> torch.Tensor:
    steps = made.read(ids, cache)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def test_why_it_is_not_used(imported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert usable_file(imported, LoadOptions()) == (None, ())
    monkeypatch.setattr(llama_cpp, "find_spec", lambda name: None)
    assert usable_file(imported, ASKED)[1][0].code == "llama_cpp_missing"
    monkeypatch.setattr(llama_cpp, "find_spec", lambda name: object())
    file = Path(manifest.read(imported).gguf)
    assert usable_file(imported, ASKED)[0] == file
    file.unlink()
    assert usable_file(imported, ASKED)[1][0].code == "llama_cpp_file_gone"
    manifest.write(imported, msgspec.structs.replace(manifest.read(imported), gguf=""))
    assert usable_file(imported, ASKED)[1][0].code == "llama_cpp_no_gguf"


@installed
def test_it_gives_the_logits_of_the_converted_model(imported: Path) -> None:
    model = loaded(imported)
    assert (model.backend, model.weights, model.context_length) == ("llama.cpp", "F32", 512)
    made = LlamaCppDecoder(model.model, 512)
    cache = made.new_cache(len(IDS))
    ours = AutoModelForCausalLM.from_pretrained(imported, dtype=torch.float32).eval()
    with torch.no_grad():
        expected = ours(torch.tensor([[*IDS, 5]])).logits[0]
    for logits, place in ((read(made, cache, IDS), -2), (made.step(5, cache), -1)):
        assert float((logits - expected[place]).abs().max()) < 0.05 * float(expected.std())
    assert cache.length == 301


@installed
def test_a_sequence_grows_goes_back_and_forks(imported: Path) -> None:
    made = decoder(imported)
    whole = read(made, made.new_cache(), IDS)
    cache = made.new_cache()  # of the smallest size, so it has to grow
    for start in range(0, 300, 100):
        grown = read(made, cache, IDS[start : start + 100])
    torch.testing.assert_close(grown, whole, rtol=0, atol=2e-3)
    copy = cache.fork(200)
    cache.crop(100)
    for other, length in ((cache, 100), (copy, 200)):
        assert other.length == length and other.size_bytes > 0
        torch.testing.assert_close(read(made, other, IDS[length:]), whole, rtol=0, atol=2e-3)
    del cache, copy
    gc.collect()


@installed
def test_heads_too_narrow_for_8_bits_are_kept_plain(imported: Path) -> None:
    assert decoder(imported, "int8").kv_cache == "plain"


@installed
def test_the_engine_answers_with_it_and_reuses_what_was_read(imported: Path) -> None:
    model = loaded(imported)
    engine = Engine(LlamaCppDecoder(model.model, 512), 512)
    sampling = msgspec.structs.replace(GREEDY, max_new_tokens=8)
    first = [step.id for step in engine.generate(IDS, sampling) if isinstance(step, NewToken)]
    again = list(engine.generate([*IDS, *first[:4]], sampling))
    assert [step.id for step in again if isinstance(step, NewToken)][:4] == first[4:]
    assert any(getattr(step, "reused_tokens", 0) > 290 for step in again)


@installed
def test_what_it_cannot_do_is_said(imported: Path) -> None:
    with pytest.raises(UserError, match="adapter"):
        decoder(imported).need("/somewhere/adapter")
    file = Path(manifest.read(imported).gguf)
    file.write_bytes(file.read_bytes().replace(b"blk.0.attn_q.weight", b"blk.0.attn_X.weight"))
    with pytest.raises(UserError, match="damaged"):
        loaded(imported)


@installed
def test_loading_can_be_abandoned(imported: Path) -> None:
    file, _ = usable_file(imported, ASKED)
    loading = Loading(imported, ASKED, lambda *rest: llama_cpp.load(file, *rest))  # type: ignore[arg-type]
    loading.abandon()
    assert list(loading) is not None
    with pytest.raises(AssertionError):
        _ = loading.model
