"""Int4Linear and Int8Linear: they stand where an nn.Linear stood and multiply by quantised weights that never change.

Invariant: the weights belong to `product` alone; saving, moving and joining layers goes through its exact
`QuantisedWeight`. They have no `weight`: what asks a linear layer for one must not run on them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from core.models.quantised.product import Dequantising, Product
from core.models.quantised.weight import Bits, QuantisedWeight, stacked

PLAIN_REASON = "backend_plain"
_FIELDS = ("codes", "scales", "zeros", "order")


class QuantisedLinear(nn.Module):
    """(..., in) -> (..., out), in the precision of its input. Gradients reach the input, never the weights.

    product: what multiplies, without the bias and with columns in the order of the codes
    backend_reason: why it was chosen, `reason.<key>`
    """

    bits: ClassVar[Bits]
    bias: Tensor | None

    def __init__(self, weight: QuantisedWeight, bias: Tensor | None = None) -> None:
        super().__init__()
        if weight.bits != self.bits:
            raise ValueError(f"{weight.bits} bits for {type(self).__name__}")
        self.in_features, self.out_features = weight.in_features, weight.out_features
        self.register_buffer("bias", bias)
        self.product: Product
        self._reason: str
        self._take(Dequantising, weight, PLAIN_REASON)

    @property
    def backend(self) -> str:
        return self.product.name

    @property
    def backend_reason(self) -> str:
        return self.whole._reason

    @property
    def size_bytes(self) -> int:
        return self.product.size_bytes + (0 if self.bias is None else self.bias.nbytes)

    @property
    def device(self) -> torch.device:
        return self._device

    @property
    def qweight(self) -> Tensor:
        """Holds nothing: PEFT looks here for the device of a layer without `weight`, and puts adapters beside it."""
        return torch.empty(0, dtype=torch.uint8, device=self._device)

    @property
    def whole(self) -> QuantisedLinear:
        """The layer it was joined into, or itself."""
        return self.product.whole if isinstance(self.product, _Part) else self

    def weight_of(self) -> QuantisedWeight:
        return self.product.weight()

    def use(self, make: Callable[[QuantisedWeight], Product], reason: str) -> None:
        """Multiply with `make` from now on; it packs the weight once."""
        self._take(make, self.product.weight(), reason)

    def _take(self, make: Callable[[QuantisedWeight], Product], weight: QuantisedWeight, reason: str) -> None:
        self._order, self._device = weight.order, weight.scales.device
        self.product, self._reason = make(weight), reason

    def forward(self, x: Tensor) -> Tensor:
        rows = x if x.dim() == 2 else x.reshape(-1, self.in_features)
        if self._order is not None:
            rows = rows.index_select(1, self._order)
        if rows.requires_grad and torch.is_grad_enabled():
            out: Tensor = _Frozen.apply(rows, self.product)  # type: ignore[no-untyped-call]
        else:
            out = self.product(rows)
        bias = self._buffers["bias"]  # as self.bias, without the search through three tables
        if bias is not None:
            out = out + bias.to(out.dtype)
        return out if x.dim() == 2 else out.view(*x.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, backend={self.backend}"

    # --- saving, loading, moving ---------------------------------------------------

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        weight = self.product.weight()
        for field in _FIELDS:
            if (tensor := getattr(weight, field)) is not None:
                destination[prefix + field] = tensor

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, metadata: Any, strict: bool, missing: list[str], *rest: Any
    ) -> None:
        own: dict[str, Tensor | None] = {field: state_dict.pop(prefix + field, None) for field in _FIELDS}
        super()._load_from_state_dict(state_dict, prefix, metadata, strict, missing, *rest)
        codes, scales = own["codes"], own["scales"]
        if codes is None or scales is None:
            missing.extend(prefix + field for field in ("codes", "scales") if own[field] is None)
            return
        weight = QuantisedWeight(codes, scales, own["zeros"], own["order"], self.bits)
        self._take(Dequantising, weight.to(self._device), PLAIN_REASON)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> QuantisedLinear:
        """Moves the weights along; the precision of their scales is left alone."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        device = fn(torch.empty(0, device=self._device)).device
        if device != self._device:
            self._take(Dequantising, self.product.weight().to(device), PLAIN_REASON)
        return self


class Int4Linear(QuantisedLinear):
    bits = 4


class Int8Linear(QuantisedLinear):
    bits = 8


class _Frozen(torch.autograd.Function):
    """The product with a gradient for its input; the weights are dequantised again for it rather than kept."""

    @staticmethod
    def forward(context: Any, rows: Tensor, product: Product) -> Tensor:
        context.product = product
        return product(rows)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        gradient, weight = gradients[0], context.product.weight()
        wide = gradient if gradient.is_cuda else gradient.float()
        into = wide.new_zeros(gradient.shape[0], weight.in_features)
        for start, stop, block in weight.blocks():
            into.addmm_(wide[:, start:stop], block.to(wide.dtype))
        return into.to(gradient.dtype), None


class _Part:
    """Some of the outputs of a layer that others were joined into."""

    def __init__(self, whole: QuantisedLinear, start: int, stop: int) -> None:
        self.whole, self.start, self.stop = whole, start, stop

    @property
    def name(self) -> str:
        return self.whole.product.name

    @property
    def size_bytes(self) -> int:
        """Its share, so that a sum over all layers counts everything once."""
        return round(self.whole.product.size_bytes * (self.stop - self.start) / self.whole.out_features)

    def __call__(self, x: Tensor) -> Tensor:
        return self.whole.product(x)[:, self.start : self.stop]

    def weight(self) -> QuantisedWeight:
        return self.whole.product.weight().rows(self.start, self.stop)


def fuse(layers: Sequence[QuantisedLinear]) -> QuantisedLinear:
    """One layer for several that read the same input (q, k, v; gate, up): its outputs are theirs, one after the other.

    The weights are moved, not copied: the layers go on working as parts of the new one, each at the cost of the whole.
    Layers that were put into one already give that one.

    Raises:
        ValueError: they are of different kinds.
    """
    if (whole := _whole_of(layers)) is not None:
        return whole
    first = layers[0]
    biases = [layer.bias for layer in layers]
    fused = type(first)(stacked(tuple(layer.weight_of() for layer in layers)), _joined(biases, layers))
    start = 0
    for layer in layers:
        stop = start + layer.out_features
        layer.product = _Part(fused, start, stop)
        start = stop
    return fused


def _whole_of(layers: Sequence[QuantisedLinear]) -> QuantisedLinear | None:
    parts = [layer.product for layer in layers]
    first = parts[0]
    if not isinstance(first, _Part):
        return None
    at = 0
    for part in parts:
        if not isinstance(part, _Part) or part.whole is not first.whole or part.start != at:
            return None
        at = part.stop
    return first.whole if at == first.whole.out_features else None


def _joined(biases: Sequence[Tensor | None], layers: Sequence[QuantisedLinear]) -> Tensor | None:
    given = next((bias for bias in biases if bias is not None), None)
    if given is None:
        return None
    pairs = zip(layers, biases, strict=True)
    return torch.cat([given.new_zeros(layer.out_features) if bias is None else bias for layer, bias in pairs])
