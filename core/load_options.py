"""How a model shall be loaded: what the load dialog and the command line let a person choose.

Invariant: the defaults load every model, and a choice that cannot be had falls back with a notice or is refused in
words by the worker. Plain values, so settings keep them and they cross the pipe.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

SHORTEST_CONTEXT = 64  # tokens; fewer hold no question

WeightChoice = Literal["auto", "bfloat16", "float16", "float32", "int8", "int4", "nf4"]
KVChoice = Literal["auto", "plain", "int8", "int8_compatible"]
AttentionChoice = Literal["auto", "sdpa", "eager", "flash"]
DeviceChoice = Literal["auto", "cpu", "spread"]
EngineChoice = Literal["auto", "llama_cpp"]


class LoadOptions(Struct, frozen=True):
    """
    weights: "auto" leaves them as they are stored; int8, int4 and nf4 are made while loading
    kv_cache: "plain" is the precision of the model, "int8" ours, "int8_compatible" as the first generation published it
    attention: "flash" needs the flash-attn package
    device: "auto" one card or the processor, "spread" several cards and then the processor's memory
    context_length: tokens; 0 is the model's own
    engine: "llama_cpp" runs the GGUF file that the model was imported from; it needs the llama-cpp extra
    """

    weights: WeightChoice = "auto"
    kv_cache: KVChoice = "auto"
    attention: AttentionChoice = "auto"
    device: DeviceChoice = "auto"
    context_length: int = 0
    engine: EngineChoice = "auto"


DEFAULT = LoadOptions()
