"""Steps of several sequences taken in one pass, since the weights are then read once for all of them.

Owns which steps wait. Invariant: a step is taken once, by the first who needs its outcome, and all that wait with it; a
sequence gets the logits it would get alone.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from core.inference.decoder import AnyDecoder

MOST = 16  # at once: beyond that a pass takes longer in proportion


class Asked:
    """A step that was asked for. Its sequence must not be touched until it was taken or withdrawn."""

    def __init__(self, together: Together, id: int, cache: Any) -> None:
        self._together, self.id, self.cache = together, id, cache
        self.found: Tensor | None = None

    def logits(self) -> Tensor:
        """After the token, (vocabulary,)."""
        if self.found is None:
            self._together.take(self)
        assert self.found is not None
        return self.found


class Together:
    def __init__(self, decoder: AnyDecoder) -> None:
        self._decoder = decoder
        self._waiting: list[Asked] = []

    def ask(self, id: int, cache: Any) -> Asked:
        """A step by one id; whoever asks lets others have their turn before it looks at the logits."""
        asked = Asked(self, id, cache)
        self._waiting.append(asked)
        return asked

    def withdraw(self, asked: Asked) -> None:
        """Its logits are not wanted any more."""
        if asked in self._waiting:
            self._waiting.remove(asked)

    def take(self, needed: Asked) -> None:
        others = [asked for asked in self._waiting if asked is not needed][: MOST - 1]
        some = [needed, *others]
        self._waiting = [asked for asked in self._waiting if asked not in some]
        for asked, logits in zip(some, self._step(some), strict=True):
            asked.found = logits

    def _step(self, some: list[Asked]) -> list[Tensor]:
        together = getattr(self._decoder, "step_together", None)
        if together is None or len(some) == 1:
            return [self._decoder.step(asked.id, asked.cache) for asked in some]
        found: list[Tensor] = together([(asked.id, asked.cache) for asked in some])
        return found
