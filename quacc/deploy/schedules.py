"""When a deployment runs by itself: every so often, by cron, or by a calendar's rule."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule, RRuleSchedule

from quacc.errors import InputError, ParameterError, suggest

Schedule = CronSchedule | IntervalSchedule | RRuleSchedule

_UNITS = {"": "seconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def schedule(
    *,
    cron: str | None = None,
    interval: str | None = None,
    rrule: str | None = None,
    tz: str | None = None,
) -> Schedule | None:
    """Return a schedule; None for none.

    Parameters
    ----------
    cron
        Such as "0 6 * * mon".
    interval
        Such as 30s, 15m, 12h, 1d or 2w; a number alone is seconds. Counted from midnight of 1
        January 2020, so that 12h is at midnight and at noon.
    rrule
        Of RFC 5545, such as "FREQ=WEEKLY;BYDAY=MO;BYHOUR=6".
    tz
        Name of the time zone, such as Europe/Berlin; UTC, if none is given.

    Raises
    ------
    InputError
        Several are given, or one cannot be read.
    """
    kinds = {"--cron": cron, "--interval": interval, "--rrule": rrule}
    given = [name for name, value in kinds.items() if value is not None]
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)}: a deployment has one schedule. Take one of them.")
    if not given:
        if tz is not None:
            raise InputError("--tz needs one of --cron, --interval and --rrule, whose zone it is.")
        return None
    zone = tz or "UTC"
    if zone not in available_timezones():
        near = suggest(zone, available_timezones())
        raise InputError(f"There is no time zone {zone!r}.{near} One is Europe/Berlin.")
    if interval is not None:
        start = datetime(2020, 1, 1, tzinfo=ZoneInfo(zone))
        return IntervalSchedule(interval=_length(interval), anchor_date=start, timezone=zone)
    try:
        if cron is not None:
            return CronSchedule(cron=cron, timezone=zone)
        assert rrule is not None
        _check_rule(rrule)
        return RRuleSchedule(rrule=rrule, timezone=zone)
    except InputError:
        raise
    except ValueError as error:
        example = "'0 6 * * mon'" if cron is not None else "'FREQ=WEEKLY;BYDAY=MO;BYHOUR=6'"
        raise InputError(
            f"{given[0]} {kinds[given[0]]!r} cannot be read; one is {example}."
        ) from error


def _length(text: str) -> timedelta:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw]?)", text.strip())
    length = timedelta(**{_UNITS[match[2]]: float(match[1])}) if match else timedelta(0)
    if length < timedelta(seconds=1):
        raise ParameterError(
            f"--interval is at least a second, such as 30s, 15m, 12h, 1d or 2w, not {text!r}."
        )
    return length


def _check_rule(rule: str) -> None:
    if re.search(r"FREQ=(SECONDLY|MINUTELY)", rule) and "DTSTART" not in rule:
        # The server would count from 2020, at every look.
        raise InputError(
            f"--rrule {rule!r} counts seconds or minutes from a start that it does not name. Take "
            "--interval, such as --interval 15m."
        )


def words(one: Schedule | Any) -> str:
    """Return a schedule in words, such as "every 12:00:00, Europe/Berlin"."""
    if isinstance(one, IntervalSchedule):
        return f"every {one.interval}, {one.timezone}"
    if isinstance(one, CronSchedule):
        return f"cron {one.cron}, {one.timezone}"
    return f"rrule {' '.join(one.rrule.split())}, {one.timezone}"


def same(one: Schedule | None, others: Sequence[Any]) -> bool:
    """Return whether a deployment's schedules are this one, switched on."""
    if one is None or len(others) != 1:
        return one is None and not others
    sent = DeploymentScheduleCreate(schedule=one).schedule  # which has a start, where a rule needs
    found = others[0].schedule
    return bool(others[0].active) and sent.model_dump(mode="json") == found.model_dump(mode="json")
