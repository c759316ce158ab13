"""`serve` with the real starter model: the README's examples, in the words of today's client, and its end."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.helpers.server import ROOT, Server


def test_the_examples_of_the_first_readme_run_unchanged(home_with_starter: Path) -> None:
    with Server("starter", home_with_starter) as server, server.client() as client:
        asked: Any = {"model": "Qwen", "messages": [{"role": "user", "content": "你好"}], "max_tokens": 6}
        streamed = ""
        for chunk in client.chat.completions.create(stream=True, **asked):
            if hasattr(chunk.choices[0].delta, "content"):
                streamed += chunk.choices[0].delta.content or ""
        response = client.chat.completions.create(stream=False, stop=[], **asked)
        assert streamed.strip() and response.choices[0].message.content.strip()
        react: Any = asked | {"stop": ["Observation:"], "temperature": 0}
        assert client.chat.completions.create(**react).choices[0].finish_reason in ("stop", "length")
        weather = {
            "name": "get_current_weather",
            "description": "Get the current weather in a given location.",
            "parameters": {"type": "object", "properties": {"location": {"enum": ["Boston, MA", "Rome"]}}},
        }
        question: Any = {"model": "Qwen", "messages": [{"role": "user", "content": "波士顿天气如何？"}]}
        forced = {"function_call": {"name": "get_current_weather"}, "max_tokens": 40, "temperature": 0}
        called = client.chat.completions.create(**question, functions=[weather], **forced).choices[0]
        assert called.finish_reason == "function_call" and called.message.function_call is not None
        assert called.message.function_call.name == "get_current_weather"
        assert server.stop() == 0
    assert server.told[0]["event"] == "serving" and server.told[-1] == {"event": "closed"}
    assert [line["status"] for line in server.ended()] == [200, 200, 200, 200]


def test_what_keeps_it_from_opening_is_told_in_words(home_with_starter: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        cases = [
            (("-m", "starter", "--port", port), port),
            (("-m", "starter", "--host", "0.0.0.0"), "--api-key"),
            (("-m", "starter", "--api-key", "a b"), "key"),
        ]
        for arguments, words in cases:
            command = [sys.executable, str(ROOT / "main.py"), "serve", *arguments]
            result = subprocess.run(command, capture_output=True, text=True, timeout=60)
            assert result.returncode == 1 and words in result.stderr and result.stdout == ""
            assert "Traceback" not in result.stderr and "a b" not in result.stderr
