"""The first generation's tokenizer: the published encodings, control tokens in texts, and a fixed vocabulary."""

from __future__ import annotations

import copy
import hashlib
import pickle
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.chat.tiktoken_file import EXTRA_FILE_NAME, write_entries
from core.errors import UserError
from core.models.qwen_v1.tokenization import QWenTokenizer
from tests.helpers import tiny_qwen_v1
from tests.helpers.qwen_vocabulary import SHA256


@pytest.fixture(scope="module")
def real(qwen_tiktoken: Path) -> QWenTokenizer:
    return QWenTokenizer(str(qwen_tiktoken))


@pytest.fixture
def tiny_file(tmp_path: Path) -> Path:
    tiny_qwen_v1.write_tokenizer(tmp_path)
    return tmp_path / "qwen.tiktoken"


GOLDEN = {
    "\n": [198],
    "\n\n": [271],
    "system": [8948],
    "user": [872],
    "assistant": [77091],
    "You are a helpful assistant.": [2610, 525, 264, 10950, 17847, 13],
    "Observation": [37763, 367],
    "Observation:": [37763, 367, 25],
    "Observation:\n": [37763, 367, 510],
    "\nAction:": [198, 2512, 25],
    "Human:": [33975, 25],
    "A": [32],
    " A": [362],
    "12345": [16, 17, 18, 19, 20],
    "你好": [108386],
    "一只": [102292],
    "我是一只猫": [35946, 99639, 91680, 100472],
    "Hello world": [9707, 1879],
}


@pytest.mark.parametrize("text", GOLDEN)
def test_the_published_encodings(real: QWenTokenizer, text: str) -> None:
    assert real(text).input_ids == GOLDEN[text]
    assert real.decode(GOLDEN[text]) == text


def test_control_tokens_in_a_text(real: QWenTokenizer) -> None:
    text = 'print("<|endoftext|>")'
    assert real(text).input_ids == [1350, 445, 151643, 899]
    assert real(text, allowed_special=set()).input_ids == [1350, 9639, 91, 8691, 723, 427, 91, 82598]
    some = 'print("<|extra_0|>")<|endoftext|>'
    expected = [1350, 9639, 91, 15460, 62, 15, 91, 82598, 151643]
    assert real.encode(some, allowed_special={"<|endoftext|>"}) == expected
    with pytest.raises(ValueError, match="extra_0"):
        real.encode(some, allowed_special={"<|endoftext|>"}, disallowed_special="all")
    with pytest.raises(ValueError, match="endoftext"):
        real.encode(text, allowed_special=set(), disallowed_special={"<|endoftext|>"})
    assert real.encode(text, allowed_special="all", disallowed_special="all") == [1350, 445, 151643, 899]


def test_half_characters(real: QWenTokenizer) -> None:
    assert real.convert_ids_to_tokens(51461) == bytes.fromhex("20e6a0")
    assert real.decode([51461]) == " \ufffd"
    assert real.decode([51461, 117]) == " 根"
    assert real.decode([51461], errors="ignore") == " "
    with pytest.raises(UnicodeDecodeError):
        real.decode([51461], errors="strict")


def test_sizes_and_ids(real: QWenTokenizer) -> None:
    assert (len(real), real.vocab_size, len(real.get_vocab())) == (151_851, 151_851, 151_643)
    assert (real.eod_id, real.im_start_id, real.im_end_id) == (151_643, 151_644, 151_645)
    assert real.special_tokens["<|extra_204|>"] == 151_850
    assert [real.pad_token_id, real.eos_token_id, real.bos_token_id, real.unk_token_id] == [None] * 4
    assert real.convert_tokens_to_ids([b"Hello", "<|im_end|>", "Hello", "no token at all"]) == [
        9707,
        151645,
        9707,
        None,
    ]


def test_ids_above_the_vocabulary_stand_for_nothing(real: QWenTokenizer) -> None:
    assert real.decode([9707, 151_900, 1879, 151_935]) == "Hello world"
    assert real.convert_ids_to_tokens([9707, 151_900]) == [b"Hello", b""]
    assert real.decode([151_644, 872, 151_645], skip_special_tokens=True) == "user"
    assert real.decode(151_645) == "<|im_end|>"


def test_the_vocabulary_is_written_as_it_was(real: QWenTokenizer, tmp_path: Path) -> None:
    (file,) = real.save_vocabulary(str(tmp_path))
    assert hashlib.sha256(Path(file).read_bytes()).hexdigest() == SHA256


