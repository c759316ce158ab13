"""What each family learns of a conversation."""

from __future__ import annotations

import json
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.chat.stand_ins import StandIns, message_of
from core.chat.template import ChatTemplate, render_chat
from core.chat.tokenizer_json import JsonVocabulary
from core.chat.turns import Turn
from core.chat.vocabulary import Vocabulary
from core.data.conversation import Example, Mask, Message, Role, ToolCall
from core.data.rendering import Renderer, renderer_for, renderer_of
from core.errors import UserError
from tests.helpers import chat_templates
from tests.helpers.tiny_families import TINY
from tests.helpers.tiny_models import MARKS, SPECIAL, tokenizer, write_tokenizer

OWN = {name: value for name, value in vars(chat_templates).items() if name.isupper() and not name.startswith("_")}
TEMPLATES = {name: tiny.template for name, tiny in TINY.items() if tiny.template} | OWN
LEARNED, IGNORED = "«", "»"


@lru_cache
def vocabulary(template: str) -> Vocabulary:
    return JsonVocabulary(tokenizer().to_str(), template=template, named={"eos_token": "<|im_end|>"})


@lru_cache
def renderer(template: str, mask: Mask = "answers") -> Renderer:
    return renderer_of(vocabulary(template), mask)


def said(role: Role, text: str, thinking: str = "", **more: Any) -> Message:
    return Message(role, text, thinking, **more)


def shown(template: str, *messages: Message, mask: Mask = "answers", tools: tuple[dict[str, Any], ...] = ()) -> str:
    """The rendered text, what is learned of it in « »."""
    made = renderer(template, mask).render(Example(messages, tools))
    return marked(vocabulary(template), made.ids, made.learned)


def marked(vocabulary: Vocabulary, ids: list[int], learned: list[bool]) -> str:
    assert len(ids) == len(learned)
    text, run, before = "", [], False
    for id, is_learned in [*zip(ids, learned, strict=True), (None, False)]:
        if is_learned != before or id is None:
            whole = whole_text(vocabulary, run)
            text += f"{LEARNED}{whole}{IGNORED}" if before else whole
            run, before = [], is_learned
        if id is not None:
            run.append(id)
    return text


def whole_text(vocabulary: Vocabulary, ids: list[int]) -> str:
    found = b"".join(
        (vocabulary.token(id) or "").encode() if id in vocabulary.control_ids else vocabulary.token_bytes(id)
        for id in ids
    )
    return found.decode()


HI, HELLO = said("user", "Hi"), said("assistant", "Hello.")
MORE, DONE = said("user", "More"), said("assistant", "Done.", "Hm")
USER = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
HEAD, NEXT = USER.format("Hi"), "\n" + USER.format("More")

GOLDEN = {
    "SECOND": f"<|im_start|>system\nYou are Qwen.<|im_end|>\n{HEAD}«Hello.<|im_end|>»{NEXT}«Done.<|im_end|>»\n",
    "THIRD": f"{HEAD}«Hello.<|im_end|>»{NEXT}«<think>\nHm\n</think>\n\nDone.<|im_end|>»\n",
    "THINKING": f"{HEAD}«Hello.<|im_end|>»{NEXT}<think>\n«Hm\n</think>\n\nDone.<|im_end|>»\n",
    "OPEN": f"{HEAD}«Hello.<|im_end|>»{NEXT}<think>\n«Hm\n</think>\n\nDone.<|im_end|>»\n",
    "ASKED": f"{HEAD}«Hello.<|im_end|>»{NEXT}<think>\n«Hm\n</think>\n\nDone.<|im_end|>»\n",
    "MARKED": f"{HEAD}«Hello.<|im_end|>»{NEXT}«Done.<|im_end|>»\n",
    "STRICT": "[INST] Hi [/INST]« Hello.<|endoftext|>»[INST] More [/INST]« Done.<|endoftext|>»",
    "qwen1_5": f"<|im_start|>system\nBe helpful.<|im_end|>\n{HEAD}«Hello.<|im_end|>»{NEXT}«Done.<|im_end|>»\n",
    "qwen3": f"{HEAD}«Hello.<|im_end|>»{NEXT}«<think>\nHm\n</think>\n\nDone.<|im_end|>»\n",
    "qwen3_next": f"<|im_start|>system\nBe helpful.<|im_end|>\n{HEAD}«Hello.<|im_end|>»{NEXT}«Done.<|im_end|>»\n",
}  # fmt: skip


@pytest.mark.parametrize("name", GOLDEN)
def test_answers_are_learned_as_rendered(name: str) -> None:
    assert shown(TEMPLATES[name], HI, HELLO, MORE, DONE) == GOLDEN[name]


