"""Whether our shorter ways give what the model itself gives, tried on the very model that will be trained.

Invariant: packed rows and the loss at the head are used only after they agreed with single rows and plain logits.
"""

from __future__ import annotations

import logging
from typing import Any

import torch

from core.training.attention import rows_of
from core.training.loss import Head, sum_of
from core.training.passes import Row, packed

log = logging.getLogger("training")

ALLOWED = {torch.float32: 1e-3, torch.float16: 0.03, torch.bfloat16: 0.1}  # of the spread of logits
LOSS_ALLOWED = 0.02  # relative


@torch.no_grad()
def packs(model: Any) -> bool:
    """Two rows, one after the other, give the logits that each gives alone."""
    rows = _rows(model)
    work = packed(rows, model.device)
    try:
        alone = torch.cat([model(input_ids=_ids(model, row), use_cache=False).logits[0] for row in rows]).float()
        with rows_of(work.lengths):
            together = model(**work.inputs, use_cache=False).logits[0].float()
    except (RuntimeError, TypeError, ValueError) as error:
        log.info("rows are not packed: %s", error)
        return False
    off = float((together - alone).abs().max() / alone.std())
    if not off <= ALLOWED.get(model.dtype, 0.1):
        log.info("rows are not packed: their logits are off by %.3g", off)
        return False
    return True


@torch.no_grad()
def head_gives_loss(model: Any, head: Head) -> bool:
    """The head gives the loss of the logits that the model makes of its output."""
    row = _rows(model)[1]
    work = packed([row], model.device)
    expected = sum_of(model(input_ids=_ids(model, row), use_cache=False).logits, work.places, work.labels)
    head.expect(work.places, work.labels)
    try:
        found = model(input_ids=_ids(model, row), use_cache=False).logits.float().sum()
    finally:
        head.give_logits()
    off = float((found - expected).abs() / expected)
    if not off <= LOSS_ALLOWED:
        log.info("the loss is made of whole logits: at the head it is off by %.3g", off)
    return off <= LOSS_ALLOWED


def _rows(model: Any) -> list[Row]:
    size = model.config.get_text_config().vocab_size
    ids = torch.randint(0, size, (12,), generator=torch.Generator().manual_seed(0)).tolist()
    return [Row(ids[:5], [True] * 5), Row(ids[5:], [True] * 7)]


def _ids(model: Any, row: Row) -> torch.Tensor:
    return torch.tensor([list(row.ids)], device=model.device)
