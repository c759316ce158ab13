"""Which of several processes of one run this is. Alone it is the first one."""

from __future__ import annotations

import os


def is_first() -> bool:
    return int(os.environ.get("RANK", "0")) == 0
