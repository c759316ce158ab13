"""From a word in the search field to a model in the library: the real window, the real worker, servers of both hubs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from app.ui.models.reading import ReadingDialog
from core.hub import hubs
from core.translation import say
from tests.helpers import tiny_models
from tests.helpers.huggingface_server import HuggingFaceServer
from tests.helpers.live_window import live, settle
from tests.helpers.modelscope_server import ModelScopeServer
from tests.helpers.waiting import until

pytestmark = pytest.mark.loops("qasync")
CARD = "---\nlicense: mit\n---\n# Tiny\n\nA model for tests.\n"


async def test_found_on_both_hubs_measured_and_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    # A search leaves out a hub that is late, for good; what is tested here is what comes after both answered.
    monkeypatch.setattr(hubs, "searching", partial(hubs.searching, deadline_s=20.0))
    folder = tiny_models.write_model(tmp_path / "tiny", "qwen3")
    (folder / "README.md").write_text(CARD)
    (folder / "modeling_tiny.py").write_text("raise SystemExit('never run')")
    with HuggingFaceServer() as face, ModelScopeServer() as scope:
        for server in (face, scope):
            server.publish("someone/Tiny-Chat", folder, licence="mit", downloads=900)
        async with live() as (window, context):
            context.preferences.change(huggingface_endpoint=face.address, modelscope_endpoint=scope.address)
            await context.downloads.open()
            arrived: list[str] = []
            context.downloads.arrived.listen(arrived.append)
            page: Any = window.go("models")
            await until(lambda: page.is_ready)
            page.show_view("discover")
            await until(lambda: page.discover.is_ready)
            page.discover.field.setText("tiny-chat")
            await until(lambda: [offer.name for offer in page.discover.table.offers] == ["Tiny-Chat"], 20)
            await until(lambda: page.offer.look is not None, 20)
            await until(lambda: len(page.offer.source.rows) == 2, 20)  # each hub answers when it can
            assert page.discover.table._cells[0][3].badge == say("load.fits")
            page.offer.card.click()
            await until(lambda: any(one._sheet.body for one in window.findChildren(ReadingDialog)), 20)
            window.findChildren(ReadingDialog)[-1].reject()
            await until(lambda: not window.findChildren(ReadingDialog))
            page.offer.source.measure.click()
            await until(lambda: any(line.is_faster for line in page.offer.source.rows), 20)
            page.offer.go.click()
            await until(lambda: any(item.state == "done" for item in context.downloads.items), 60)
            await until(lambda: arrived == ["Tiny-Chat"])
            await until(lambda: page.offer.go.text() == say("discover.open_chat"), 20)
            page.show_view("installed")
            await until(lambda: [model.manifest.name for model in page.installed.models] == ["Tiny-Chat"])
            await settle(3)
            facts = page.installed.models[0].manifest
            assert facts.licence == "mit" and facts.code_files == ("modeling_tiny.py",)
            assert not (page.installed.models[0].folder / "modeling_tiny.py").exists()
