"""The questions that people ask again and again, with their answers in both languages, and where each can be seen.

Invariant: resources/questions.json is the only place of these texts; every question has a topic, both languages, and a
place that the window knows (or none).
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Literal

import msgspec
from msgspec import Struct

from core.paths import resources
from core.translation import Language

Place = Literal[
    "", "load", "models", "finetune", "inspector", "context", "tokenizer", "server", "machine", "preferences"
]


class Words(Struct, frozen=True, forbid_unknown_fields=True):
    en: str
    zh: str

    def __getitem__(self, language: Language) -> str:
        return self.zh if language == "zh" else self.en


class Topic(Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    title: Words


class Question(Struct, frozen=True, forbid_unknown_fields=True):
    """place: where the answer can be seen or changed."""

    id: str
    topic: str
    place: Place
    question: Words
    answer: Words


class Catalogue(Struct, frozen=True, forbid_unknown_fields=True):
    topics: tuple[Topic, ...]
    questions: tuple[Question, ...]


@lru_cache(maxsize=1)
def catalogue() -> Catalogue:
    """All of them, in the order they are shown."""
    return msgspec.json.decode((resources() / "questions.json").read_bytes(), type=Catalogue)


OF_ERRORS = {
    "lfs_pointer": "lfs_pointer",
    "shard_missing": "incomplete",
    "weights_missing": "incomplete",
    "weights_incomplete": "incomplete",
    "tokenizer_missing": "incomplete",
    "vocabulary_missing": "incomplete",
    "tokenizer_unreadable": "incomplete",
    "safetensors_truncated": "incomplete",
    "files_damaged": "incomplete",
    "architecture_unknown": "remote_code",
    "weights_precision": "quantised",
    "quantisation_method": "quantised",
    "quantisation_missing": "incomplete",
    "extension_not_tiktoken": "extend_vocabulary",
    "message_too_long": "long_input",
    "prompt_too_long": "long_input",
    "context_full": "long_input",
    "memory_too_small": "memory",
    "memory_card_too_small": "memory",
    "out_of_memory": "memory",
    "hub_unreachable": "hub_reach",
    "hub_slow": "hub_reach",
    "hub_busy": "hub_reach",
    "hub_untrusted": "hub_reach",
    "hub_unreadable": "hub_reach",
    "download_interrupted": "hub_reach",
    "hub_gated": "hub_terms",
    "hub_token_refused": "hub_terms",
    "hub_only_pickle": "pickles",
    "worker_killed": "memory",
    "training_memory": "training_memory",
    "training_diverged": "loss_out_of_hand",
    "full_of_quantised": "int4_training",
    "merge_quantised": "merge_int4",
    "merge_quantised_known": "merge_int4",
    "run_interrupted": "after_crash",
    "served_model_kept": "served_model",
    "served_model_not_reloaded": "served_model",
    "served_model_unloaded": "served_model",
}
MEMORY = frozenset(code for code, question in OF_ERRORS.items() if question == "memory")


def of_error(code: str) -> str:
    """The question that an error raises, "" where there is none."""
    return OF_ERRORS.get(code, "")


def search(words: str, language: Language) -> list[Question]:
    """The questions that hold every word, in the question or the answer; all of them without words. Case, width and
    accents do not matter."""
    wanted = _plain(words).split()
    return [one for one in catalogue().questions if all(word in _haystack(one.id, language) for word in wanted)]


@lru_cache(maxsize=256)
def _haystack(question_id: str, language: Language) -> str:
    found = next(one for one in catalogue().questions if one.id == question_id)
    return _plain(f"{found.question[language]} {found.answer[language]}")


def _plain(text: str) -> str:
    folded = unicodedata.normalize("NFKD", text.casefold())
    return "".join(sign for sign in folded if not unicodedata.combining(sign))
