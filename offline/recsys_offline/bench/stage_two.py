"""How the time of stage 2 is divided: one compiled loop makes features and goes through the trees."""

from __future__ import annotations

import time
from dataclasses import replace
from statistics import median

import numpy as np

from recsys.features import Context
from recsys.recommender import Recommender
from recsys.scorer import Scorer
from recsys.types import Query, ServingParameters

ASKED, AT_ONCE = 512, 32
ROUNDS = 5


def share_of_features(recommender: Recommender) -> float:
    """The time that the loop takes of the candidates of some users without any trees, as a share of what it takes.

    The median of some rounds, in which both take turns; 1 where there is no ranker.
    """
    model = recommender.model
    whole = model.scorer
    if whole is None:
        return 1.0
    alone = replace(whole, forest=replace(whole.forest, leaves=whole.forest.leaves[:0]))
    contexts = _contexts(recommender)
    shares = [_seconds(alone, contexts) / _seconds(whole, contexts) for _ in range(1 + ROUNDS)]
    return round(median(shares[1:]), 3)


def _contexts(recommender: Recommender) -> list[Context]:
    """What the loop takes, of users that are spread over all rows."""
    model, parameters = recommender.model, ServingParameters()
    rows = np.linspace(0, len(model.users) - 1, min(ASKED, len(model.users))).astype(np.int64)
    queries = [Query(user_id, 1, recommender.until) for user_id in model.users.ids(rows)]
    cut = (parameters.candidates, model.snapshot.reserved)
    contexts = []
    for first in range(0, len(queries), AT_ONCE):
        batch = recommender.batch(queries[first : first + AT_ONCE])
        found = model.retriever.leading(batch, parameters.candidates_per_source, model.blend, *cut)
        contexts.append(Context(batch, *found, model.snapshot.stats))
    return contexts


def _seconds(scorer: Scorer, contexts: list[Context]) -> float:
    started = time.perf_counter()
    for context in contexts:
        scorer.score(context)
    return time.perf_counter() - started
