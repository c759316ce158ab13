"""The recipes that come with the program."""

from __future__ import annotations

import pytest

from core.training import presets
from core.training.recipe import Recipe, checked
from core.translation import LANGUAGES, catalogue

MINE = Recipe(model="mine", data="rows.jsonl", name="first", prompts=("Who are you?",), rank=3, seed=5)


def test_every_preset_file_is_offered() -> None:
    from core.paths import resources

    assert {file.stem for file in (resources() / "presets").glob("*.toml")} == set(presets.ORDER)


@pytest.mark.parametrize("name", presets.ORDER)
def test_a_preset_is_a_recipe_and_keeps_what_is_learned(name: str) -> None:
    found = checked(presets.applied(name, MINE))
    assert all(getattr(found, key) == getattr(MINE, key) for key in presets.KEPT)
    assert found.rank != 3  # what it is silent about is as usual again
    for language in LANGUAGES:
        assert {f"preset.{name}", f"preset.{name}_means"} <= set(catalogue(language))
