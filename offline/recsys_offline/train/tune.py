"""Choosing each source's parameters on the newest window, one group of alternatives after the other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from recsys.interactions import Histories
from recsys.metrics import Truth, per_user
from recsys.queries import QueryBatch, for_users
from recsys.sources import CandidateSource
from recsys.splits import Window
from recsys.types import ExcludePolicy
from recsys_offline.train import fitting
from recsys_offline.train.fitting import Setting
from recsys_offline.train.specs import Spec

DEPTH = 20
LEAST_GAIN = 1.01
"""An alternative must be better by this factor: what is not clearly better is noise, and the default stays."""


def tune(spec: Spec, window: Window, asked: list[tuple[QueryBatch, Truth]], setting: Setting) -> Spec:
    """The spec with the parameters that find best, alone, what the window's users did next.

    Coordinate search: of each group the best alternative is kept before the next group is tried.
    """
    latest: list[tuple[Spec, CandidateSource]] = []

    def quality(tried: Spec) -> float:
        source = next((fitted for known, fitted in latest if _same_fit(known, tried)), None)
        source = source or fitting.fit(tried, window.past, window.now, setting)
        latest[:] = [(tried, source)]
        return _quality(fitting.asked_with(source, tried), asked)

    chosen, best = spec, None
    for group in spec.options:
        if not group:
            continue
        best = quality(chosen) if best is None else best
        chosen, best = _better(chosen, best, [chosen.but(changed) for changed in group], quality)
    return chosen.settled()


def _same_fit(one: Spec, other: Spec) -> bool:
    """Whether two specs differ at most in how a history is read, which needs no fitting."""
    return one.but({fitting.HISTORY: 0.0}) == other.but({fitting.HISTORY: 0.0})


def _better(chosen: Spec, best: float, tried: list[Spec], quality: Callable[[Spec], float]) -> tuple[Spec, float]:
    """The best of what was chosen and what is tried."""
    reached = [(quality(spec), spec) for spec in tried]
    top, spec = max(reached, key=lambda pair: pair[0])
    return (spec, top) if top > best * LEAST_GAIN else (chosen, best)


def questions(
    window: Window, truth: Truth, policies: tuple[ExcludePolicy, ...], n_users: int, limit: int
) -> list[tuple[QueryBatch, Truth]]:
    """The queries of the window's users in each mode, and what could have been found for each."""
    histories = Histories.of(window.past, n_users, limit)
    asked = []
    for policy in policies:
        batch = for_users(histories, truth.user_num, window.now, truth.n_items, policy)
        asked.append((batch, truth.without(batch.excluded)))
    return asked


def _quality(source: CandidateSource, asked: list[tuple[QueryBatch, Truth]]) -> float:
    """Mean NDCG@20 over the modes, each over the users with something to find."""
    means = []
    for batch, truth in asked:
        slates = source.propose(batch, DEPTH).item_num[truth.user_num]
        means.append(float(per_user(truth, slates, DEPTH)["ndcg"].mean()) if len(truth) else 0.0)
    return float(np.mean(means))
