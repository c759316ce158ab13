"""`with refused("code"):` what is within must end with the UserError of that code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from core.errors import UserError


@contextmanager
def refused(code: str) -> Iterator[None]:
    with pytest.raises(UserError) as told:
        yield
    assert told.value.code == code
    assert str(told.value)  # it can be said
