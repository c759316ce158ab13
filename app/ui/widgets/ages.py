"""When something happened, in as few words as a list has room for, and under which heading it stands."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from core.translation import say


def group(then: datetime, now: datetime) -> str:
    """The key of the heading: today, yesterday, this_week (since Monday), earlier. Both times are local."""
    if then.date() >= now.date():
        return "today"
    if then.date() == now.date() - timedelta(days=1):
        return "yesterday"
    monday = now.date() - timedelta(days=now.weekday())
    return "this_week" if then.date() >= monday else "earlier"


def short(then: datetime, now: datetime) -> str:
    """`14:32` today and yesterday, then the weekday for a week, then the date; the year only where it is another one."""
    if (now.date() - then.date()).days <= 1:
        return f"{then:%H:%M}"
    if (now.date() - then.date()).days < 7:
        return say("transcript.weekdays").split(" ")[then.weekday()]
    month = say("transcript.months").split(" ")[then.month - 1]
    if then.year == now.year:
        return say("transcript.date", month=month, day=then.day)
    return say("transcript.date_year", month=month, day=then.day, year=then.year)


def local(time: datetime) -> datetime:
    """In the zone of this machine; a time without a zone is UTC, as the store keeps it."""
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone()
