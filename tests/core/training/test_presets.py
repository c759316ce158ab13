"""The recipes that come with the program."""

from __future__ import annotations

import pytest

from core.errors import UserError
from core.training import presets, recipe, settings
from core.training.recipe import Recipe, checked, made
from core.translation import LANGUAGES, catalogue

MINE = Recipe(model="mine", data="rows.jsonl", name="first", prompts=("Who are you?",), rank=3, seed=5)


def test_every_preset_file_is_offered() -> None:
    from core.paths import resources

    assert {file.stem for file in (resources() / "presets").glob("*.toml")} == set(presets.ORDER)


@pytest.mark.parametrize("name", presets.ORDER)
def test_a_preset_is_a_recipe_and_keeps_what_is_learned(name: str) -> None:
    found = checked(presets.applied(name, MINE, devices=2))
    assert all(getattr(found, key) == getattr(MINE, key) for key in presets.KEPT)
    assert found.rank != 3  # what it is silent about is as usual again
    for language in LANGUAGES:
        assert {f"preset.{name}", f"preset.{name}_means"} <= set(catalogue(language))


@pytest.mark.parametrize("name", ["qwen_lora_ds", "qwen_full_ds"])
def test_presets_for_several_cards_take_all_of_them_and_count_rows_on_each(name: str) -> None:
    found = presets.applied(name, MINE, devices=4)
    assert found.devices == 4 and found.batch == 4 * 2 * 8 and found.parallel in ("zero2", "zero3")
    with pytest.raises(UserError, match="one card"):
        presets.applied(name, MINE, devices=1)


def test_every_setting_of_a_recipe_is_listed_with_what_is_let_in() -> None:
    found = {setting.key: setting for setting in settings.settings()}
    assert list(found) == list(Recipe.__struct_fields__)
    for key, setting in found.items():
        default = getattr(Recipe("m", "d"), key)
        assert setting.default == (None if key in ("model", "data") else default)
        if setting.kind == "choice":
            assert default in setting.choices and ", ".join(setting.choices) == recipe.allowed(key)
        if setting.kind in ("whole", "real"):
            assert setting.least <= default <= setting.most and setting.least < setting.most
        for language in LANGUAGES:
            assert f"finetune_ui.field_{key}_means" in catalogue(language)


def test_a_learning_rate_of_nothing_is_refused_in_words() -> None:
    with pytest.raises(UserError, match="learn nothing"):
        made({"model": "m", "data": "d", "learning_rate": 0})
    with pytest.raises(UserError, match="between"):
        made({"model": "m", "data": "d", "learning_rate": -1e-4})
