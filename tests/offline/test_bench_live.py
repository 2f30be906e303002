"""The benches of live events: who is asked, what each side is told, and that a missing event shows."""

import sqlite3
from pathlib import Path

import numpy as np

import builders
from recsys import bundle
from recsys.registry import Registry
from recsys.types import EventType
from recsys_offline import dataset
from recsys_offline.bench import live, parity

BUY, VIEW = EventType.PURCHASE, EventType.VIEW_ITEM


def test_newcomers_came_after_the_cut_and_buy_after_what_is_known_of_them(shop):
    data = dataset.read(shop)
    cut = int(np.quantile(data.events.time, 0.7))
    asked = live.newcomers(data, cut, 2)
    assert asked
    for one in asked:
        own = data.events.where(data.events.user_num == one.user_num)
        assert own.time[0] >= cut
        rows = np.array(one.rows)
        assert (np.diff(data.events.time[rows]) >= 0).all()
        assert (data.events.user_num[rows] == one.user_num).all()
        assert (data.events.event_type[rows[2:]] == BUY).any()
    before = {*data.events.before(cut).user_num.tolist()}
    assert not before & {one.user_num for one in asked}


def test_who_is_trained_anew_is_told_of_a_newcomer_what_the_live_events_tell_and_no_more():
    events = builders.events((0, 1, VIEW, 1), (1, 1, BUY, 2), (1, 2, BUY, 3), (0, 2, BUY, 4), (1, 3, BUY, 5))
    asked = [live.Newcomer(1, (1, 2, 4))]
    assert live.told(events, asked, 2).tolist() == [True, True, True, True, False]


def test_the_figures_compare_three_ways_to_answer_the_same_users(shop):
    figures = live.judge(dataset.read(shop), (1,))["1"]
    assert figures["users"] > 0
    for score in figures["ndcg@20"].values():
        assert 0 <= score["low"] <= score["ndcg"] <= score["high"] <= 1
    live_ndcg, anew = (figures["ndcg@20"][name]["ndcg"] for name in ("live", "trained anew"))
    assert figures["live_over_trained_anew"] == live_ndcg / anew
    lines = live.table_lines({"known_events": {"1": figures}})
    assert f"{live_ndcg:.4f}" in lines[-1]


def test_no_answer_misses_an_event_replayed_features_are_equal_and_a_lost_event_would_show(cycle_registry, tmp_path):
    root = tmp_path
    (root / "registry").symlink_to(cycle_registry)
    (root / "config.toml").write_text(parity.CONFIG)
    registry = Registry(Path(cycle_registry))
    recommender = bundle.load(registry.path(registry.live()))
    assert parity.drive(root, recommender, 24) == 0
    replayed = parity.replay(recommender, root / "state")
    assert replayed.samples > 20
    assert (replayed.different, replayed.largest_difference) == (0, 0.0)
    with sqlite3.connect(root / "state" / "events.db") as connection:
        connection.execute("DELETE FROM events WHERE sequence = 1")
    assert parity.replay(recommender, root / "state").different > 0
