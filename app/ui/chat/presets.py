"""The named ways of sampling that the inspector offers. Values: Qwen's published defaults in the middle."""

from __future__ import annotations

import msgspec

from core.chat.turns import Sampling

PRESETS: dict[str, Sampling] = {
    "precise": Sampling(temperature=0.2, top_p=0.9, top_k=20, repetition_penalty=1.05),
    "balanced": Sampling(),
    "creative": Sampling(temperature=1.0, top_p=0.95, top_k=50, repetition_penalty=1.0),
}
CUSTOM = "custom"


def preset_of(sampling: Sampling) -> str:
    """The preset these values stand for; limits, seed and stop words belong to none."""
    for name, values in PRESETS.items():
        if with_preset(sampling, name) == sampling and values.temperature == sampling.temperature:
            return name
    return CUSTOM


def with_preset(sampling: Sampling, name: str) -> Sampling:
    """`sampling` with the values of a preset; limits, seed and stop words stay."""
    values = PRESETS[name]
    return msgspec.structs.replace(
        sampling,
        temperature=values.temperature,
        top_p=values.top_p,
        top_k=values.top_k,
        repetition_penalty=values.repetition_penalty,
    )
