"""The snapshot of a time: every source fitted, every statistic taken, from the events before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from typing import cast

import numpy as np

from recsys.content_source import ContentSource, DescribedSource
from recsys.interactions import Events, Histories
from recsys.item_stats import item_stats
from recsys.snapshot import Snapshot
from recsys.sources import AlsSource, CandidateSource
from recsys_offline.train import content, fitting
from recsys_offline.train.fitting import Setting
from recsys_offline.train.specs import Spec
from recsys_offline.train.workers import workers

SLOWEST = ("spectral", "als", "neighbours")
"""Kinds of sources that are begun first, so that no processor waits for a long fit at the end."""


def fit(events: Events, now: int, specs: tuple[Spec, ...], setting: Setting, *, has_times: bool = True) -> Snapshot:
    """What was known at ``now`` (unix seconds): all events must lie before it."""
    with workers(1) as pool:
        return begin(pool, events, now, specs, setting, has_times=has_times)()


def begin(
    pool: Executor, events: Events, now: int, specs: tuple[Spec, ...], setting: Setting, *, has_times: bool = True
) -> Callable[[], Snapshot]:
    """The same, each part on its own: what comes back waits for all, and gives the snapshot.

    With one worker nothing runs beside anything else, so that no part changes the threads that another's products have.
    """
    fitted = [spec for spec in specs if spec.kind != "content"]
    slowest = sorted(fitted, key=lambda spec: SLOWEST.index(spec.kind) if spec.kind in SLOWEST else len(SLOWEST))
    sources = {spec.name: pool.submit(fitting.fit, spec, events, now, setting) for spec in slowest}
    stats = pool.submit(item_stats, events, setting.shape.items, now, has_times)
    histories = pool.submit(_histories, events, setting)

    def known() -> list[CandidateSource]:
        fits = [sources[spec.name].result() for spec in fitted]  # begun before, so that no worker waits in vain
        return _described(fits, events, now, setting) if len(fitted) < len(specs) else fits

    described = pool.submit(known)

    def joined() -> Snapshot:
        return Snapshot(histories.result(), stats.result(), tuple(described.result()))

    return joined


def indexed(pool: Executor, snapshot: Snapshot, now: int, *, to_serve: bool) -> Snapshot:
    """The snapshot with its sources behind indexes for queries at ``now`` (unix seconds).

    As :func:`recsys_offline.train.fitting.indexed` tells.
    """
    index = partial(fitting.indexed, histories=snapshot.histories, now=now, to_serve=to_serve)
    searched = tuple(pool.map(index, snapshot.sources))
    als = next((source for source in searched if isinstance(source, AlsSource)), None)
    if als is not None:  # whose vectors others ask for as well
        others = (ContentSource, DescribedSource)
        searched = tuple(replace(source, als=als) if isinstance(source, others) else source for source in searched)
    return replace(snapshot, sources=searched)


def _histories(events: Events, setting: Setting) -> Histories:
    """Those of the users asked for, and empty ones of the others."""
    users = setting.shape.users
    if setting.asked is not None:
        asked = np.zeros(setting.shape.rows, dtype=bool)
        asked[setting.asked] = True
        events = events.where(asked[events.user_num])
    return Histories.of(events, users, setting.config.train.max_history)


def _described(sources: Sequence[CandidateSource], events: Events, now: int, setting: Setting) -> list[CandidateSource]:
    """The sources, ALS with factors of the items that it cannot know, and what attributes say after all others."""
    known = list(sources)
    if setting.described is None:
        return known
    place = next(number for number, source in enumerate(known) if isinstance(source, AlsSource))
    config, als = setting.config, cast(AlsSource, known[place])
    known[place], described, cold = content.fit(als, setting.described, events, now, config.content, config.train.seed)
    return [*known, described, cold]
