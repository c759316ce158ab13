"""Every view of the fine-tune page, full and empty, where room is least: nothing clipped, everything named."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from app.ui.finetune.fields import ELSEWHERE, FEW, GROUPS
from core import paths
from core.data.problems import KINDS, Fix
from core.training.recipe import Recipe
from core.translation import LANGUAGES, catalogue
from tests.helpers import shelf_models
from tests.helpers.audit import faults
from tests.helpers.finetune_page import data_file, dropped, finetune, put_model, step_of
from tests.helpers.live_window import settle
from tests.helpers.waiting import until

LOOKS = (("en", "larger", "dark", (1000, 640)), ("zh", "normal", "light", (1240, 800)))


@pytest.mark.loops("qasync")
@pytest.mark.parametrize("language, text_size, theme, size", LOOKS)
async def test_nothing_is_clipped_and_everything_has_a_name(
    language: str, text_size: str, theme: str, size: tuple[int, int], tmp_path: Path
) -> None:
    put_model("first", shelf_models.QWEN_7B)
    put_model("second")
    shelf_models.put_adapter(paths.models(), "cooking", "second")
    async with finetune(*size) as (window, _, context):
        window.preferences.change(language=language, theme=theme, text_size=text_size)
        page = window.go("finetune")
        await until(lambda: page.is_open, 10)
        await settle(8)
        found = [f"empty: {fault}" for fault in faults(window)]
        page.new()
        for step in ("model", "data"):
            await step_of(page, step)
            found += [f"{step}, empty: {fault}" for fault in faults(window)]
            context.finetune_draft.choose_model("second")
        await dropped(page, context, data_file(tmp_path, more=({"odd": 1},)))
        context.finetune_draft.expanded = True
        for step in ("model", "data", "method", "settings", "review"):
            shown = await step_of(page, step)
            await until(lambda: step != "settings" or "prompts" in shown.rows, 10)  # noqa: B023
            await settle(20)
            found += [f"{step}: {fault}" for fault in faults(window)]
        assert found == []


def test_every_setting_has_one_row_and_its_words() -> None:
    keys = [field.key for fields in (FEW, *GROUPS.values()) for field in fields]
    assert sorted([*keys, *ELSEWHERE]) == sorted(Recipe.__struct_fields__)
    wanted = {f"finetune_ui.field_{key}{end}" for key in keys for end in ("", "_means")}
    wanted |= {f"finetune_ui.kind_{code}" for code in KINDS} | {
        f"finetune_ui.fix_{fix}" for fix in get_args(Fix) if fix
    }
    for fields in GROUPS.values():
        wanted |= {f"finetune_ui.{field.key}_{value}" for field in fields for value in field.choices}
    for language in LANGUAGES:
        assert wanted <= set(catalogue(language))
