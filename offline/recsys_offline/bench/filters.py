"""``recsys bench filters``: what a filter costs a request, and what it finds against brute force; and fold-in."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys.als import Confidence, fold_in, fold_in_many, inverse_of
from recsys.catalogue import ItemCatalogue
from recsys.halves import halved
from recsys.interactions import Histories
from recsys.item_index import EXACT, ItemIndex, choose
from recsys.item_stats import ITEM_COLUMNS, ItemStats
from recsys.model import Model
from recsys.popularity import type_weights
from recsys.queries import N_MODES
from recsys.recommender import Identity, Recommender
from recsys.rules import EVERY_ITEM, Condition, Range, Rules
from recsys.snapshot import Snapshot
from recsys.sources import AlsSource, PopularitySource, RepeatsSource, SimilaritySource
from recsys.types import EventType, Float32s, Int64s, Query, ServingParameters
from recsys.vocabulary import Vocabulary
from recsys_offline.bench.quality import machine

SEED = 7
SHARES = (1.0, 0.5, 0.05, 0.001)
CLUSTERS = 400
FACTORS = 128
NEIGHBOURS = 50
EVENTS = 20
REQUESTS = 400
SLATE = 20
K = 100
LEAST_RECALL = 0.98
UNTIL = 1_700_000_000
LENGTHS = (1, 10, 32, 64, 128, 500)
WEIGHTS = {EventType.VIEW_ITEM: 1.0, EventType.PURCHASE: 5.0}


def bench(out: Path, n_items: int) -> dict[str, Any]:
    """Measure filters on a catalogue of random items, whose factors have clusters, and write the figures to a file."""
    random = np.random.default_rng(SEED)
    factors = _factors(random, n_items)
    recommenders = {"exact": _recommender(random, factors, approximate=False)}
    approximate = _recommender(random, factors, approximate=True)
    if (als := approximate.model.als) and als.index.choice != EXACT:
        recommenders["approximate"] = approximate
    result: dict[str, Any] = {"machine": machine(), "seed": SEED, "items": n_items, "factors": FACTORS, "filters": {}}
    for name, recommender in recommenders.items():
        result["filters"][name] = {f"{share:g}": _filtered(recommender, share) for share in SHARES}
    result["fold_in"] = {str(length): _folded(random, factors, length) for length in LENGTHS}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


def lines(result: dict[str, Any]) -> list[str]:
    """The figures as two Markdown tables."""
    table = [
        "| index | allowed | request, us (median) | 99 % | source als, us | recall | full |",
        "|---|---|---|---|---|---|---|",
    ]
    for index, rows in result["filters"].items():
        for share, row in rows.items():
            cells = (row["request_us"], row["request_us_p99"], row["als_us"], row["recall"], row["full"])
            table.append(f"| {index} | {float(share):.1%} | {' | '.join(map(str, cells))} |")
    table += ["", "| items of the history | fold-in, us | by the d x d system, us |", "|---|---|---|"]
    table += [f"| {length} | {row['us']} | {row['direct_us']} |" for length, row in result["fold_in"].items()]
    return table


def _filtered(recommender: Recommender, share: float) -> dict[str, float]:
    """Requests one by one under a condition that a share of the items meets."""
    condition: Condition = EVERY_ITEM if share == 1 else Range("draw", high=share)
    queries = [
        Query(f"u{user:04}", SLATE, UNTIL, parameters=ServingParameters(), rules=Rules(condition))
        for user in range(REQUESTS)
    ]
    slates = [recommender.answer([query], time.perf_counter).slates[0] for query in queries]
    seconds = list(_timed(lambda query: recommender.answer([query], time.perf_counter), queries))
    als_seconds, recalls = _als(recommender, queries)
    return {
        "request_us": round(float(np.median(seconds)) * 1e6),
        "request_us_p99": round(float(np.quantile(seconds, 0.99)) * 1e6),
        "als_us": round(float(np.median(als_seconds)) * 1e6),
        "recall": round(float(np.mean(recalls)), 4),
        "full": float(np.mean([len(slate.items) == SLATE for slate in slates])),
    }


def _als(recommender: Recommender, queries: list[Query]) -> tuple[list[float], list[float]]:
    """Seconds of the source of factors for each query, and the share of brute force's best 100 that it finds."""
    als = recommender.model.als
    if als is None:
        raise ValueError("the benchmark's model has factors")
    batches = [recommender.batch([query]) for query in queries]
    seconds = list(_timed(lambda batch: als.propose(batch, K), batches))
    recalls = []
    for batch in batches:
        rows = np.arange(batch.n_items) if batch.allowed_items is None else np.flatnonzero(batch.allowed_items)
        truth = rows[np.argsort(-(als.item_factors[rows] @ als.vectors(batch)[0]), kind="stable")[:K]]
        recalls.append(len(np.intersect1d(truth, als.propose(batch, K).item_num[0])) / len(truth))
    return seconds, recalls


