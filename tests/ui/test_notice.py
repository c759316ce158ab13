"""The error that stands on a page."""

from __future__ import annotations

from typing import Any

import pytest
from shiboken6 import delete

from app.ui.notice import Notice
from app.ui.widgets.button import IconButton
from app.ui.widgets.feedback import Banner
from core.errors import UserError

pytestmark = pytest.mark.loops("qasync")


async def fails() -> None:
    raise UserError("nothing_asked")


async def goes_well() -> None:
    pass


async def test_an_error_stands_until_the_next_verb_or_until_it_is_closed() -> None:
    window: Any = None  # where the answer behind an error would be shown
    notice = Notice(window, "Could not be done", (0, 0, 0, 8))
    await notice.guarded(fails())
    assert notice.words == str(UserError("nothing_asked")) and not notice.isHidden()
    assert [banner.accessibleDescription() for banner in notice.findChildren(Banner)] == [notice.words]
    await notice.guarded(goes_well())
    assert notice.words == "" and notice.isHidden()
    await notice.guarded(fails())
    next(one for one in notice.findChildren(IconButton) if one.isVisibleTo(notice)).click()
    assert notice.words == "" and notice.isHidden()


async def test_an_error_after_the_page_has_gone_is_nobodys() -> None:
    window: Any = None
    notice = Notice(window, "Could not be done", (0, 0, 0, 8))

    async def outlives() -> None:
        delete(notice)
        raise UserError("nothing_asked")

    await notice.guarded(outlives())
