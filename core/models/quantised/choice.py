"""Which product multiplies by a quantised weight on this machine: found by trying, and told with its reason.

Invariant: a fast way is used only after it agreed with the reference here; what a try found is kept for the process.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from core.models.native import packed as native
from core.models.quantised import card, processor
from core.models.quantised.linear import PLAIN_REASON, QuantisedLinear
from core.models.quantised.parallel import Tell, each
from core.models.quantised.processor import Int4Packed, Int8Grouped, Int8Packed
from core.models.quantised.product import Dequantising, Product, multiply_dequantised
from core.models.quantised.weight import QuantisedWeight, join_nibbles, kernel_group

log = logging.getLogger("quantised")

TRIAL = (272, 1024)  # rows and columns of the weight that is tried; the rows are no whole number of blocks
TRIAL_ROWS = (1, 16, 32, 64)  # of activations, to see up to where a packed product is faster than dequantising
TRIAL_S = 0.05
ALLOWED = {4: 0.02, 8: 0.005}  # relative to the reference, on random numbers; a wrong layout gives 1
BLOCKS = (32, 64)  # of torch's packed 4 bit weights: 32 rows with AVX2, 64 with AVX512

Make = Callable[[QuantisedWeight], Product]


@dataclass(frozen=True, slots=True)
class Backend:
    """name: of its products; reason: a key of the catalogue, `reason.<key>`"""

    name: str
    make: Make
    reason: str


def pack(model: Any, dtype: torch.dtype, tell: Tell = lambda done, total: None, *, is_exact: bool = False) -> None:
    """Give every quantised layer of the model the best product for where it lies, once; layers that were joined share
    that of the whole. Until then they are dequantised for each product.

    dtype: of their inputs; is_exact: compute in nothing else
    """
    wholes = {id(layer.whole): layer.whole for layer in _layers(model)}.values()
    jobs = [
        partial(prepare, whole, dtype, is_exact=is_exact) for whole in wholes if whole.backend_reason == PLAIN_REASON
    ]
    each(jobs, tell)


def planned(model: Any, dtype: torch.dtype, *, is_exact: bool = False) -> Backend | None:
    """What `pack` will choose for most of the weights; None for a model of plain weights."""
    shares: Counter[Backend] = Counter()
    by_key: dict[tuple[str, str], Backend] = {}
    for layer in _layers(model):
        chosen = choose(layer.weight_of(), dtype, is_exact=is_exact)
        chosen = by_key.setdefault((chosen.name, chosen.reason), chosen)
        shares[chosen] += layer.in_features * layer.out_features
    return shares.most_common(1)[0][0] if shares else None


def _layers(model: Any) -> list[QuantisedLinear]:
    return [module for module in model.modules() if isinstance(module, QuantisedLinear)]


def prepare(layer: QuantisedLinear, dtype: torch.dtype, *, is_exact: bool = False) -> None:
    """`pack` for one layer."""
    backend = choose(layer.weight_of(), dtype, is_exact=is_exact)
    layer.use(backend.make, backend.reason)


def choose(weight: QuantisedWeight, dtype: torch.dtype, *, is_exact: bool = False) -> Backend:
    if is_exact:
        return _plain("backend_exact")
    if not weight.codes.is_cuda and native.fits(weight) and _native_trial(weight.bits):
        return Backend(native.Native.name, native.Native, "backend_native")
    if weight.bits == 4 and dtype == torch.float32:
        return _plain("backend_exact")
    if weight.codes.is_cuda:
        return _on_card(weight)
    return _int4(weight) if weight.bits == 4 else _int8(weight)


def _plain(reason: str) -> Backend:
    return Backend(Dequantising.name, Dequantising, reason)


def _int4(weight: QuantisedWeight) -> Backend:
    group, packed = kernel_group(weight), _int4_trial()
    if packed is None:
        return _plain("backend_none_better")
    if not group or not processor.fits(weight):
        return _plain("backend_group")
    make = partial(Int4Packed, group=group, block=packed.block, few=packed.few)
    return Backend(Int4Packed.name, make, "backend_int4_processor")


def _int8(weight: QuantisedWeight) -> Backend:
    if not _int8_trial():
        return _plain("backend_none_better")
    make = Int8Packed if weight.groups == 1 else Int8Grouped
    return Backend(make.name, make, "backend_int8_processor")


def _on_card(weight: QuantisedWeight) -> Backend:
    if weight.bits == 8:
        return _plain("backend_card_int8")
    group = kernel_group(weight)
    if torch.cuda.get_device_capability(weight.codes.device)[0] < 8:
        return _plain("backend_card_old")
    if not group or not card.fits(weight):
        return _plain("backend_group")
    places = _card_trial(weight.codes.device)
    if places is None:
        return _plain("backend_none_better")
    return Backend(card.Tinygemm.name, partial(card.Tinygemm, places=places, group=group), "backend_int4_card")


# --- trials -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Packed:
    """block: see Int4Packed; few: rows of activations up to which it is faster than dequantising"""

    block: int
    few: int


@lru_cache(maxsize=2)
def _native_trial(bits: int) -> bool:
    """Our own product agrees, with a scale an output and with groups."""
    for group in (TRIAL[1], 128, 32):
        weight = _trial_weight(bits, group, torch.device("cpu"))
        weight.codes[: TRIAL[0] // 4] = 255
        product = _made(native.Native, weight)
        if product is None or not torch.equal(product.weight().codes, weight.codes) or not _agrees(product, weight):
            return False
    return True


@lru_cache(maxsize=1)
def _int4_trial() -> _Packed | None:
    weight = _trial_weight(4, 128, torch.device("cpu"))
    try:
        packed = processor.pack_by_torch(weight.unpacked())
    except (RuntimeError, AttributeError) as error:  # this build of torch does not have it
        log.info("torch packs no weights of 4 bits: %s", error)
        return None
    block = next((block for block in BLOCKS if torch.equal(processor.pack(weight.unpacked(), block), packed)), 0)
    if not block:
        log.warning("torch's packed weights of 4 bits have an unknown layout and are not used")
        return None
    product = _made(partial(Int4Packed, group=128, block=block, few=max(TRIAL_ROWS)), weight)
    few = _few(product, weight) if product is not None and _agrees(product, weight) else 0
    return _Packed(block, few) if few else None


@lru_cache(maxsize=1)
def _int8_trial() -> bool:
    """Both forms of the kernel agree; with the saturation of older processors provoked by the largest codes."""
    for make, group in ((Int8Packed, TRIAL[1]), (Int8Grouped, 128)):
        weight = _trial_weight(8, group, torch.device("cpu"))
        weight.codes[: TRIAL[0] // 4] = 255
        product = _made(make, weight)
        if product is None or not torch.equal(product.weight().codes, weight.codes) or not _agrees(product, weight):
            return False
        if make is Int8Packed and not _few(product, weight):
            return False
    return True


@lru_cache(maxsize=8)
def _card_trial(device: torch.device) -> Tensor | None:
    """The layout of the kernel on this card, once it gave the right product."""
    weight = _trial_weight(4, 128, device)
    try:
        places = card.learnt(device)
    except (RuntimeError, AttributeError) as error:
        log.info("tinygemm cannot be used: %s", error)
        return None
    if places is None:
        return None
    product = _made(partial(card.Tinygemm, places=places, group=128), weight)
    return places if product is not None and _agrees(product, weight) else None


def _made(make: Make, weight: QuantisedWeight) -> Product | None:
    try:
        return make(weight)
    except (RuntimeError, AttributeError) as error:  # this build of torch does not have it
        log.info("a packed product cannot be used: %s", error)
        return None


def _trial_weight(bits: int, group: int, device: torch.device) -> QuantisedWeight:
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(0, 1 << bits, TRIAL, generator=generator, dtype=torch.uint8)
    scales = (torch.rand(TRIAL[0], TRIAL[1] // group, generator=generator) + 0.5).bfloat16()
    packed = join_nibbles(codes) if bits == 4 else codes
    return QuantisedWeight(packed, scales, None, None, 4 if bits == 4 else 8).to(device)


def _activations(rows: int, device: torch.device) -> Tensor:
    return torch.randn(rows, TRIAL[1], generator=torch.Generator().manual_seed(rows)).bfloat16().to(device)


def _agrees(product: Product, weight: QuantisedWeight) -> bool:
    for rows in (1, 5):
        x = _activations(rows, weight.codes.device)
        expected = multiply_dequantised(x, weight).float()
        off = float((product(x).float() - expected).norm() / expected.norm())
        if not off < ALLOWED[weight.bits]:
            log.warning("%s differs from the reference by %.3g and is not used", product.name, off)
            return False
    return True


def _few(packed: Product, weight: QuantisedWeight) -> int:
    """Up to how many rows the packed product is the faster one; 0 when it never is."""
    few, deadline = 0, time.perf_counter() + TRIAL_S
    for rows in TRIAL_ROWS:
        x = _activations(rows, weight.codes.device)
        if _seconds(partial(multiply_dequantised, x, weight)) < _seconds(partial(packed, x)):
            return few
        few = rows
        if time.perf_counter() > deadline:  # a busy machine: what was seen so far must do
            break
    return few


def _seconds(call: Callable[[], Tensor]) -> float:
    """The best of some, on one thread: on a busy machine two wait for each other and any way may seem slower."""
    threads, best = torch.get_num_threads(), float("inf")
    torch.set_num_threads(1)
    try:
        for _ in range(4):
            begin = time.perf_counter()
            call()
            best = min(best, time.perf_counter() - begin)
    finally:
        torch.set_num_threads(threads)
    return best
