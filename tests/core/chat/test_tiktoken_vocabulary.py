"""The first generation's vocabulary: the published ids, text that stays text, and a stream that is the whole."""

from __future__ import annotations

import json
import re
import unicodedata
from functools import lru_cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.chat import long_text, tiktoken_vocabulary
from core.chat.detokenize import detokenizer
from core.chat.tiktoken_file import LFS_POINTER, SPECIAL_TOKENS, write_entries
from core.chat.tiktoken_vocabulary import TiktokenVocabulary
from core.chat.vocabulary import Vocabulary
from core.errors import UserError

BYTES = {bytes((byte,)): byte for byte in range(256)}
hostile = st.lists(
    st.sampled_from([*SPECIAL_TOKENS[:5], "<|", "|>", "é", "e\u0301", "\u0338", " \n", "1你"]) | st.text()
)


@pytest.fixture(scope="session")
def published(qwen_tiktoken: Path) -> TiktokenVocabulary:
    return TiktokenVocabulary.load(qwen_tiktoken.parent)


@lru_cache
def tiny() -> TiktokenVocabulary:
    return TiktokenVocabulary(BYTES | {b"ab": 256, b"\xe4\xbd": 257, b"  ": 258})


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("\n", [198]),
        ("\n\n", [271]),
        ("system", [8948]),
        ("user", [872]),
        ("assistant", [77091]),
        ("You are a helpful assistant.", [2610, 525, 264, 10950, 17847, 13]),
        ("Observation", [37763, 367]),
        ("Observation:", [37763, 367, 25]),
        ("Observation:\n", [37763, 367, 510]),
        ("\nAction:", [198, 2512, 25]),
        ("Human:", [33975, 25]),
        ("A", [32]),
        (" A", [362]),
        ("12345", [16, 17, 18, 19, 20]),
        ("你好", [108386]),
        ("一只", [102292]),
        ("我是一只猫", [35946, 99639, 91680, 100472]),
        ("Hello world", [9707, 1879]),
        ('print("<|endoftext|>")', [1350, 9639, 91, 8691, 723, 427, 91, 82598]),
    ],
)
def test_published_encodings(published: Vocabulary, text: str, ids: list[int]) -> None:
    assert published.encode_text(text) == ids
    assert published.decode(ids) == text


def test_published_encodings_of_control_tokens(published: Vocabulary) -> None:
    assert published.encode_control('print("<|endoftext|>")') == [1350, 445, 151643, 899]
    assert published.encode_control("<|im_start|>user<|im_en|>")[:2] == [151644, 872]
    assert (published.entries, published.size) == (151851, 151851)
    assert published.id_of("<|im_end|>") == 151645 and published.id_of("你好") == 108386
    assert published.id_of("no such token") is None


def test_half_characters_are_held_back_and_shown_as_such(published: Vocabulary) -> None:
    assert published.token_bytes(51461) == b"\x20\xe6\xa0"
    assert published.decode([51461]) == published.shown(51461) == " \ufffd"
    assert published.decode([51461, 117]) == " 根"
    reader = detokenizer(published)
    assert [reader.push(51461), reader.push(117), reader.finish()] == [" ", "根", ""]


def test_rows_above_the_vocabulary_are_nothing(published: Vocabulary) -> None:
    assert published.decode([9707, 151851, 152063, 1879]) == "Hello world"
    assert published.shown(151900) == "" and published.token(151900) is None and published.token_bytes(151900) == b""
    assert published.shown(151645) == "<|im_end|>" and published.decode([151645]) == ""


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(hostile.map("".join))
def test_no_text_becomes_a_control_token_and_none_is_lost(text: str) -> None:
    found = tiny()
    ids = found.encode_text(text)
    assert not found.control_ids & set(ids)
    assert found.decode(ids) == unicodedata.normalize("NFC", text)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(0, 500)))
def test_a_stream_of_any_ids_is_their_whole(ids: list[int]) -> None:
    reader = detokenizer(tiny())
    assert "".join(map(reader.push, ids)) + reader.finish() == tiny().decode(ids)


edges = st.lists(
    st.sampled_from([" ", "\u3000", "\n", "\r", "\t", "\x85", "a", "b's", "'t", "我", "，", "。", "!", "1", "\u0301",
                     "\u1100", "\u1161", "<|im_end|>"]),
    max_size=16,
).map("".join)  # fmt: skip


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(edges)
def test_taking_runs_of_blanks_out_changes_no_id(published: TiktokenVocabulary, text: str) -> None:
    text = unicodedata.normalize("NFC", text)
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(tiktoken_vocabulary, "has_long_run", lambda text: True)
        changed.setattr(long_text, "_RUN", re.compile(long_text._RUN.pattern.replace(str(long_text.LONG_RUN), "2")))
        assert published.encode_text(text) == published._encoding.encode_ordinary(text)


@pytest.mark.parametrize("after", ["", "x", " \n!"])
def test_a_million_blanks_are_encoded(after: str) -> None:
    """The pattern alone gives up on them with a crash."""
    text = "a\n" + " " * 1_100_000 + after
    assert tiny().decode(tiny().encode_text(text)) == text


def test_a_long_word_takes_no_longer_than_its_length(published: TiktokenVocabulary) -> None:
    """In the square of its length, as older libraries take, this would outlast the test's limit of time."""
    assert len(published.encode_text("a" * 1_000_000)) == 125_000


# --- files -----------------------------------------------------------------------


def folder_with(folder: Path, config: dict[str, object]) -> Path:
    write_entries(folder / "qwen.tiktoken", BYTES)
    (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    return folder


def test_an_extra_vocabulary_is_found_by_its_name(tmp_path: Path) -> None:
    folder_with(tmp_path, {"extra_vocab_file": "more.tiktoken"})
    first = 256 + len(SPECIAL_TOKENS)
    write_entries(tmp_path / "more.tiktoken", {"猫".encode()[:2]: first, "猫".encode(): first + 1, b"a": first + 2})
    found = Vocabulary.load(tmp_path)
    assert found.encode_text("a猫") == [97, first + 1]
    assert (found.entries, found.size) == (first + 2, first + 2) and first + 1 not in found.control_ids


@pytest.mark.parametrize(
    ("name", "code"),
    [("../more.tiktoken", "extra_vocabulary_outside"), ("/etc/passwd", "extra_vocabulary_outside"),
     ("gone.tiktoken", "tokenizer_missing")],
)  # fmt: skip
def test_an_extra_vocabulary_elsewhere_is_refused(tmp_path: Path, name: str, code: str) -> None:
    with pytest.raises(UserError) as refused:
        Vocabulary.load(folder_with(tmp_path, {"extra_vocab_file": name}))
    assert refused.value.code == code and str(refused.value)


def test_a_placeholder_of_git_lfs_is_explained(tmp_path: Path) -> None:
    (tmp_path / "qwen.tiktoken").write_bytes(LFS_POINTER + b"v1\noid sha256:b2b1\nsize 2561218\n")
    with pytest.raises(UserError, match="git-lfs") as refused:
        Vocabulary.load(tmp_path)
    assert refused.value.code == "lfs_pointer"
