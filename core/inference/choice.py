"""Chooses how a loaded model is decoded, and checks the choice against the model itself.

Invariant: the lean pass is used only after it gave the module's own logits on this very model.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from core.inference import architectures
from core.inference.adapters import AdapterDecoder
from core.inference.card.choice import on_card
from core.inference.card.decoder import CardDecoder
from core.inference.decoder import AnyDecoder
from core.inference.dense import DenseDecoder
from core.inference.kv_cache import KVCache
from core.inference.kv_choice import keep
from core.inference.module import ModuleDecoder
from core.inference.products import is_quantised
from core.load_options import KVChoice
from core.models.quantised.choice import pack
from core.models.quantised.parallel import Tell

log = logging.getLogger("inference")

# Largest accepted difference (root of the mean square), relative to the spread of the logits: rounding of the half
# precisions in other places adds up to about 0.01 over a deep model, a wrong formula gives 1.
TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.03, torch.bfloat16: 0.1}
# Between quantised layers the lean pass keeps fp32 where the module rounds to bf16: with the starter model that alone
# is 0.06, the module being the one that is further from exact logits (0.05 against 0.01).
WIDE_TOLERANCE = 0.25
ROUNDED_INPUT = 0.03  # products of 8 bits round their input too, and otherwise for one row than for many


def choose(
    model: Any,
    context_length: int,
    *,
    is_exact: bool,
    kv_cache: KVChoice = "auto",
    tell: Tell = lambda done, total: None,
) -> AnyDecoder:
    """The decoder for `model`; the reason against the lean pass goes to the log. Its `kv_cache` is "plain" where the
    layers of the model do not keep what could be put into 8 bits.

    tell: how many of how many quantised layers are packed, which for a large model takes a while
    """
    decoder = _checked(model, context_length, tell, is_exact=is_exact)
    keep(model, decoder, kv_cache)
    return decoder


def _checked(model: Any, context_length: int, tell: Tell, *, is_exact: bool) -> DenseDecoder | ModuleDecoder:
    reason = architectures.obstacle(model)
    decoder = None if reason else DenseDecoder(model, context_length, is_exact=is_exact)
    pack(model, model.dtype, tell, is_exact=is_exact)  # after the lean pass has joined what belongs together
    if decoder is None:
        log.info("%s is decoded through its module: %s", type(model).__name__, reason)
        return ModuleDecoder(model, context_length, is_exact=is_exact)
    expected = _by_module(model)
    may_use_native, decoder.may_use_native = decoder.may_use_native, False
    if reason := _difference(model, decoder, decoder.step, expected):
        log.warning("%s is decoded through its module: %s", type(model).__name__, reason)
        return ModuleDecoder(model, context_length, is_exact=is_exact)
    decoder.may_use_native = may_use_native
    if may_use_native and (reason := _difference(model, decoder, decoder.step, expected)):
        log.warning("%s is not stepped by native code: %s", type(model).__name__, reason)
        decoder.may_use_native = False
    differs = partial(_captured_difference, model, expected)
    return on_card(model, decoder, context_length, differs, is_exact=is_exact)


def _captured_difference(model: Any, expected: Tensor, decoder: CardDecoder) -> str:
    return _difference(model, decoder, decoder.logits_after, expected)


def choose_with_adapters(
    model: Any,
    context_length: int,
    *,
    is_exact: bool,
    kv_cache: KVChoice = "auto",
    tell: Tell = lambda done, total: None,
) -> AdapterDecoder:
    """As choose(), for sequences that may each name an adapter."""
    plain = choose(model, context_length, is_exact=is_exact, kv_cache=kv_cache, tell=tell)

    def through_module(module: Any) -> ModuleDecoder:
        decoder = ModuleDecoder(module, context_length, is_exact=is_exact)
        keep(module, decoder, kv_cache)
        return decoder

    return AdapterDecoder(model, plain, through_module)


def _some_ids(model: Any) -> list[int]:
    return [token % model.config.vocab_size for token in (11, 257, 1031)]


@torch.inference_mode()
def _by_module(model: Any) -> Tensor:
    """The module's own logits after some tokens."""
    ids = torch.tensor([_some_ids(model)], device=model.device)
    logits: Tensor = model(input_ids=ids, use_cache=False).logits[0, -1].float()
    return logits


@torch.inference_mode()
def _difference(model: Any, decoder: DenseDecoder, step: Callable[[int, KVCache], Tensor], expected: Tensor) -> str:
    """How the decoder's logits differ after reading two tokens and stepping once; empty when they agree."""
    ids = _some_ids(model)
    cache = decoder.new_cache(len(ids))
    for _ in decoder.read(ids[:2], cache):
        pass
    found = step(ids[2], cache).float()
    off = _relative(found, expected)
    is_wide = decoder.arithmetic.dtype != decoder.dtype or (decoder.is_native and decoder.dtype != torch.float32)
    limit = WIDE_TOLERANCE if is_wide else TOLERANCE.get(model.dtype, 0.1)
    if any(is_quantised(module) for module in model.modules()):
        limit = max(limit, ROUNDED_INPUT)
    return "" if off <= limit else f"its logits differ by {off:.3g} of their spread (limit {limit})"


def _relative(found: Tensor, expected: Tensor) -> float:
    off, spread = float((found - expected).square().mean().sqrt()), float(expected.std())
    return off / spread if spread > 0 else off
