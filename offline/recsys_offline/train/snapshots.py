"""The snapshot of a time: every source fitted, every statistic taken, from the events before it."""

from __future__ import annotations

from typing import cast

from recsys.interactions import Events, Histories
from recsys.item_stats import item_stats
from recsys.snapshot import Snapshot
from recsys.sources import AlsSource, CandidateSource
from recsys_offline.train import content, fitting
from recsys_offline.train.fitting import Setting
from recsys_offline.train.specs import Spec


def fit(events: Events, now: int, specs: tuple[Spec, ...], setting: Setting, *, has_times: bool = True) -> Snapshot:
    """What was known at ``now`` (unix seconds): all events must lie before it."""
    return Snapshot(
        Histories.of(events, setting.shape.users, setting.config.train.max_history),
        item_stats(events, setting.shape.items, now, has_times),
        _sources(events, now, specs, setting),
    )


def _sources(events: Events, now: int, specs: tuple[Spec, ...], setting: Setting) -> tuple[CandidateSource, ...]:
    """The fitted sources; content, which the last two are of, gives ALS factors of items that it cannot know."""
    sources: list[CandidateSource] = [
        fitting.fit(spec, events, now, setting) for spec in specs if spec.kind != "content"
    ]
    if len(sources) < len(specs) and setting.described is not None:
        place = next(number for number, source in enumerate(sources) if isinstance(source, AlsSource))
        config, als = setting.config, cast(AlsSource, sources[place])
        mapped, described, cold = content.fit(als, setting.described, events, now, config.content, config.train.seed)
        sources[place] = mapped
        sources += [described, cold]
    return tuple(sources)
