"""The vocabulary file of the first generation: what is read is whole, and what is wrong with a file is said."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from pathlib import Path

import pytest

from core.chat import tiktoken_file
from core.chat.tiktoken_file import encoding, read_entries, read_ranks, special_ids, write_entries
from core.errors import UserError
from tests.helpers.qwen_vocabulary import SHA256

BYTES = {bytes((byte,)): byte for byte in range(256)}


def written(folder: Path, entries: dict[bytes, int]) -> Path:
    write_entries(folder / "qwen.tiktoken", entries)
    return folder / "qwen.tiktoken"


def refusal(file: Path) -> str:
    with pytest.raises(UserError) as raised:
        read_ranks(file)
    return raised.value.code


def test_the_published_file_comes_back_byte_for_byte(qwen_tiktoken: Path, tmp_path: Path) -> None:
    ranks = read_ranks(qwen_tiktoken)
    assert (len(ranks), len(encoding(ranks)._mergeable_ranks)) == (151_643, 151_643)
    assert hashlib.sha256(written(tmp_path, ranks).read_bytes()).hexdigest() == SHA256
    ids = special_ids()
    assert [ids[name] for name in ("<|endoftext|>", "<|im_end|>", "<|extra_0|>", "<|extra_204|>")] == [
        151_643, 151_645, 151_646, 151_850
    ]  # fmt: skip


def test_a_tiny_vocabulary_has_its_control_tokens_after_it(tmp_path: Path) -> None:
    ranks = read_ranks(written(tmp_path, BYTES | {b"ab": 256}))
    found = encoding(ranks)
    assert found.encode("abc<|im_end|>", allowed_special="all") == [256, ord("c"), 259]


def test_unusable_files_are_told_apart(tmp_path: Path) -> None:
    file = tmp_path / "qwen.tiktoken"
    assert refusal(file) == "tokenizer_missing"
    file.write_bytes(tiktoken_file.LFS_POINTER + b"v1\noid sha256:b2b1\nsize 2561218\n")
    assert refusal(file) == "lfs_pointer"
    for broken in (b"no vocabulary", b"YQ== 0 1\n", b"YQ== one\n", b"Y* 0\n", b""):
        file.write_bytes(broken)
        assert refusal(file) == "tokenizer_unreadable"
    assert refusal(written(tmp_path, BYTES | {b"ab": 300})) == "tokenizer_unreadable"  # a gap
    assert refusal(written(tmp_path, {token: id for token, id in BYTES.items() if id < 255})) == "tokenizer_unreadable"
    file.write_bytes(b64encode(b"ab") + b" 0\n" + b64encode(b"ab") + b" 1\n")
    assert refusal(file) == "tokenizer_unreadable"


def test_extra_tokens_have_ids_of_their_own(tmp_path: Path) -> None:
    free = 256 + len(tiktoken_file.SPECIAL_TOKENS)
    extra = read_entries(written(tmp_path, {b"a": free, b"abc": free + 2, b"bc": free + 1}))
    assert encoding(BYTES, extra).encode("abcd a") == [free + 2, ord("d"), ord(" "), ord("a")]
    for taken in ({b"abc": free - 1}, {b"abc": free, b"bc": free}):
        with pytest.raises(UserError, match=str(free)):
            encoding(BYTES, taken)


def test_a_file_may_hold_its_extra_tokens_itself(tmp_path: Path) -> None:
    free = 256 + len(tiktoken_file.SPECIAL_TOKENS)
    ranks = read_ranks(written(tmp_path, BYTES | {b"ab": free}))
    assert encoding(ranks).encode("ab<|endoftext|>", allowed_special="all") == [free, 256]
    assert encoding(ranks, {b"abc": free + 1, b"ab": 5}).encode("abcab") == [free + 1, free]
    assert refusal(written(tmp_path, BYTES | {b"ab": free - 1})) == "tokenizer_unreadable"
