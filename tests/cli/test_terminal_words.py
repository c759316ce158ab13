"""What a line means, what a setting may be, what reaches the terminal: without one."""

from __future__ import annotations

import random

import pytest
from rich.cells import cell_len

from app.cli.terminal import commands, conf
from app.cli.terminal.commands import Command, Slip, read
from app.cli.terminal.conf import Conf
from app.cli.terminal.text import harmless, wrapped
from core.chat.turns import GREEDY, Sampling
from core.errors import UserError
from core.translation import say

START = Conf(Sampling())


@pytest.mark.parametrize(
    ("line", "name", "argument"),
    [
        (":help", "help", ""), (":h", "help", ""), (":exit", "exit", ""), (":quit", "exit", ""), (":q", "exit", ""),
        (":clear", "clear", ""), (":cl", "clear", ""), (":clear-history", "clear-history", ""),
        (":clh", "clear-history", ""), (":clear-his", "clear-history", ""), (":history", "history", ""),
        (":his", "history", ""), (":seed", "seed", ""), (":seed 7", "seed", "7"), (":conf", "conf", ""),
        (":conf top_p=0.9 top_k=3", "conf", "top_p=0.9 top_k=3"), (":reset-conf", "reset-conf", ""),
        (":system Be  brief. ", "system", "Be  brief."), (":HELP ", "help", ""), ("：help", "help", ""),
        (":seed 7\n", "seed", "7"), (":help\r\n", "help", ""),
    ],
)  # fmt: skip
def test_commands_and_their_short_forms(line: str, name: commands.Name, argument: str) -> None:
    assert read(line) == Command(name, argument)


@pytest.mark.parametrize(
    "line", [" :help", ":-) hello", ": help", ":help\nme\n", ":r/x", "a :help", ":xyz", ":help\nme", "10:30", "::"]
)
def test_other_text_with_a_colon_goes_to_the_model(line: str) -> None:
    assert read(line) == line


@pytest.mark.parametrize(("line", "near"), [(":hlep", ":help"), (":exti", ":exit"), (":historry", ":history")])
def test_a_slip_is_told_with_the_nearest_command(line: str, near: str) -> None:
    assert read(line) == Slip(say("terminal.near", word=line, near=near))
    assert read(f"{near} all of it") == Slip(say("terminal.takes_nothing", command=near))


@pytest.mark.parametrize(
    ("line", "near"), [(":seed=5", ":seed 5"), (":conf?", ":conf"), (":q!", ":exit"), (":", ":help"), ("：", ":help")]
)
def test_a_command_with_a_sign_is_asked_about(line: str, near: str) -> None:
    assert read(line) == Slip(say("terminal.near", word=line, near=near))


def test_what_can_be_completed() -> None:
    assert [text for text, _ in commands.completions(":cl")] == [":clear", ":clear-history"]
    assert commands.completions(":conf top_") == [("top_p=", 4), ("top_k=", 4)]
    assert commands.completions(":conf top_p=1 se") == [("seed=", 2)]
    assert commands.completions("how are you :") == [] and commands.completions(":conf top_p=") == []


def set_(text: str, now: Conf = START) -> Conf:
    return conf.changed(now, [(key, value or "") for key, value in conf.items(text)], START)


def test_settings_are_read_as_literals() -> None:
    now = set_('top_p=0.5 top_k = 3 stop=["END", "two words"] seed=9 thinking=false max_new_tokens=7')
    assert now == Conf(Sampling(top_p=0.5, top_k=3, stop=("END", "two words"), seed=9, max_new_tokens=7), False)
    assert set_("stop='a b' seed=None thinking=None", now).sampling.stop == ("a b",)
    assert set_("stop=END").sampling.stop == ("END",) and set_("stop=None", now).sampling.stop == ()
    assert [conf.shown(now, key) for key in ("stop", "top_p", "thinking")] == ["['END', 'two words']", "0.5", "False"]
    for key in conf.KEYS:  # what is shown can be typed again
        assert conf.changed(now, [(key, conf.shown(now, key).replace(" ", ""))], START).sampling.seed == 9


