"""The report's numbers are those that anybody gets from the lists and the raw events."""

import json
import math
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from recsys import manifest
from shops import CYCLE_UNTIL, DAY, SHOP_UNTIL, START, Done, recsys, train, write

METRICS = ("precision", "recall", "ndcg", "map", "mrr", "hit_rate", "coverage")
MODES = {"repeats allowed": "none", "new items only": "purchased"}
INTERACTIONS = ["view_item", "select_item", "add_to_cart", "add_to_wishlist", "purchase"]


def evaluate(dataset: Path, registry: Path, out: Path, *options: object) -> tuple[Done, dict]:
    done = recsys("evaluate", dataset, "--registry", registry, "--out", out, *options)
    path = out / "report.json"
    return done, json.loads(path.read_text(), parse_constant=pytest.fail) if path.exists() else {}


def scored(lists: dict[str, list[str]], truth: dict[str, set[str]], k: int, n_items: int) -> dict[str, float]:
    """Every metric, user by user, in plain Python."""
    sums = dict.fromkeys(METRICS, 0.0)
    for user, wanted in truth.items():
        hits = [rank for rank, item in enumerate(lists[user][:k], start=1) if item in wanted]
        ideal = range(1, min(k, len(wanted)) + 1)
        sums["precision"] += len(hits) / k
        sums["recall"] += len(hits) / len(wanted)
        sums["ndcg"] += sum(1 / math.log2(rank + 1) for rank in hits) / sum(1 / math.log2(rank + 1) for rank in ideal)
        sums["map"] += sum(found / rank for found, rank in enumerate(hits, start=1)) / len(ideal)
        sums["mrr"] += 1 / hits[0] if hits else 0
        sums["hit_rate"] += bool(hits)
    means = {metric: value / len(truth) for metric, value in sums.items()}
    means["coverage"] = len({item for user in truth for item in lists[user][:k]}) / n_items
    return means


def truth_of(
    events: pd.DataFrame, until: str, mode: str, targets: Sequence[str] = ("purchase",)
) -> dict[str, set[str]]:
    """What each user with a past bought from ``until`` on; in the second mode without what was bought before.

    Where nothing is bought, every interaction counts, and in the second mode everything seen before is left out.
    """
    events = events[events.user_id.notna() & events.item_id.notna()]
    past, bought = events[events.event_time < until], events[events.event_type.isin(targets)]
    known = set(past[past.event_type != "impression"].user_id)
    before = bought[bought.event_time < until].groupby("user_id").item_id.agg(set)
    truth = {}
    for user, items in bought[bought.event_time >= until].groupby("user_id").item_id.agg(set).items():
        wanted = items - (before.get(user, set()) if mode == "new items only" else set())
        if user in known and wanted:
            truth[user] = wanted
    return truth


def lists_of(registry: Path, policy: str, out: Path) -> dict[str, list[str]]:
    done = recsys("recommend", "--registry", registry, "--k", 20, "--exclude", policy, "--out", out)
    assert done.status == 0, done.err
    return pd.read_csv(out, dtype=str).groupby("user_id").item_id.agg(list).to_dict()


@pytest.mark.parametrize("world", ["shop", "cycle_shop"])
def test_the_last_row_equals_a_plain_scorer_of_batch_lists_and_raw_events(world, request, tmp_path):
    dataset, registry = request.getfixturevalue(world), request.getfixturevalue(world.replace("shop", "registry"))
    until = {"shop": SHOP_UNTIL, "cycle_shop": CYCLE_UNTIL}[world]
    done, report = evaluate(dataset, registry, tmp_path)
    assert done.status == 0, done.err
    events = pd.read_parquet(dataset / "events.parquet")
    assert report["modes"].keys() == MODES.keys()
    for mode, result in report["modes"].items():
        truth = truth_of(events, until, mode)
        assert result["users"] == len(truth) > 20
        name, row = list(result["rows"].items())[-1]
        assert name == ("two-stage" if report["second_stage"] else "stage 1 merged")
        lists = lists_of(registry, MODES[mode], tmp_path / "lists.csv")
        for k in (5, 10, 20):
            expected = scored(lists, truth, k, report["catalogue_items"])
            assert row[str(k)] == pytest.approx(expected, abs=2e-6), (mode, k)


def test_where_nothing_is_bought_the_report_is_about_everything_that_users_do(shop, tmp_path):
    shutil.copytree(shop, tmp_path / "views")
    events = pd.read_parquet(shop / "events.parquet")
    # Of two types alone, so that what was seen before is the same as what was acted on before.
    events = events[events.event_type.isin(["view_item", "add_to_cart"])]
    events.to_parquet(tmp_path / "views" / "events.parquet")
    registry = tmp_path / "registry"
    assert recsys("train", tmp_path / "views", "--registry", registry, "--until", SHOP_UNTIL).status == 0
    _, report = evaluate(tmp_path / "views", registry, tmp_path)
    assert report["targets"] == INTERACTIONS
    for mode, policy in (("repeats allowed", "none"), ("new items only", "seen")):
        truth = truth_of(events, SHOP_UNTIL, mode, INTERACTIONS)
        assert max(map(len, truth.values())) > 10  # more than a short list can hold
        row = list(report["modes"][mode]["rows"].values())[-1]
        lists = lists_of(registry, policy, tmp_path / "lists.csv")
        for k in (5, 10, 20):
            assert row[str(k)] == pytest.approx(scored(lists, truth, k, report["catalogue_items"]), abs=2e-6), (mode, k)


