"""How a model shall be loaded: what the load dialog and the command line let a person choose.

Invariant: the defaults load every model, and a choice that cannot be had falls back with a notice or is refused in
words by the worker. Plain values, so settings keep them and they cross the pipe.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

SHORTEST_CONTEXT = 64  # tokens; fewer hold no question
INT8_KV_BYTES = 2 << 20  # of a layer, keys and values as computed: so many are put into our 8 bits, fewer are not

WeightChoice = Literal["auto", "bfloat16", "float16", "float32", "int8", "int4", "nf4"]
KVChoice = Literal["auto", "plain", "int8", "int8_compatible"]
AttentionChoice = Literal["auto", "sdpa", "eager", "flash"]
DeviceChoice = Literal["auto", "cpu", "spread"]
EngineChoice = Literal["auto", "llama_cpp"]


class LoadOptions(Struct, frozen=True):
    """
    weights: "auto" leaves them as they are stored; int8, int4 and nf4 are made while loading
    kv_cache: "plain" is the precision of the model, "int8" ours once a sequence is long enough, see `int8_begins_at`,
        "int8_compatible" as the first generation published it, from the first token on
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


def int8_begins_at(token_bytes: int) -> int:
    """Tokens of a sequence from which on its keys and values are in our 8 bits. token_bytes: of a token in one layer,
    as computed.

    A step over codes calls a dozen more small operations in each layer, whatever the model, and gains by the bytes it
    does not read: so it is these that count. Measured, the two were even at about 1 to 2 MB, most where two heads of
    keys serve seven or eight of queries each.
    """
    return -(-INT8_KV_BYTES // max(token_bytes, 1))
