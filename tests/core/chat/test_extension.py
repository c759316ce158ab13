"""Words become tokens, and nothing that was a token changes."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.cli.entry import run
from core.chat.extension import extend, first_free_id, read_words
from core.chat.tiktoken_file import SPECIAL_TOKENS, encoding, read_entries, read_ranks, write_entries
from core.chat.vocabulary import Vocabulary
from core.errors import UserError

BYTES = {bytes((byte,)): byte for byte in range(256)}
CATS = "我是一只猫\t20\n你是一只猫\t10\n他是一只猫\t5\n一只\t200\n一只猫\t100\n夸张的 比喻手法\t20\n"


@lru_cache
def tiny() -> dict[bytes, int]:
    ranks = dict(BYTES)
    for token in ("th", "the", "an", "你".encode()[:2].decode("latin-1"), "ba"):
        ranks[token.encode("latin-1")] = len(ranks)
    return ranks


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder as far as its tokenizer goes, with a small vocabulary; the words lie beside it."""
    (tmp_path / "model").mkdir()
    write_entries(tmp_path / "model" / "qwen.tiktoken", tiny())
    (tmp_path / "model" / "config.json").write_text('{"model_type": "qwen", "vocab_size": 480}')
    (tmp_path / "words.txt").write_text(CATS, "utf-8")
    return tmp_path / "model"


def command(folder: Path, *others: str) -> list[str]:
    return ["tokenize", "extend", "--words", str(folder.parent / "words.txt"), *others]


