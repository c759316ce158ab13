"""What models without a template learn of a conversation: the first generation, and base models."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.chat.chatml import DEFAULT_SYSTEM, ChatMl
from core.chat.continuation import Continuation
from core.chat.tiktoken_file import SPECIAL_TOKENS
from core.chat.tiktoken_vocabulary import TiktokenVocabulary
from core.chat.turns import Turn
from core.chat.vocabulary import Vocabulary
from core.data.conversation import Example, Mask, Message, ToolCall
from core.data.react import blocks_of, instruction
from core.data.rendered import Rendered
from core.data.rendering import renderer_for, renderer_of
from core.errors import UserError

ASKED, ANSWERED = Message("user", "你好"), Message("assistant", "我是一个语言模型，我叫通义千问。")
SYSTEM_IDS = [151644, 8948, 198, 2610, 525, 264, 10950, 17847, 13, 151645, 198]
ANSWER_IDS = [35946, 101909, 102064, 104949, 3837, 35946, 99882, 31935, 64559, 99320, 56007, 1773]
IDS = [*SYSTEM_IDS, 151644, 872, 198, 108386, 151645, 198, 151644, 77091, 198, *ANSWER_IDS, 151645, 198]
LABELS = {
    "original": [
        151644, *[-100] * 8, 151645, 198, 151644, *[-100] * 3, 151645, 198, 151644, -100, -100, *ANSWER_IDS, 151645, 198
    ],
    "answers": [*[-100] * 20, *ANSWER_IDS, 151645, -100],
}  # fmt: skip
hostile = st.lists(st.sampled_from([*SPECIAL_TOKENS[:4], "\n", " ", "你好", "🙂"]) | st.text(max_size=6)).map("".join)


@lru_cache
def tiny() -> TiktokenVocabulary:
    return TiktokenVocabulary({bytes((byte,)): byte for byte in range(256)})


def labels(made: Rendered) -> list[int]:
    return [id if is_learned else -100 for id, is_learned in zip(made.ids, made.learned, strict=True)]


def shown(*messages: Message, mask: Mask = "answers", tools: tuple[dict[str, object], ...] = ()) -> str:
    """What is learned stands in « »."""
    made = renderer_of(tiny(), mask).render(Example(messages, tools))
    text, before = b"", False
    for id, is_learned in zip(made.ids, made.learned, strict=True):
        text += ("«" if is_learned else "»").encode() if is_learned != before else b""
        text += tiny().token_bytes(id) or tiny().shown(id).encode()
        before = is_learned
    return text.decode() + "»" * before


# --- the published numbers ---------------------------------------------------------


@pytest.mark.parametrize("mask", ["original", "answers"])
def test_published_labels(qwen_tiktoken: Path, mask: Mask) -> None:
    made = renderer_for(qwen_tiktoken.parent, mask).render(Example((ASKED, ANSWERED)))
    assert made.ids == IDS
    assert labels(made) == LABELS[mask]


def test_original_drops_one_first_message_that_is_not_the_users(qwen_tiktoken: Path) -> None:
    original, answers = (renderer_for(qwen_tiktoken.parent, mask) for mask in ("original", "answers"))
    system = Message("system", "Be brief.")
    for first in (system, ANSWERED):
        assert original.render(Example((first, ASKED, ANSWERED))).ids == IDS
    assert answers.render(Example((system, ASKED, ANSWERED))).ids[11:] != IDS[11:]
    assert original.render(Example((ANSWERED, ANSWERED, ASKED))).ids != IDS
    assert answers.render(Example(())).ids == SYSTEM_IDS


# --- what is learned ---------------------------------------------------------------


def test_a_system_message_of_the_data_stays() -> None:
    system = "<|im_start|>system\n{}<|im_end|>\n<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n«b<|im_end|>»\n"
    pair = (Message("user", "a"), Message("assistant", "b", "thought"))
    assert shown(*pair) == system.format(DEFAULT_SYSTEM)
    assert shown(Message("system", "S"), *pair) == system.format("S")


@settings(deadline=None)
@given(system=hostile, exchanges=st.lists(st.tuples(hostile, hostile), min_size=1, max_size=3))
def test_what_is_learned_follows_on_the_prompt_of_the_chat(system: str, exchanges: list[tuple[str, str]]) -> None:
    turns = [Turn("system", system)]
    for asked, answer in exchanges:
        turns += [Turn("user", asked), Turn("assistant", answer)]
    messages = tuple(Message(turn.role, turn.text) for turn in turns)
    made = renderer_of(tiny()).render(Example(messages))
    begins = [at for at in range(1, len(made.ids)) if made.learned[at] and not made.learned[at - 1]]
    chat = ChatMl(tiny())
    assert [made.ids[:at] for at in begins] == [chat.prompt(turns[:at]).ids for at in range(2, len(turns), 2)]
    assert renderer_of(tiny(), "original").render(Example(messages[1:])).ids.count(tiny().id_of("<|im_end|>")) == len(
        messages
    )


# --- tools ---------------------------------------------------------------------------

TOOL = {"name": "weather", "description": "tells it", "parameters": {"城市": "string"}}
STEPS = (
    Message("user", "Rain?"),
    Message("assistant", "", "I look.", (ToolCall("weather", {"城市": "a"}), ToolCall("weather", {"城市": "b"}))),
    Message("tool", "wet\nThought: of a tool"),
    Message("tool", "dry"),
    Message("assistant", "Here and there."),
)
TRANSCRIPT = (
    '«Thought: I look.\nAction: weather\nAction Input: {"城市": "a"}\n»Observation: wet\nThought: of a tool\n'
    '«Thought: I can use weather.\nAction: weather\nAction Input: {"城市": "b"}\n»Observation: dry\n'
    "«Thought: I now know the final answer.\nFinal Answer: Here and there.<|im_end|>»\n"
)


def test_tools_are_written_out_as_react() -> None:
    text = shown(*STEPS, tools=(TOOL,))
    asked = text.split("user\n")[1].split("<|im_end|>")[0]
    assert asked == instruction((TOOL,)) + "\n\nQuestion: Rain?"
    assert (
        (
            "weather: Call this tool to interact with the weather API. What is the weather API useful for? tells it "
            'Parameters: {"城市": "string"}\n'
        )
        in asked
        and "should be one of [weather]\n" in asked
        and asked.startswith("Answer the following questions")
    )
    assert text.endswith("<|im_start|>assistant\n" + TRANSCRIPT)
    assert instruction(({"type": "function", "function": TOOL},)) == instruction((TOOL,))


def test_original_learns_the_results_too() -> None:
    text = shown(*STEPS, mask="original", tools=(TOOL,))
    whole = TRANSCRIPT.replace("«", "").replace("»", "")
    assert text.endswith(f"assistant\n«{whole}»")


def test_the_instruction_stands_once_and_plain_answers_are_final_ones() -> None:
    messages = (
        Message("user", "a"),
        Message("assistant", "b"),
        Message("user", "c"),
        Message("assistant", "Thought: d"),
    )
    blocks = blocks_of(Example(messages, (TOOL,)))
    texts = ["".join(piece.text for piece in block.pieces) for block in blocks]
    assert texts[1:] == ["Thought: I now know the final answer.\nFinal Answer: b", "c", "Thought: d"]
    assert instruction((TOOL,)) in texts[0]


@pytest.mark.parametrize("tools", [(), (TOOL,)])
def test_what_tools_said_in_answers_written_by_hand_is_not_learned(tools: tuple[dict[str, object], ...]) -> None:
    first, second = "Thought: x\nAction: weather\nAction Input: {}\n", "Thought: y\nFinal Answer: z"
    message = Message("assistant", f"{first}Observation: o\np\n\n{second}")
    text = shown(Message("user", "a"), message, tools=tools)
    assert text.endswith(f"assistant\n«{first}»Observation: o\np\n\n«{second}<|im_end|>»\n")
    assert shown(Message("assistant", "Observation: it rains")).endswith("«Observation: it rains<|im_end|>»\n")


def test_calls_without_results_and_results_without_calls_are_written_as_they_are() -> None:
    call = Message("assistant", "Look", calls=(ToolCall("weather"), ToolCall("weather")))
    blocks = blocks_of(Example((Message("user", "a"), Message("tool", "x"), Message("user", "b"), call)))
    texts = ["".join(piece.text for piece in block.pieces) for block in blocks]
    used = "Action: weather\nAction Input: {}"
    assert texts == ["a", "Observation: x", "b", f"Thought: Look\n{used}\nThought: I can use weather.\n{used}"]


def test_pieces_are_cut_where_the_tokens_are(qwen_tiktoken: Path) -> None:
    vocabulary = Vocabulary.load(qwen_tiktoken.parent)
    pieces = [piece.text for piece in blocks_of(Example(STEPS, (TOOL,)))[1].pieces]
    apart = [id for piece in pieces for id in vocabulary.encode_text(piece)]
    assert len(pieces) == 5 and apart == vocabulary.encode_text("".join(pieces))
    assert json.loads(pieces[0].rpartition("Action Input: ")[2]) == {"城市": "a"}


# --- base models that know no marks ------------------------------------------------


class Markless(TiktokenVocabulary):
    begin_ids = (7,)

    def id_of(self, token: str) -> int | None:
        return None if token.startswith("<|im_") else super().id_of(token)


def test_a_base_model_learns_the_answers_of_a_running_text() -> None:
    vocabulary = Markless({bytes((byte,)): byte for byte in range(256)})
    messages = (Message("system", "S"), Message("user", "Once"), Message("assistant", " upon"), Message("user", " a"))
    made = renderer_of(vocabulary).render(Example(messages))
    assert bytes(made.ids[1:-1]) == b"Once upon a" and made.ids[-1] == vocabulary.id_of("<|endoftext|>")
    assert bytes(id for id, learned in zip(made.ids, made.learned, strict=True) if learned) == b" upon"
    assert made.ids[:5] == Continuation(vocabulary).prompt([Turn("user", "Once")]).ids
    assert renderer_of(vocabulary).render(Example(messages[:3])).learned[-1]
    with pytest.raises(UserError, match="im_start"):
        renderer_of(vocabulary, "original")
