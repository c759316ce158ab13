"""`chat` in a real terminal with a model of another machine: nothing is loaded, and Ctrl-C keeps what came."""

from __future__ import annotations

import sys
from pathlib import Path

from core import paths, settings
from core.remote_engine import RemoteEngine, RemoteModel
from core.settings import Settings
from tests.helpers.remote_server import RemoteServer
from tests.helpers.terminal import ROOT, Terminal


def test_a_conversation_with_another_machine(home: Path) -> None:
    with RemoteServer(plan=["thinking", "strict", "endless", "cut", "busy"]) as server:
        engine = RemoteEngine("lab", f"{server.address}/v1", (RemoteModel("taught"),))
        settings.save(paths.settings_file(), Settings(remote_engines=(engine,)))
        with Terminal([sys.executable, str(ROOT / "main.py"), "chat", "-m", "lab/taught"]) as terminal:
            terminal.wait_for("User>")
            first = terminal.enter("What is the moon?")
            assert "It is 好 and round.\n8 tokens · first token" in first and "Waiting" not in first
            assert "lab/taught does not know these settings" in terminal.enter("And the sun?")
            terminal.send("More?\r")
            terminal.wait_for("It is 好", after="More?\n")
            terminal.send("\x03")
            terminal.wait_for("Stopped. What came is kept", after="More?\n")
            terminal.wait_for("\nUser>", after="Stopped.")
            cut = terminal.enter("Again?")
            assert "was lost" in cut and ":continue goes on with it" in cut and "loads the model" not in cut
            told = terminal.enter(":continue")
            assert "17 s" in told and "It is" not in told, "what is there already is shown again once more comes"
            assert "17 s" in terminal.enter("Still there?")
            terminal.send("\x04")
            assert terminal.end() == 0
        assert [message["role"] for message in server.bodies[-1]["messages"]][-3:] == ["user", "assistant", "user"]
