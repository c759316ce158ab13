"""Of all that lies in a repository, what is fetched to run its model, and why the rest is not."""

from __future__ import annotations

import pytest

from core.errors import UserError
from core.hub.needed_files import Needed, needed_files, quantisation_of
from core.hub.repository import RepoFile, Repository
from core.sources import Source
from core.translation import LANGUAGES, catalogue

SIDE = ("LICENSE", "README.md", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
INDEX = "model.safetensors.index.json"


def repository(*paths: str) -> Repository:
    files = tuple(RepoFile(path, 10 + number) for number, path in enumerate(sorted(paths)))
    return Repository(Source("huggingface", "org/name"), "c" * 40, files)


def names(found: Needed) -> set[str]:
    return {file.path for file in found.files}


def why(found: Needed) -> dict[str, str]:
    return {one.path: one.why for one in found.left_out}


def test_one_set_of_weights_is_fetched_with_all_that_goes_with_it() -> None:
    others = {
        "pytorch_model.bin": "other_form", "model.fp16.safetensors": "other_weights", "onnx/model.onnx": "other_form",
        "consolidated.safetensors": "other_weights", "original/params.json": "in_folder", "q.Q4_0.gguf": "other_form",
        "assets/logo.png": "picture", "modeling_qwen.py": "code", "tf_model.h5": "other_form",
        "sub/model.safetensors": "other_weights", ".gitattributes": "not_needed", "demo.ipynb": "not_needed",
        "preprocessor_config.json": "not_needed",
    }  # fmt: skip
    found = needed_files(repository(*SIDE, "model.safetensors", *others))
    assert found.kind == "safetensors" and names(found) == {*SIDE, "model.safetensors"}
    assert why(found) == others and found.code_files == ("modeling_qwen.py",)
    assert found.total_bytes == sum(file.size_bytes for file in found.files) and found.weights == ("model.safetensors",)


def test_the_index_says_which_parts_belong_to_the_model() -> None:
    there = repository(*SIDE, INDEX, *SHARDS, "model-00001-of-00001.safetensors")
    assert needed_files(there, SHARDS).weights == SHARDS
    assert why(needed_files(there, SHARDS))["model-00001-of-00001.safetensors"] == "other_weights"
    assert set(needed_files(repository(*SIDE, INDEX, *SHARDS)).weights) == set(SHARDS)
    assert INDEX in names(needed_files(there, SHARDS))
    with pytest.raises(UserError) as caught:
        needed_files(there, ["model-00003-of-00003.safetensors"])
    assert (caught.value.code, caught.value.params["file"]) == (
        "hub_part_missing",
        "model-00003-of-00003.safetensors",
    )


def test_the_first_generation_and_its_quantised_forms() -> None:
    own = ("config.json", "qwen.tiktoken", "tokenizer_config.json", "generation_config.json", "quantize_config.json")
    code = ("modeling_qwen.py", "configuration_qwen.py", "cpp_kernels.py")
    found = needed_files(repository(*own, *code, INDEX, *SHARDS, "LICENSE.md", "NOTICE", "cache_autogptq.cpp"))
    assert names(found) == {*own, INDEX, *SHARDS, "LICENSE.md", "NOTICE"} and set(found.code_files) == set(code)


@pytest.mark.parametrize(
    "weights",
    [
        {"pytorch_model.bin"},
        {"pytorch_model.bin.index.json", "pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"},
    ],
)
def test_pickles_alone_are_known_as_such(weights: set[str]) -> None:
    found = needed_files(repository(*SIDE, *weights))
    assert found.kind == "pickle" and names(found) == {*SIDE, *weights}


def test_gguf_files_are_offered_by_their_quantisation() -> None:
    pieces = "qwen-f16-00001-of-00002.gguf"
    files = ("qwen-q4_k_m.gguf", "qwen-q8_0.gguf", pieces, "mmproj-F16.gguf", "README.md", "config.json")
    found = needed_files(repository(*files))
    assert found.kind == "gguf" and not found.files and not found.weights
    assert [(one.file.path, one.quantisation) for one in found.choices] == [
        ("qwen-q4_k_m.gguf", "Q4_K_M"),
        ("qwen-q8_0.gguf", "Q8_0"),
    ]
    chosen = needed_files(repository(*files), gguf="qwen-q8_0.gguf")
    assert names(chosen) == {"qwen-q8_0.gguf", "README.md"} and why(chosen)["qwen-q4_k_m.gguf"] == "not_chosen"
    assert (why(chosen)[pieces], why(chosen)["mmproj-F16.gguf"]) == ("in_pieces", "not_needed")
    assert names(needed_files(repository("only.gguf"))) == {"only.gguf"}
    both = repository(*SIDE, "model.safetensors", "x-Q4_0.gguf")
    assert needed_files(both).kind == "safetensors" and needed_files(both, gguf="x-Q4_0.gguf").kind == "gguf"
    with pytest.raises(UserError):
        needed_files(both, gguf="other.gguf")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("Qwen3-8B-Q4_K_M.gguf", "Q4_K_M"), ("qwen2-0_5b-instruct-q5_0.gguf", "Q5_0"), ("a.IQ2_XS.gguf", "IQ2_XS"),
        ("BF16/qwen-BF16.gguf", "BF16"), ("q-fp16.gguf", "F16"), ("x-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"), ("m.gguf", ""),
    ],
)  # fmt: skip
def test_the_name_of_a_gguf_file_says_its_quantisation(path: str, expected: str) -> None:
    assert quantisation_of(path) == expected


def test_an_adapter_is_fetched_as_one() -> None:
    own = ("adapter_config.json", "adapter_model.safetensors", "README.md", "tokenizer.json")
    found = needed_files(repository(*own, "adapter_model.bin", "optimizer.pt", "trainer_state.json"))
    assert found.kind == "adapter" and names(found) == set(own)
    assert needed_files(repository("adapter_config.json", "adapter_model.bin")).weights == ("adapter_model.bin",)


def test_what_holds_no_model_is_refused() -> None:
    for paths in (("README.md",), SIDE, ("model.safetensors",), (*SIDE, INDEX)):
        with pytest.raises(UserError) as caught:
            needed_files(repository(*paths))
        assert caught.value.code == "hub_no_model" and str(caught.value)


def test_every_reason_is_a_sentence() -> None:
    from typing import get_args

    from core.hub.needed_files import Why

    for language in LANGUAGES:
        assert all(f"hubs.left_out_{reason}" in catalogue(language) for reason in get_args(Why))
