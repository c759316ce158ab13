"""Rows of token ids -> what goes through the model at once.

Invariant: what is learned of a row is the same in a packed pass, in a padded one and alone: each token predicts the
next one of its own row, positions begin at 0 in each, and nothing sees another row or padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Row(NamedTuple):
    """Of one conversation, cut to the longest that is trained on. learned: as core.data.rendering.Rendered"""

    ids: Sequence[int]
    learned: Sequence[bool]

    @property
    def targets(self) -> int:
        """Tokens that are learned; the first has nothing before it to be predicted from."""
        return sum(self.learned[1:])


@dataclass(frozen=True, slots=True)
class ModelPass:
    """
    inputs: for the model's forward
    places: whose next token is learned, (learned,) in the flattened rows; labels: those tokens, (learned,)
    lengths: of the rows of a packed pass, () in a padded one
    """

    inputs: dict[str, Tensor]
    places: Tensor
    labels: Tensor
    lengths: tuple[int, ...]


def packed(rows: Sequence[Row], device: torch.device) -> ModelPass:
    """(1, tokens of all): one after the other."""
    ids: list[int] = []
    positions: list[int] = []
    places: list[int] = []
    for row in rows:
        places += (len(ids) + at for at, learned in enumerate(row.learned[1:]) if learned)
        ids += row.ids
        positions += range(len(row.ids))
    flat, kept = torch.tensor(ids), torch.tensor(places, dtype=torch.long)
    inputs = {"input_ids": flat[None].to(device), "position_ids": torch.tensor(positions)[None].to(device)}
    return ModelPass(inputs, kept.to(device), flat[kept + 1].to(device), tuple(len(row.ids) for row in rows))


def padded(rows: Sequence[Row], padding: int, device: torch.device) -> ModelPass:
    """(rows, longest): below each other, filled up on the right with the token `padding`."""
    longest = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), longest), padding)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    places: list[int] = []
    for at, row in enumerate(rows):
        ids[at, : len(row.ids)] = torch.tensor(row.ids)
        mask[at, : len(row.ids)] = 1
        places += (at * longest + place for place, learned in enumerate(row.learned[1:]) if learned)
    kept = torch.tensor(places, dtype=torch.long)
    inputs = {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
    return ModelPass(inputs, kept.to(device), ids.view(-1)[kept + 1].to(device), ())
