"""Models that other programs have fetched to this machine are found, broken ones are not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core import paths
from core.hub.local_cache import Cached, cached_models
from core.sources import Source

COMMIT = "c" * 40
FILES = {"config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors": b"weights"}
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
INDEXED = {
    "config.json": b"{}", "qwen.tiktoken": b"x", **dict.fromkeys(SHARDS, b"part"),
    "model.safetensors.index.json": json.dumps({"weight_map": dict(zip("ab", SHARDS, strict=True))}).encode(),
}  # fmt: skip


def huggingface(root: Path, id: str, files: dict[str, bytes], ref: str = "main") -> Path:
    """As its library lays it out: blobs, and links to them."""
    repository = root / f"models--{id.replace('/', '--')}"
    snapshot = repository / "snapshots" / COMMIT
    for folder in (repository / "blobs", repository / "refs", snapshot):
        folder.mkdir(parents=True, exist_ok=True)
    (repository / "refs" / ref).write_text(COMMIT, "utf-8")
    for name, body in files.items():
        blob = repository / "blobs" / f"blob-of-{name}"
        blob.write_bytes(body)
        (snapshot / name).symlink_to(Path("../../blobs") / blob.name)
    return snapshot


def plain(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, body in files.items():
        (folder / name).write_bytes(body)
    return folder


def found(tmp_path: Path) -> tuple[Cached, ...]:
    return cached_models(tmp_path / "hf", tmp_path / "ms")


def test_models_of_both_caches_are_found_with_what_they_are(tmp_path: Path) -> None:
    one = huggingface(tmp_path / "hf", "Qwen/Qwen3--odd", FILES)
    two = huggingface(tmp_path / "hf", "qwen/Two", INDEXED, "v1.0")
    three = plain(tmp_path / "ms" / "models" / "qwen--Three" / "snapshots" / "master", FILES)
    four = plain(tmp_path / "ms" / "hub" / "models" / "Qwen" / "Qwen2___5-0___5B", INDEXED)
    (four.parent / "Qwen2.5-0.5B").symlink_to(four)
    five = plain(tmp_path / "ms" / "hub" / "qwen" / "Five", FILES)
    assert found(tmp_path) == (
        Cached(Source("modelscope", "qwen/Five"), "", five, 11),
        Cached(Source("modelscope", "Qwen/Qwen2.5-0.5B"), "", four, sum(map(len, INDEXED.values()))),
        Cached(Source("huggingface", "Qwen/Qwen3--odd", "main"), COMMIT, one, 11),
        Cached(Source("modelscope", "qwen/Three", "master"), "", three, 11),
        Cached(Source("huggingface", "qwen/Two", "v1.0"), COMMIT, two, sum(map(len, INDEXED.values()))),
    )


@pytest.mark.parametrize("missing", ["config.json", "qwen.tiktoken", SHARDS[1]])
def test_what_is_not_complete_is_not_found(tmp_path: Path, missing: str) -> None:
    snapshot = huggingface(tmp_path / "hf", "a/b", INDEXED)
    assert len(found(tmp_path)) == 1
    blob = (snapshot / missing).resolve()
    blob.rename(blob.with_name(f"{blob.name}.incomplete"))  # and the link leads nowhere
    assert found(tmp_path) == ()


def test_a_part_under_way_is_not_taken_for_the_file(tmp_path: Path) -> None:
    rest = {name: body for name, body in FILES.items() if name != "model.safetensors"}
    plain(tmp_path / "ms" / "models" / "a--b" / "snapshots" / "master", rest | {"model.safetensors.incomplete": b"we"})
    assert found(tmp_path) == ()


def test_links_are_followed_only_inside_the_cache(tmp_path: Path) -> None:
    outside = tmp_path / "outside.safetensors"
    outside.write_bytes(b"weights")
    snapshot = huggingface(tmp_path / "hf", "a/b", FILES)
    (snapshot / "model.safetensors").unlink()
    (snapshot / "model.safetensors").symlink_to(outside)
    assert found(tmp_path) == ()


def test_broken_caches_are_no_trouble(tmp_path: Path) -> None:
    root = tmp_path / "hf"
    snapshot = huggingface(root, "a/b", INDEXED)
    for body in (b"", b"[]", b'{"weight_map": {}}', b'{"weight_map": {"a": "../x"}}', b'{"weight_map": 3}', b"\xff"):
        (snapshot / "model.safetensors.index.json").resolve().write_bytes(body)
        assert found(tmp_path) == ()
    (root / "models--file").write_bytes(b"a file")
    (root / "models--circle").symlink_to(root / "models--circle")
    (snapshot / "circle").symlink_to(snapshot / "circle")
    (root / "models--a--b" / "refs" / "folder").mkdir()
    assert found(tmp_path) == () and cached_models(tmp_path / "none", tmp_path / "none") == ()


def test_the_caches_lie_where_their_libraries_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "MODELSCOPE_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert paths.huggingface_cache() == tmp_path / ".cache" / "huggingface" / "hub"
    assert paths.modelscope_cache() == tmp_path / ".cache" / "modelscope"
    for name, value, expected in (
        ("XDG_CACHE_HOME", "x", Path("x/huggingface/hub")),
        ("HF_HOME", "~/h", tmp_path / "h" / "hub"),
        ("HF_HUB_CACHE", "$HOME/c", tmp_path / "c"),
    ):
        monkeypatch.setenv(name, value)
        assert paths.huggingface_cache() == expected
    monkeypatch.setenv("MODELSCOPE_CACHE", "m")
    assert paths.modelscope_cache() == Path("m")
