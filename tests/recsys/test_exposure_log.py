"""The log of slates served."""

import math
from collections import Counter
from contextlib import closing

import pytest

from builders import sent
from recsys.exposure_log import Exposure, ExposureLog
from recsys.types import EventType, LiveEvent, SlateItem


@pytest.fixture
def log(tmp_path):
    with closing(ExposureLog(tmp_path / "state")) as log:
        yield log


def exposure(time, *item_ids, user_id="u1", **further):
    items = (SlateItem(item_id, 0.5, ("als",)) for item_id in item_ids)
    return Exposure(f"r{time}", time, user_id, "home", "b1", (), sent(*items), **further)


def stored(log):
    return [one for part in log.scan() for one in part]


def test_an_exposure_is_read_back_as_it_was_recorded(log, tmp_path):
    items = (SlateItem("í", 1.5, ("als", "fill"), propensity=0.25), SlateItem("j", math.inf, ()))
    full = Exposure("r", 7, "ü", "home", "b", (("ranker", "off"), ("layout", "b")), sent(*items))
    log.append([full, exposure(8, user_id="")])
    with closing(ExposureLog(tmp_path / "state")) as later:
        assert stored(later) == [full, exposure(8, user_id="")]
        assert [one.items for one in stored(later)] == [items, ()]


def test_what_was_shown_counts_each_slate_until_the_user_acts_on_the_item(log):
    log.append([exposure(100, "a", "b"), exposure(200, "a", "c"), exposure(300, "a"), exposure(300, "x", user_id="u2")])
    assert log.shown("u1", 0, 10) == Counter(a=3, b=1, c=1)
    clicks = [LiveEvent("a", EventType.VIEW_ITEM, 250), LiveEvent("a", EventType.VIEW_ITEM, 90)]
    clicks.append(LiveEvent("b", EventType.VIEW_ITEM, 100))
    assert log.shown("u1", 0, 10, clicks) == Counter(a=1, c=1)


def test_only_the_newest_slates_since_a_time_count_and_nothing_was_shown_to_nobody(log):
    log.append([exposure(100, "a"), exposure(200, "b"), exposure(300, "c"), exposure(300, "x", user_id="")])
    assert log.shown("u1", 200, 10) == Counter("bc")
    assert log.shown("u1", 0, 1) == Counter("c")
    assert log.shown("", 0, 10) == Counter()


def test_pruning_takes_what_is_older_and_gives_the_space_back(log, tmp_path):
    log.append([exposure(time, "a" * 100) for time in range(12_000)])
    assert sum(log.prune(11_990)) == 11_990
    assert [one.time for one in stored(log)] == list(range(11_990, 12_000))
    assert (tmp_path / "state" / "exposures.db").stat().st_size < 200_000
    assert sum(log.prune(11_990)) == 0
