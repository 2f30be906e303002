"""The snapshot of a time: every source fitted, every statistic taken, from the events before it."""

from __future__ import annotations

from recsys.interactions import Events, Histories
from recsys.item_stats import item_stats
from recsys.snapshot import Snapshot
from recsys_offline.train import fitting
from recsys_offline.train.fitting import Setting
from recsys_offline.train.specs import Spec


def fit(events: Events, now: int, specs: tuple[Spec, ...], setting: Setting, *, has_times: bool = True) -> Snapshot:
    """What was known at ``now`` (unix seconds): all events must lie before it."""
    return Snapshot(
        Histories.of(events, setting.shape.users, setting.config.train.max_history),
        item_stats(events, setting.shape.items, now, has_times),
        tuple(fitting.fit(spec, events, now, setting) for spec in specs),
    )
