"""Cron expressions of schedules: `TZ=Europe/Berlin 0 9 * * 1-5`.

Five fields, as in unix-cron, after `CRON_TZ=ZONE` or `TZ=ZONE`; without a zone they are in UTC.
https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.schedules. In the hour that a clock change
leaves out or repeats, the moments are those of Debian's cron, whose rules cronsim follows: what is set for a time that
there is not runs after the gap, what is set for one that there is twice runs once.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from edge_tasks.emulator.errors import invalid

ZONE = re.compile(r"(?:CRON_TZ|TZ)=(\S+)\s+(.*)", re.DOTALL)
FIELDS = 5


@dataclass(frozen=True)
class Cron:
    """The moments of one expression."""

    fields: str
    zone: ZoneInfo

    @classmethod
    def parse(cls, text: str) -> Cron:
        """Read an expression; one that is wrong is INVALID_ARGUMENT, with what is wrong in it."""
        match = ZONE.fullmatch(text.strip())
        name, fields = match.groups() if match else ("UTC", text.strip())
        try:
            zone = ZoneInfo(name)
        except (ValueError, OSError, KeyError):  # unknown names are a KeyError, names of folders an OSError
            raise invalid(f"Invalid cron {text!r}: {name!r} is not a time zone of the IANA database.") from None
        if len(fields.split()) != FIELDS:
            raise invalid(
                f"Invalid cron {text!r}: it needs five fields (minute, hour, day of month, month, day of week), after"
                " TZ=ZONE if they are not in UTC."
            )
        try:
            CronSim(fields, datetime.now(timezone.utc))
        except CronSimError as error:
            raise invalid(f"Invalid cron {text!r}: {error}.") from None
        return cls(fields, zone)

    def next(self, moment: datetime) -> datetime | None:
        """Return the first moment after another, in UTC; None when there is none in the next decades."""
        found = next(CronSim(self.fields, moment.astimezone(self.zone)), None)
        return found.astimezone(timezone.utc) if found else None

    def first(self, start: datetime) -> datetime | None:
        """Return the first moment at or after another."""
        return self.next(start - timedelta(microseconds=1))

    def last(self, count: int, moment: datetime) -> datetime:
        """Return the moment from which on there are `count` up to another one."""
        backwards = CronSim(self.fields, (moment + timedelta(seconds=1)).astimezone(self.zone), reverse=True)
        return list(itertools.islice(backwards, count))[-1].astimezone(timezone.utc)
