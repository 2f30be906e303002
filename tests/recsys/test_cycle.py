"""Buy it again, when the user's own cycle says so."""

from dataclasses import replace

import numpy as np
import pytest

import builders
import worlds
from recsys.cycle import due_rates
from recsys.interactions import Histories
from recsys.recommender import Recommender
from recsys.types import SECONDS_PER_DAY, EventType, Query, ServingParameters

AGAIN = ServingParameters(sources=("repeats",), fill=False, by_cycle=True)
NAMES = ("pair_visits", "pair_interval_days", "pair_first_days", "user_visit_interval_days")


def rate(visits: int, interval: float, idle: float, prior: float = 7.0) -> float:
    first = idle + (interval * (visits - 1) if visits > 1 else 0)
    row = [[np.log1p(visits), interval if visits > 1 else np.nan, first, prior]]
    return float(due_rates(np.array(row, dtype=np.float32), NAMES)[0])


def test_the_rate_is_that_of_the_paper():
    assert rate(5, 7, 7) == pytest.approx(6 / (28 + 0 + 7))
    assert rate(5, 7, 1) == pytest.approx(6 / (28 + 12 + 7))
    assert rate(5, 7, 10) == pytest.approx(6 / (28 + 6 + 7))
    assert rate(5, 7, 30) == pytest.approx(6 / (28 + 30 + 7))
    assert rate(1, np.nan, 3) == pytest.approx(2 / (3 + 7))
    assert rate(1, np.nan, 3, prior=np.nan) == pytest.approx(2 / 4)
    assert due_rates(np.array([[0, np.nan, np.nan, 7]], dtype=np.float32), NAMES).tolist() == [0]


def test_what_is_due_comes_first_and_what_was_bought_yesterday_last(recommender):
    """Milk (i05) each week, last a week ago; soap (i09) each month, a week ago; bread (i13) each week, yesterday."""
    days = {5: range(7, 36, 7), 9: range(7, 150, 30), 13: range(1, 30, 7)}
    rows = sorted(
        (0, item, EventType.PURCHASE, recommender.until - day * SECONDS_PER_DAY, day, 1.0)
        for item, each in days.items()
        for day in each
    )
    events = builders.events(*sorted(rows, key=lambda row: row[3]))
    histories = Histories.of(events, len(recommender.model.users), 100)
    model = replace(recommender.model, snapshot=replace(recommender.model.snapshot, histories=histories))
    query = Query("u00", 10, recommender.until, parameters=AGAIN)
    answer = Recommender(recommender.identity, model).answer([query], lambda: 0.0)
    assert [item.item_id for item in answer.slates[0].items] == ["i05", "i13", "i09"]
    assert not answer.errors
    unranked = Recommender(recommender.identity, replace(model, ranker=None)).answer([query], lambda: 0.0)
    assert unranked.slates == answer.slates


def test_only_what_the_user_bought_is_in_it(recommender):
    shop = worlds.world()
    bought = shop.events.where((shop.events.user_num == 7) & (shop.events.event_type == EventType.PURCHASE))
    query = Query("u07", 61, recommender.until, parameters=AGAIN)
    (slate,) = recommender.answer([query], lambda: 0.0).slates
    assert {item.item_id for item in slate.items} == set(shop.items.ids(np.unique(bought.item_num)))
    scores = [item.score for item in slate.items]
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] > 0