def test_most_popular_is_what_had_the_most_interactions_before(shop, registry, tmp_path):
    _, report = evaluate(shop, registry, tmp_path)
    events = pd.read_parquet(shop / "events.parquet")
    past = events[(events.event_time < SHOP_UNTIL) & events.event_type.isin(INTERACTIONS)]
    counts = past.groupby("item_id").size()
    order = list(counts.sort_index().sort_values(ascending=False, kind="stable").index)
    truth = truth_of(events, SHOP_UNTIL, "repeats allowed")
    expected = scored(dict.fromkeys(truth, order), truth, 10, report["catalogue_items"])
    assert report["modes"]["repeats allowed"]["rows"]["most popular"]["10"] == pytest.approx(expected, abs=2e-6)


def test_every_contender_has_a_row_with_every_metric_at_every_cut_off(cycle_shop, cycle_registry, tmp_path):
    done, report = evaluate(cycle_shop, cycle_registry, tmp_path)
    contents = manifest.read(next((cycle_registry / "versions").iterdir()))
    assert len(contents.sources) >= 4
    rows = ["most popular", *contents.sources, "stage 1 merged", "two-stage"]
    for result in report["modes"].values():
        assert list(result["rows"]) == rows
        for row in result["rows"].values():
            assert list(row) == ["5", "10", "20"]
            for values in row.values():
                assert set(values) == set(METRICS)
                assert all(0 <= value <= 1 for value in values.values())
        gain = result["rows"]["two-stage"]["20"]["ndcg"] - result["rows"]["stage 1 merged"]["20"]["ndcg"]
        low, high = result["two_stage_over_stage_1"].values()
        assert low < gain < high
    for row in rows:
        assert len(re.findall(rf"\n{row} +0\.\d{{4}} ", done.out)) == 6  # two modes, three cut-offs
    best = max(
        row["20"]["ndcg"] for name, row in report["modes"]["repeats allowed"]["rows"].items() if name != "two-stage"
    )
    assert report["modes"]["repeats allowed"]["rows"]["two-stage"]["20"]["ndcg"] > best + 0.2


def test_users_who_came_after_the_bundle_are_counted_and_left_out(shop, registry, tmp_path):
    done, report = evaluate(shop, registry, tmp_path)
    events = pd.read_parquet(shop / "events.parquet")
    events = events[events.user_id.notna() & events.item_id.notna()]
    past = events[(events.event_time < SHOP_UNTIL) & (events.event_type != "impression")]
    buyers = set(events[(events.event_time >= SHOP_UNTIL) & (events.event_type == "purchase")].user_id)
    new = len(buyers - set(past.user_id))
    assert new > 5
    assert report["new_users_left_out"] == new
    assert f"{new} users are new since training" in done.out


def test_from_takes_a_later_part_of_the_holdout_and_refuses_what_the_bundle_has_seen(shop, registry, tmp_path):
    _, whole = evaluate(shop, registry, tmp_path / "whole")
    _, later = evaluate(shop, registry, tmp_path / "later", "--from", "2024-02-25")
    assert later["from_time"] == "2024-02-25T00:00:00"
    assert 0 < later["modes"]["repeats allowed"]["users"] < whole["modes"]["repeats allowed"]["users"]
    done, nothing = evaluate(shop, registry, tmp_path / "seen", "--from", "2024-02-19")
    assert (done.status, nothing) == (1, {})
    assert "--from lies before the end of the bundle's data" in done.err
    assert len(done.err.splitlines()) == 1


def test_two_bundles_are_judged_on_the_same_holdout(shop, registry, tmp_path):
    both = tmp_path / "registry"
    shutil.copytree(registry, both)
    old = json.loads((both / "live.json").read_text())["bundle_id"]
    (tmp_path / "small.toml").write_text("[als]\nfactors = 8\n")
    options = ("--until", SHOP_UNTIL, "--config", tmp_path / "small.toml")
    new = recsys("train", shop, "--registry", both, *options).last
    done, report = evaluate(shop, both, tmp_path, "--against", old)
    assert (report["bundle_id"], report["against"]["bundle_id"]) == (new, old)
    assert report["from_time"] == report["against"]["from_time"]
    assert f"against {old}" in done.out
    _, alone = evaluate(shop, registry, tmp_path / "alone")
    assert report["against"] == alone


def test_a_static_set_and_a_holdout_without_events_are_refused_with_one_line(registry, tmp_path):
    rows = [(f"u{n % 9}", f"i{n % 7}", "purchase", 0) for n in range(50)]
    static = write(tmp_path / "static", rows)
    train(static, tmp_path / "registry", als={"factors": 8})
    timed = write(tmp_path / "timed", [(*row[:3], START + DAY) for row in rows])
    for dataset, where, words in (
        (static, tmp_path / "registry", "a holdout needs times"),
        (timed, tmp_path / "registry", "a holdout needs times"),
        (static, registry, "a holdout needs times"),
        (timed, registry, "no purchase after 2024-02-20"),
    ):
        done, report = evaluate(dataset, where, tmp_path / "out")
        assert (done.status, report) == (1, {})
        assert words in done.err
        assert len(done.err.splitlines()) == 1


def test_a_bundle_that_knows_nobody_of_the_holdout_is_told_so(registry, tmp_path):
    strangers = write(tmp_path / "strangers", [("stranger", "i000001", "purchase", START + 55 * DAY)])
    done, report = evaluate(strangers, registry, tmp_path / "out")
    assert (done.status, report) == (1, {})
    assert "nobody whom the bundle knows" in done.err
