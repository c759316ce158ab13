"""What a model reads of a conversation where it brings no template: the first generation, and base models."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, processors

from core.chat.chat_format import chat_format
from core.chat.chatml import DEFAULT_SYSTEM, ChatMl
from core.chat.continuation import Continuation
from core.chat.template import ChatTemplate
from core.chat.tiktoken_file import SPECIAL_TOKENS, write_entries
from core.chat.tiktoken_vocabulary import TiktokenVocabulary
from core.chat.tokenizer_json import JsonVocabulary
from core.chat.turns import Turn
from core.chat.vocabulary import Vocabulary
from core.errors import UserError
from tests.helpers.tiny_models import SPECIAL, tokenizer, write_tokenizer

BYTES = {bytes((byte,)): byte for byte in range(256)}
SYSTEM = [151644, 8948, 198, 2610, 525, 264, 10950, 17847, 13, 151645]
HELLO = [198, 151644, 872, 198, 108386, 151645, 198, 151644, 77091, 198]
hostile = st.lists(st.sampled_from([*SPECIAL_TOKENS[:4], "\n", "你好"]) | st.text(max_size=6)).map("".join)


@pytest.fixture(scope="session")
def published(qwen_tiktoken: Path) -> ChatMl:
    return ChatMl(Vocabulary.load(qwen_tiktoken.parent))


@lru_cache
def tiny() -> TiktokenVocabulary:
    return TiktokenVocabulary(BYTES)


def shown(vocabulary: Vocabulary, ids: list[int]) -> str:
    return "".join(map(vocabulary.shown, ids))


# --- ChatML --------------------------------------------------------------------


def test_published_contexts(published: ChatMl) -> None:
    asked = Turn("user", "你好")
    assert published.prompt([asked]).ids == SYSTEM + HELLO
    history = [Turn("user", "Hi"), Turn("assistant", "Hello!")]
    assert published.prompt([*history, asked]).ids == [
        *SYSTEM, 198, 151644, 872, 198, 13048, 151645, 198, 151644, 77091, 198, 9707, 0, 151645, *HELLO
    ]  # fmt: skip
    assert published.prompt([Turn("system", DEFAULT_SYSTEM), asked]).ids == SYSTEM + HELLO
    assert published.stop_ids == {151643, 151644, 151645}


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(hostile, hostile, hostile)
def test_no_text_can_end_a_turn(system: str, asked: str, answered: str) -> None:
    turns = [Turn("system", system), Turn("user", asked), Turn("assistant", answered), Turn("user", asked)]
    ids = ChatMl(tiny()).prompt(turns).ids
    assert [tiny().shown(id) for id in ids if id in tiny().control_ids] == ["<|im_start|>", "<|im_end|>"] * 4 + [
        "<|im_start|>"
    ]


def test_a_reply_that_was_cut_goes_on_where_it_stopped() -> None:
    turns = [Turn("user", "a"), Turn("assistant", "b")]
    ids = ChatMl(tiny()).prompt(turns, continues=True).ids
    assert shown(tiny(), ids).endswith("\n<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb")


def conversation(exchanges: int) -> list[Turn]:
    pairs = ([Turn("user", f"question {n}"), Turn("assistant", "answer " * n)] for n in range(exchanges))
    return [turn for pair in pairs for turn in pair]


def published_rule(turns: list[Turn], window: int) -> list[Turn]:
    """By the published description, one exchange after the other from the newest."""
    vocabulary = tiny()

    def tokens(turn: Turn) -> int:
        return len(vocabulary.encode_text(f"{turn.role}\n{turn.text}")) + 2

    history, asked = turns[:-1], turns[-1]
    kept: list[Turn] = []
    used = tokens(Turn("system", DEFAULT_SYSTEM))
    for start in range(len(history) - 2, -1, -2):
        pair = history[start : start + 2]
        used += sum(1 + tokens(turn) for turn in pair)
        if used >= window:
            break
        kept = pair + kept
    return [*kept, asked]


@pytest.mark.parametrize("window", range(30, 700, 23))
def test_the_window_keeps_what_the_published_one_keeps(window: int) -> None:
    turns = [*conversation(8), Turn("user", "last " * 30)]  # the question itself is never counted
    prompt = ChatMl(tiny(), window).fitting_prompt(turns, 10_000)
    kept = published_rule(turns, window)
    assert prompt.ids == ChatMl(tiny()).prompt(kept).ids
    assert prompt.dropped_turns == len(turns) - len(kept)


def test_the_context_length_binds_too() -> None:
    turns, format = [*conversation(8), Turn("user", "last")], ChatMl(tiny())
    least = len(format.prompt(turns[-1:]).ids)
    for limit in range(least, 700, 31):
        prompt = format.fitting_prompt(turns, limit)
        assert len(prompt.ids) <= limit
        assert prompt.ids == format.prompt(turns[prompt.dropped_turns :]).ids
    with pytest.raises(UserError) as refused:
        format.fitting_prompt(turns, least - 1)
    assert refused.value.code == "message_too_long"


def test_a_continued_reply_keeps_its_question() -> None:
    turns = [*conversation(4), Turn("user", "q"), Turn("assistant", "begun")]
    prompt = ChatMl(tiny(), 30).fitting_prompt(turns, 10_000, continues=True)
    assert prompt.ids == ChatMl(tiny()).prompt(turns[-2:], continues=True).ids


# --- base models -----------------------------------------------------------------

CAPITALS = "蒙古国的首都是乌兰巴托（Ulaanbaatar）\n冰岛的首都是雷克雅未克（Reykjavik）\n埃塞俄比亚的首都是"


def test_a_base_model_reads_the_text_and_nothing_else(published: ChatMl) -> None:
    vocabulary = published._vocabulary
    prompt = Continuation(vocabulary).prompt([Turn("system", "ignored"), Turn("user", CAPITALS)])
    assert prompt.ids == vocabulary.encode_text(CAPITALS) and vocabulary.decode(prompt.ids) == CAPITALS
    assert Continuation(vocabulary).stop_ids == {151643}


def test_the_turns_of_a_base_model_are_one_text() -> None:
    turns = [Turn("user", "Once"), Turn("assistant", " upon a"), Turn("user", " time")]
    prompt = Continuation(tiny()).fitting_prompt(turns, 100)
    assert (tiny().decode(prompt.ids), prompt.stop) == ("Once upon a time", ())
    shorter = Continuation(tiny()).fitting_prompt(turns, 6)
    assert (tiny().decode(shorter.ids), shorter.dropped_turns) == (" time", 2)
    with pytest.raises(UserError, match="too long"):
        Continuation(tiny()).fitting_prompt(turns, 4)


def test_a_dialogue_ends_before_the_next_speaker() -> None:
    assert Continuation(tiny()).prompt([Turn("user", "Human: Hi\nAssistant:")]).stop == ("Human:",)


def test_what_a_tokenizer_begins_texts_with_comes_first() -> None:
    made = Tokenizer.from_str(tokenizer().to_str())
    made.post_processor = processors.TemplateProcessing("<|im_start|> $A", None, [("<|im_start|>", 401)])
    vocabulary = JsonVocabulary(made.to_str())
    assert vocabulary.begin_ids == (401,)
    assert Continuation(vocabulary).prompt([Turn("user", "a")]).ids == [401, *vocabulary.encode_text("a")]
    assert JsonVocabulary(tokenizer().to_str()).begin_ids == ()


# --- which one -------------------------------------------------------------------


def first_generation(folder: Path, generation: dict[str, object] | None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_entries(folder / "qwen.tiktoken", BYTES)
    if generation is not None:
        (folder / "generation_config.json").write_text(json.dumps(generation), "utf-8")
    return folder


@pytest.mark.parametrize(
    ("name", "generation", "kind"),
    [
        ("a", {"chat_format": "chatml"}, ChatMl),
        ("Qwen-7B-Chat", {"chat_format": "raw"}, Continuation),
        ("Qwen-7B", {}, Continuation),
        ("qwen-7b-chat-merged", None, ChatMl),
    ],
)
def test_the_folder_says_which_format(
    tmp_path: Path, name: str, generation: dict[str, object] | None, kind: type
) -> None:
    folder = first_generation(tmp_path / name, generation)
    assert isinstance(chat_format(folder, Vocabulary.load(folder)), kind)


def test_the_window_is_that_of_the_folder(tmp_path: Path) -> None:
    folder = first_generation(tmp_path, {"chat_format": "chatml", "max_window_size": 24000})
    assert chat_format(folder, tiny())._window == 24000  # type: ignore[attr-defined]


def test_later_families_bring_their_template(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    assert isinstance(chat_format(tmp_path, Vocabulary.load(tmp_path)), ChatTemplate)
    write_tokenizer(tmp_path, template=None)
    assert isinstance(chat_format(tmp_path, Vocabulary.load(tmp_path)), Continuation)


# --- early folders of the second generation ------------------------------------------


def early_folder(folder: Path, config: dict[str, object]) -> Path:
    """vocab.json and merges.txt in place of tokenizer.json."""
    model = json.loads(tokenizer().to_str())["model"]
    vocab = {token: id for token, id in model["vocab"].items() if token not in SPECIAL}
    (folder / "vocab.json").write_text(json.dumps(vocab), "utf-8")
    merges = "".join(f"{left} {right}\n" for left, right in model["merges"])
    (folder / "merges.txt").write_text("#version: 0.2\n" + merges, "utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen2"}), "utf-8")
    return folder


@pytest.mark.parametrize("text", ["Hello there 12345", "e\u0301 你好，世界\r\n\n  x", "don't\t<|im_end|>", "", "🙂"])
def test_early_folders_give_the_ids_of_transformers(tmp_path: Path, text: str) -> None:
    from transformers import AutoTokenizer

    added = {
        str(400 + place): {"content": token, "special": True, "normalized": False, "lstrip": False, "rstrip": False,
                           "single_word": False}
        for place, token in enumerate(SPECIAL)
    }  # fmt: skip
    config = {"tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": added, "eos_token": "<|im_end|>"}
    ours = Vocabulary.load(early_folder(tmp_path, config))
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert ours.encode_control(text) == theirs.encode(text)
    assert ours.control_ids == set(range(400, 403)) and not ours.control_ids & set(ours.encode_text(text))
    assert ours.decode(ours.encode_control(text)) == theirs.decode(theirs.encode(text), skip_special_tokens=True)


def test_a_folder_of_another_family_is_not_guessed_at(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="GPT2Tokenizer") as refused:
        Vocabulary.load(early_folder(tmp_path, {"tokenizer_class": "GPT2Tokenizer"}))
    assert refused.value.code == "tokenizer_class_unknown"
    found = Vocabulary.load(early_folder(tmp_path, {}))
    assert found.control_ids == {400}
    (tmp_path / "merges.txt").write_text("a b c\n", "utf-8")
    with pytest.raises(UserError, match=r"merges\.txt"):
        Vocabulary.load(tmp_path)
