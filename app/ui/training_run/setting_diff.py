"""Where recipes differ. Invariant: the order is that of the recipe; the name of a run is no setting."""

from __future__ import annotations

from collections.abc import Sequence

from core.training.recipe import Recipe

NO_SETTINGS = ("name",)


def differing(recipes: Sequence[Recipe]) -> list[str]:
    """The keys in which not all are the same."""
    keys = [key for key in Recipe.__struct_fields__ if key not in NO_SETTINGS]
    return [key for key in keys if any(getattr(one, key) != getattr(recipes[0], key) for one in recipes[1:])]


def written(recipe: Recipe, key: str) -> str:
    """A value as the file has it, on one line."""
    value = getattr(recipe, key)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return ", ".join(str(part) for part in value) or "–"
    if isinstance(value, dict):
        return ", ".join(f"{name}={column}" for name, column in value.items()) or "–"
    return str(value) or "–"
