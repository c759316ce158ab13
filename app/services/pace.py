"""How fast a fine-tune goes, by its last steps, and how long the rest will take.

Invariant: only the steps themselves are counted, so checkpoints, evaluations and answers between them move nothing; and
neither does one odd step, for the median decides, in which a step counts by its tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from core.run_dir import Step

LAST = 20  # steps


@dataclass(frozen=True, slots=True)
class Pace:
    """steps: seconds and tokens of each of the last ones, the newest last"""

    steps: tuple[tuple[float, float], ...] = ()

    def after(self, figures: Mapping[str, float]) -> Pace:
        """With one step more."""
        seconds, tokens = figures.get("seconds", 0.0), figures.get("tokens", 0.0)
        return Pace((*self.steps, (seconds, tokens))[-LAST:]) if seconds > 0 else self

    def seconds_for(self, steps: int, tokens_of_step: float = 0.0) -> float | None:
        """None before anything is known. tokens_of_step: of the steps to come, 0 for as many as the last ones had"""
        if not self.steps:
            return None
        weights = [tokens or 1.0 for _, tokens in self.steps]
        pace = _median([(seconds / weight, weight) for (seconds, _), weight in zip(self.steps, weights, strict=True)])
        has_tokens = all(tokens > 0 for _, tokens in self.steps)
        usual = tokens_of_step if tokens_of_step and has_tokens else sum(weights) / len(weights)
        return steps * usual * pace


UNKNOWN = Pace()


def of_steps(steps: Iterable[Step]) -> Pace:
    found = UNKNOWN
    for _, figures in steps:
        found = found.after(figures)
    return found


def _median(weighted: list[tuple[float, float]]) -> float:
    """The value below which half of the weight lies."""
    ordered, half = sorted(weighted), sum(weight for _, weight in weighted) / 2
    seen = 0.0
    for value, weight in ordered:
        seen += weight
        if seen >= half:
            return value
    return ordered[-1][0]
