"""Decoding with int8 weights against llama.cpp's Q8_0, in turn in one process: prints one JSON object.

PYTHONPATH=. python -m benchmarks.llama_cpp MODELS/starter [--rounds N] [--tokens N] [--llama DIR]

FOLDER: a dense Llama or Qwen3 model; `--shape 0.6B` makes one of that shape with random weights in place of it. It is
written as a Q8_0 GGUF file first (weights of ours are rounded to 8 bits by the output, theirs by 32 neighbours). Both
read the same prompt and step through the same ids, greedy, alone on the same threads. Also printed: the share of this
machine's read bandwidth that our step reaches by its bytes.

llama.cpp comes from the package llama-cpp-python, built on this machine for its processor, into a folder of its own:
CMAKE_ARGS=-DGGML_NATIVE=ON python -m pip install --no-deps --target DIR llama-cpp-python
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import footprint
from core.inference.choice import choose
from core.load_options import LoadOptions
from core.models.load import load

PROMPT = 64  # tokens
PROBE_BYTES = 1 << 30
MUST = {"starter": {"ratio": 0.5, "share": 0.25}, "0.6B": {"ratio": 0.75, "share": 0.6}}


def write_gguf(folder: Path, file: Path) -> None:
    """The model in `folder` in Q8_0, its norms in fp32, with a vocabulary of numbers: nothing is encoded with it."""
    from gguf import GGMLQuantizationType, GGUFWriter
    from gguf.quants import quantize
    from safetensors.torch import load_file

    config = json.loads((folder / "config.json").read_text("utf-8"))
    kind = {"LlamaForCausalLM": "llama", "Qwen3ForCausalLM": "qwen3"}[config["architectures"][0]]
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    width = config.get("head_dim") or config["hidden_size"] // heads
    writer = GGUFWriter(str(file), kind)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_rope_dimension_count(width)
    theta = (config.get("rope_parameters") or {}).get("rope_theta") or config.get("rope_theta") or 10000.0
    writer.add_rope_freq_base(theta)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([f"t{number}" for number in range(config["vocab_size"])])
    writer.add_token_types([1] * config["vocab_size"])
    writer.add_token_merges(["t 0"])
    for name, tensor in load_file(folder / "model.safetensors").items():
        values = tensor.float()
        if kind == "llama" and ("q_proj" in name or "k_proj" in name):
            values = interleaved(values, heads if "q_proj" in name else kv_heads)
        if values.dim() == 1:
            writer.add_tensor(gguf_name(name), values.numpy())
        else:
            packed = quantize(values.numpy(), GGMLQuantizationType.Q8_0)
            writer.add_tensor(gguf_name(name), packed, raw_dtype=GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def interleaved(weight: Tensor, heads: int) -> Tensor:
    """Rows in the order in which llama.cpp rotates: pairs of neighbours in place of halves."""
    return weight.view(heads, 2, -1, weight.shape[1]).transpose(1, 2).reshape(weight.shape)


NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}  # fmt: skip


def gguf_name(name: str) -> str:
    stem = name.removesuffix(".weight")
    if not stem.startswith("model.layers."):
        return f"{NAMES[stem]}.weight"
    _, _, number, rest = stem.split(".", 3)
    return f"blk.{number}.{NAMES[rest]}.weight"


class Theirs:
    """llama.cpp through its C interface, one token at a time."""

    def __init__(self, file: Path, threads: int, room: int) -> None:
        import llama_cpp

        self.api: Any = llama_cpp
        self._log = llama_cpp.llama_log_callback(lambda level, text, data: None)
        llama_cpp.llama_log_set(self._log, None)
        llama_cpp.llama_backend_init()
        self._model = llama_cpp.llama_model_load_from_file(str(file).encode(), llama_cpp.llama_model_default_params())
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx, parameters.n_threads, parameters.n_threads_batch = room, threads, threads
        parameters.n_batch = parameters.n_ubatch = 512
        self._context = llama_cpp.llama_init_from_model(self._model, parameters)
        self._rows = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self._model))

    def read(self, ids: list[int]) -> np.ndarray[Any, Any]:
        self.api.llama_memory_clear(self.api.llama_get_memory(self._context), True)
        return self.step(*ids)

    def step(self, *ids: int) -> np.ndarray[Any, Any]:
        """The logits after the last of the ids."""
        tokens = (self.api.llama_token * len(ids))(*ids)
        if self.api.llama_decode(self._context, self.api.llama_batch_get_one(tokens, len(ids))):
            raise RuntimeError("llama_decode failed")
        return np.ctypeslib.as_array(self.api.llama_get_logits_ith(self._context, -1), (self._rows,))


class Ours:
    def __init__(self, folder: Path) -> None:
        loaded = load(folder, LoadOptions(weights="int8"))
        self.loaded = loaded
        self._decoder = choose(loaded.model, loaded.context_length, is_exact=False)

    def read(self, ids: list[int]) -> np.ndarray[Any, Any]:
        self.cache = self._decoder.new_cache(len(ids))
        reading = self._decoder.read(ids, self.cache)
        while True:
            try:
                next(reading)
            except StopIteration as end:
                return np.asarray(end.value)

    def step(self, id: int) -> np.ndarray[Any, Any]:
        return self._decoder.step(id, self.cache).numpy()


def timed(side: Any, prompt: list[int], forced: list[int]) -> tuple[list[float], list[int], float]:
    """Seconds of each step, what each side would have chosen, seconds of reading."""
    begun = time.perf_counter()
    logits = side.read(prompt)
    reading = time.perf_counter() - begun
    seconds, chosen = [], []
    for id in forced:
        chosen.append(int(logits.argmax()))
        begun = time.perf_counter()
        logits = side.step(id)
        int(logits[0])
        seconds.append(time.perf_counter() - begun)
    return seconds, chosen, reading


def read_bandwidth() -> float:
    """Bytes a second that all threads together read, the best of 5."""
    block = torch.ones(PROBE_BYTES // 8, dtype=torch.int64)
    return PROBE_BYTES / min(seconds(lambda: block.sum()) for _ in range(5))


def seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def compare(folder: Path, name: str, options: argparse.Namespace) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(1)
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "q8_0.gguf"
        write_gguf(folder, file)
        ours, theirs = Ours(folder), Theirs(file, options.threads, 2 * (PROMPT + options.tokens))
        rows = ours.loaded.model.config.vocab_size
        ids = torch.randint(rows, (PROMPT + options.tokens,), generator=generator).tolist()
        prompt, forced = ids[:PROMPT], ids[PROMPT:]
        found: dict[str, list[Any]] = {"ours": [], "theirs": []}
        for number in range(options.rounds + 1):
            sides = [("ours", ours), ("theirs", theirs)]
            for side, runner in sides if number % 2 else sides[::-1]:
                result = timed(runner, prompt, forced)
                if number:  # the first round warms up
                    found[side].append(result)
    speeds = {side: [1 / statistics.median(run[0]) for run in runs] for side, runs in found.items()}
    agreed = [a == b for a, b in zip(found["ours"][0][1], found["theirs"][0][1], strict=True)]
    bandwidth = read_bandwidth()
    table = ours.loaded.model.get_input_embeddings().weight.nbytes  # only one row of it is read
    step_bytes = ours.loaded.weight_bytes - table
    return {
        "ratio": statistics.median(a / b for a, b in zip(speeds["ours"], speeds["theirs"], strict=True)),
        "ours_tokens_per_s": statistics.median(speeds["ours"]),
        "theirs_tokens_per_s": statistics.median(speeds["theirs"]),
        "read_ratio": statistics.median(b[2] / a[2] for a, b in zip(found["ours"], found["theirs"], strict=True)),
        "same_choices": sum(agreed) / len(agreed),
        "backend": ours.loaded.backend,
        "step_bytes": step_bytes,
        "read_bandwidth": bandwidth,
        "share_of_bandwidth": step_bytes * statistics.median(speeds["ours"]) / bandwidth,
        "must": MUST.get(name, {}),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--shape", choices=("starter", "0.3B", "0.6B"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--llama", type=Path, help="where llama-cpp-python was installed")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.llama:
        sys.path.append(str(options.llama))
    folder, name = options.folder, options.shape or "starter"
    if options.shape:
        folder = Path(tempfile.gettempdir()) / "footprint-models" / options.shape
        if not (folder / "model.safetensors").exists():
            footprint.make(options.shape, folder)
    import llama_cpp

    report = {
        "what": "decode with int8 weights, ours / llama.cpp Q8_0, tokens per second, median of rounds in turn",
        "model": name, "rounds": options.rounds, "tokens": options.tokens, "threads": options.threads,
        "load_average": os.getloadavg()[0], "processor": processor(),
        "versions": {"torch": torch.__version__, "llama_cpp_python": llama_cpp.__version__},
        **compare(folder, name, options),
    }  # fmt: skip
    print(json.dumps(report, indent=2))


def processor() -> str:
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0].split(":", 1)[1].strip() if names else ""


if __name__ == "__main__":
    main()
