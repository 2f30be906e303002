"""How far the answers of a bundle are from those of exact retrieval."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np

from recsys import bundle, manifest
from recsys.item_index import ItemIndex
from recsys.model import Model
from recsys.recommender import Recommender
from recsys.registry import Registry
from recsys.sources import AlsSource, CandidateSource
from recsys.spectral_source import SpectralSource
from recsys.types import Query
from recsys_offline.bench import stage_two

ASKED = 1_000
AT_ONCE = 50
SLATE = 20


def measure(registry: Registry) -> dict[str, Any]:
    """What the live bundle is made of, and the share of its slates' places where exact search has another item."""
    folder = registry.path(registry.find(None))
    contents, recommender = manifest.read(folder), bundle.load(folder)
    approximate, exact = (_slates(each) for each in (recommender, _exact(recommender)))
    return {
        "bundle_id": contents.bundle_id,
        "metrics": contents.metrics,
        "indexes": {name: source["index"] for name, source in contents.sources.items() if "index" in source},
        "places_that_differ_from_exact": round(float(np.mean(approximate != exact)), 4),
        "share_of_features_in_rank": stage_two.share_of_features(recommender),
    }


def _exact(recommender: Recommender) -> Recommender:
    """The same, every index searched by brute force."""
    model: Model = recommender.model
    sources = tuple(map(_by_brute_force, model.snapshot.sources))
    return Recommender(recommender.identity, replace(model, snapshot=replace(model.snapshot, sources=sources)))


def _by_brute_force(source: CandidateSource) -> CandidateSource:
    if not isinstance(source, AlsSource | SpectralSource):
        return source
    return replace(source, index=ItemIndex.exact(source.item_factors))


def _slates(recommender: Recommender) -> np.ndarray[Any, Any]:
    """Item ids of the slates of some users, spread over all rows: str[users, 20]."""
    users = recommender.model.users
    rows = np.linspace(0, len(users) - 1, min(ASKED, len(users))).astype(np.int64)
    queries = [Query(user_id, SLATE, recommender.until) for user_id in users.ids(rows)]
    slates = [
        slate
        for at in range(0, len(queries), AT_ONCE)
        for slate in recommender.answer(queries[at : at + AT_ONCE], time.perf_counter).slates
    ]
    return np.array([[item.item_id for item in slate.items] for slate in slates])
