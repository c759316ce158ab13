"""When something happened, in as few words as a list has room for, and under which heading it stands."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta

from core.translation import say

Border = tuple[datetime, str]


def borders(now: datetime) -> list[Border]:
    """Where the headings begin, newest first: today, yesterday, this_week (since Monday), earlier. `now` is local."""
    days = ((0, "today"), (1, "yesterday"), (max(2, now.weekday()), "this_week"))
    starts = [(datetime.combine(now.date() - timedelta(days=back), time.min).astimezone(), key) for back, key in days]
    if now.weekday() < 2:
        starts.pop()  # nothing lies between Monday and yesterday
    return [*starts, (datetime.min.replace(tzinfo=UTC), "earlier")]


def group(then: datetime, starts: Sequence[Border]) -> str:
    """The heading a time stands under."""
    return next(key for start, key in starts if then >= start)


def short(then: datetime, now: datetime) -> str:
    """`14:32` today and yesterday, then the weekday, after a week the date; the year only where it is another one."""
    if (now.date() - then.date()).days <= 1:
        return f"{then:%H:%M}"
    if (now.date() - then.date()).days < 7:
        return say("transcript.weekdays").split(" ")[then.weekday()]
    month = say("transcript.months").split(" ")[then.month - 1]
    if then.year == now.year:
        return say("transcript.date", month=month, day=then.day)
    return say("transcript.date_year", month=month, day=then.day, year=then.year)


def aware(moment: datetime) -> datetime:
    """A time without a zone is UTC, as the store keeps it."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
