"""What shops tell of items: kept for good, merged item by item, seen by every process."""

import contextlib

import pytest

from recsys.catalogue_log import FILE, MARK, CatalogueLog, ItemChange
from recsys.errors import StateError


@pytest.fixture
def log(tmp_path):
    with contextlib.closing(CatalogueLog(tmp_path)) as opened:
        yield opened


def test_a_change_adds_to_what_is_known_and_the_last_word_counts(log):
    assert log.since(0) == ([], 0)
    assert log.write([ItemChange("a", {"price": 1.5, "brand": "x", "vegan": True}), ItemChange("b")]) == 1
    assert log.write([ItemChange("a", {"price": 2.0, "vegan": None, "embedding": [0.5, 1.0]})]) == 2
    changes, version = log.since(0)
    assert version == 2
    assert changes == [
        ItemChange("b"),
        ItemChange("a", {"price": 2.0, "brand": "x", "vegan": None, "embedding": [0.5, 1.0]}),
    ]
    assert log.since(1)[0] == changes[1:]
    assert log.since(2) == ([], 2)


def test_a_deleted_item_keeps_its_facts_and_comes_back_with_them(log):
    log.write([ItemChange("a", {"price": 1.5})])
    log.write([ItemChange("a", deleted=True)])
    assert log.since(1)[0] == [ItemChange("a", {"price": 1.5}, deleted=True)]
    log.write([ItemChange("a", {"brand": "x"})])
    assert log.since(2)[0] == [ItemChange("a", {"price": 1.5, "brand": "x"})]


def test_what_one_object_writes_every_other_one_sees_at_once_and_after_a_restart(log, tmp_path):
    with contextlib.closing(CatalogueLog(tmp_path)) as other:
        for number in range(1, 20):
            log.write([ItemChange(f"i{number % 3}", {"price": float(number)})])
            assert other.may_have_changed(number - 1)
            (change,), version = other.since(number - 1)
            assert version == number
            assert not other.may_have_changed(number)
            assert change.facts == {"price": float(number)}
    with contextlib.closing(CatalogueLog(tmp_path)) as again:
        assert len(again.since(0)[0]) == 3


def test_a_lost_mark_is_made_again_from_the_file(log, tmp_path):
    log.write([ItemChange("a")])
    (tmp_path / MARK).unlink()
    with contextlib.closing(CatalogueLog(tmp_path)) as later:
        assert later.may_have_changed(0)
        assert not later.may_have_changed(1)


def test_a_file_that_is_none_is_refused_by_its_name(tmp_path):
    (tmp_path / FILE).write_bytes(b"no database at all" * 100)
    with pytest.raises(StateError, match=FILE):
        CatalogueLog(tmp_path)
