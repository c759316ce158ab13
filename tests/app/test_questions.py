"""The questions and answers: whole in both languages, findable, and every error that points to one finds it."""

from __future__ import annotations

import re

from app.services import questions
from core.translation import LANGUAGES, catalogue

HAN = re.compile(r"[一-鿿]")


def test_every_question_has_a_topic_and_both_languages() -> None:
    known = questions.catalogue()
    topics = {topic.id for topic in known.topics}
    ids = [one.id for one in known.questions]
    assert len(ids) == len(set(ids)) and {one.topic for one in known.questions} == topics
    for one in known.questions:
        assert HAN.search(one.question.zh) and HAN.search(one.answer.zh), one.id
        assert not HAN.search(one.question.en + one.answer.en), one.id
        assert one.answer.en.endswith(".") and one.answer.zh.endswith("。"), one.id


def test_every_place_has_the_words_of_its_button() -> None:
    for language in LANGUAGES:
        places = {one.place for one in questions.catalogue().questions} - {""}
        assert {f"help.go_{place}" for place in places} <= set(catalogue(language))


def test_every_error_that_points_to_a_question_is_an_error_and_finds_it() -> None:
    ids = {one.id for one in questions.catalogue().questions}
    for code, question in questions.OF_ERRORS.items():
        assert f"error.{code}" in catalogue("en") and question in ids
    assert questions.of_error("no_such_error") == ""


def test_search_finds_words_in_any_order_case_and_language() -> None:
    assert [one.id for one in questions.search("LFS git", "en")] == ["lfs_pointer"]
    assert "lfs_pointer" in [one.id for one in questions.search("占位", "zh")]
    assert "kv_int8" in [one.id for one in questions.search("int8 kv 缓存", "zh")]
    assert questions.search("", "en") == list(questions.catalogue().questions)
    assert questions.search("zzz", "en") == []
