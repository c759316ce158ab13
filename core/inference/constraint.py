"""Replies that must follow a grammar, token by token: llguidance says which tokens may come next.

Owns when the grammar is in force: from the first token, or once the thinking is closed. Invariant: a reply that ended
by itself is a text of the grammar, and a token that the grammar forbids is never chosen.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from core.chat.vocabulary import Vocabulary
from core.errors import UserError
from core.translation import say


class Constraint:
    """What one reply may hold."""

    def __init__(self, matcher: Any, *, starts_after: int | None = None) -> None:
        """starts_after: the token from which on the grammar rules; None for the whole reply."""
        self._matcher = matcher
        self._starts_after = starts_after

    def allowed(self, scores: Tensor) -> Tensor:
        """(vocabulary,), minus infinity where the grammar forbids a token."""
        if self._starts_after is not None:
            return scores
        bias = torch.frombuffer(bytearray(self._matcher.compute_logit_bias()), dtype=torch.uint8)[: scores.shape[0]]
        self._check()
        return scores.masked_fill((bias == 0).to(scores.device), float("-inf"))

    def take(self, id: int) -> None:
        """A token was chosen."""
        if self._starts_after is not None:
            if id == self._starts_after:
                self._starts_after = None
        elif not self._matcher.is_stopped():
            self._matcher.consume_token(id)
            self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise UserError("grammar_failed", reason=_reason(str(self._matcher.get_error())))


class GrammarTokens:
    """The tokens of one model, as the grammars see them; made once for a model, which takes a while."""

    def __init__(self, vocabulary: Vocabulary, end_id: int) -> None:
        """end_id: the token that ends a reply.

        Raises:
            UserError: grammar_needs_bytes, because tokens of this vocabulary are no plain bytes.
        """
        if not vocabulary.is_byte_level:
            raise UserError("grammar_needs_bytes")
        from llguidance import LLTokenizer, TokenizerWrapper

        self._tokenizer = LLTokenizer(TokenizerWrapper(_Tokens(vocabulary, end_id)))

    def matcher(self, grammar: str) -> Any:
        """A fresh one.

        Raises:
            UserError: grammar_refused.
        """
        from llguidance import LLMatcher

        matcher = LLMatcher(self._tokenizer, grammar, log_level=0)
        if matcher.is_error():
            raise UserError("grammar_refused", reason=_reason(str(matcher.get_error())))
        return matcher


def _reason(told: str) -> str:
    """One line of what the compiler of grammars tells, which may be several."""
    if "NoExtensionBias" in told:
        return say("api.endless_schema")
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    first = lines[0] if lines else ""
    return (f"{first} {lines[-1]}" if first.endswith(":") and len(lines) > 1 else first)[:300].rstrip(".")


class _Tokens:
    """What llguidance asks of a tokenizer."""

    def __init__(self, vocabulary: Vocabulary, end_id: int) -> None:
        self._vocabulary = vocabulary
        self.eos_token_id = end_id
        self.bos_token_id = None
        special = vocabulary.control_ids | {end_id}
        self.special_token_ids = sorted(special)
        self.tokens = [self._bytes(id, special) for id in range(vocabulary.size)]

    def __call__(self, text: str | bytes) -> list[int]:
        whole = text if isinstance(text, str) else text.decode("utf-8", "replace")
        return self._vocabulary.encode_text(whole)

    def _bytes(self, id: int, special: Collection[int]) -> bytes:
        if id in special:  # no text of a grammar may go through a control token
            return f"\xff<{id}>".encode("latin-1")
        return self._vocabulary.token_bytes(id) if self._vocabulary.token(id) is not None else b""
