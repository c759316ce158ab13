"""The catalogue that ships."""

from __future__ import annotations

import pytest

from core.errors import UserError
from core.hub import catalogue
from core.hub.catalogue import Entry
from core.models import families
from core.sources import Source
from core.translation import say

HUB = [entry for entry in catalogue.entries() if entry.wheel is None]


def test_the_starter_is_there_with_everything_that_recognises_it() -> None:
    entry = catalogue.find("Starter")
    assert entry.wheel is not None
    assert len(entry.wheel.sha256) == len(entry.wheel.member_sha256) == 64
    assert entry.licence == "apache-2.0" and not entry.needs_consent


def test_an_unknown_name_is_answered_with_a_way_to_find_one() -> None:
    with pytest.raises(UserError, match="models search"):
        catalogue.find("gpt-9")


@pytest.mark.parametrize("entry", HUB, ids=lambda entry: entry.name)
def test_an_entry_is_on_both_hubs_and_says_what_it_is(entry: Entry) -> None:
    assert {source.place for source in entry.sources} == {"huggingface", "modelscope"}
    assert entry.family in families.BY_KEY and say(f"family.{entry.family}")
    assert entry.licence_link.startswith("https://")
    assert entry.needs_consent == (entry.licence != "apache-2.0")
    assert entry.context_length and entry.parameters
    if entry.config is None:
        return
    shape = entry.shape()
    assert shape is not None and shape.parameters == entry.parameters
    assert families.family_of(entry.config).key in (entry.family, *_same_architecture(entry.family))
    assert (shape.quantised is not None) == (entry.weights != "bfloat16")
    assert 0.25 < entry.download_bytes / entry.parameters / 2 <= 1.0


def _same_architecture(family: str) -> set[str]:
    """Families that a config alone does not tell apart: their templates do."""
    types = set(families.BY_KEY[family].model_types)
    return {key for key, other in families.BY_KEY.items() if types & set(other.model_types)}


def test_the_first_generation_has_the_sizes_its_readme_gives() -> None:
    assert catalogue.find("Qwen-7B-Chat").parameters == 7_721_324_544
    assert catalogue.find("Qwen-7B-Chat").download_bytes == 15_442_649_088
    published = catalogue.find("Qwen-7B-Chat-Int4").published
    assert published is not None and (published.memory_2048, published.speed_2048) == (8.21e9, 43.56)


def test_a_search_wants_every_word_in_any_order_and_case() -> None:
    names = {entry.name for entry in catalogue.search("chat 7b QWEN- int4")}
    assert "Qwen-7B-Chat-Int4" in names and "Qwen-7B-Chat" not in names
    assert catalogue.search("no such model") == []
    assert len(catalogue.search("")) == len(catalogue.entries())


def test_a_repository_finds_its_entry_whatever_the_case() -> None:
    found = catalogue.of_source(Source("modelscope", "Qwen/qwen-7b-chat"))
    assert found is not None and found.name == "Qwen-7B-Chat"
    assert catalogue.of_source(Source("huggingface", "someone/else")) is None
