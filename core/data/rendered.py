"""A conversation as a model is trained on it: token ids, and which of them it learns.

Invariant: `ids` and `learned` are of one length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from core.data.conversation import Example, Mask


class Rendered(NamedTuple):
    """learned: whether the token at this place counts for the loss."""

    ids: list[int]
    learned: list[bool]

    def add(self, ids: Sequence[int], is_learned: bool) -> None:
        self.ids.extend(ids)
        self.learned.extend([is_learned] * len(ids))


class Renderer(Protocol):
    @property
    def mask(self) -> Mask: ...

    def render(self, example: Example) -> Rendered:
        """
        Raises:
            UserError: template_refused, template_broken, template_without_tools, mask_needs_chatml.
        """
        ...
