"""Which way the conversations of a training are rendered for a model folder.

Invariant: it is the way in which the trained model will be asked, so what it has learned follows on the prompts of
`core.chat`.
"""

from __future__ import annotations

from pathlib import Path

from core.chat.tiktoken_file import END_OF_TEXT, IM_END, IM_START
from core.chat.vocabulary import Vocabulary
from core.data.chatml_rendering import ChatMlRenderer
from core.data.conversation import Mask
from core.data.plain_rendering import PlainRenderer
from core.data.rendered import Rendered, Renderer
from core.data.template_rendering import TemplateRenderer

__all__ = ["Rendered", "Renderer", "renderer_for", "renderer_of"]


def renderer_for(folder: Path, mask: Mask = "answers") -> Renderer:
    """By the model's own chat template; without one in ChatML, base models too, where the vocabulary has its marks (in
    the first generation always); else as plain text.

    Raises:
        UserError: mask_needs_chatml, and as Vocabulary.load.
    """
    return renderer_of(Vocabulary.load(folder), mask)


def renderer_of(vocabulary: Vocabulary, mask: Mask = "answers") -> Renderer:
    """
    Raises:
        UserError: mask_needs_chatml.
    """
    if vocabulary.template:
        return TemplateRenderer(vocabulary, mask)
    if all(vocabulary.id_of(token) is not None for token in (IM_START, IM_END, END_OF_TEXT)):
        return ChatMlRenderer(vocabulary, mask)
    return PlainRenderer(vocabulary, mask)
