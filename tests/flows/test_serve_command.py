"""`serve` with the real starter model: the examples of the README and the guide, another workbench, and its end."""

from __future__ import annotations

import ast
import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.server import ROOT, Server


@pytest.fixture(scope="module")
def server(starter_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    (home / "models").symlink_to(starter_models)
    with Server("starter", home) as made:
        yield made
        assert made.stop() == 0
    assert made.told[0]["event"] == "serving" and made.told[-1] == {"event": "closed"}
    assert {line["status"] for line in made.ended()} <= {200}


def test_the_examples_of_the_first_readme_run_unchanged(server: Server) -> None:
    with server.client() as client:
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


def examples(guide: str) -> list[str]:
    """The programs for Python in a guide that ask the server."""
    return re.findall(r"```python\n(from openai .*?)```", (ROOT / "docs" / guide).read_text("utf-8"), re.DOTALL)


def without_words(program: str) -> str:
    """What a program does, whatever it says."""
    tree = ast.parse(program)
    said = {"Hello", "Boston", "Rome"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            is_word = node.value in said or " " in node.value or not node.value.isascii()
            node.value = "" if is_word else node.value
    return ast.dump(tree)


def test_the_examples_of_the_guide_run(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    asking, calling = examples("guide.md")
    for program in (asking, calling):
        exec(compile(program.replace("http://127.0.0.1:8000", server.address), "guide.md", "exec"), {})
    assert "get_current_weather {" in capsys.readouterr().out
    translated = [without_words(program) for program in examples("guide.zh.md")]
    assert translated == [without_words(program) for program in (asking, calling)]


def test_another_workbench_chats_with_what_is_served_here(server: Server, home: Path) -> None:
    """Over the same wire as a cluster's, without a model of its own."""

    def told_by(*arguments: str) -> Any:
        command = [sys.executable, str(ROOT / "main.py"), *arguments, "--json"]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    added = told_by("machines", "add", "lab", server.address, "-m", "starter")
    assert added["url"] == f"{server.address}/v1" and [one["name"] for one in added["models"]] == ["lab/starter"]
    assert added["models"][0]["context_length"] == 8192
    asking = ("-p", "Name a river.", "--greedy", "--max-new-tokens", "9")
    told = told_by("chat", "-m", "lab/starter", *asking)
    with server.client() as client:
        asked: Any = {"messages": [{"role": "user", "content": "Name a river."}], "temperature": 0, "max_tokens": 9}
        answer = client.chat.completions.create(model="starter", extra_body={"repetition_penalty": 1.0}, **asked)
    assert told["text"] == answer.choices[0].message.content
    assert answer.usage is not None and told["figures"]["prompt_tokens"] == answer.usage.prompt_tokens
    assert told["figures"]["new_tokens"] == 9 and not told["figures"]["is_about"]
    assert told["finish_reason"] == "length"


def test_what_keeps_it_from_opening_is_told_in_words(home_with_starter: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        cases = [
            (("-m", "starter", "--port", port), port),
            (("-m", "starter", "--host", "0.0.0.0"), "--api-key"),
            (("-m", "starter", "--api-key", "a b"), "key"),
            (("-m", "nosuch"), "nosuch"),
        ]
        for arguments, words in cases:
            command = [sys.executable, str(ROOT / "main.py"), "serve", *arguments]
            result = subprocess.run(command, capture_output=True, text=True, timeout=60)
            assert result.returncode == 1 and words in result.stderr and result.stdout == ""
            assert "Loading" not in result.stderr, "nothing is begun that is refused at once"
            assert "Traceback" not in result.stderr and "a b" not in result.stderr
