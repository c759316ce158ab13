"""A token as people see it: the part of the protocol that all workers with a tokenizer share."""

from __future__ import annotations

from core.chat.vocabulary import Vocabulary
from core.protocol.messages import Token


def shown_token(vocabulary: Vocabulary, id: int) -> Token:
    is_control, shown = id in vocabulary.control_ids, vocabulary.shown(id)
    in_bytes = vocabulary.is_byte_level and not is_control
    return Token(id, shown, is_control, vocabulary.token_bytes(id) if in_bytes else shown.encode())