@pytest.mark.parametrize("name", TEMPLATES)
def test_each_answer_of_a_family_is_learned_with_its_end_and_nothing_else(name: str) -> None:
    parts = shown(TEMPLATES[name], said("system", "Be brief."), HI, HELLO, MORE, DONE).split(LEARNED)[1:]
    learned = [part.split(IGNORED)[0] for part in parts]
    assert len(learned) == 2
    for part, answer in zip(learned, ("Hello.", "Done."), strict=True):
        assert part.endswith((f"{answer}<|im_end|>", f"{answer}<|endoftext|>")) and "user" not in part


@pytest.mark.parametrize("name", ["THIRD", "THINKING", "OPEN", "ASKED"])
def test_an_empty_thinking_is_no_answer(name: str) -> None:
    assert shown(TEMPLATES[name], HI, HELLO) == f"{HEAD}<think>\n\n</think>\n\n«Hello.<|im_end|>»\n"


hostile = st.lists(
    st.sampled_from([*SPECIAL, *MARKS, " ", "\n", "你好", "🙂", "a", "\U000f0000", "\U00100000", "\ufdd0", '"'])
    | st.text(max_size=6)
).map("".join)
answered = st.tuples(hostile, hostile, hostile | st.just(""))


@settings(deadline=None, max_examples=20)
@pytest.mark.parametrize("name", TEMPLATES)
@given(system=hostile, exchanges=st.lists(answered, min_size=1, max_size=3))
def test_what_is_learned_follows_on_the_prompt_of_the_chat(
    name: str, system: str, exchanges: list[tuple[str, str, str]]
) -> None:
    """For some way of asking: to think, not to think, or neither."""
    turns = [Turn("system", system)] if system else []
    for asked, answer, thinking in exchanges:
        turns += [Turn("user", asked), Turn("assistant", answer, thinking)]
    made = renderer(TEMPLATES[name]).render(Example(tuple(Message(t.role, t.text, t.thinking) for t in turns)))
    begins = [at for at in range(len(made.ids)) if made.learned[at] and not (at and made.learned[at - 1])]
    answers = [at for at, turn in enumerate(turns) if turn.role == "assistant"]
    assert len(begins) == len(answers)
    chat = ChatTemplate(vocabulary(TEMPLATES[name]))
    for begin, at in zip(begins, answers, strict=True):
        prompts = [chat.prompt(turns[:at], thinking=thinking).ids for thinking in (None, False, True)]
        if name in NOT_AS_ASKED or (name in DROPS and at != answers[-1]):
            prompts = [ids[: ids.index(think)] if (think := THINK) in ids else ids for ids in prompts]
        if name == "THINKING" and not turns[at].thinking:
            continue
        assert made.ids[:begin] in prompts
    assert made.ids == in_one_piece(TEMPLATES[name], turns)


THINK = tokenizer().token_to_id("<think>")
# Open the thinking in the prompt and do not write it in the conversation; drop it from the turns before the last.
NOT_AS_ASKED = {"qwen3_next", "qwen3_5", "qwen3_5_moe", "qwen4_exp"}
DROPS = {"THINKING", "OPEN", "ASKED"}


def controls(ids: list[int]) -> list[int]:
    return [id for id in ids if id in vocabulary("").control_ids]


def in_one_piece(template: str, turns: list[Turn]) -> list[int]:
    """The whole conversation as the template writes it; no text can become a control token."""
    texts, known = StandIns(template), vocabulary(template)
    messages = [message_of(turn.role, turn.text, turn.thinking, texts) for turn in turns]
    ids: list[int] = []
    for part, text in texts.split(render_chat(known, messages, asks=False)):
        assert not known.control_ids & set(known.encode_text(text))
        ids += [*known.encode_control(part), *known.encode_text(text)]
    return ids


def test_an_answer_that_nobody_asked_for_is_learned_from_its_first_word() -> None:
    assert shown(TEMPLATES["THIRD"], HELLO, HI, DONE).startswith("<|im_start|>assistant\n«Hello.<|im_end|>»\n")


def test_what_a_template_refuses_is_refused() -> None:
    with pytest.raises(UserError, match="Roles must alternate"):
        renderer(TEMPLATES["STRICT"]).render(Example((HI, MORE)))


# --- tools ---------------------------------------------------------------------

WEATHER = {"name": "weather", "description": "tells it", "parameters": {"type": "object"}}
CALL = ToolCall("weather", {"city": "北京", "days": 2})
STEPS = (said("user", "Rain?"), said("assistant", "", calls=(CALL,)), said("tool", "wet"), said("assistant", "Yes."))


def test_calls_are_learned_and_results_are_not() -> None:
    text = shown(TEMPLATES["SECOND"], *STEPS, tools=(WEATHER,))
    described = json.dumps({"type": "function", "function": WEATHER})
    assert f"<tools>\n{described}\n</tools>" in text
    assert (
        '«<tool_call>\n{"name": "weather", "arguments": {"city": "北京", "days": 2}}\n</tool_call><|im_end|>»' in text
    )
    assert text.endswith(
        "»\n<|im_start|>user\n<tool_response>\nwet\n</tool_response><|im_end|>\n<|im_start|>assistant\n"
        "«Yes.<|im_end|>»\n"
    )


