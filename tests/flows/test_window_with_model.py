"""The window with the real starter model, driven as a user would while things change under a reply."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

GUIDED = """
import json, os, sys
os.environ["QT_QPA_PLATFORM"] = "offscreen"
from app.ui import start
from app.ui.tour import REPLY_S, SHORT_S, chat_page, until

async def ask(panel, words):
    before = len(panel.messages)
    panel.composer.box.setPlainText(words)
    panel.composer.send.click()
    await until(lambda: len(panel.messages) == before + 2, SHORT_S)

async def guide(window, context):
    window.preferences.change(text_size="large")  # builds the pages anew, before any model is loaded
    panel = await chat_page(window)
    await until(lambda: bool(panel.models), SHORT_S)
    await ask(panel, "Say hi.")
    window.preferences.change(language="zh", theme="dark")  # again, while the model loads
    panel = await chat_page(window)
    await until(lambda: panel.messages and panel.messages[-1].state == "done", REPLY_S)
    report = {"reply": panel.messages[-1].text}

    await ask(panel, "Tell me a very long story.")
    await until(lambda: panel.transcript.row(panel.messages[-1].id).copied(), REPLY_S)
    panel.actions_.stop()
    await until(lambda: panel.messages[-1].state == "stopped", SHORT_S)
    stopped = panel.messages[-1]
    panel.actions_.for_message("continue", stopped.id)
    await until(lambda: len(panel.transcript.row(stopped.id).copied()) > len(stopped.text) + 20, REPLY_S)
    panel.actions_.stop()
    await until(lambda: panel.messages[-1].state == "stopped" and len(panel.messages[-1].text) > len(stopped.text), 30)
    report["continued"] = panel.messages[-1].text.startswith(stopped.text)

    panel.new_chat()
    panel.composer.set_draft("my draft")
    window.preferences.change(language="en")
    panel = await chat_page(window)
    report["draft"] = [panel.composer.draft, panel.conversation is None]
    await ask(panel, "word " * 20000)
    await until(lambda: panel.messages[-1].state == "failed", REPLY_S)
    report["too_long"] = panel.messages[-1].error_code
    await ask(panel, "Say hi.")
    await until(lambda: panel.messages[-1].state == "done", REPLY_S)
    print(json.dumps(report), flush=True)

sys.exit(start.open_window(guide=guide))
"""


@pytest.mark.timeout(200)
def test_a_reply_survives_what_the_user_changes_meanwhile(home_with_starter: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", GUIDED],
        capture_output=True, text=True, cwd=ROOT, timeout=190, env=os.environ.copy(),
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "")
    report = json.loads(result.stdout)
    assert report["reply"].strip() and report["continued"]
    assert report["draft"] == ["my draft", True]
    assert "long" in report["too_long"]
