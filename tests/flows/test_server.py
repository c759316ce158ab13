"""`serve` as other programs meet it: the openai client, many clients at once, clients that misbehave."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from core.serving import answers
from tests.helpers import chat_templates, qwen_vocabulary, tiny_adapters, tiny_models
from tests.helpers.fuzzing import fuzz
from tests.helpers.server import ROOT, Server
from tests.helpers.waiting import wait_until

KEY = "sk-of-this-test"
HI: Any = [{"role": "user", "content": "Explain how rainbows form."}]
SCHEMA = {
    "type": "object",
    "properties": {"city": {"enum": ["Rome", "Paris"]}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS: Any = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]
LONG = 900  # tokens, most of the tiny model's context


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    base = tiny_models.write_model(home / "tiny", template=chat_templates.THIRD)
    adapter = tiny_adapters.write(
        home / "taught", tiny_models.model("qwen3"), target_modules=["q_proj", "up_proj"], base=str(base)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QWEN_WORKBENCH_API_KEY", KEY)
        made = Server(str(adapter), home, "--allow-origin", "https://page.example", "--allow-host", "proxy.example")
    with made:
        yield made


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[openai.OpenAI]:
    with server.client(KEY) as made:
        yield made


def ask(client: openai.OpenAI, **fields: Any) -> Any:
    return client.chat.completions.create(
        **{"model": "tiny", "messages": HI, "temperature": 0, "max_tokens": 40} | fields
    )


def put_together(chunks: Any) -> tuple[str, list[tuple[str, str]], str]:
    """text, calls and the reason of the end, of a stream."""
    text, reason = "", ""
    calls: list[tuple[str, str]] = []
    for chunk in chunks:
        for choice in chunk.choices:
            text += choice.delta.content or ""
            calls += [(call.function.name, call.function.arguments) for call in choice.delta.tool_calls or ()]
            reason = choice.finish_reason or reason
    return text, calls, reason


def whole(answer: Any) -> tuple[str, list[tuple[str, str]], str]:
    choice = answer.choices[0]
    calls = [(call.function.name, call.function.arguments) for call in choice.message.tool_calls or ()]
    return choice.message.content or "", calls, choice.finish_reason


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"model": "anything"},
        {"stop": ["e", "xyz"]},
        {"tools": TOOLS},
        {"tools": TOOLS, "tool_choice": "required", "max_tokens": 300},
        {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "weather"}}, "max_tokens": 300},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "p", "schema": SCHEMA}}, "max_tokens": 300},
        {"frequency_penalty": 1.0, "presence_penalty": 0.5},
    ],
    ids=["plain", "adapter", "stop", "tools", "required", "named", "schema", "penalties"],
)
def test_a_stream_says_what_the_whole_answer_says(client: openai.OpenAI, fields: dict[str, Any]) -> None:
    first, second = whole(ask(client, **fields)), put_together(ask(client, stream=True, **fields))
    assert first == second
    if "stop" in fields:
        assert "e" not in first[0] and first[2] == "stop"
    if fields.get("tool_choice"):
        assert first[2] == "tool_calls" and first[1][0][0] == "weather" and json.loads(first[1][0][1])["city"]
    if "response_format" in fields:
        assert json.loads(first[0])["city"] in ("Rome", "Paris")


def test_models_and_adapters_are_names_and_the_answer_says_which_it_was(client: openai.OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert "tiny" in names and "taught" in [name.rpartition("/")[2] for name in names]
    base, taught = (ask(client, model=name) for name in ("tiny", "gpt-4o"))
    assert base.model == "tiny" and taught.model.endswith("taught")
    assert base.choices[0].message.content != taught.choices[0].message.content


def test_usage_is_told_where_it_is_asked_for(client: openai.OpenAI) -> None:
    chunks = list(ask(client, stream=True, max_tokens=7, stream_options={"include_usage": True}))
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == 7
    assert all(chunk.usage is None for chunk in chunks[:-1])
    usage = ask(client, max_tokens=7).usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (chunks[-1].usage.prompt_tokens, 7)


def test_a_text_is_written_on(client: openai.OpenAI) -> None:
    asked: Any = {"model": "tiny", "prompt": "The quick brown", "max_tokens": 9, "temperature": 0}
    answer = client.completions.create(**asked)
    streamed = "".join(chunk.choices[0].text for chunk in client.completions.create(stream=True, **asked))
    assert answer.choices[0].text == streamed and answer.choices[0].finish_reason == "length"


@pytest.mark.parametrize(
    ("path", "body", "model"),
    [
        ("/v1/chat/completions", {"messages": HI, "max_tokens": 3}, answers.ChatCompletion),
        (
            "/v1/chat/completions",
            {"messages": HI, "tools": TOOLS, "tool_choice": "required", "max_tokens": 300, "temperature": 0},
            answers.ChatCompletion,
        ),
        ("/v1/completions", {"prompt": "Hi", "max_tokens": 3, "echo": True}, answers.TextCompletion),
        ("/tokenize", {"prompt": "Hi"}, answers.Tokens),
        ("/v1/models", None, answers.ModelList),
        ("/v1/models/tiny", None, answers.ModelCard),
        ("/health", None, answers.Health),
        ("/v1/models/other", None, answers.Faults),
    ],
)
def test_answers_are_as_they_are_described(server: Server, path: str, body: Any, model: type[answers.Answer]) -> None:
    headers = bearer()
    answer = server.post(path, body, headers=headers) if body else httpx.get(f"{server.address}{path}", headers=headers)
    model.model_validate_json(answer.content, strict=True)


def test_the_old_words_for_tools(server: Server) -> None:
    functions = [{"name": "weather", "parameters": SCHEMA}]
    body = {"messages": HI, "functions": functions, "function_call": {"name": "weather"}, "model": "tiny"}
    answer = server.post("/v1/chat/completions", body, headers=bearer()).json()
    choice = answer["choices"][0]
    assert choice["finish_reason"] == "function_call" and choice["message"]["function_call"]["name"] == "weather"


def form(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"schema": schema}}


def bearer(key: str = KEY) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "words"),
    [
        ("/v1/chat/completions", {"messages": HI}, bearer("wrong"), 401, "Authorization"),
        ("/v1/chat/completions", {"messages": HI}, {}, 401, "Authorization"),
        ("/v1/chat/completions", {"messages": HI}, bearer() | {"host": "evil.example"}, 403, "evil.example"),
        ("/v1/chat/completions", {"messages": HI}, bearer() | {"origin": "https://evil.example"}, 403, "evil"),
        ("/v1/chat/completions", {"messages": []}, bearer(), 400, "messages"),
        ("/v1/chat/completions", {"messages": HI, "temperature": "warm"}, bearer(), 400, "temperature"),
        ("/v1/chat/completions", [], bearer(), 400, "body"),
        ("/v1/nothing", {}, bearer(), 404, "/v1/nothing"),
        ("/v1/models", {}, bearer(), 405, "POST"),
        ("/tokenize", {"prompt": "x" * (17 << 20)}, bearer(), 413, "16 MB"),
        ("/v1/completions", '{"prompt": "\\ud800"}', bearer(), 400, "half a character"),
        ("/tokenize", '{"prompt": "\\ud800"}', bearer(), 400, "half a character"),
        ("/v1/completions", {"prompt": [1, 2]}, bearer(), 400, "Token ids"),
        ("/v1/completions", {"prompt": "x", "stop": ["y"] * 5000}, bearer(), 400, "stop: 16 entries"),
        ("/v1/completions", '{"prompt": ', bearer(), 400, "no JSON"),
        ("/v1/completions", {"prompt": "x", "response_format": form({"$ref": "#"})}, bearer(), 400, "itself"),
        (
            "/v1/completions",
            {"prompt": "x", "response_format": form({"pattern": "(", "type": "string"})},
            bearer(),
            400,
            "unclosed",
        ),
    ],
    ids=[
        "key",
        "no key",
        "host",
        "origin",
        "empty",
        "type",
        "body",
        "path",
        "method",
        "length",
        "half",
        "half to count",
        "ids",
        "stops",
        "no json",
        "endless",
        "pattern",
    ],
)
def test_faults_have_openais_shape_and_a_status(
    server: Server, path: str, body: Any, headers: dict[str, str], status: int, words: str
) -> None:
    if isinstance(body, str):
        answer = httpx.post(f"{server.address}{path}", content=body, headers=headers, timeout=60)
    else:
        answer = server.post(path, body, headers=headers)
    assert answer.status_code == status, answer.text
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert words in answer.json()["error"]["message"]

    def told() -> list[Any]:
        return [one for one in server.told if one["event"] == "refused" and one["status"] == status]

    wait_until(told)
    assert told()[-1]["code"] and told()[-1]["client"] == "127.0.0.1", "and who serves is told of it"


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded"])
def test_json_is_taken_by_whatever_name_but_not_from_a_foreign_page(server: Server, kind: str) -> None:
    """curl -d names a form; a page can send plain text without a preflight."""
    body = json.dumps({"prompt": "Hi", "max_tokens": 1})
    headers = bearer() | ({"content-type": kind} if kind else {})
    url = f"{server.address}/v1/completions"
    assert httpx.post(url, content=body, headers=headers, timeout=60).status_code == 200
    for origin in ("https://evil.example", "null"):
        assert httpx.post(url, content=body, headers=headers | {"origin": origin}).status_code == 403


def test_other_names_may_be_let_in_and_health_can_be_looked_at(server: Server) -> None:
    assert httpx.get(f"{server.address}/v1/models", headers=bearer() | {"host": "proxy.example"}).status_code == 200
    head = httpx.head(f"{server.address}/health")
    assert head.status_code == 200 and head.content == b""


def test_half_of_a_call_that_was_asked_for_is_no_answer(client: openai.OpenAI) -> None:
    text, calls, reason = whole(ask(client, tools=TOOLS, tool_choice="required", max_tokens=3))
    assert (text, calls, reason) == ("", [], "length")


def test_a_prompt_that_is_too_long_is_told_with_the_counts(client: openai.OpenAI) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as refused:
            ask(client, messages=[{"role": "user", "content": "a b c " * 2000}], stream=stream)
        assert refused.value.code == "context_length_exceeded" and str(tiny_models.CONTEXT - 1) in str(refused.value)


def test_pages_of_an_allowed_origin_may_ask(server: Server) -> None:
    asking = {"origin": "https://page.example", "access-control-request-method": "POST"}
    preflight = httpx.options(f"{server.address}/v1/models", headers=asking)
    assert preflight.status_code == 204
    answer = httpx.get(f"{server.address}/v1/models", headers=bearer() | {"origin": "https://page.example"})
    assert answer.headers["access-control-allow-origin"] == "https://page.example"


def test_tokens_are_counted(server: Server) -> None:
    text = server.post("/tokenize", {"prompt": "The quick <|im_end|>"}, headers=bearer()).json()
    assert text["count"] == len(text["tokens"]) > 5 and text["max_model_len"] == tiny_models.CONTEXT
    assert server.post("/tokenize", {"messages": HI}, headers=bearer()).json()["count"] > 10


def test_fifty_clients_at_once_are_all_answered_as_if_they_were_alone(server: Server, client: openai.OpenAI) -> None:
    def text(number: int) -> str:
        return str(
            ask(client, max_tokens=12, messages=[{"role": "user", "content": f"{number % 5} 12 345"}]).choices[0]
        )

    alone = [text(number) for number in range(5)]
    with ThreadPoolExecutor(50) as pool:
        assert list(pool.map(text, range(50))) == alone * 10


def endless(**fields: Any) -> dict[str, Any]:
    """A request whose answer takes the whole context: no token that ends it can be chosen."""
    schema = {"type": "array", "items": {"type": "integer"}, "minItems": 100_000}
    form = {"type": "json_schema", "json_schema": {"schema": schema}}
    return {"model": "tiny", "messages": HI, "max_tokens": LONG, "response_format": form, **fields}


def opened(server: Server, body: dict[str, Any]) -> socket.socket:
    """A raw connection, with the request sent and nothing read."""
    host, _, port = server.address.removeprefix("http://").rpartition(":")
    data = json.dumps(body).encode()
    made = socket.create_connection((host, int(port)))
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {KEY}\r\n"
    made.sendall(f"{head}Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
    return made


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_whose_client_has_left_ends_at_once(server: Server, stream: bool) -> None:
    before = len(server.ended())
    connection = opened(server, endless(stream=stream))
    if stream:
        assert connection.recv(20).startswith(b"HTTP/1.1 200")
    else:
        wait_until(lambda: server.running() == 1)
    connection.close()
    # An answer of another test may be told of late; ours is the one that was left.
    wait_until(lambda: any(one["end"] == "cancelled" for one in server.ended()[before:]))
    last = next(one for one in server.ended()[before:] if one["end"] == "cancelled")
    assert last["new_tokens"] < LONG - 100


def test_a_slow_reader_holds_up_nobody_and_gets_all_of_it(server: Server, client: openai.OpenAI) -> None:
    with opened(server, endless(stream=True, max_tokens=200)) as slow:
        before = len(server.ended())
        assert ask(client, max_tokens=5).usage.completion_tokens == 5
        wait_until(lambda: len(server.ended()) >= before + 2, 20)  # its job has ended, though nothing was read
        data = b""
        while b"[DONE]" not in data:
            data += slow.recv(512)
    assert data.count(b"data: ") > 50


def test_no_key_and_no_word_of_a_request_is_told(server: Server) -> None:
    logged = (server.home / "logs" / "workbench.log").read_text("utf-8")
    told = json.dumps(server.told) + logged
    assert server.address in logged, "what the log would say of a bug can be read somewhere"
    assert server.ended() and KEY not in told and "rainbow" not in told


def test_no_request_of_the_documents_making_is_our_fault(server: Server) -> None:
    """60 of them; benchmarks/serving_fuzz.py makes 5,000."""
    statuses = fuzz(server.address, 60, KEY)
    assert statuses[200] and statuses[400]


def test_qwen_agent_calls_a_tool_in_both_its_ways(server: Server, qwen_tiktoken: Path, tmp_path: Path) -> None:
    """A real Assistant with a tool of its own: by the API's tools, and by the prompt it writes itself."""
    folder = qwen_vocabulary.unpacked(qwen_tiktoken.parent)
    command = [sys.executable, str(ROOT / "tests" / "helpers" / "qwen_agent_client.py"), str(folder)]
    result = subprocess.run(
        [*command, f"{server.address}/v1", KEY], capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    for line in map(json.loads, result.stdout.splitlines()):
        call = next(message["function_call"] for message in line["messages"] if message.get("function_call"))
        city = json.loads(call["arguments"])["city"]
        assert call["name"] == "weather" and city in ("Rome", "Paris")
        told = [message["content"] for message in line["messages"] if message["role"] == "function"]
        assert told == [f"Sunny in {city}."], line["way"]
        assert line["messages"][-1]["role"] == "assistant", "the server took the result and went on"
    assert result.stdout.count('"way"') == 2
