"""Measures what core.profiling.form_speeds keeps: one vector times weights in each form, as decoding does it here.

Invariant: the weights are more than the caches of a processor hold, so it is the memory that is measured, as with a
model; and each form goes through the product that a loaded model would use.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from core.models.native.library import library
from core.models.native.structures import BF16, Linear, Model, Place
from core.models.quantised import choice
from core.models.quantised.weight import QuantisedWeight, join_nibbles
from core.profiling.form_speeds import PLAIN, FormSpeeds, made_on
from core.profiling.measure import Step

SIDE, COUNT, GROUP = 4096, 4, 128  # square matrices, and so many of them
FORMS = (PLAIN, "int8", "int4")
PASSES = 4

Multiply = Callable[[Tensor], object]


def trying(side: int = SIDE, count: int = COUNT) -> Iterator[Step | FormSpeeds]:
    """A step for each form, and in the end what was found."""
    seconds: dict[str, float] = {}
    for done, form in enumerate(FORMS):
        yield Step("measuring_forms", done, len(FORMS))
        products = [_product(form, side, seed) for seed in range(count)]
        seconds[form] = _fastest(products, torch.rand(1, side) - 0.5)
    machine, versions = made_on()
    yield FormSpeeds(machine, versions, side * side * count, seconds, library() is not None, datetime.now(UTC))


def _product(form: str, side: int, seed: int) -> Multiply:
    generator = torch.Generator().manual_seed(seed)
    if form == PLAIN:
        return _plain(torch.randint(-99, 99, (side, side), generator=generator, dtype=torch.int8).bfloat16())
    bits = 4 if form == "int4" else 8
    codes = torch.randint(0, 1 << bits, (side, side), generator=generator, dtype=torch.uint8)
    scales = torch.full((side, side // GROUP if bits == 4 else 1), 0.01, dtype=torch.float16)
    weight = QuantisedWeight(join_nibbles(codes) if bits == 4 else codes, scales, None, None, 4 if bits == 4 else 8)
    product = choice.choose(weight, torch.bfloat16).make(weight)
    return partial(product) if library() is not None else lambda x: product(x.bfloat16())


def _plain(matrix: Tensor) -> Multiply:
    """By our own code as the head of a model that has no layers: such products are a part of its step only."""
    found, side = library(), matrix.shape[0]
    if found is None:
        return lambda x: F.linear(x.bfloat16(), matrix)
    head = Linear(matrix.data_ptr(), outputs=side, inputs=side, groups=1, kind=BF16)
    ones, place = torch.ones(side), Place()
    model = Model(
        final_norm=ones.data_ptr(), head=head, hidden=side, intermediate=side, heads=1, kv_heads=1, width=2,
        threads=torch.get_num_threads(),
    )  # fmt: skip

    def multiply(x: Tensor, kept: tuple[Tensor, Tensor] = (matrix, ones)) -> Tensor:
        used, out = x.clone(), torch.empty(1, side)  # a step uses its input up
        found.qw_step(ctypes.addressof(model), ctypes.addressof(place), 1, used.data_ptr(), out.data_ptr(), 1)
        return out

    return multiply


def _fastest(products: list[Multiply], x: Tensor) -> float:
    """Seconds of the quickest round through all of them; the first warms up."""
    rounds = []
    with torch.inference_mode():
        for _ in range(PASSES + 1):
            began = time.perf_counter()
            for multiply in products:
                multiply(x)
            rounds.append(time.perf_counter() - began)
    return min(rounds[1:])