def _folded(random: np.random.Generator, factors: Float32s, length: int) -> dict[str, int]:
    """Microseconds of a fold-in as served, and by the system of the factors' size."""
    gram = factors.T @ factors + np.eye(FACTORS, dtype=np.float32)
    histories = [np.sort(random.choice(len(factors), length, replace=False)) for _ in range(REQUESTS // 4)]
    confidence = 1 + 5 * random.random(length)
    direct = np.median(list(_timed(lambda items: fold_in(factors, gram, items, confidence), histories)))
    served = partial(fold_in_many, factors, gram, inverse_of(gram), np.array([0, length]))
    ours = np.median(list(_timed(lambda items: served(items, confidence), histories)))
    return {"us": round(float(ours) * 1e6), "direct_us": round(float(direct) * 1e6)}


def _timed(function: Callable[[Any], object], values: list[Any]) -> Iterator[float]:
    """The seconds that each call takes."""
    for value in values:
        start = time.perf_counter()
        function(value)
        yield time.perf_counter() - start


def _factors(random: np.random.Generator, n_items: int) -> Float32s:
    """float32[n_items, d]: clusters, as tastes make them, and longer ones for popular items."""
    centres = random.normal(size=(CLUSTERS, FACTORS))
    own = centres[random.integers(0, CLUSTERS, n_items)] + 0.5 * random.normal(size=(n_items, FACTORS))
    return halved(0.1 * own * random.lognormal(sigma=0.3, size=(n_items, 1)))


def _recommender(random: np.random.Generator, factors: Float32s, *, approximate: bool) -> Recommender:
    """A recommender without a ranker, for which a filter changes nothing, and with a number to filter by."""
    n_items = len(factors)
    histories = _histories(random, n_items)
    gram = factors.T @ factors + np.eye(FACTORS, dtype=np.float32)
    confidence = Confidence.of(WEIGHTS, 3.0, 90.0, UNTIL)
    exact = ItemIndex.exact(factors)
    user_factors = factors[histories.item_num.reshape(-1, EVENTS)].sum(axis=1)
    index = choose(factors, user_factors, LEAST_RECALL) if approximate else exact
    neighbours = _neighbours(random, n_items)
    sources = (
        AlsSource(factors, user_factors.astype(np.float16), gram, confidence, index),
        SimilaritySource(neighbours, type_weights(WEIGHTS), 30.0),
        PopularitySource.of(random.pareto(1.0, n_items).astype(np.float32)),
        RepeatsSource(type_weights(WEIGHTS) > 0, 90.0),
    )
    catalogue = ItemCatalogue({}, {"draw": random.random(n_items)}, {}, np.zeros(n_items, dtype=bool))
    stats = ItemStats(UNTIL, np.zeros((n_items, len(ITEM_COLUMNS)), dtype=np.float32))
    model = Model(
        users=Vocabulary.of(f"u{user:04}" for user in range(REQUESTS)),
        items=Vocabulary.of(f"i{item:07}" for item in range(n_items)),
        snapshot=Snapshot(histories, stats, sources),
        blend=np.ones((N_MODES, len(sources)), dtype=np.float32),
        ranker=None,
        latest=UNTIL,
        catalogue=catalogue,
    )
    return Recommender(Identity("bench", UNTIL, UNTIL), model)


def _histories(random: np.random.Generator, n_items: int) -> Histories:
    """Some events of each user who asks, a day apart."""
    n = REQUESTS * EVENTS
    indptr: Int64s = np.arange(0, n + 1, EVENTS, dtype=np.int64)
    return Histories(
        indptr,
        random.integers(0, n_items, n).astype(np.int32),
        random.choice([EventType.VIEW_ITEM, EventType.PURCHASE], n).astype(np.int8),
        np.tile(UNTIL - 86_400 * np.arange(1, EVENTS + 1), REQUESTS),
        np.full(n, np.nan, dtype=np.float32),
        np.tile(np.arange(EVENTS, dtype=np.int32), REQUESTS),
    )


def _neighbours(random: np.random.Generator, n_items: int) -> sp.csr_array:
    """float32 CSR[n_items, n_items]: some random neighbours of each item."""
    indices = np.sort(random.integers(0, n_items, (n_items, NEIGHBOURS)), axis=1).ravel().astype(np.int32)
    data = random.random(n_items * NEIGHBOURS).astype(np.float32)
    return sp.csr_array((data, indices, np.arange(0, len(data) + 1, NEIGHBOURS)), shape=(n_items, n_items))
