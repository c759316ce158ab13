"""Fits a conversation into a model's window: the oldest questions leave, each with its answer.

Invariant: the system turn and the last question stay, whatever the limit is.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from core.chat.turns import Turn
from core.errors import UserError


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model reads.

    is_thinking: its first token belongs to the thinking, which is open already. stop: texts that end the reply.
    """

    ids: list[int]
    is_thinking: bool = False
    dropped_turns: int = 0
    stop: tuple[str, ...] = ()


def fitting(turns: Sequence[Turn], limit: int, keep: int, make: Callable[[Sequence[Turn]], Prompt]) -> Prompt:
    """The prompt of at most `limit` tokens that leaves out the fewest turns; the last `keep` stay.

    Raises:
        UserError: message_too_long when even those do not fit.
    """
    choices = list(_shorter_and_shorter(turns, keep))
    at = bisect_left(choices, True, key=lambda choice: len(make(choice).ids) <= limit)
    if at == len(choices):
        raise UserError("message_too_long", tokens=len(make(choices[-1]).ids), limit=limit)
    return replace(make(choices[at]), dropped_turns=len(turns) - len(choices[at]))


def split_system(turns: Sequence[Turn]) -> tuple[list[Turn], list[Turn]]:
    count = 1 if turns and turns[0].role == "system" else 0
    return list(turns[:count]), list(turns[count:])


def _shorter_and_shorter(turns: Sequence[Turn], keep: int) -> Iterator[Sequence[Turn]]:
    """The turns, then without the oldest question and its answer, and so on down to the last `keep` turns."""
    system, rest = split_system(turns)
    yield turns
    while True:
        later = [at for at in range(1, len(rest) - keep + 1) if rest[at].role == "user"]
        if not later:
            return
        rest = rest[later[0] :]
        yield [*system, *rest]
