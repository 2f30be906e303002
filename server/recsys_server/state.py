"""The state directory as a server uses it: events and exposures, read at once and written off the event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from recsys.config import StateSection
from recsys.errors import StateError
from recsys.event_log import EventLog, UserState
from recsys.exposure_log import Exposure, ExposureLog
from recsys.live import merged
from recsys.sample_log import Sample, SampleLog
from recsys.types import SECONDS_PER_DAY, LiveEvent, Query
from recsys_server.events import Recorder
from recsys_server.lately import Lately
from recsys_server.log_writer import LogWriter

SHOWN_SECONDS = 7 * SECONDS_PER_DAY
MOST_SHOWN_SLATES = 20
PRUNE_SECONDS = 3_600.0
PAUSE_SECONDS = 0.02
"""Between two steps of a pruning, for those who wait to write."""
_log = logging.getLogger(__name__)


class State:
    """What this server and all others of the directory know of users.

    Args:
        directory: made where it is missing.
        section: how long things are kept.
        max_waiting: calls of RecordEvents.
        dropped: told how many exposures or samples were lost.
        clock: unix seconds.

    Attributes:
        recorder: writes events.
        exposures: writes exposures.
        samples: writes samples of features.

    Raises:
        StateError: the directory cannot be used; so say the methods that read.
    """

    def __init__(
        self,
        directory: Path,
        section: StateSection,
        max_waiting: int,
        dropped: Callable[[int], None],
        clock: Callable[[], float],
    ) -> None:
        self._directory = directory
        self._section = section
        self._clock = clock
        self._closing = threading.Event()
        self._events = EventLog(directory)
        self._lately = Lately(self._events)
        self._exposures = ExposureLog(directory)
        self.recorder = Recorder(EventLog(directory), max_waiting, self._lately.told)
        self.exposures = LogWriter[Exposure]("exposures", ExposureLog(directory), dropped)
        self.samples = LogWriter[Sample]("samples", SampleLog(directory), dropped)
        self._personal = 0

    def of_user(self, user_id: str, since: int) -> UserState:
        """What a user did since a time (unix seconds), at most 200 events: all that any server has acknowledged."""
        return self._lately.of_user(user_id, since)

    def shown(self, user_id: str, now: int, events: Sequence[LiveEvent]) -> Counter[str]:
        """How often each item was shown to a user in the last week (20 newest slates) with none of the events since."""
        return self._exposures.shown(user_id, now - SHOWN_SECONDS, MOST_SHOWN_SLATES, events)

    def informed(self, query: Query, since: int) -> tuple[Query, int]:
        """A query with what its user did since a time (unix seconds), and with what was shown where that matters.

        The number is the version of the user's state.
        """
        known = self.of_user(query.user_id, since)
        events = merged(known.events, query.live_events, since) if query.live_events else known.events
        shown = self.shown(query.user_id, query.now, events) if query.rules.fatigue else Counter()
        if events != query.live_events or shown:
            query = query._replace(live_events=events, shown=tuple(shown.items()))
        return query, known.version

    def samples_next(self) -> bool:
        """Whether the features of this answer belong to the share that is kept; to be asked once for each answer."""
        before, self._personal = int(self._personal * self._section.sample_share), self._personal + 1
        return int(self._personal * self._section.sample_share) > before

    async def watch(self) -> None:
        """Delete what is too old now and then, for ever."""
        while True:
            await asyncio.to_thread(self._prune)
            self._lately.forget()
            await asyncio.sleep(PRUNE_SECONDS)

    async def close(self) -> None:
        """Write what waits, and let go of the files."""
        self._closing.set()
        await self.recorder.close()
        await self.exposures.close()
        await self.samples.close()
        self._events.close()
        self._exposures.close()

    def _prune(self) -> None:
        answers = self._section.exposure_retention_days
        kept = ((EventLog, self._section.retention_days), (ExposureLog, answers), (SampleLog, answers))
        for log_type, days in kept:
            if days == 0:
                continue
            try:
                with closing(log_type(self._directory)) as log:
                    pruned = 0
                    for deleted in log.prune(int(self._clock() - days * SECONDS_PER_DAY)):
                        pruned += deleted
                        if self._closing.wait(PAUSE_SECONDS):
                            return
            except StateError as error:
                _log.error("nothing was pruned: %s", error)  # a disk's error has no trace
            else:
                _log.info("%s: %d rows older than %g days pruned", self._directory, pruned, days)
