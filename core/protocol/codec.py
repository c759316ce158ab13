"""One message per line of JSON, tagged by `type`. Invariant: a line never holds a raw newline."""

from __future__ import annotations

import msgspec

from core.protocol.messages import Event, Job, Request

Unreadable = msgspec.DecodeError

_encoder = msgspec.json.Encoder()
_requests: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)
_events: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


def encode(message: Request | Job | Event) -> bytes:
    return _encoder.encode(message) + b"\n"


def decode_request(line: bytes) -> Request:
    """Raises Unreadable."""
    return _requests.decode(line)


def decode_event(line: bytes) -> Event:
    """Raises Unreadable."""
    return _events.decode(line)
