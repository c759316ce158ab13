"""What people type or paste becomes the repository they mean."""

from __future__ import annotations

import pytest

from core.hub.naming import sources_in
from core.sources import Access, Source

HF, MS = "huggingface", "modelscope"


@pytest.mark.parametrize(
    ("text", "place", "id", "revision"),
    [
        ("https://huggingface.co/Qwen/Qwen3-8B", HF, "Qwen/Qwen3-8B", ""),
        (" <https://huggingface.co/Qwen/Qwen3-8B/> ", HF, "Qwen/Qwen3-8B", ""),
        ("huggingface.co/Qwen/Qwen3-8B/tree/main", HF, "Qwen/Qwen3-8B", "main"),
        ("https://hf-mirror.com/Qwen/Qwen3-8B/blob/v1.0/config.json", HF, "Qwen/Qwen3-8B", "v1.0"),
        ("https://huggingface.co/Qwen/Qwen3-8B/tree/refs%2Fpr%2F1", HF, "Qwen/Qwen3-8B", "refs/pr/1"),
        ("https://huggingface.co/Qwen/Qwen3-8B/resolve/main/a/b.json?download=true", HF, "Qwen/Qwen3-8B", "main"),
        ("https://huggingface.co/api/models/Qwen/Qwen3-8B", HF, "Qwen/Qwen3-8B", ""),
        ("https://hf.co/gpt2", HF, "gpt2", ""),
        ("https://huggingface.co/gpt2/tree/main", HF, "gpt2", "main"),
        ("https://huggingface.co/Qwen/Qwen3-8B.git", HF, "Qwen/Qwen3-8B", ""),
        ("https://modelscope.cn/models/qwen/Qwen-7B-Chat/summary", MS, "qwen/Qwen-7B-Chat", ""),
        ("https://www.modelscope.cn/models/qwen/Qwen-7B-Chat/files", MS, "qwen/Qwen-7B-Chat", ""),
        ("https://modelscope.cn/models/qwen/Qwen-7B-Chat/file/view/v1.0.5/a.py", MS, "qwen/Qwen-7B-Chat", "v1.0.5"),
        ("https://modelscope.cn/models/qwen/Qwen-7B-Chat/summary?version=v1.0.5", MS, "qwen/Qwen-7B-Chat", "v1.0.5"),
        ("https://www.modelscope.cn/qwen/Qwen-7B-Chat.git", MS, "qwen/Qwen-7B-Chat", ""),
        ("https://modelscope.cn/api/v1/models/qwen/Qwen-7B/repo?Revision=master", MS, "qwen/Qwen-7B", ""),
        ("hf:Qwen/Qwen3-8B@v1.0", HF, "Qwen/Qwen3-8B", "v1.0"),
        ("ms:qwen/Qwen-7B", MS, "qwen/Qwen-7B", ""),
    ],
)
def test_an_address_or_a_marked_id_is_one_repository(text: str, place: str, id: str, revision: str) -> None:
    assert sources_in(text) == (Source(place, id, revision),)  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "revision"), [("Qwen/Qwen3-8B", ""), ("Qwen/Qwen3-8B@v1.0", "v1.0")])
def test_an_id_alone_may_lie_on_either_hub(text: str, revision: str) -> None:
    expected = (Source("huggingface", "Qwen/Qwen3-8B", revision), Source("modelscope", "Qwen/Qwen3-8B", revision))
    assert sources_in(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "qwen 7b", "Qwen3-8B", "a/b/c", "../etc", "Qwen/..", "x:y/z", "/a/b", "https://example.org/Qwen/Qwen3-8B",
        "https://huggingface.co/", "https://huggingface.co/datasets/a/b", "https://huggingface.co/models?search=x",
        "https://huggingface.co/a%2F..%2Fb/c", "https://modelscope.cn/datasets/a/b", "https://modelscope.cn/models/a",
        "https://[bad", "Qwen/Qwen3 8B", "qwen/模型",
    ],
)  # fmt: skip
def test_other_texts_are_words_to_search_for(text: str) -> None:
    assert sources_in(text) == ()


def test_the_user_s_own_endpoints_are_known_as_addresses() -> None:
    mirror = Access("huggingface", "https://models.example.org/hf/")
    found = sources_in("https://models.example.org/hf/Qwen/Qwen3-8B/tree/v1", [mirror])
    assert found == (Source("huggingface", "Qwen/Qwen3-8B", "v1"),)
    assert sources_in("https://models.example.org/Qwen/Qwen3-8B", [mirror]) == ()