def test_thinking_around_calls_stays_after_the_last_question() -> None:
    steps = (STEPS[0], said("assistant", "Look.", "Hm", calls=(CALL,)), *STEPS[2:])
    text = shown(TEMPLATES["OPEN"], *steps, tools=(WEATHER,))
    assert (
        "assistant\n<think>\n«Hm\n</think>\n\nLook.\n\n<tool_call>\n<function=weather>\n<parameter=city>\n北京\n"
        "</parameter>\n<parameter=days>\n2\n</parameter>\n</function>\n</tool_call><|im_end|>»\n"
    ) in text
    assert text.endswith("assistant\n<think>\n\n</think>\n\n«Yes.<|im_end|>»\n")


@pytest.mark.parametrize("name", ["SECOND", "THIRD", "OPEN"])
def test_nothing_in_tools_becomes_a_control_token(name: str) -> None:
    evil = 'a"<|im_end|>\\'
    call = ToolCall(evil, {evil: evil, "list": [evil, 1, None]})
    tool = {"name": evil, "description": evil, "parameters": {evil: [evil]}}
    steps = (STEPS[0], said("assistant", evil, calls=(call,)), said("tool", evil, name=evil), STEPS[3])
    made = renderer(TEMPLATES[name]).render(Example(steps, (tool,)))
    tame = (STEPS[0], said("assistant", "a", calls=(ToolCall("a", {"a": "a", "list": ["a", 1, None]}),)), *STEPS[2:])
    other = renderer(TEMPLATES[name]).render(Example(tame, ({"name": "a", "description": "a"},)))
    assert controls(made.ids) == controls(other.ids)
    if name == "SECOND":
        text = whole_text(vocabulary(TEMPLATES[name]), made.ids)
        assert json.loads(text.split("<tools>\n")[1].split("\n</tools>")[0])["function"] == tool
        assert json.dumps(call.arguments) in text


def test_a_template_without_tools_refuses_them() -> None:
    for example in (Example((HI,), (WEATHER,)), Example(STEPS)):
        with pytest.raises(UserError) as refused:
            renderer(TEMPLATES["qwen2"]).render(example)
        assert refused.value.code == "template_without_tools" and "tools" in str(refused.value)


# --- the mask as published -----------------------------------------------------


@pytest.mark.parametrize("name", ["SECOND", "THIRD", "OPEN", "qwen2", "qwen3", "MARKED"])
def test_original_learns_the_marks_of_all_turns(name: str) -> None:
    text = shown(TEMPLATES[name], said("system", "S"), HI, HELLO, mask="original")
    thought = "<think>\n\n</think>\n\n" if name in ("THIRD", "OPEN") else ""
    mark, end = "«<|im_start|>»", "«<|im_end|>\n»"
    assert (
        text.replace("»«", "")
        == (
            f"{mark}system\nS«<|im_end|>\n<|im_start|>»user\nHi«<|im_end|>\n<|im_start|>»assistant\n"
            f"«{thought}Hello.<|im_end|>\n»"
        )
        and end in text + end
    )


def test_original_asks_for_the_marks_of_chatml() -> None:
    for template in (TEMPLATES["STRICT"], "{{ '<|im_start|>' }}{% for m in messages %}{{ m.content }}{% endfor %}"):
        with pytest.raises(UserError) as refused:
            renderer_of(vocabulary(template), "original").render(Example((HI,)))
        assert refused.value.code == "mask_needs_chatml"


# --- which way, and how fast -----------------------------------------------------


def test_the_folder_says_which_way(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, TEMPLATES["SECOND"])
    assert renderer_for(tmp_path).render(Example((HI, HELLO))) == renderer(TEMPLATES["SECOND"]).render(
        Example((HI, HELLO))
    )
    write_tokenizer(tmp_path, None)  # a base model: taught ChatML
    assert shown("", HI, HELLO) == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n" + HEAD + "«Hello.<|im_end|>»\n"
    )
    assert renderer_for(tmp_path, "original").mask == "original"


def test_ten_thousand_conversations_take_no_time() -> None:
    made, start = renderer_of(vocabulary(TEMPLATES["THIRD"])), time.process_time()
    for number in range(10_000):
        made.render(Example((said("system", "Be brief."), said("user", f"question {number}"), HELLO, MORE, DONE)))
    assert time.process_time() - start < 15


def test_a_long_conversation_is_worked_out_in_time() -> None:
    start = time.process_time()
    made = renderer(TEMPLATES["THIRD"]).render(Example((HI, HELLO) * 100))
    assert time.process_time() - start < 5 and sum(made.learned) > 100
