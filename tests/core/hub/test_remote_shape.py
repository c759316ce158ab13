"""What a model would be, told before it is fetched, is what its folder says afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.hub import hubs, remote_shape
from core.hub.needed_files import Needed
from core.models.shape import Shape, shape_of
from core.models.shape import read_shape as shape_of_folder
from core.sources import Access, Place, Source
from tests.helpers.hub_clients import hub_client, refusal
from tests.helpers.hub_server import HubServer
from tests.helpers.huggingface_server import HuggingFaceServer
from tests.helpers.modelscope_server import ModelScopeServer

pytestmark = pytest.mark.loops("asyncio")  # what it asks with is tested on both


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    from tests.helpers import tiny_gptq, tiny_models, tiny_qwen_v1  # they load torch

    place = tmp_path_factory.mktemp("models")
    gptq, _ = tiny_gptq.write(place / "gptq", "qwen", tiny_gptq.Kind())
    return {
        "qwen3": tiny_models.write_model(place / "qwen3"),
        "qwen": tiny_qwen_v1.write_model(place / "qwen", max_shard_size="100KB"),
        "mistral": tiny_models.write_model(place / "mistral", "mistral"),
        "gptq": gptq,
    }


@pytest.fixture
def server() -> Iterator[HuggingFaceServer]:
    with HuggingFaceServer() as server:
        yield server


async def shape(server: HubServer, place: Place = "huggingface", id: str = "org/name") -> tuple[Shape, dict[str, Any]]:
    access = Access(place, server.address)
    async with hub_client() as client:
        repository = await hubs.HUBS[place].describe(client, access, Source(place, id))
        return await remote_shape.read_shape(client, access, repository)


async def needed(server: HubServer) -> Needed:
    access = Access("huggingface", server.address)
    async with hub_client() as client:
        repository = await hubs.HUBS["huggingface"].describe(client, access, Source("huggingface", "org/name"))
        return await remote_shape.read_needed(client, access, repository)


@pytest.mark.parametrize("name", ["qwen3", "qwen"])
async def test_a_config_suffices_where_its_tensors_are_known(
    server: HuggingFaceServer, folders: dict[str, Path], name: str
) -> None:
    server.publish("org/name", folders[name])
    found, config = await shape(server)
    assert config == json.loads((folders[name] / "config.json").read_bytes())
    assert found == shape_of(config) and found.parameters == shape_of_folder(folders[name]).parameters
    assert not server.asked("safetensors")


@pytest.mark.parametrize("name", ["gptq", "mistral"])
async def test_headers_say_what_the_config_does_not(
    server: HuggingFaceServer, folders: dict[str, Path], name: str
) -> None:
    if name == "mistral":  # as one that nobody knows
        config = json.loads((folders[name] / "config.json").read_bytes()) | {"model_type": "unheard"}
        files = {file.name: file.read_bytes() for file in folders[name].iterdir()}
        server.publish("org/name", files | {"config.json": json.dumps(config).encode()})
    else:
        server.publish("org/name", folders[name])
    found, _ = await shape(server)
    here = shape_of_folder(folders[name])
    assert (found.parameters, found.blocks, found.quantised) == (here.parameters, here.blocks, here.quantised)


async def test_a_gptq_folder_whose_config_does_not_say_so(server: HuggingFaceServer, folders: dict[str, Path]) -> None:
    """How the weights are quantised stands in a file beside it then."""
    files = {file.name: file.read_bytes() for file in folders["gptq"].iterdir()}
    config = json.loads(files["config.json"])
    del config["quantization_config"]
    server.publish("org/name", files | {"config.json": json.dumps(config).encode()})
    found, merged = await shape(server)
    assert found == shape_of_folder(folders["gptq"]) and merged["quantization_config"]["bits"] == 4


@pytest.mark.loops("asyncio", "qasync")
async def test_headers_of_parts_come_by_small_ranges(server: HuggingFaceServer, folders: dict[str, Path]) -> None:
    files = {file.name: file.read_bytes() for file in folders["qwen"].iterdir()}
    config = json.loads(files["config.json"]) | {"model_type": "unheard"}
    server.publish("org/name", files | {"config.json": json.dumps(config).encode()})
    parts = [name for name in files if name.endswith(".safetensors")]
    assert len(parts) > 3
    found, _ = await shape(server)
    assert found.parameters == shape_of_folder(folders["qwen"]).parameters
    assert len(server.asked("/stored/")) == len(parts)


async def test_a_long_header_is_read_in_two(
    server: HuggingFaceServer, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_shape, "FIRST_BYTES", 64)
    server.publish("org/name", folders["gptq"])
    assert (await shape(server))[0] == shape_of_folder(folders["gptq"])
    assert sum(request.sent for request in server.asked("/stored/")) < 20_000


async def test_modelscope_tells_the_same(folders: dict[str, Path]) -> None:
    with ModelScopeServer() as server:
        server.publish("org/name", folders["gptq"])
        assert (await shape(server, "modelscope"))[0] == shape_of_folder(folders["gptq"])


async def test_what_is_broken_is_said(server: HuggingFaceServer, folders: dict[str, Path]) -> None:
    files = {file.name: file.read_bytes() for file in folders["gptq"].iterdir()}
    whole = files["model.safetensors"]
    for changed, code in (
        ({"config.json": b"<html>"}, "hub_unreadable"),
        ({"config.json": b"{}"}, "config_incomplete"),
        ({"model.safetensors": whole[:-9]}, "safetensors_truncated"),
        ({"model.safetensors": b"version https://git-lfs"}, "lfs_pointer"),
        ({"model.safetensors": b"\xff" * 100}, "safetensors_unreadable"),
        ({"model.safetensors.index.json": b"[]", "model-00001-of-00001.safetensors": whole}, "hub_unreadable"),
    ):
        server.publish("org/name", files | changed)
        assert (await refusal(shape(server))).code == code


async def test_gguf_files_and_adapters_have_no_shape_of_their_own(server: HuggingFaceServer) -> None:
    server.publish("org/name", {"a.gguf": b"x"})
    assert (await refusal(shape(server))).code == "hub_no_shape"


async def test_the_files_needed_are_those_of_the_index(server: HuggingFaceServer, folders: dict[str, Path]) -> None:
    files = {file.name: file.read_bytes() for file in folders["qwen"].iterdir()}
    server.publish("org/name", files | {"model-00009-of-00009.safetensors": b"stray"})
    found = await needed(server)
    assert found.kind == "safetensors" and "model-00009-of-00009.safetensors" not in found.weights
    assert set(found.weights) == {n for n in files if n.endswith(".safetensors")} and len(found.code_files) == 3
