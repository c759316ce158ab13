"""The loss of a fine-tune, at the head of the model: only where something is learned, and some tokens at a time.

The logits of a whole pass are never in memory: of a vocabulary of 152,000 they would be several times as large as all
activations. Invariant: `Head.sum` is, to rounding, F.cross_entropy(reduction="sum") over the learned tokens, gradients
included; and the model's own module is the only one that is changed, in its `forward`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

LOGITS_BYTES = {"cpu": 32 << 20, "cuda": 256 << 20}  # in fp32, that are in memory at once
FEWEST = 64  # tokens of a chunk; fewer make thin products


def sum_of(logits: Tensor, places: Tensor, labels: Tensor) -> Tensor:
    """The same from whole logits, (rows, tokens, vocabulary)."""
    chosen = logits.reshape(-1, logits.shape[-1]).index_select(0, places)
    return F.cross_entropy(chosen.float(), labels, reduction="sum")


def chunk_tokens(device: str, vocabulary: int) -> int:
    """How many tokens' logits are made at once."""
    return max(FEWEST, LOGITS_BYTES.get(device, LOGITS_BYTES["cuda"]) // (4 * vocabulary))


class Head:
    """Makes the output layer of a model give the loss where it gave logits, once it is told what to expect."""

    def __init__(self, model: Any) -> None:
        self._layer: Any = _active(model.get_output_embeddings())
        self._plain = self._layer.forward
        self._outputs = int(getattr(self._layer, "out_features", 0)) or model.config.get_text_config().vocab_size
        self._expected: tuple[Tensor, Tensor] | None = None
        self._layer.forward = self._forward

    def expect(self, places: Tensor, labels: Tensor) -> None:
        """places: (learned,) in the flattened tokens of the next passes; labels: (learned,), the ids that follow. Their
        loss comes as the model's logits, (1, 1, 1)."""
        self._expected = places, labels

    def give_logits(self) -> None:
        self._expected = None

    def release(self) -> None:
        """The model is as it was."""
        self._layer.forward = self._plain

    def _forward(self, hidden: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if self._expected is None:
            logits: Tensor = self._plain(hidden, *args, **kwargs)
            return logits
        places, labels = self._expected
        return self._sum(hidden.reshape(-1, hidden.shape[-1]).index_select(0, places), labels).view(1, 1, 1)

    def _sum(self, hidden: Tensor, labels: Tensor) -> Tensor:
        weight, bias = getattr(self._layer, "weight", None), getattr(self._layer, "bias", None)
        is_frozen = type(self._layer) is nn.Linear and isinstance(weight, Tensor) and not weight.requires_grad
        if is_frozen and bias is None and self._plain.__func__ is nn.Linear.forward:
            total: Tensor = _FrozenHead.apply(hidden, weight, labels)  # type: ignore[no-untyped-call]
            return total
        count = chunk_tokens(hidden.device.type, self._outputs)
        parts = zip(torch.split(hidden, count), torch.split(labels, count), strict=True)
        sums = [checkpoint(self._chunk, part, target, use_reentrant=False) for part, target in parts]
        return torch.stack(sums).sum() if sums else hidden.sum() * 0.0

    def _chunk(self, hidden: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self._plain(hidden).float(), labels, reduction="sum")


class _FrozenHead(torch.autograd.Function):
    """The gradient of the hidden states comes with the loss, so the logits need not be made again for it."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
        total = hidden.new_zeros((), dtype=torch.float32)
        gradient = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        count = chunk_tokens(hidden.device.type, len(weight))
        for first in range(0, len(hidden), count):
            some = slice(first, first + count)
            target = labels[some, None]
            logits = (hidden[some].to(weight.dtype) @ weight.T).float()
            least = logits.logsumexp(-1, keepdim=True)
            total += (least - logits.gather(1, target)).sum()
            if gradient is not None:
                shares = logits.sub_(least).exp_().scatter_add_(1, target, logits.new_full(target.shape, -1.0))
                gradient[some] = (shares.to(weight.dtype) @ weight).to(hidden.dtype)
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * outer[0].to(gradient.dtype), None, None


def _active(layer: Any) -> Any:
    """Of a head that PEFT trains as a whole, the copy that is trained."""
    adapter = getattr(layer, "active_adapter", None)
    copies = getattr(layer, "modules_to_save", None)
    if copies is None:
        return layer
    name = adapter[0] if isinstance(adapter, list) else adapter
    return copies[name]
