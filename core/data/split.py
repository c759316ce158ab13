"""Which rows are for validation, and when two rows are the same.

Invariant: the side of a row hangs on the words of its first question alone, so it stays when rows come, go or change
their order, and rows with the same question are never on both sides.
"""

from __future__ import annotations

import unicodedata
from hashlib import blake2b

import msgspec

from core.data.conversation import Example

_encode = msgspec.json.Encoder().encode


def question_of(example: Example) -> str:
    """The first thing the user says, without what makes no other question of it."""
    first = next((message.text for message in example.messages if message.role == "user"), "")
    return " ".join(unicodedata.normalize("NFKC", first).casefold().split())


def question_key(example: Example) -> int:
    return _key(question_of(example).encode("utf-8", "surrogatepass"))


def answer_key(example: Example) -> int:
    """The same for rows with the same first question and the same first answer to it, whatever surrounds them."""
    first = next((message.text for message in example.messages if message.role == "assistant"), "")
    return _key(f"{question_of(example)}\0{first.strip()}".encode("utf-8", "surrogatepass"))


def content_key(example: Example) -> int:
    """The same for rows that say exactly the same."""
    return _key(_encode(example))


def is_validation(question: int, share: float) -> bool:
    """Whether the row with this question_key is for validation, of which there shall be `share`."""
    return question < share * 2**64


def _key(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")
