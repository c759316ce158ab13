"""Every view of the profiler page, full and empty, where room is least: nothing clipped, everything named."""

from __future__ import annotations

import pytest

from app.services.profiling_wish import KINDS
from app.ui.profiler.detail import CellDialog
from core import paths
from core.translation import LANGUAGES, catalogue
from tests.helpers import profile_tables as tables
from tests.helpers import shelf_models
from tests.helpers.audit import faults
from tests.helpers.fake_profile_worker import HANGS
from tests.helpers.live_window import settle
from tests.helpers.profiler_page import LONG_S, begin, page_of, profiler, shown
from tests.helpers.waiting import until

LOOKS = (("en", "larger", "dark", (1000, 640)), ("zh", "normal", "light", (1240, 800)))


@pytest.mark.loops("qasync")
@pytest.mark.parametrize("language, text_size, theme, size", LOOKS)
async def test_nothing_is_clipped_and_everything_has_a_name(
    language: str, text_size: str, theme: str, size: tuple[int, int]
) -> None:
    shelf_models.put(paths.models(), "a model with quite a long name of its own")
    async with profiler(*size) as (window, context):
        window.preferences.change(language=language, theme=theme, text_size=text_size)
        page = await page_of(window)
        await settle(8)
        found = [f"empty: {fault}" for fault in faults(window)]
        page.show_new()
        for kind in KINDS:
            await until(lambda: page.new_view.plan is not None, LONG_S)
            page.new_view.form._turn(kind)
            await until(lambda: page.new_view.plan is not None, LONG_S)
            await settle(8)
            found += [f"{kind}: {fault}" for fault in faults(window)]
        plans = (tables.FORMS, tables.README, tables.KV, tables.TRAINING, tables.SMALL_README)
        runs = [await tables.put(context, plan, machine=tables.CARD, state="cancelled") for plan in plans]
        window.rebuild()
        page = await page_of(window)
        for run in runs:
            await shown(page, run)
            found += [f"{run.name}: {fault}" for fault in faults(window)]
        page.show_runs()
        await settle(5)
        found += [f"runs: {fault}" for fault in faults(window)]
        page.compare(runs[0].id, runs[1].id)
        await until(lambda: page.view == "compare")
        page.compare(runs[0].id, runs[0].id)
        await settle(8)
        found += [f"compare: {fault}" for fault in faults(window)]
        await shown(page, runs[0])
        dialog = CellDialog(window, next(iter(page.run_view.shown.results.values())))  # type: ignore[union-attr]
        dialog.show()
        await settle(5)
        found += [f"detail: {fault}" for fault in faults(dialog)]
        dialog.close()
        dialog.deleteLater()
        await begin(page, "bfloat16", news=(HANGS,))
        await until(lambda: context.profiling.state.index == 0, LONG_S)
        await settle(10)
        found += [f"measuring: {fault}" for fault in faults(window)]
        assert found == []


def test_the_words_of_every_value_are_there() -> None:
    wanted = {f"profile_ui.kind_{kind}{end}" for kind in KINDS for end in ("", "_means")}
    for language in LANGUAGES:
        assert wanted <= set(catalogue(language))
