"""What `models pull` does before a byte comes: whose model it is, from where, in which order."""

from __future__ import annotations

from typing import Any

import pytest

from app.cli import pull
from app.services.discovery import Look, Offer
from app.services.installed import Wanted
from core.errors import UserError
from core.hub.needed_files import Needed
from core.hub.repository import RepoFile, Repository
from core.hub.speed import Speed
from core.sources import Source

FACE, SCOPE = Source("huggingface", "Qwen/Qwen3-4B"), Source("modelscope", "Qwen/Qwen3-4B")


class Hubs:
    """ModelScope is the faster one."""

    asked = 0

    async def speeds(self, look: Look) -> tuple[Speed, ...]:
        self.asked += 1
        return Speed(SCOPE, 40e6), Speed(FACE, 3e6)


def look(size: int) -> Look:
    file = RepoFile("model.safetensors", size)
    repository = Repository(FACE, "c" * 40, (file,))
    return Look(Offer("Qwen3-4B", (FACE, SCOPE)), repository, Needed("safetensors", (file,), (file.path,), (), ()))


@pytest.mark.loops("asyncio")
@pytest.mark.parametrize(
    "sources, size, first, asked",
    [((FACE, SCOPE), 8_000_000_000, SCOPE, 1), ((FACE, SCOPE), 1_000_000, FACE, 0), ((FACE,), 8_000_000_000, FACE, 0)],
)
async def test_the_faster_of_two_hubs_comes_first_where_it_is_worth_two_seconds(
    sources: tuple[Source, ...], size: int, first: Source, asked: int, capsys: pytest.CaptureFixture[str]
) -> None:
    hubs: Any = Hubs()
    ordered = await pull._from_the_faster(hubs, look(size), Wanted("Qwen3-4B", sources))
    assert ordered.sources[0] == first and set(ordered.sources) == set(sources)
    assert hubs.asked == asked and capsys.readouterr().out == ""


def test_a_name_is_one_of_the_catalogue_or_a_repository() -> None:
    assert pull.offer_of("qwen3-0.6b", None, "").name == "Qwen3-0.6B"
    pinned = pull.offer_of("Qwen-7B-Chat", "modelscope", "v1.0.5").sources
    assert pinned == (Source("modelscope", "qwen/Qwen-7B-Chat", "v1.0.5"),)
    assert pull.offer_of("https://huggingface.co/someone/mine/tree/dev", None, "").sources == (
        Source("huggingface", "someone/mine", "dev"),
    )
    for name, place, code in (("no-such-model", None, "not_in_catalogue"), ("hf:a/b", "modelscope", "not_on_hub")):
        with pytest.raises(UserError) as told:
            pull.offer_of(name, place, "")  # type: ignore[arg-type]
        assert told.value.code == code and str(told.value)
