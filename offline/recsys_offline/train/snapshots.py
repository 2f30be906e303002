"""The snapshot of a time: every source fitted, every statistic taken, from the events before it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from recsys.als import Confidence
from recsys.config import Config
from recsys.interactions import Events, Histories
from recsys.item_index import ItemIndex, choose
from recsys.item_stats import item_stats
from recsys.popularity import decayed_counts, type_weights
from recsys.snapshot import Snapshot
from recsys.sources import AlsSource, CandidateSource, PopularitySource, RepeatsSource, SimilaritySource
from recsys.types import EventType
from recsys_offline.train import factorise
from recsys_offline.train.factorise import Shape

SOURCES = ("als", "item_similarity", "popularity", "repeats")
LEAST_RECALL = 0.98
PROBED_USERS = 500


def fit(
    events: Events,
    shape: Shape,
    now: int,
    config: Config,
    threads: int,
    targets: tuple[EventType, ...],
    has_times: bool = True,
) -> Snapshot:
    """What was known at ``now`` (unix seconds): all events must lie before it."""
    weights = config.event_weights.by_type()
    return Snapshot(
        Histories.of(events, shape.users, config.train.max_history),
        item_stats(events, shape.items, now, has_times),
        (
            fit_als(events, shape, now, config, threads),
            SimilaritySource(
                factorise.similarity(events, shape, type_weights(weights), now, config.item_similarity, threads),
                type_weights(weights),
                config.item_similarity.half_life_days,
            ),
            fit_popularity(events, shape, now, config, targets),
            RepeatsSource(type_weights(dict.fromkeys(targets, 1.0)) > 0, config.repeats.half_life_days),
        ),
    )


def fit_als(events: Events, shape: Shape, now: int, config: Config, threads: int) -> AlsSource:
    """The matrix factorisation source, searched exactly."""
    section = config.als
    confidence = Confidence.of(config.event_weights.by_type(), section.alpha, section.half_life_days, now)
    factors = factorise.als(events, shape, confidence, section, config.train.seed, threads)
    index = ItemIndex.exact(factors.item_factors)
    # Half precision, as stored and served, so that the ranker learns from what it will see.
    user_factors = factors.user_factors.astype(np.float16)
    return AlsSource(factors.item_factors, user_factors, factors.gram, confidence, index)


def indexed(source: CandidateSource) -> CandidateSource:
    """The source as it will serve: factors behind the cheapest index that finds enough of the exact answer."""
    if not isinstance(source, AlsSource):
        return source
    step = max(len(source.user_factors) // PROBED_USERS, 1)
    index = choose(source.item_factors, source.user_factors[::step].astype(np.float32), LEAST_RECALL)
    return replace(source, index=index)


def fit_popularity(
    events: Events, shape: Shape, now: int, config: Config, targets: tuple[EventType, ...]
) -> PopularitySource:
    """Decayed counts of what the ranker should predict; other interactions break ties."""
    half_life = config.popularity.half_life_days
    counts = decayed_counts(events, shape.items, dict.fromkeys(targets, 1.0), now, half_life)
    others = decayed_counts(events, shape.items, config.event_weights.by_type(), now, half_life)
    return PopularitySource.of((counts + np.float32(0.001) * others).astype(np.float32))