def test_lists_may_hold_what_ends_them() -> None:
    assert set_("""stop=["a]b", 'c"] d'] top_k=3""").sampling == Sampling(stop=("a]b", 'c"] d'), top_k=3)
    assert set_('stop=["a\\"]"]').sampling.stop == ('a"]',)


def test_what_is_written_otherwise_is_told_how() -> None:
    for text, told in (("top_p 0.9", "top_p=0.9"), ("top_p=", "top_p=0.8"), ("TOP_P=0.9", "top_p?"), ("=5", "top_p,")):
        with pytest.raises(UserError) as caught:
            set_(text)
        assert told in str(caught.value)
    assert conf.items("top_p top_k temprature") == [("top_p", None), ("top_k", None), ("temprature", None)]


def test_do_sample_is_a_temperature_above_zero() -> None:
    cold = set_("do_sample=False")
    assert cold.sampling.temperature == 0 and conf.shown(cold, "do_sample") == "False"
    assert set_("do_sample=True", cold) == START and set_("do_sample=True") == START
    assert conf.changed(Conf(GREEDY), [("do_sample", "True")], Conf(GREEDY)).sampling.temperature == 0.7


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("top_p=1.5", "conf_number"), ("top_p=warm", "conf_number"), ("temperature=-1", "conf_number"),
        ("temperature=1e999", "conf_number"), ("temperature=True", "conf_number"), ("top_k=2.5", "conf_whole"),
        ("max_new_tokens=0", "conf_whole"), ("seed=-1", "conf_whole_or_none"), ("top_p=", "conf_no_value"),
        ("=5", "conf_no_key"), ("top_p 1", "conf_equals"),
        ("do_sample=1", "conf_switch"), ("thinking=maybe", "conf_switch_or_none"), ("stop=[1]", "conf_texts_or_none"),
        ("temprature=1", "conf_key_near"), ("x=1", "conf_key_unknown"), ("top_k=__import__('os')", "conf_whole"),
        ("top_k=" + "(" * 5000, "conf_whole"), ("top_k=5 top_p=9", "conf_number"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_is_told(text: str, code: str) -> None:
    with pytest.raises(UserError) as caught:
        set_(text)
    assert caught.value.code == code and str(caught.value)


def test_nothing_reaches_the_terminal_as_a_command() -> None:
    evil = "\x1b]0;title\x07 \x1b[2J \x9b31m \x7f \x00 \u202egnp.exe\u202c \u2066x\u2069 a\rb \ud83d"
    shown = harmless(evil)
    assert not [c for c in shown if ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or c in "\u202e\u202c\u2066\u2069\ud83d"]
    assert shown.startswith("␛]0;title␇ ␛[2J \ufffd31m")
    plain = "Ünïcödé, 中文, 👩‍💻\nlines"
    assert harmless(plain) == plain and harmless("a\r\n\tb") == "a\n    b"


def test_lines_are_broken_within_chinese_but_not_before_a_closing_mark() -> None:
    assert wrapped("Hello 世界，你好。again", 12) == ["Hello 世界，", "你好。again"]
    assert wrapped("中文中文中。文", 10) == ["中文中文", "中。文"]
    assert wrapped("a f(x) abcdefghijkl", 7) == ["a f(x)", "abcdefg", "hijkl"]
    assert wrapped("中 ab", -3) == ["中", "ab"]
    pieces = ["word ", "a", " ", "，", "。", "（", "世", "界", "(", ")", "\n", "👩‍💻", "…", "longer-than-that"]
    dice = random.Random(1)
    for _ in range(300):
        text = "".join(dice.choice(pieces) for _ in range(40))
        lines = wrapped(text, 9)
        assert "".join("".join(lines).split()) == "".join(text.split()) and max(map(cell_len, lines)) <= 9
