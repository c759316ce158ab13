"""Decoders that put keys and values into 8 bits earlier than they would by themselves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any


def packing_from(tokens: int, decoder: Any) -> Any:
    """The decoder, set to pack sequences of so many tokens; 0 packs from the first one on."""
    decoder.keeping = replace(decoder.keeping, begins_at=tokens)
    return decoder
