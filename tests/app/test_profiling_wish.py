"""A table that is being put together: what is usual, what is chosen, and when it is one of the README's."""

from __future__ import annotations

import pytest

from app.services.profiling import named
from app.services.profiling_wish import Wish, numbers, on_the_starter
from core.errors import UserError
from core.profiling import presets
from core.profiling.command import command_of_plan
from core.profiling.plan import Case, Subject, cells_of


def subject(name: str) -> Subject:
    return Subject(name, f"/models/{name}")


def test_what_is_usual_goes_by_the_machine_until_somebody_chooses() -> None:
    wish = Wish()
    wish.settle([], on_card=False)
    assert (wish.models, wish.shapes) == ([], ["starter-shape"])
    wish = Wish()
    wish.settle(["b", "starter"], on_card=False)
    assert wish.models == ["starter"]
    wish = Wish(kind="readme")
    wish.settle(["starter"], on_card=True)
    assert (wish.models, wish.shapes) == ([], list(presets.README_SHAPES))
    wish = Wish(models=["gone"], is_touched=True)
    wish.settle(["starter"], on_card=False)
    assert wish.models == []
    with pytest.raises(UserError) as nothing:
        wish.plan(subject)
    assert nothing.value.code == "profile_empty"


def test_the_plan_is_what_is_chosen() -> None:
    wish = Wish(models=["a"], weights=["bfloat16"], prompts=(1, 8), news=(4,), batches=(1, 2), quality=True)
    plan = wish.plan(subject)
    assert plan.cases == (Case(1, 4), Case(8, 4), Case(1, 4, 2), Case(8, 4, 2)) and plan.quality
    wish = Wish(kind="own", models=["a"], weights=[], methods=["lora"], lengths=(64,), rows=2)
    plan = wish.plan(subject)
    assert [cell.kind for cell in cells_of(plan)] == ["training"]
    assert command_of_plan(plan) == "qwen-workbench profile -m a --train lora --length 64 --accumulate 2 --repeats 3"
    wish.methods = []
    with pytest.raises(UserError):
        wish.plan(subject)


def test_a_table_of_the_readme_is_named_as_one_only_while_it_is() -> None:
    wish = Wish(models=["a"])
    for kind in ("readme", "kv-cache", "training"):
        wish.turn(kind)
        assert wish.plan(subject).preset == kind
    wish.lengths = (32,)
    assert wish.plan(subject).preset == ""


def test_numbers_are_read_as_people_write_them() -> None:
    assert numbers("512, 2048") == (512, 2048) == numbers("512，2048、512")
    assert [numbers(words) for words in ("", "0", "-1", "4.5", "ten", "99999999")] == [None] * 6


def test_a_table_is_named_by_what_it_measures() -> None:
    wish = Wish(models=["a"], weights=["bfloat16", "int4"], prompts=(1, 8), news=(4,))
    assert named(wish.plan(subject)) == "a: BF16, Int4, 1/8 + 4"
    wish = Wish(kind="own", models=["a", "b"], weights=["int8"], kv_caches=["plain", "int8"], methods=["qlora"])
    assert named(wish.plan(subject)) == "a, b: Int8, KV plain, KV int8, 256 + 64, Q-LoRA, 64/128"
    wish.turn("kv-cache")
    assert named(wish.plan(subject)) == "a, b (kv-cache)"


def test_what_the_empty_page_offers_is_small() -> None:
    plan = on_the_starter(subject("starter"))
    assert len(cells_of(plan)) == 3 and plan.repeats == 1
