"""Loading 1 GB of safetensors from the page cache: `python benchmarks/load_speed.py` prints one JSON object.

A random bf16 model shaped like Qwen2, in shards, is written to a temporary folder and read once. Then fresh processes
import the libraries, load it with `core.models.load.load` and stop the clock three times: when the model is there, when
one byte of every page of its weights was read (until then they are only mapped), and when one token went through it.
`again` is a second token by itself: what a first one takes beyond that is not reading weights.

With `--weights int8` or `int4` the weights are quantised while loading, and packed for decoding.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SHAPE = {
    "vocab_size": 32_000, "hidden_size": 1536, "intermediate_size": 6144, "num_hidden_layers": 12,
    "num_attention_heads": 12, "num_key_value_heads": 4, "tie_word_embeddings": False, "max_position_embeddings": 2048,
}  # fmt: skip
PAGE = 4096


def write(folder: Path) -> int:
    """The bytes of the weights."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import AutoModelForCausalLM, Qwen2Config

    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    model = AutoModelForCausalLM.from_config(Qwen2Config(**SHAPE))
    model.save_pretrained(folder, max_shard_size="300MB")
    Tokenizer(models.BPE()).save(str(folder / "tokenizer.json"))
    return sum(p.numel() * p.element_size() for p in model.parameters())


def child(folder: Path, weights: str) -> None:
    import torch
    import transformers.models.auto.modeling_auto
    import transformers.models.qwen2.modeling_qwen2  # noqa: F401

    from core.inference.choice import choose
    from core.load_options import LoadOptions
    from core.models.load import load

    begin = time.perf_counter()
    loaded = load(folder, LoadOptions(weights=weights))
    there = time.perf_counter() - begin
    touched = 0
    with torch.inference_mode():
        for parameter in loaded.model.parameters():
            touched += int(parameter.view(-1).view(torch.uint8)[::PAGE].sum())
        resident = time.perf_counter() - begin
        if weights != "auto":
            choose(loaded.model, loaded.context_length, is_exact=False)
        packed = time.perf_counter() - begin
        logits = loaded.model(torch.tensor([[1]])).logits
        used = time.perf_counter() - begin
        loaded.model(torch.tensor([[1]]))
        again = time.perf_counter() - begin - used
    assert touched and bool(torch.isfinite(logits).all())
    print(json.dumps({"there": there, "resident": resident, "packed": packed, "used": used, "again": again}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--weights", default="auto", choices=["auto", "int8", "int4"])
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.weights)
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        size = write(folder)
        for file in folder.glob("*.safetensors"):
            file.read_bytes()
        command = [sys.executable, __file__, "--child", place, "--weights", options.weights]
        runs = [json.loads(subprocess.check_output(command, stderr=subprocess.DEVNULL)) for _ in range(options.runs)]
    seconds = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    report = {
        "what": "loading random bf16 weights shaped like Qwen2 from the page cache, fresh process each time",
        "must": "1.5 GB/s end to end",
        "weights": options.weights,
        "bytes": size,
        "seconds": seconds,
        "gigabytes_per_s": {name: size / 1e9 / taken for name, taken in seconds.items() if name != "again"},
        "runs": runs,
        "load_average": os.getloadavg()[0],
        "processor": platform.processor() or platform.machine(),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
