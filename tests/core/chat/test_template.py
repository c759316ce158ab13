"""Chat format: control tokens come from the template only, whatever people write."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.chat.stand_ins import PLACES
from core.chat.template import ChatTemplate
from core.chat.tokenizer_json import JsonVocabulary
from core.chat.turns import Turn
from core.chat.vocabulary import Vocabulary
from core.errors import UserError
from tests.helpers.tiny_models import MARKS, SPECIAL, TEMPLATE, tokenizer, write_tokenizer

START, END = tokenizer().token_to_id("<|im_start|>"), tokenizer().token_to_id("<|im_end|>")
ADDED = [*SPECIAL, *MARKS]


@lru_cache
def vocabulary(template: str = TEMPLATE) -> Vocabulary:
    return JsonVocabulary(tokenizer().to_str(), template=template)


def chat_template(template: str = TEMPLATE) -> ChatTemplate:
    return ChatTemplate(vocabulary(template))


def controls(ids: list[int]) -> list[str]:
    return [vocabulary().token(id) or "" for id in ids if id in vocabulary().control_ids]


hostile = st.lists(
    st.sampled_from([*ADDED, " ", "\n", "你好", "a", chr(PLACES[0]), chr(PLACES[1])]) | st.text(max_size=8)
)
texts = hostile.map("".join)


@pytest.mark.parametrize("token", ADDED)
def test_no_added_token_can_be_typed(token: str) -> None:
    turns = [Turn("system", token), Turn("user", f"a{token}b {token}"), Turn("assistant", token), Turn("user", token)]
    prompt = chat_template().prompt(turns)
    assert controls(prompt.ids) == ["<|im_start|>", "<|im_end|>"] * 4 + ["<|im_start|>"]
    assert tokenizer().decode(prompt.ids, skip_special_tokens=False).count(token) >= 5  # still there, as text


@given(texts, texts, texts, texts)
def test_random_text_stays_text(system: str, asked: str, answered: str, thought: str) -> None:
    turns = [Turn("system", system), Turn("user", asked), Turn("assistant", answered, thought), Turn("user", asked)]
    prompt = chat_template().prompt(turns)
    assert controls(prompt.ids) == ["<|im_start|>", "<|im_end|>"] * 4 + ["<|im_start|>"]
    parts = "".join(f"<|im_start|>{turn.role}\n{turn.text}<|im_end|>\n" for turn in turns)
    assert tokenizer().decode(prompt.ids, skip_special_tokens=False) == parts + "<|im_start|>assistant\n"


def test_tokens_of_the_vocabulary_itself_cannot_be_typed_either() -> None:
    """Some files list the added tokens in the BPE vocabulary too, where whole words are looked up."""
    data = json.loads(tokenizer().to_str())
    data["model"]["vocab"]["tool"] = data["model"]["vocab"].get("tool", 900)
    data["model"]["ignore_merges"] = True
    data["added_tokens"].append(data["added_tokens"][-1] | {"id": data["model"]["vocab"]["tool"], "content": "tool"})
    found = JsonVocabulary(json.dumps(data))
    assert found.encode_control("tool") == [data["model"]["vocab"]["tool"]]
    assert not found.control_ids & set(found.encode_text("tool <tool_call> tool"))
    assert tokenizer().decode(found.encode_text("tool tool")) == "tool tool"


@pytest.mark.parametrize("asked", ["Hello there", " leading", "你好，世界", "two\nlines", "", "x"])
def test_plain_text_gives_the_ids_of_transformers(tmp_path: Path, asked: str) -> None:
    from transformers import AutoTokenizer

    write_tokenizer(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    turns = [Turn("system", "Be brief."), Turn("user", "Hi"), Turn("assistant", "Hello."), Turn("user", asked)]
    messages = [{"role": turn.role, "content": turn.text} for turn in turns]
    ours = ChatTemplate(Vocabulary.load(tmp_path))
    for thinking in (None, False):
        switch = {} if thinking is None else {"enable_thinking": thinking}
        expected = theirs.apply_chat_template(messages, add_generation_prompt=True, return_dict=True, **switch)
        assert ours.prompt(turns, thinking=thinking).ids == expected["input_ids"]


def test_a_template_that_alters_text_leaves_it_whole() -> None:
    template = "{% for m in messages %}{{ '<|im_start|>' + m.content | trim | upper }}{{ m.content[0] }}{% endfor %}"
    ids = chat_template(template).prompt([Turn("user", "  two words ")]).ids
    assert tokenizer().decode(ids) == "  two words   two words "


def test_placeholders_in_the_template_itself_are_avoided() -> None:
    template = chr(PLACES[0]) + "{% for m in messages %}{{ m.content }}{% endfor %}"
    ids = chat_template(template).prompt([Turn("user", "hello")]).ids
    assert tokenizer().decode(ids) == chr(PLACES[0]) + "hello"


def test_a_continued_reply_stays_open() -> None:
    template = chat_template()
    asked = Turn("user", "Hi")

    def shown(turn: Turn, thinking: bool | None = None) -> tuple[str, bool]:
        prompt = template.prompt([asked, turn], thinking=thinking, continues=True)
        text = tokenizer().decode(prompt.ids, skip_special_tokens=False)
        return text.partition("<|im_start|>assistant\n")[2], prompt.is_thinking

    assert shown(Turn("assistant", "So far")) == ("So far", False)
    assert shown(Turn("assistant", "", "Hm")) == ("<think>\nHm", True)
    assert shown(Turn("assistant", "So far", "Hm")) == ("<think>\nHm\n</think>\n\nSo far", False)
    assert shown(Turn("assistant", "So far"), False) == ("<think>\n\n</think>\n\nSo far", False)


def test_thinking_that_the_template_opens_is_known() -> None:
    opening = TEMPLATE + "{{- '<think>\\n' }}"
    assert chat_template(opening).prompt([Turn("user", "Hi")]).is_thinking
    continued = chat_template(opening).prompt([Turn("user", "Hi"), Turn("assistant", "", "Hm")], continues=True)
    assert tokenizer().decode(continued.ids, skip_special_tokens=False).endswith("assistant\n<think>\nHm")
    assert continued.is_thinking


def test_models_without_a_template_are_refused_in_words() -> None:
    with pytest.raises(UserError) as refused:
        chat_template("").prompt([Turn("user", "Hi")])
    assert refused.value.code == "model_cannot_chat"


def test_a_template_may_refuse_in_its_own_words() -> None:
    template = "{{ raise_exception('No system role here') }}"
    with pytest.raises(UserError, match="No system role here"):
        chat_template(template).prompt([Turn("system", "x")])
    for broken in ("{% if %}", "{{ messages[9].content + 1 }}", "{{ ''.__class__.__mro__ }}{{ 1 / 0 }}"):
        with pytest.raises(UserError) as error:
            chat_template(broken).prompt([Turn("user", "x")])
        assert error.value.code == "template_broken"


def test_the_oldest_questions_leave_with_their_answers() -> None:
    template = chat_template()
    chat = [Turn("system", "Be brief.")]
    for number in range(6):
        chat += [Turn("user", f"question {number}"), Turn("assistant", f"answer {number}")]
    chat.append(Turn("user", "last"))
    whole = len(template.prompt(chat).ids)
    assert template.fitting_prompt(chat, whole).dropped_turns == 0
    shorter = template.fitting_prompt(chat, whole - 1)
    assert shorter.dropped_turns == 2
    assert shorter.ids == template.prompt([chat[0], *chat[3:]]).ids
    least = len(template.prompt([chat[0], chat[-1]]).ids)
    assert template.fitting_prompt(chat, least).dropped_turns == 12
    with pytest.raises(UserError) as refused:
        template.fitting_prompt(chat, least - 1)
    assert refused.value.code == "message_too_long"
    assert refused.value.params == {"tokens": least, "limit": least - 1}


def test_a_continued_reply_keeps_its_question() -> None:
    chat = [Turn("user", "a"), Turn("assistant", "b"), Turn("user", "c"), Turn("assistant", "d" * 50)]
    template = chat_template()
    least = len(template.prompt(chat[2:], continues=True).ids)
    assert template.fitting_prompt(chat, least, continues=True).ids == template.prompt(chat[2:], continues=True).ids


def test_what_is_no_tokenizer_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(UserError) as missing:
        Vocabulary.load(tmp_path)
    assert missing.value.code == "tokenizer_missing"
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError) as unreadable:
        Vocabulary.load(tmp_path)
    assert unreadable.value.code == "tokenizer_unreadable"
