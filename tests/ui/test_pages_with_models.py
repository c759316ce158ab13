"""Every page with models on it, in the looks where room is least: nothing clipped, everything named."""

from __future__ import annotations

from typing import Any

import pytest

from app.ui.load.dialog import LoadDialog
from core import paths
from tests.helpers import shelf_models
from tests.helpers.audit import faults
from tests.helpers.live_window import live, settle
from tests.helpers.waiting import until

pytestmark = pytest.mark.loops("qasync")
LOOKS = (
    ("en", "larger", "dark", (1000, 640)),
    ("zh", "larger", "light", (1440, 900)),
    ("en", "normal", "light", (1024, 700)),
)


@pytest.mark.parametrize("language, text_size, theme, size", LOOKS)
async def test_nothing_is_clipped_and_everything_has_a_name(
    language: str, text_size: str, theme: str, size: tuple[int, int]
) -> None:
    code = ("modeling_qwen.py", "configuration_qwen.py", "tokenization_qwen.py", "cpp_kernels.py")
    shelf_models.put(paths.models(), "first", shelf_models.QWEN_7B, code_files=code, licence="tongyi-qianwen")
    shelf_models.put(paths.models(), "a base model with a very long name that nobody would choose", can_chat=False)
    shelf_models.put_adapter(paths.models(), "cooking", "first")
    shelf_models.put_adapter(paths.models(), "lost", "nowhere")
    found: list[str] = []
    async with live(*size) as (window, _):
        window.preferences.change(language=language, text_size=text_size, theme=theme)
        chat: Any = window.go("chat")
        await until(lambda: chat.is_open, 10)
        for model in ("a base model with a very long name that nobody would choose", "cooking"):
            chat.choice.take(model)
            await settle(6)
            found += faults(window)
        models: Any = window.go("models")
        await until(lambda: models.is_ready and models.installed.table.model().rowCount() == 4)
        models._toggle.setChecked(True)
        for place in range(4):
            models.installed.table.selectRow(place)
            await settle(6)
            found += faults(window)
        tokenizer: Any = window.go("tokenizer")
        await until(lambda: tokenizer.found is not None, 10)
        tokenizer._toggle.setChecked(True)
        tokenizer.view.choose(2)
        await settle(6)
        found += faults(window)
        window.ask_load("first")
        await until(lambda: any(dialog.is_ready for dialog in window.findChildren(LoadDialog)), 10)
        dialog = window.findChildren(LoadDialog)[-1]
        await settle(6)
        found += faults(dialog)
        dialog.load_now()
        await until(lambda: not dialog.is_loading and dialog.view.current == 1, 10)
        await settle(6)
        found += faults(dialog)
        dialog.reject()
        await until(lambda: not window.findChildren(LoadDialog))
    assert not found, "\n".join(sorted(set(found)))
