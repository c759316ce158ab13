"""How many tokens a model shall hold, and whether its positions are stretched for that.

Invariant: a length beyond what the model's makers published for it is never given; the notice says what was given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from core.models import families
from core.models.families import Config
from core.protocol.messages import Notice

FALLBACK = 2048  # tokens, for configs that do not say


@dataclass(frozen=True, slots=True)
class Context:
    """length: tokens. yarn: factor by which positions are stretched while loading, 0 for not at all; trained: from
    where on."""

    length: int
    yarn: float = 0.0
    trained: int = 0
    notices: tuple[Notice, ...] = ()


def plan(config: Config, asked: int) -> Context:
    """asked: tokens, 0 for the model's own."""
    found = families.lengths(config)
    limit = found.limit or FALLBACK
    length = min(asked or limit, max(found.reachable, limit))
    shortened = (Notice("context_shortened", {"asked": asked, "given": length}),) if asked > length else ()
    stretch = families.published_yarn(config, families.family_of(config))
    if length <= limit or stretch is None:
        return Context(length, notices=shortened)
    factor = min(stretch.factor, length / found.trained)
    told = Notice("context_stretched", {"length": length, "trained": found.trained})
    return Context(length, factor, found.trained, (*shortened, told))


def stretch(config: Any, context: Context) -> None:
    """Write the stretching into transformers' config."""
    if context.yarn:
        text = config.get_text_config()
        text.rope_parameters = {
            **(text.rope_parameters or {}),
            "rope_type": "yarn",
            "factor": context.yarn,
            "original_max_position_embeddings": context.trained,
        }
