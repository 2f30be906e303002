"""Which sources a data set gets, and what may be chosen about each.

A :class:`Spec` is a source before it is fitted. ``propose`` looks at the data (types of events, times, size of the
catalogue) and gives every source that could pay; the newest window chooses their parameters, and weighs some of them
away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from recsys.config import Config
from recsys.interactions import Events
from recsys.types import INTERACTION_TYPES, EventType

FOREVER_DAYS = 36_500.0
"""A half-life that is none."""
TUNED_EVENTS = 3_000_000
"""Above, the defaults are taken as they are, factors go on from before the oldest window, and fits run side by side."""

Parameters = Mapping[str, float | str]
Grid = tuple[Mapping[str, float], ...]


@dataclass(frozen=True, slots=True)
class Spec:
    """A source to fit.

    Attributes:
        name: of the source.
        kind: how it is fitted: ``als``, ``neighbours``, ``spectral``, ``popularity`` or ``repeats``.
        parameters: what it is fitted with.
        options: groups of alternatives, tried one group after the other; each alternative sets some parameters.
    """

    name: str
    kind: str
    parameters: Parameters
    options: tuple[Grid, ...] = ()

    def but(self, changed: Mapping[str, float]) -> Spec:
        """The same with some parameters changed."""
        return replace(self, parameters={**self.parameters, **changed})

    def settled(self) -> Spec:
        """The same with nothing left to choose."""
        return replace(self, options=())


@dataclass(frozen=True, slots=True)
class Facts:
    """What the choice of sources looks at.

    Attributes:
        n_events: interactions.
        n_items: size of the catalogue.
        has_times: whether events have times.
        has_visits: whether users come in more than one visit, so that visits and users differ.
        sells: whether the ranker predicts purchases.
        browses: whether there are interactions other than purchases.
    """

    n_events: int
    n_items: int
    has_times: bool
    has_visits: bool
    sells: bool
    browses: bool

    @property
    def is_large(self) -> bool:
        """Whether fitting again and again would cost more than it brings."""
        return self.n_events > TUNED_EVENTS

    @classmethod
    def of(cls, events: Events, n_items: int, has_times: bool, targets: tuple[EventType, ...]) -> Facts:
        """The facts of some events."""
        taken = events.of_types(INTERACTION_TYPES)
        visits, users = (int(np.count_nonzero(np.bincount(column))) for column in (taken.session_num, taken.user_num))
        return cls(
            n_events=len(taken),
            n_items=n_items,
            has_times=has_times,
            has_visits=visits > 1.1 * users,
            sells=targets == (EventType.PURCHASE,),
            browses=bool((taken.event_type != EventType.PURCHASE).any()),
        )


def propose(facts: Facts, config: Config) -> tuple[Spec, ...]:
    """Every source that could pay on data with these facts, its free parameters at their defaults."""
    specs = [_als(facts, config), _similarity("item_similarity", "user", facts, config)]
    if facts.has_visits:
        specs.append(_similarity("co_visitation", "session", facts, config))
    if facts.n_items <= config.item_model.ease_items:
        specs.append(_ease(facts, config))
    else:
        specs.append(_spectral(facts, config))
    specs.append(_popularity(facts, config))
    if facts.sells:
        specs.append(_own("repeats", "targets", 180.0, (30.0, 90.0, 365.0), facts, config))
        if facts.browses:
            specs.append(_own("touched", "others", 7.0, (1.0, 30.0, 180.0), facts, config))
    if facts.is_large:
        specs = [spec.settled() for spec in specs]
    return tuple(specs)


def _times(facts: Facts, name: str, given: float, default: float, others: tuple[float, ...]) -> tuple[float, Grid]:
    """A half-life and what else to try: as configured, none in a static set, or free."""
    if given:
        return given, ()
    if not facts.has_times:
        return FOREVER_DAYS, ()
    return default, tuple({name: days} for days in others)


def _als(facts: Facts, config: Config) -> Spec:
    section = config.als
    half_life, half_lives = _times(facts, "half_life_days", section.half_life_days, 90.0, (30.0, FOREVER_DAYS))
    pull: Grid = (
        {"alpha": 1.0, "regularization": 10.0},
        {"alpha": 10.0, "regularization": 30.0},
        {"alpha": 40.0, "regularization": 50.0},
    )
    sizes: Grid = ({"factors": 128.0}, {"factors": 256.0})
    parameters = {
        "factors": float(section.factors or 64),
        "alpha": section.alpha or 3.0,
        "regularization": section.regularization or 20.0,
        "half_life_days": half_life,
    }
    free_pull = () if section.alpha or section.regularization else pull
    return Spec("als", "als", parameters, (half_lives, free_pull, () if section.factors else sizes))


def _similarity(name: str, rows: str, facts: Facts, config: Config) -> Spec:
    section = config.item_similarity
    half_life, fits = _times(facts, "half_life_days", section.half_life_days, 90.0, (30.0, FOREVER_DAYS))
    history, histories = _times(
        facts, "history_half_life_days", section.history_half_life_days, 30.0, (3.0, FOREVER_DAYS)
    )
    parameters: Parameters = {
        "method": "co_occurrence",
        "rows": rows,
        "shrinkage": section.shrinkage or 10.0,
        "row_power": 0.5,
        "half_life_days": half_life,
        "history_half_life_days": history,
    }
    powers: Grid = ({"row_power": 0.0}, {"row_power": 1.0})
    shrinkages: Grid = () if section.shrinkage else ({"shrinkage": 1.0}, {"shrinkage": 30.0})
    # How much the busy count decides which half-life is best, not the other way round.
    return Spec(name, "neighbours", parameters, (shrinkages, powers, fits, histories))


def _ease(facts: Facts, config: Config) -> Spec:
    section = config.item_model
    half_life, fits = _times(facts, "half_life_days", section.half_life_days, 90.0, (30.0, FOREVER_DAYS))
    history, histories = _times(
        facts, "history_half_life_days", section.history_half_life_days, 90.0, (30.0, FOREVER_DAYS)
    )
    pull: Grid = () if section.regularization else ({"regularization": 20.0}, {"regularization": 400.0})
    parameters: Parameters = {
        "method": "ease",
        "regularization": section.regularization or 100.0,
        "rows": "user",
        "half_life_days": half_life,
        "history_half_life_days": history,
    }
    return Spec("ease", "neighbours", parameters, (fits, pull, histories))


def _spectral(facts: Facts, config: Config) -> Spec:
    section = config.spectral
    half_life, fits = _times(facts, "half_life_days", section.half_life_days, 90.0, (30.0, FOREVER_DAYS))
    history, histories = _times(
        facts, "history_half_life_days", section.history_half_life_days, 90.0, (30.0, FOREVER_DAYS)
    )
    sizes: Grid = () if section.dimensions else ({"dimensions": 256.0}, {"dimensions": 128.0})
    default = 128 if facts.is_large else 512  # a long tail wants many, and time grows with them
    parameters: Parameters = {
        "dimensions": float(section.dimensions or default),
        "rows": "user",
        "half_life_days": half_life,
        "history_half_life_days": history,
    }
    return Spec("spectral", "spectral", parameters, (fits, sizes, histories))


def _popularity(facts: Facts, config: Config) -> Spec:
    given = config.popularity.half_life_days
    half_life, others = _times(facts, "half_life_days", given, 14.0, (3.0, 7.0, 30.0, 90.0, FOREVER_DAYS))
    return Spec("popularity", "popularity", {"half_life_days": half_life}, (others,))


def _own(name: str, types: str, default: float, others: tuple[float, ...], facts: Facts, config: Config) -> Spec:
    half_life, free = _times(facts, "half_life_days", config.repeats.half_life_days, default, others)
    return Spec(name, "repeats", {"types": types, "half_life_days": half_life}, (free,))