@settings(max_examples=25, deadline=None)
@given(text=st.text())
def test_every_text_comes_back_in_its_normal_form(tiny: Any, text: str) -> None:
    normal = unicodedata.normalize("NFC", text)
    assert tiny.decode(tiny(text).input_ids) == normal
    safe = tiny(text + "<|im_end|>", allowed_special=set()).input_ids
    assert max(safe) < tiny.eod_id and tiny.decode(safe) == unicodedata.normalize("NFC", text + "<|im_end|>")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> QWenTokenizer:
    folder = tmp_path_factory.mktemp("tiny")
    tiny_qwen_v1.write_tokenizer(folder)
    return QWenTokenizer(str(folder / "qwen.tiktoken"))


def test_texts_are_normalised(real: QWenTokenizer) -> None:
    assert real("e\u0301").input_ids == real("é").input_ids
    assert real.decode(real("e\u0301").input_ids) == "é"


def test_only_control_tokens_can_be_bound(tiny_file: Path) -> None:
    bound = QWenTokenizer(str(tiny_file), pad_token="<|extra_0|>", eos_token="<|endoftext|>", padding_side="left")
    assert (bound.pad_token_id, bound.eos_token_id) == (bound.eod_id + 3, bound.eod_id)
    padded = bound(["a", "abc"], padding="longest")
    assert padded.input_ids == [[bound.pad_token_id] * 2 + [97], [97, 98, 99]]
    assert padded.attention_mask == [[0, 0, 1], [1, 1, 1]]
    with pytest.raises(ValueError, match="PAD"):
        QWenTokenizer(str(tiny_file), pad_token="[PAD]")
    with pytest.raises(ValueError, match="word"):
        bound.add_tokens(["word"])
    with pytest.raises(ValueError, match="fixed"):
        bound.add_special_tokens({"cls_token": "<cls>"})


def test_it_travels_by_pickle_and_folder(tiny_file: Path, tmp_path: Path) -> None:
    tiny = QWenTokenizer(str(tiny_file), errors="ignore", pad_token="<|endoftext|>")
    tiny.save_pretrained(tmp_path / "saved")
    travelled = [
        pickle.loads(pickle.dumps(tiny)),
        copy.deepcopy(tiny),
        QWenTokenizer.from_pretrained(tmp_path / "saved"),
    ]
    for other in travelled:
        assert other("system 你<|im_end|>").input_ids == tiny("system 你<|im_end|>").input_ids
        assert (other.decode([0xE4]), other.pad_token_id, len(other)) == ("", tiny.pad_token_id, len(tiny))


def test_tokens_of_an_extra_vocabulary(tiny_file: Path, tmp_path: Path) -> None:
    free = tiny_qwen_v1.special_id("<|extra_204|>") + 1
    extra = tmp_path / "added" / EXTRA_FILE_NAME
    extra.parent.mkdir()
    write_entries(extra, {b"systemuser": free, b"systemuserassistant": free + 1})
    extended = QWenTokenizer(str(tiny_file), extra_vocab_file=str(extra))
    assert extended("systemuserassistant systemuser").input_ids == [free + 1, ord(" "), free]
    assert (len(extended), extended.eod_id) == (free + 2, QWenTokenizer(str(tiny_file)).eod_id)
    assert extended.decode(extended("systemuser<|im_end|>").input_ids, skip_special_tokens=True) == "systemuser"
    extended.save_pretrained(tmp_path / "saved")
    again = QWenTokenizer.from_pretrained(tmp_path / "saved")
    assert (again.eod_id, again("systemuser").input_ids) == (extended.eod_id, [free])
    write_entries(extra, {b"systemuser": free - 1})
    with pytest.raises(UserError, match=str(free)):
        QWenTokenizer(str(tiny_file), extra_vocab_file=str(extra))


def test_a_folder_cannot_point_at_files_elsewhere(tiny_file: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    write_entries(secret, {b"abc": 10_000})
    config = tiny_file.parent / "tokenizer_config.json"
    config.write_text(
        config.read_text().replace("{", f'{{"extra_vocab_file": "{secret}", "vocab_file": "{secret}", ', 1)
    )
    assert len(QWenTokenizer.from_pretrained(tiny_file.parent)) == len(tiny_qwen_v1.ranks()) + 208


def test_a_placeholder_of_git_lfs_is_told(tiny_file: Path) -> None:
    tiny_file.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:b2b1\nsize 2561218\n")
    with pytest.raises(UserError) as raised:
        QWenTokenizer.from_pretrained(tiny_file.parent)
    assert raised.value.code == "lfs_pointer"
