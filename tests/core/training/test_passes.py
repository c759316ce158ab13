"""Packed, padded or alone: the same is learned of a row, in every family."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from core.training import loss, passes, preparing, trial
from core.training.attention import rows_of
from core.training.loss import Head
from core.training.passes import ModelPass, Row
from tests.helpers import tiny_families, tiny_models

HYBRID = ("qwen3_next", "qwen3_5", "qwen3_5_moe", "qwen4_exp")
DEVICE = torch.device("cpu")


def rows(count: int = 3, seed: int = 0, longest: int = 40) -> list[Row]:
    generator = torch.Generator().manual_seed(seed)
    found = []
    for number in range(count):
        length = longest - 9 * number
        ids = torch.randint(0, tiny_models.VOCABULARY - 20, (length,), generator=generator).tolist()
        learned = (torch.rand(length, generator=generator) < 0.6).tolist()
        found.append(Row(ids, learned))
    return found


def reference(model: Any, row: Row) -> Tensor:
    """As everybody writes it: logits of the row alone, labels shifted by one."""
    logits = model(input_ids=torch.tensor([list(row.ids)]), use_cache=False).logits[0, :-1].float()
    labels = torch.tensor([id if learned else -100 for id, learned in zip(row.ids, row.learned, strict=True)])
    return F.cross_entropy(logits, labels[1:], reduction="sum")


def through_head(model: Any, head: Head, work: ModelPass) -> Tensor:
    head.expect(work.places, work.labels)
    try:
        with rows_of(work.lengths):
            loss: Tensor = model(**work.inputs, use_cache=False).logits.sum()
            if loss.requires_grad:
                loss.backward()
            return loss.detach()
    finally:
        head.give_logits()


def gradients(model: Any) -> dict[str, Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    spread = max(float(g.abs().max()) for g in expected.values())
    return found.keys() == expected.keys() and all(
        float((found[name] - expected[name]).abs().max()) <= 2e-4 * spread for name in expected
    )


@pytest.mark.parametrize("name", [name for name in tiny_families.TINY if name not in HYBRID and name != "gemma2"])
def test_packed_rows_learn_what_each_learns_alone(name: str) -> None:
    model: Any = tiny_families.model(name).train()
    some = rows()
    total = sum((reference(model, row) for row in some), torch.zeros(()))
    total.backward()
    expected = gradients(model)
    assert preparing.can_pack(model.eval())
    head = Head(model.train())
    found = through_head(model, head, passes.packed(some, DEVICE))
    assert found.allclose(total.detach(), rtol=1e-4)
    assert close(gradients(model), expected)


@pytest.mark.errors_logged  # transformers says that it has no fast linear attention
@pytest.mark.parametrize("name", [name for name in tiny_families.TINY if name != "gemma2"])
def test_padded_rows_learn_what_each_learns_alone(name: str) -> None:
    model: Any = tiny_families.model(name).train()
    some = rows()
    total = sum((reference(model, row) for row in some), torch.zeros(()))
    total.backward()
    expected = gradients(model)
    head = Head(model)
    found = through_head(model, head, passes.padded(some, 7, DEVICE))
    if "moe" in name or name in ("qwen3_next", "qwen4_exp"):
        assert found.allclose(total.detach(), rtol=1e-3)
    else:
        assert found.allclose(total.detach(), rtol=1e-4) and close(gradients(model), expected)


def test_a_recurrent_state_is_never_packed() -> None:
    for name in HYBRID:
        assert not preparing.can_pack(tiny_families.model(name))


def test_what_a_model_does_to_its_logits_afterwards_is_noticed() -> None:
    model: Any = tiny_families.model("gemma2")
    head = Head(model)
    assert not trial.head_gives_loss(model, head)
    head.release()
    assert model(input_ids=torch.tensor([[1, 2]])).logits.shape == (1, 2, tiny_models.VOCABULARY)


@pytest.mark.parametrize("is_frozen", [True, False])
def test_the_loss_at_the_head_is_the_plain_one(monkeypatch: pytest.MonkeyPatch, is_frozen: bool) -> None:
    """Over several chunks, gradients of the hidden states and of a head that trains included."""
    monkeypatch.setitem(loss.LOGITS_BYTES, "cpu", 100 * 4 * 90)
    torch.manual_seed(0)
    layer = torch.nn.Linear(24, 90, bias=False).requires_grad_(not is_frozen)

    class Model:
        def get_output_embeddings(self) -> torch.nn.Linear:
            return layer

    count = 2 * 230
    hidden = torch.randn(2, count // 2, 24, requires_grad=True)
    places = torch.arange(0, count, 2)
    labels = torch.randint(0, 90, (len(places),))
    plain = F.cross_entropy(layer(hidden).reshape(-1, 90)[places], labels, reduction="sum")
    expected = torch.autograd.grad(plain * 0.5, [hidden, *layer.parameters()][: 1 if is_frozen else 2])
    head = Head(Model())
    head.expect(places, labels)
    found = layer(hidden).sum()
    assert found.allclose(plain, rtol=1e-5)
    got = torch.autograd.grad(found * 0.5, [hidden, *layer.parameters()][: 1 if is_frozen else 2])
    assert all(a.allclose(b, rtol=1e-4, atol=1e-6) for a, b in zip(got, expected, strict=True))
