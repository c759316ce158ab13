"""How turns become what a model reads: one interface, and which of its kinds a model folder asks for.

Invariant: every model has a format; one that knows no conversations writes texts on.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Protocol

from core.chat.chatml import DEFAULT_WINDOW, ChatMl
from core.chat.continuation import Continuation
from core.chat.folder_json import read_object
from core.chat.template import ChatTemplate
from core.chat.tiktoken_file import IM_END
from core.chat.turns import Turn
from core.chat.vocabulary import Vocabulary
from core.chat.window import Prompt


class ChatFormat(Protocol):
    """stop_ids: tokens that end a reply, beside those that the model's configs name."""

    @property
    def can_chat(self) -> bool: ...

    @property
    def can_think(self) -> bool: ...

    @property
    def stop_ids(self) -> frozenset[int]: ...

    def prompt(self, turns: Sequence[Turn], *, thinking: bool | None = None, continues: bool = False) -> Prompt:
        """The ids that ask for the next reply, or for more of the last turn when it `continues`.

        Raises:
            UserError: what a template may say, see ChatTemplate.
        """
        ...

    def fitting_prompt(
        self, turns: Sequence[Turn], limit: int, *, thinking: bool | None = None, continues: bool = False
    ) -> Prompt:
        """The prompt of at most `limit` tokens: the oldest questions go, each with its answer, the system turn stays.

        Raises:
            UserError: message_too_long when even the last question does not fit; else as `prompt`.
        """
        ...


def chat_format(folder: Path, vocabulary: Vocabulary) -> ChatFormat:
    """
    Raises:
        UserError: tokenizer_unreadable for a broken generation_config.json.
    """
    if vocabulary.template:
        return ChatTemplate(vocabulary)
    generation = read_object(folder / "generation_config.json")
    if vocabulary.id_of(IM_END) is not None and _is_chatml(folder, generation.get("chat_format")):
        window = generation.get("max_window_size")
        return ChatMl(vocabulary, window if isinstance(window, int) and window > 0 else DEFAULT_WINDOW)
    return Continuation(vocabulary)


def taught_format(folder: Path, vocabulary: Vocabulary) -> ChatFormat:
    """How to talk to a base model with the adapter of `folder`, whose training may have taught it to chat.

    Raises:
        UserError: tokenizer_unreadable.
    """
    from core.chat.template_file import read_template
    from core.chat.tiktoken_vocabulary import TiktokenVocabulary  # their libraries are there already

    template, named = read_template(folder)
    if template:
        taught = copy(vocabulary)
        taught.template, taught.named = template, named or vocabulary.named
        return ChatTemplate(taught)
    said = read_object(folder / "generation_config.json").get("chat_format")
    # The fine-tuning script of the first generation taught no other format, and said so nowhere.
    is_chatml = said == "chatml" or (said is None and isinstance(vocabulary, TiktokenVocabulary))
    return ChatMl(vocabulary) if is_chatml and vocabulary.id_of(IM_END) is not None else Continuation(vocabulary)


def is_chat_folder(folder: Path) -> bool:
    """Whether a folder of the first generation, which has no template, holds a chat model.

    Raises:
        UserError: as chat_format.
    """
    return _is_chatml(folder, read_object(folder / "generation_config.json").get("chat_format"))


def _is_chatml(folder: Path, said: object) -> bool:
    """What generation_config.json says; merged and copied folders often lack it, and then their name counts."""
    return said == "chatml" if isinstance(said, str) else "chat" in folder.name.lower()