def test_the_published_example(folder: Path, qwen_tiktoken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "qwen.tiktoken").unlink()
    (folder / "qwen.tiktoken").symlink_to(qwen_tiktoken)
    out = folder / "qwen_extra.tiktoken"
    assert run(command(folder, "-m", str(folder), "--out", str(out), "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    assert [token["id"] for token in found["tokens"]] == list(range(151851, 151857))
    texts = [token["text"] for token in found["tokens"]]
    assert texts[0] == "一只猫" and "是一只猫" in texts and found["size"] == 151857
    assert {word["word"]: word["reason"] for word in found["skipped"]} == {"一只": "known", "夸张的 比喻手法": "pieces"}
    extended = Vocabulary.load(folder)
    assert extended.encode_text("我是一只猫") == [151854] and extended.size == extended.entries == 151857


def test_a_folder_is_extended_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    extending = command(folder, "-m", str(folder), "--out", str(folder / "qwen_extra.tiktoken"))
    assert run(extending) == 0
    printed = capsys.readouterr()
    first = len(tiny()) + len(SPECIAL_TOKENS)
    assert printed.out.startswith(f"{first}\t") and "480 rows" in printed.err
    before = Vocabulary.load(folder)
    (folder.parent / "words.txt").write_text("夸张的比喻\t3\n", "utf-8")
    assert run(extending) == 0
    assert capsys.readouterr().out.startswith(f"{before.size}\t")
    again = Vocabulary.load(folder)
    assert (
        again.encode_text("我是一只猫") == before.encode_text("我是一只猫")
        and len(again.encode_text("夸张的比喻")) == 1
    )


def test_mistakes_are_told(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given, out = str(folder / "qwen.tiktoken"), str(tmp_path / "out")
    free = len(tiny()) + len(SPECIAL_TOKENS)
    assert run(command(folder, "--out", given, "--vocabulary", given)) == 1
    assert "not overwritten" in capsys.readouterr().err
    assert run(command(folder, "--out", out, "--vocabulary", given, "--start-id", str(free - 1))) == 1
    assert str(free) in capsys.readouterr().err
    assert run(command(folder, "--out", str(tmp_path / "no" / "out"), "--vocabulary", given)) == 1
    assert run(command(folder, "--out", out)) == 2
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "config.json").write_text('{"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}')
    assert run(command(folder, "--out", out, "-m", str(tmp_path / "later"))) == 1
    assert "first generation" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_no_file_is_overwritten_but_new_tokens(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--out names a file of the model, of the user, another vocabulary, a folder: each is as it was."""
    kept = {
        "model.safetensors": b"\x08\0\0\0\0\0\0\0{}",
        "config.json": b'{"vocab_size": 480}',
        "notes.txt": b"two words\n",
    }
    for name, data in kept.items():
        (folder / name).write_bytes(data)
    write_entries(folder / "whole.tiktoken", BYTES)
    (folder / "link").symlink_to("gone")
    before = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    for name in (*kept, "whole.tiktoken", "link", ""):
        assert run(command(folder, "-m", str(folder), "--out", str(folder / name))) == 1
        assert "not overwritten" in capsys.readouterr().err
    assert {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()} == before
    out = folder / "new"
    for words, status in (("我是\t1\n", 0), ("你是\t1\n", 0), ("broken\tmany\n", 1)):  # what it made itself gives way
        (folder.parent / "words.txt").write_text(words, "utf-8")
        assert run(command(folder, "--vocabulary", str(folder / "qwen.tiktoken"), "--out", str(out))) == status
    assert "你是".encode() in read_entries(out) and "我是".encode() not in read_entries(out)


def test_a_broken_config_is_told_before_anything_is_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "config.json").write_text("{")
    assert run(command(folder, "-m", str(folder), "--out", str(folder / "new"))) == 1
    assert "config.json" in capsys.readouterr().err and not (folder / "new").exists()


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(st.text("theanbxy你好吗é'1 ", min_size=1, max_size=7), st.integers(1, 50), max_size=12),
    st.integers(0, 9),
)
def test_every_learnt_word_is_one_token(words: dict[str, int], later: int) -> None:
    start = first_free_id(tiny()) + later
    found = extend(tiny(), words, start)
    skipped = {one.word for one in found.skipped}
    extended, plain = encoding(tiny(), found.entries), encoding(tiny())
    assert sorted(found.entries.values()) == list(range(start, start + len(found.tokens)))
    for word in words:
        ids = extended.encode_ordinary(word)
        assert extended.decode(ids) == word
        assert word in skipped or len(ids) == 1
        if word in skipped and len(plain.encode_ordinary(word)) == 1:
            assert ids == plain.encode_ordinary(word)


def test_the_most_frequent_pair_comes_first_then_the_shortest() -> None:
    found = extend(tiny(), {"yx": 2, "xyz": 2, "xy": 3, "xx": 2}, 1000)
    assert [(new.token, new.frequency) for new in found.tokens[:1]] == [(b"xy", 5)]
    assert [new.token for new in found.tokens if new.frequency == 2] == [b"xx", b"yx", b"xyz"]


def test_ids_that_are_taken_are_refused() -> None:
    free = len(tiny()) + len(SPECIAL_TOKENS)
    with pytest.raises(UserError) as refused:
        extend(tiny(), {"xy": 1}, free - 1)
    assert refused.value.code == "extension_start_taken" and refused.value.params["free"] == free
    assert first_free_id({**tiny(), b"xy": free + 5}) == free + 6


def test_the_word_list_is_read_with_care(tmp_path: Path) -> None:
    file = tmp_path / "words"
    file.write_text("\ufeffcafe\u0301\t2\r\ncafé\n\n", "utf-8")
    assert read_words(file) == {"café": 3}
    for broken in ("word\tmany\n", "ok\nword\t0\n", "\t3\n"):
        file.write_text(broken, "utf-8")
        with pytest.raises(UserError) as refused:
            read_words(file)
        assert refused.value.code == "words_line_unreadable"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="UTF-8"):
        read_words(file)


def test_a_vocabulary_file_can_hold_added_tokens_itself(tmp_path: Path) -> None:
    free = len(BYTES) + len(SPECIAL_TOKENS)
    write_entries(tmp_path / "qwen.tiktoken", BYTES | {b"xy": free})
    assert first_free_id(read_ranks(tmp_path / "qwen.tiktoken")) == free + 1
    assert Vocabulary.load(tmp_path).encode_text("xy") == [free]
