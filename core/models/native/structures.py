"""The types of step.hpp and products.hpp as Python sees them.

Invariant: the layouts are those of the C++ side; library.py compares their sizes before anything is called.
"""

from __future__ import annotations

import ctypes
from ctypes import c_float, c_int32, c_int64, c_void_p

MOST_JOINED = 3

INT4, INT8, BF16, F16, F32 = 4, 8, 16, 17, 32  # kinds of weights and rows


class Linear(ctypes.Structure):
    """A linear map. codes: packed, or the plain matrix; kind: see above; inputs 0: none."""

    _fields_ = (
        ("codes", c_void_p), ("scales", c_void_p), ("zeros", c_void_p), ("bias", c_void_p),
        ("outputs", c_int32), ("inputs", c_int32), ("groups", c_int32), ("kind", c_int32),
    )  # fmt: skip


class Layer(ctypes.Structure):
    _fields_ = (
        ("qkv", Linear * MOST_JOINED), ("gate_up", Linear * MOST_JOINED), ("out", Linear), ("down", Linear),
        ("attention_norm", c_void_p), ("mlp_norm", c_void_p), ("head_norm", c_void_p),
    )  # fmt: skip


class Model(ctypes.Structure):
    """rows_kind: of keys and values; least, head_least: width times epsilon, of the norms."""

    _fields_ = (
        ("layers", c_void_p), ("final_norm", c_void_p), ("head", Linear),
        ("layer_count", c_int32), ("hidden", c_int32), ("intermediate", c_int32), ("heads", c_int32),
        ("kv_heads", c_int32), ("width", c_int32), ("rows_kind", c_int32), ("threads", c_int32),
        ("least", c_float), ("head_least", c_float),
    )  # fmt: skip


class Cache(ctypes.Structure):
    """Where the keys and values of a layer are: (kv_heads, room, width)."""

    _fields_ = (("keys", c_void_p), ("values", c_void_p), ("room", c_int64))


class Place(ctypes.Structure):
    """cos, sin: (width,), the first half of the sine negative; query_scale: 1 for none."""

    _fields_ = (("cos", c_void_p), ("sin", c_void_p), ("query_scale", c_float), ("position", c_int32))


ALL: tuple[type[ctypes.Structure], ...] = (Linear, Layer, Model, Cache, Place)
