"""What a chat is made of, as pure values: turns, sampling, the figures of a reply.

Knows no storage, no tokenizer and no widget. Identity (ids, parents) is the store's concern.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Role = Literal["system", "user", "assistant"]
# length: as long as was allowed; context_full: the model can read no more of this conversation; paused: of training
# only, whose checkpoint waits to be gone on from.
FinishReason = Literal["stop", "length", "context_full", "cancelled", "paused"]

# What can be asked for, wherever a person asks: more than any model can, and as far as a seed's 64 bits go.
MOST_NEW_TOKENS = 1 << 30
HIGHEST_SEED = 2**63 - 1


class Turn(Struct, frozen=True):
    """One message as the model reads it. `thinking` is only ever set on an assistant's turn."""

    role: Role
    text: str
    thinking: str = ""


class Sampling(Struct, frozen=True):
    """How the next token is chosen. temperature 0 is greedy; top_k 0, top_p 1 and min_p 0 switch the cut off.

    presence_penalty, frequency_penalty: taken off the scores of tokens the reply holds already, once and as often as it
    does
    """

    temperature: float = 0.7
    top_p: float = 0.8
    top_k: int = 20
    repetition_penalty: float = 1.05
    max_new_tokens: int = 2048
    seed: int | None = None
    stop: tuple[str, ...] = ()
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0


GREEDY = Sampling(temperature=0.0, top_p=1.0, top_k=0, repetition_penalty=1.0)


class ReplyFigures(Struct, frozen=True):
    """What a reply cost.

    prompt_tokens counts the whole prompt, of which reused_tokens were still in the KV cache. first_token_s is the time
    from the start of the job to the first token, tokens_per_s the rate of the decode steps after it (0 when there were
    none). memory_bytes is what the model's process takes once the reply is there, on the card where it computes on one
    (0 where that was not measured). is_about: another machine wrote it and did not count, so new_tokens are the pieces
    that came, and prompt_tokens are 0 for not known.
    """

    prompt_tokens: int
    new_tokens: int
    first_token_s: float
    tokens_per_s: float
    reused_tokens: int = 0
    thinking_s: float = 0.0
    context_length: int = 0
    memory_bytes: int = 0
    is_about: bool = False
