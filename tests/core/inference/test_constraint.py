"""Replies of a random model that have to be JSON, and what discourages tokens."""

from __future__ import annotations

import json

import pytest
import torch

from core.chat.turns import GREEDY, Sampling
from core.chat.vocabulary import Vocabulary
from core.errors import UserError
from core.inference.choice import choose
from core.inference.constraint import Constraint, GrammarTokens
from core.inference.engine import Engine, NewToken
from core.inference.sampling import Sampler
from core.serving import grammars
from tests.helpers import tiny_models, tiny_qwen_v1

SCHEMA = {
    "type": "object",
    "properties": {"kind": {"enum": ["warm", "cold"]}, "sure": {"type": "boolean"}},
    "required": ["kind", "sure"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module", params=["json", "tiktoken"])
def vocabulary(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    folder = tmp_path_factory.mktemp(request.param)
    (tiny_models if request.param == "json" else tiny_qwen_v1).write_tokenizer(folder)
    return Vocabulary.load(folder)


def end_id(vocabulary: Vocabulary) -> int:
    found = vocabulary.id_of("<|im_end|>")
    assert found is not None
    return found


def test_a_random_model_writes_what_the_schema_asks_for(vocabulary: Vocabulary) -> None:
    tokens, end = GrammarTokens(vocabulary, end_id(vocabulary)), end_id(vocabulary)
    engine = Engine(choose(tiny_models.model("qwen3"), 256, is_exact=True), 256, rows=vocabulary.size)
    for sampling in (GREEDY, Sampling(temperature=1.5, seed=3)):
        constraint = Constraint(tokens.matcher(grammars.of_schema(SCHEMA)))
        steps = engine.generate(vocabulary.encode_text("Hi"), sampling, stop_ids=(end,), constraint=constraint)
        ids = [step.id for step in steps if isinstance(step, NewToken)]
        found = json.loads(vocabulary.decode(ids))
        assert found["kind"] in ("warm", "cold") and isinstance(found["sure"], bool)


def test_the_grammar_may_begin_after_the_thinking(vocabulary: Vocabulary) -> None:
    closes = vocabulary.id_of("</think>") or vocabulary.id_of("<|extra_0|>")
    assert closes is not None
    matcher = GrammarTokens(vocabulary, end_id(vocabulary)).matcher(grammars.of_schema(SCHEMA))
    constraint = Constraint(matcher, starts_after=closes)
    scores = torch.zeros(vocabulary.size)
    assert constraint.allowed(scores) is scores
    constraint.take(vocabulary.encode_text("x")[0])
    constraint.take(closes)
    allowed = torch.isfinite(constraint.allowed(scores)).nonzero().flatten().tolist()
    assert allowed and {vocabulary.token_bytes(id)[:1] for id in allowed} <= {b"{", b"\n", b" "}


def test_a_schema_that_is_none_is_refused(vocabulary: Vocabulary) -> None:
    with pytest.raises(UserError) as refused:
        GrammarTokens(vocabulary, 0).matcher(grammars.of_schema({"type": "nothing"}))
    assert refused.value.code == "grammar_refused"


def test_a_call_as_react_writes_it(vocabulary: Vocabulary) -> None:
    matcher = GrammarTokens(vocabulary, end_id(vocabulary)).matcher(grammars.of_react_call({'say "it"': SCHEMA}))
    text = ' say "it"\nAction Input: {"kind": "warm", "sure": true}'
    for id in vocabulary.encode_text(text):
        assert matcher.consume_token(id), matcher.get_error()
    assert matcher.is_accepting()


def test_penalties_count_the_replys_own_tokens_only() -> None:
    logits = torch.tensor([2.0, 1.9, 0.0])
    sampler = Sampler(Sampling(temperature=0, top_p=1, top_k=0, repetition_penalty=1, frequency_penalty=0.2), [0, 0])
    assert [sampler.pick(logits) for _ in range(3)] == [0, 1, 0]
    present = Sampler(Sampling(temperature=0, top_p=1, top_k=0, repetition_penalty=1, presence_penalty=0.2), [0])
    assert [present.pick(logits) for _ in range(4)] == [0, 1, 0, 0]


def test_min_p_cuts_what_is_far_less_likely_than_the_likeliest() -> None:
    sampling = Sampling(temperature=1, top_p=1, top_k=0, repetition_penalty=1, min_p=0.5, seed=1)
    sampler = Sampler(sampling, [])
    assert {sampler.pick(torch.tensor([1.0, 0.9, -1.0])) for _ in range(200)} == {0, 1}
