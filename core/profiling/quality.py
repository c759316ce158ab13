"""Perplexity of one form of weights and of keys and values, on one fixed text: what a cheaper form costs in quality.

The text is the beginning of Lewis Carroll's "Alice's Adventures in Wonderland" (1865, in the public domain): every
model has read it, so the number itself says little; its ratio between two forms of one model is what counts. Invariant:
every token is predicted as a chat would predict it, by a step of the decoder over the keys and values it keeps.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator

import torch

from core.errors import UserError
from core.paths import resources
from core.profiling.loading import Ready, loading
from core.profiling.measure import Measuring, Step
from core.profiling.plan import QUALITY_ON_PROCESSOR, QUALITY_TOKENS, Cell
from core.profiling.recorder import Recorder
from core.profiling.result import QualityFigures

FILE = "alice.txt"
PROCESSOR_TOKENS = (
    576  # of the text: a token takes its time there, and forms of one model differ by little all the same
)
FIRST = 64  # tokens that are only read: what comes before says too little


def measured(cell: Cell, recorder: Recorder) -> Measuring:
    ready: Ready | None = None
    for step in loading(cell, recorder):
        if isinstance(step, Ready):
            ready = step
        else:
            yield step
    assert ready is not None
    if ready.vocabulary is None:
        raise UserError("profile_quality_of_noise")
    yield {"load_s": ready.load_s}
    text = (resources() / FILE).read_text("utf-8")
    most = QUALITY_TOKENS if ready.device.startswith("cuda") else QUALITY_ON_PROCESSOR
    ids = ready.vocabulary.encode_text(text)[: min(most, ready.loaded.context_length)]
    recorder.mark("read", 1)
    began = time.perf_counter()
    losses: list[float] = []
    for loss in surprises(ready, ids):
        losses.append(loss)
        yield Step("profile_quality", len(losses), len(ids) - FIRST, "tokens")
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    figures = QualityFigures(
        perplexity=math.exp(math.fsum(losses) / len(losses)),
        tokens=len(losses),
        text=f"{FILE} {digest}",
        seconds=time.perf_counter() - began,
    )
    yield {"quality": figures}


def surprises(ready: Ready, ids: list[int], first: int = FIRST) -> Iterator[float]:
    """Of each token after the first ones: minus the logarithm of the probability it was given."""
    cache = ready.decoder.new_cache(len(ids))
    reading = ready.decoder.read(ids[:first], cache)
    while True:
        try:
            next(reading)
        except StopIteration as end:
            logits = end.value
            break
    for place in range(first, len(ids)):
        with torch.inference_mode():
            loss = float(torch.logsumexp(logits.float(), -1) - logits[ids[place]].float())
        yield loss
        if place + 1 < len(ids):
            logits = ready.decoder.step(ids[place], cache)
