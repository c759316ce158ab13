"""What the model in training answers to fixed prompts: the sample wall's words.

Invariant: asking changes nothing of the training; the answers are greedy and asked for as those of a chat without
chance, so they differ by what was learned alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from core.chat.chat_format import ChatFormat
from core.chat.turns import Turn
from core.chat.vocabulary import Vocabulary


@torch.no_grad()
def answers(
    model: Any, vocabulary: Vocabulary, chat: ChatFormat, stop_ids: frozenset[int], prompts: Sequence[str], most: int
) -> Iterator[tuple[str, str]]:
    """(prompt, answer); most: tokens of an answer."""
    was_training, config = model.training, model.config
    keeps, config.use_cache = config.use_cache, True
    model.eval()
    try:
        for prompt in prompts:
            ids = chat.prompt((Turn("user", prompt),), thinking=False).ids
            yield prompt, vocabulary.decode(_greedy(model, ids, stop_ids | chat.stop_ids, most, vocabulary.size))
    finally:
        config.use_cache = keeps
        model.train(was_training)


def _greedy(model: Any, ids: list[int], stop_ids: frozenset[int], most: int, rows: int) -> list[int]:
    """rows: ids from here on stand for no token and are never chosen, as in the chat."""
    device = next(model.parameters()).device
    fed, cache, found = torch.tensor([ids], device=device), None, []
    for _ in range(most):
        output = model(input_ids=fed, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache, token = output.past_key_values, int(output.logits[0, -1, :rows].argmax())
        if token in stop_ids:
            break
        found.append(token)
        fed = torch.tensor([[token]], device=device)
    return found
