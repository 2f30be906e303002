"""Worlds whose right answer is known by construction: training finds it, and finds nothing where there is nothing."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from recsys import bundle, manifest
from recsys.registry import Registry
from recsys.types import ExcludePolicy, Query, ServingParameters
from shops import CYCLE_UNTIL, DAY, START, recsys, train, write

END = START + 1_000 * DAY


def slate(recommender, user_id: str, k: int, policy: ExcludePolicy = ExcludePolicy.NONE) -> list[str]:
    query = Query(user_id, k, recommender.until, parameters=ServingParameters(exclude_policy=policy))
    answer = recommender.answer([query], lambda: 0.0)
    assert answer.errors == ()
    return [item.item_id for item in answer.slates[0].items]


def test_who_only_buys_the_same_things_again_gets_these_things(tmp_path):
    random = np.random.default_rng(1)
    own = {f"u{user}": random.choice(60, 3, replace=False) for user in range(80)}
    rows = [
        (user, f"i{item}", "purchase", START + day * DAY)
        for day in range(0, 40, 4)
        for user, items in own.items()
        for item in items
    ]
    recommender = train(write(tmp_path / "shop", rows), tmp_path / "registry")
    for user, items in own.items():
        assert set(slate(recommender, user, 3)) == {f"i{item}" for item in items}


def test_who_belongs_to_a_cluster_gets_what_is_left_of_it_before_anything_else(tmp_path):
    random = np.random.default_rng(2)
    rows, own = [], {}
    for user in range(160):
        items = random.choice(12, 9, replace=False) + 12 * (user % 2)
        own[f"u{user}"] = {f"i{item}" for item in items}
        rows += [(f"u{user}", f"i{item}", "purchase", START + (3 * n + user % 3) * DAY) for n, item in enumerate(items)]
    recommender = train(write(tmp_path / "shop", rows), tmp_path / "registry", item_similarity={"shrinkage": 1.0})
    for user, items in own.items():
        cluster = {f"i{item + 12 * (int(user[1:]) % 2)}" for item in range(12)}
        assert set(slate(recommender, user, 3, ExcludePolicy.PURCHASED)) == cluster - items


def test_the_ranker_finds_what_no_source_knows_and_is_used(cycle_shop, cycle_registry):
    live = Registry(cycle_registry)
    recommender = bundle.load(live.path(live.live()))
    told = manifest.read(live.path(live.live()))
    assert told.has_ranker
    assert told.metrics["gain_low"] > 0.2
    events = pq.read_table(cycle_shop / "events.parquet").to_pandas()
    past = events[events.event_time < CYCLE_UNTIL]
    first = events[events.event_time >= CYCLE_UNTIL].groupby("user_id").item_id.first()
    by_ranker, by_sources = [], []
    for user, bought in first.items():
        if bought not in set(past[past.user_id == user].item_id.tail(8)):
            continue  # the one in ten that is of any item
        query = Query(user, 3, recommender.until)
        plain = Query(user, 3, recommender.until, parameters=ServingParameters(use_ranker=False))
        both, stage_1 = recommender.answer([query, plain], lambda: 0.0).slates
        by_ranker.append(bought == both.items[0].item_id)
        by_sources.append(bought == stage_1.items[0].item_id)
    assert len(by_ranker) > 300
    assert np.mean(by_ranker) > 0.75
    assert np.mean(by_sources) < 0.5


@pytest.mark.parametrize("seed", [1, 2])
def test_a_ranker_that_has_nothing_to_learn_is_not_used_and_the_verdict_says_so(tmp_path, seed):
    random = np.random.default_rng(seed)
    rows = [
        (f"u{random.integers(150)}", f"i{random.integers(60)}", "purchase", START + int(second))
        for second in np.sort(random.integers(0, 40 * DAY, 3_000))
    ]
    done = recsys("train", write(tmp_path / "shop", rows), "--registry", tmp_path / "registry")
    assert done.status == 0
    assert "ranker not used, as its gain may be nothing" in done.err
    told = manifest.read(tmp_path / "registry" / "versions" / done.last)
    assert not told.has_ranker
    assert told.metrics["gain_low"] <= 0
    assert "ranker.ubj" not in told.files
    assert "not judged" not in recsys("bundles", "list", "--registry", tmp_path / "registry").out


def test_the_manifest_says_of_every_source_what_was_chosen_or_that_it_was_left_out(cycle_registry):
    live = Registry(cycle_registry)
    told = manifest.read(live.path(live.live()))
    chosen = {line.partition(": ")[0]: line for line in told.choices}
    left_out = {name for name, line in chosen.items() if "left out" in line}
    assert len(chosen) == len(told.choices)
    assert chosen.keys() - left_out == told.sources.keys()
    assert {"als", "item_similarity", "ease", "popularity", "repeats"} <= chosen.keys()
    assert "popularity" not in left_out
