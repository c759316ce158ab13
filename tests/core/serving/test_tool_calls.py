"""Calls of tools out of replies: however the text is cut, and whatever is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.serving.react_calls import ReactCalls
from core.serving.replies import Telling, joined, message_of
from core.serving.tool_calls import Called, CallReader, Found, Said, TagCalls

WEATHER = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
TOOLS = {"weather": WEATHER, "time": None}
ONE = '<tool_call>\n{"name": "weather", "arguments": {"city": "波士顿"}}\n</tool_call>'
TWO = '<tool_call>\n{"name": "time", "arguments": {}}\n</tool_call>'
XML = (
    "<tool_call>\n<function=weather>\n<parameter=city>\nRome 1\n</parameter>\n"
    "<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>"
)
PARIS = Called("weather", '{"city": "波士顿"}')


def tags() -> CallReader:
    return TagCalls(TOOLS)


def react() -> CallReader:
    return ReactCalls(TOOLS)


def read(reader: CallReader, text: str, cuts: list[int] | None = None) -> list[Found]:
    """What is found, texts that follow each other put together."""
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts or [])})
    found = [one for a, b in pairwise(places) for one in reader.push(text[a:b])]
    made: list[Found] = []
    for one in [*found, *reader.finish()]:
        if made and isinstance(one, Said) and isinstance(made[-1], Said):
            made[-1] = Said(made[-1].text + one.text)
        else:
            made.append(one)
    return made


@pytest.mark.parametrize(
    ("text", "expected", "malformed"),
    [
        ("Hello there.", [Said("Hello there.")], 0),
        (ONE, [PARIS], 0),
        (f"I look it up.\n\n{ONE}\n{TWO}", [Said("I look it up."), PARIS, Called("time", "{}")], 0),
        (XML, [Called("weather", '{"city": "Rome 1", "days": 3}')], 0),
        (ONE.removesuffix("</tool_call>"), [PARIS], 0),
        ('<tool_call>{"name": "weather", "arguments": "{\\"city\\": \\"波士顿\\"}"}</tool_call>', [PARIS], 0),
        ("<tool_call>\n{oops}\n</tool_call>", [Said("<tool_call>\n{oops}\n</tool_call>")], 1),
        ('<tool_call>{"name": "sing"}</tool_call>', [Said('<tool_call>{"name": "sing"}</tool_call>')], 1),
        ("<tool_call>[1]</tool_call>" + ONE, [Said("<tool_call>[1]</tool_call>"), PARIS], 1),
        (f"a < b <tool {ONE}", [Said("a < b <tool"), PARIS], 0),
        ("<tool_call>" + "[" * 100_000, [Said("<tool_call>" + "[" * 100_000)], 1),
    ],
)
def test_calls_between_tags(text: str, expected: list[Found], malformed: int) -> None:
    reader = tags()
    assert read(reader, text) == expected and reader.malformed == malformed


@pytest.mark.parametrize(
    ("text", "expected", "malformed"),
    [
        ("It is sunny.", [Said("It is sunny.")], 0),
        ("Thought: I know.\nFinal Answer: 22 C, sunny", [Said("22 C, sunny")], 0),
        ("Final Answer: yes", [Said("yes")], 0),
        (
            'Thought: I look.\nAction: weather\nAction Input: {"city": "波士顿"}\n',
            [Said("I look."), PARIS],
            0,
        ),
        ('Action: weather\nAction Input: {"city": "波士顿"}\nObservation: 22', [PARIS], 0),
        ('I look.\nAction: weather\nAction Input: {"city": "波士顿"}', [Said("I look."), PARIS], 0),
        ("Action: time\nAction Input: ```now()```", [Called("time", "```now()```")], 0),
        ("Action: sing\nAction Input: {}", [Said("Action: sing\nAction Input: {}")], 1),
        ('Action: weather\nAction Input: {"city"', [Said('Action: weather\nAction Input: {"city"')], 1),
        ("Thought: hm\nAction: weather", [Said("Thought: hm\nAction: weather")], 1),
        ("Thought: hm", [Said("Thought: hm")], 0),
    ],
)
def test_calls_as_react(text: str, expected: list[Found], malformed: int) -> None:
    reader = react()
    found = read(reader, text)
    if found and isinstance(found[0], Said):
        found[0] = Said(found[0].text.removesuffix("\n") if len(found) > 1 else found[0].text)
    assert found == expected and reader.malformed == malformed


def test_what_the_prompt_has_begun_is_no_thought_of_the_model() -> None:
    reader = ReactCalls(TOOLS, "Thought: I have to use a tool.\nAction: weather\nAction Input:")
    assert read(reader, ' {"city": "波士顿"}\n') == [PARIS]
    spoilt = ReactCalls(TOOLS, "Thought: I have to use a tool.\nAction: weather\nAction Input:")
    assert read(spoilt, " {") == [] and spoilt.malformed == 1


words = st.sampled_from(
    ["<tool_call>", "</tool_call>", '{"name": "time", "arguments": {}}', "\n", " ", "Thought:", "\nAction:", " time",
     "\nAction Input: {}", "\nObservation:", "Final Answer:", "好", "<", "x", ONE, XML]
)  # fmt: skip


@pytest.mark.parametrize("make", [tags, react])
@settings(max_examples=150, deadline=None)
@given(parts=st.lists(words, max_size=8), cuts=st.lists(st.integers(0, 400), max_size=12))
def test_a_cut_changes_nothing(make: Callable[[], CallReader], parts: list[str], cuts: list[int]) -> None:
    text = "".join(parts)
    whole, pieces = make(), make()
    assert read(whole, text) == read(pieces, text, cuts)
    assert whole.malformed == pieces.malformed


def test_a_message_is_what_the_stream_said() -> None:
    telling = Telling(tags())
    deltas = telling.text(f"I look.\n{ONE}{TWO}", is_thinking=False) + telling.end("stop")
    message = message_of(joined(deltas))
    assert message["content"] == "I look." and telling.finish_reason == "tool_calls"
    assert [call["function"]["name"] for call in message["tool_calls"]] == ["weather", "time"]
    assert json.loads(message["tool_calls"][0]["function"]["arguments"]) == {"city": "波士顿"}


def test_one_call_is_enough_where_no_more_are_wanted() -> None:
    telling = Telling(tags(), is_legacy=True, has_one_call=True)
    deltas = telling.text(f"{ONE}{TWO}", is_thinking=False)
    assert telling.is_over and message_of(deltas)["function_call"] == {
        "name": "weather", "arguments": '{"city": "波士顿"}',
    }  # fmt: skip
    telling.end("cancelled")
    assert telling.finish_reason == "function_call"
