"""What all steps of a training share: the events, the windows in which it learns, and who is asked for in them."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

import numpy as np

from recsys import ranker, splits
from recsys.config import Config
from recsys.errors import DataError
from recsys.interactions import Events
from recsys.metrics import Truth
from recsys.ranker import Ranker, TrainingSet
from recsys.splits import Window
from recsys.types import INTERACTION_TYPES, ExcludePolicy, Int32s
from recsys_offline.dataset import Dataset
from recsys_offline.train import content, training_set
from recsys_offline.train.factorise import Shape
from recsys_offline.train.fitting import Setting

LEAST_USERS = 150
"""Users that a window must have for the ranker to learn from it."""
MANY_CUTS, FEW_CUTS, MANY_CUTS_EVENTS = 5, 3, 2_000_000
LEAST_CUTS = 2
"""One to learn from, one to judge on."""
AT_ONCE = 2
"""Parts of a large training that run side by side: each more would take memory as one more training does."""


@dataclass(frozen=True, slots=True)
class Job:
    """What all steps of one training share.

    Attributes:
        events: to learn from.
        until: end of the data, unix seconds; 0 in a static set.
        has_times: whether events have times.
        setting: of the fits.
        policies: the two ways in which slates are asked for, or the second alone.
        at_once: parts that run side by side.
    """

    events: Events
    until: int
    has_times: bool
    setting: Setting
    policies: tuple[ExcludePolicy, ...]
    at_once: int = 1

    @property
    def config(self) -> Config:
        """Parameters of the run."""
        return self.setting.config

    def asking(self, users: Int32s) -> Job:
        """The same for these users alone."""
        return replace(self, setting=replace(self.setting, asked=users))

    def side_by_side(self) -> Job:
        """The same with parts that share the threads: most of a fit keeps but one processor busy."""
        at_once = min(AT_ONCE, self.setting.threads)
        return replace(self, setting=replace(self.setting, threads=self.setting.threads // at_once), at_once=at_once)

    def alone(self) -> Job:
        """The same with all threads for each part: little or nothing runs beside it."""
        return replace(self, setting=replace(self.setting, threads=_threads(self.config)))

    def fit_ranker(self, training: TrainingSet) -> Ranker:
        """The second stage."""
        return ranker.fit(training, self.config.ranker, self.config.train.seed, self.setting.threads)


def prepare(dataset: Dataset, until: int | None, config: Config) -> Job:
    """The events to train on, and their facts.

    Raises:
        DataError: nobody acts on anything.
    """
    events = dataset.events
    if not len(events.of_types(INTERACTION_TYPES)):
        wanted = ", ".join(event_type.word for event_type in INTERACTION_TYPES)
        raise DataError(f"{dataset.path}: nothing to learn from: no event is one of {wanted}")
    end = (until if until is not None else int(events.time[-1]) + 1) if dataset.has_times else 0
    rows = max(len(dataset.users), int(events.user_num.max()) + 1)
    shape = Shape(len(dataset.users), rows, len(dataset.items))
    targets = splits.target_types(events)
    described = content.describe(dataset.catalogue, config.content)
    setting = Setting(shape, config, _threads(config), targets, described)
    return Job(events, end, dataset.has_times, setting, training_set.modes(targets))


def _threads(config: Config) -> int:
    """All that the run may have."""
    return config.train.threads or len(os.sched_getaffinity(0))


def split(job: Job) -> tuple[float, tuple[Window, ...]]:
    """The horizon in days, and the windows: of time where enough users come back within them, else hidden items."""
    section, targets, shape = job.config.split, job.setting.targets, job.setting.shape
    cuts = section.cuts or (MANY_CUTS if len(job.events) <= MANY_CUTS_EVENTS else FEW_CUTS)
    horizon = section.horizon_days or splits.horizon_days(job.events, targets, cuts)
    windows: tuple[Window, ...] = ()
    if job.has_times:
        windows = splits.by_time(job.events, job.until, horizon, cuts, targets)
        users = [len(training_set.window_truth(window, shape.users, shape.items, LEAST_USERS, 0)) for window in windows]
        enough = sum(count >= LEAST_USERS for count in users) >= LEAST_CUTS
        if enough or section.horizon_days:
            return horizon, windows
    seed = job.config.train.seed
    hidden = splits.hidden(job.events, job.until, shape.users, shape.items, min(cuts, FEW_CUTS), targets, seed)
    few = len(np.unique(hidden[0].future.user_num)) < splits.LEAST_GROUPS
    return horizon, windows if few and windows else hidden


def with_truth(job: Job, windows: tuple[Window, ...]) -> list[tuple[Window, Truth]]:
    """The windows in which known users come back, and what those did, oldest first."""
    limit = job.config.split.max_groups // (len(job.policies) * max(len(windows), 1))
    sampled = [
        training_set.window_truth(
            window, job.setting.shape.users, job.setting.shape.items, limit, job.config.train.seed
        )
        for window in windows
    ]
    return [(window, truth) for window, truth in zip(windows, sampled, strict=True) if len(truth)]
