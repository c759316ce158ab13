"""A streamed reply is the reply: whole characters, no tags, nothing of a stop string, however tokens fall."""

from __future__ import annotations

from functools import cache, lru_cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from core.chat.detokenize import detokenizer
from core.chat.stream import Piece, ReplyStream, split_reply
from core.chat.tokenizer_json import JsonVocabulary
from core.chat.vocabulary import Vocabulary
from tests.helpers.tiny_models import tokenizer

written = st.text(alphabet=st.sampled_from("ab \n.，你好世界🙂👩🏽‍💻é") | st.characters(codec="utf-8"))


@lru_cache
def byte_level() -> Vocabulary:
    return JsonVocabulary(tokenizer().to_str())


@lru_cache
def sentence_piece() -> Vocabulary:
    """As Llama 2 has it: words begin with ▁, what is not in the vocabulary goes byte by byte."""
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *"▁abc.", "▁a", "ab", "▁ab"]
    merges = [("▁", "a"), ("a", "b"), ("▁a", "b")]
    made = Tokenizer(
        models.BPE({piece: id for id, piece in enumerate(pieces)}, merges, unk_token="<unk>", byte_fallback=True)
    )
    made.normalizer = normalizers.Replace(" ", "▁")
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return JsonVocabulary(made.to_str())


def pieces(stream: ReplyStream, ids: list[int]) -> list[Piece]:
    found = []
    for id in ids:
        found += stream.push(id)
        if stream.is_stopped:
            return found
    return found + stream.finish()


def parts(found: list[Piece]) -> tuple[str, str]:
    thinking = "".join(piece.text for piece in found if piece.is_thinking)
    return thinking, "".join(piece.text for piece in found if not piece.is_thinking)


def cut(text: str, places: list[int]) -> list[int]:
    """Ids of the text when it is cut into pieces of these lengths and each is encoded apart, byte by byte if 0."""
    ids: list[int] = []
    at = 0
    for length in [*places, len(text)]:
        part, at = text[at : at + max(length, 1)], at + max(length, 1)
        ids += byte_level().encode_text(part)
    return ids


@given(st.lists(st.integers(0, tokenizer().get_vocab_size() - 1)))
def test_random_ids_give_their_text(ids: list[int]) -> None:
    reader = detokenizer(byte_level())
    told = [reader.push(id) for id in ids]
    assert "".join(told) + reader.finish() == byte_level().decode(ids)


@given(written)
def test_no_half_character_is_shown(text: str) -> None:
    ids = [id for byte in text.encode() for id in [byte_level().id_of(_letter(byte))] if id is not None]
    found = pieces(ReplyStream(byte_level()), ids)
    assert parts(found) == ("", text)
    assert all("\ufffd" not in piece.text for piece in found) or "\ufffd" in text
    assert sum(piece.tokens for piece in found) == len(ids)


def _letter(byte: int) -> str:
    return next(token for token in (byte_level().token(id) or "" for id in range(300)) if _is_byte(token, byte))


@cache
def _is_byte(token: str, byte: int) -> bool:
    id = byte_level().id_of(token)
    return id is not None and byte_level().token_bytes(id) == bytes([byte])


@given(st.text(alphabet="ab c.你🙂", min_size=1))
def test_other_vocabularies_stream_too(text: str) -> None:
    found = sentence_piece()
    ids = found.encode_text(text)
    reader = detokenizer(found)
    told = [reader.push(id) for id in ids]
    assert "".join(told) + reader.finish() == found.decode(ids)
    assert not any("\ufffd" in piece for piece in told)


@given(st.lists(st.sampled_from(["<think>", "</think>", "\n", "a", "<", "th", "ink>", "</", "好"])), st.booleans())
def test_thinking_is_told_from_the_answer(said: list[str], is_thinking: bool) -> None:
    text = "".join(said)
    for ids in (byte_level().encode_text(text), [id for part in said for id in byte_level().encode_text(part)]):
        stream = ReplyStream(byte_level(), can_think=True, is_thinking=is_thinking)
        assert parts(pieces(stream, ids)) == split_reply(text, is_thinking=is_thinking)


def test_the_tags_may_be_tokens_of_their_own() -> None:
    ids = byte_level().encode_control("<think>\nHm.\n</think>\n\nYes <think> no")
    assert parts(pieces(ReplyStream(byte_level(), can_think=True), ids)) == ("Hm.", "Yes <think> no")


def test_a_model_that_does_not_think_may_write_the_tag() -> None:
    ids = byte_level().encode_text("<think>Hm</think>")
    assert parts(pieces(ReplyStream(byte_level()), ids)) == ("", "<think>Hm</think>")


def test_continued_thinking_goes_on_as_thinking() -> None:
    stream = ReplyStream(byte_level(), can_think=True, is_thinking=True, continues=True)
    assert parts(pieces(stream, byte_level().encode_text(" and more\n</think>\n\nYes"))) == (" and more", "Yes")
    stream = ReplyStream(byte_level(), can_think=True, continues=True)
    assert parts(pieces(stream, byte_level().encode_text("\n<think>x"))) == ("", "\n<think>x")


@given(
    st.text(alphabet="abc", max_size=30),
    st.lists(st.text(alphabet="abc", min_size=1, max_size=4), max_size=3),
    st.lists(st.integers(1, 4)),
)
def test_nothing_of_a_stop_string_is_shown(text: str, stops: list[str], lengths: list[int]) -> None:
    ends = [(text.find(stop) + len(stop), text.find(stop)) for stop in stops if stop in text]
    stream = ReplyStream(byte_level(), stop=stops)
    found = pieces(stream, cut(text, lengths))
    assert parts(found)[1] == (text[: min(ends)[1]] if ends else text)
    assert stream.is_stopped == bool(ends)


@pytest.mark.parametrize("stop", ["END", "END\n"])
def test_a_stop_string_in_the_thinking_does_not_end_the_reply(stop: str) -> None:
    stream = ReplyStream(byte_level(), stop=[stop], can_think=True)
    ids = byte_level().encode_text("<think>END\n</think>Yes END\n")
    assert parts(pieces(stream, ids)) == ("END", "Yes ")
