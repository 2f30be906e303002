"""What conditions mean, which items can be served when, and that a bundle keeps it all."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import builders
import worlds
from recsys import bundle
from recsys.catalogue import ItemCatalogue, TextColumn, shortest
from recsys.rules import AllOf, AnyOf, Flag, Negated, Range, WithinCategory

IDS = worlds.numbered("i", 6)
SHOP = ItemCatalogue(
    texts={
        "category": TextColumn.of(["home", "home > kitchen", "home > kitchen > pans", "homeware", "", "garden"]),
        "brand": TextColumn.of(["b", "a", "a", "é ü", "", "c"]),
    },
    numbers={"price": np.array([1.0, 2.0, 19.99, np.nan, 5.0, 0.0])},
    flags={"vegan": np.array([1, 0, -1, 1, 0, 1], np.int8)},
    deleted=np.zeros(6, dtype=bool),
)


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        (AnyOf("brand", ("a", "é ü", "nobody")), [1, 2, 3]),
        (AnyOf("brand", ("",)), []),
        (AnyOf("item_id", ("i2", "i5", "unknown")), [2, 5]),
        (AnyOf("category", ("home>kitchen",)), [1]),
        (AnyOf("colour", ("red",)), []),
        (AnyOf("price", ("1.0",)), []),
        (WithinCategory("home"), [0, 1, 2]),
        (WithinCategory(" home>kitchen "), [1, 2]),
        (WithinCategory("kitchen"), []),
        (Range("price", 2, 19.99), [1, 2, 4]),
        (Range("price", None, 1), [0, 5]),
        (Range("price"), [0, 1, 2, 4, 5]),
        (Range("brand", 0, 1), []),
        (Flag("vegan", value=True), [0, 3, 5]),
        (Flag("vegan", value=False), [1, 4]),
        (Negated(Flag("vegan", value=True)), [1, 2, 4]),
        (AllOf(), [0, 1, 2, 3, 4, 5]),
        (AllOf((WithinCategory("home"), Negated(AnyOf("brand", ("a",))))), [0]),
        (AllOf((AllOf((Range("price", 2),)), Flag("vegan", value=False))), [1, 4]),
    ],
)
def test_a_condition_holds_for_these_items(condition, rows):
    assert np.flatnonzero(SHOP.mask(condition, IDS)).tolist() == rows
    some = np.array([5, 1, 1], dtype=np.int32)
    assert SHOP.mask(condition, IDS, some).tolist() == [row in rows for row in some]


def test_without_items_or_attributes_every_condition_has_an_answer():
    for n_items in (0, 3):
        nothing = ItemCatalogue.empty(n_items)
        for condition in (AnyOf("brand", ("a",)), Range("price"), WithinCategory("home"), Flag("vegan", value=True)):
            assert not nothing.mask(condition, worlds.numbered("i", max(n_items, 1))).any()
        assert nothing.servable(0) is None


def catalogue(available=(), valid_from=(), valid_until=(), deleted=()):
    numbers = {
        name: np.array(times)
        for name, times in zip(("valid_from_time", "valid_until_time"), (valid_from, valid_until), strict=True)
        if times
    }
    flags = {"available": np.array(available, np.int8)} if available else {}
    n_items = max(map(len, (available, valid_from, valid_until, deleted)))
    return ItemCatalogue({}, numbers, flags, np.array(deleted or [False] * n_items))


def test_what_is_sold_out_or_deleted_cannot_be_served_and_what_nobody_said_anything_of_can():
    assert catalogue(available=[1, 0, -1]).servable(5).tolist() == [True, False, True]
    assert catalogue(deleted=[True, False]).servable(5).tolist() == [False, True]
    assert catalogue(available=[1, -1]).servable(5) is None


def test_a_window_of_validity_begins_with_its_first_second_and_ends_before_its_last():
    nan = np.nan
    shop = catalogue(valid_from=[10, 10, nan, nan], valid_until=[20, nan, 20, nan], available=[-1, -1, -1, 0])
    seen = {now: shop.servable(now).tolist() for now in (9, 10, 19, 20)}
    assert seen == {
        9: [False, False, True, False],
        10: [True, True, True, False],
        19: [True, True, True, False],
        20: [False, True, False, False],
    }
    assert catalogue(valid_from=[10, nan]).servable(3).tolist() == [False, True]


def test_a_price_of_the_file_is_within_the_bound_that_is_written_alike():
    price = shortest(np.array([19.99, 0.1, np.nan], np.float32))
    assert price[:2].tolist() == [19.99, 0.1]
    assert np.isnan(price[2])


texts = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=5)


@settings(max_examples=20, deadline=None)
@given(
    names=st.lists(texts.filter(bool), min_size=3, max_size=3, unique=True),
    values=st.lists(texts, min_size=6, max_size=6),
)
def test_a_bundle_keeps_the_catalogue_whatever_the_attributes_are_called(tmp_path_factory, names, values):
    shop = worlds.world(n_items=6, n_events=200)
    written = ItemCatalogue(
        {names[0]: TextColumn.of(values), "brand": SHOP.texts["brand"]},
        {names[1]: SHOP.numbers["price"]},
        {names[2]: SHOP.flags["vegan"]},
        SHOP.deleted,
    )
    model = worlds.recommender(shop, ranker=None, catalogue=written).model
    root = tmp_path_factory.mktemp("registry")
    read = bundle.load(builders.write_bundle(model, root, until=shop.until)).model.catalogue
    assert {name: column.values for name, column in read.texts.items()} == {
        name: column.values for name, column in written.texts.items()
    }
    for kind in ("numbers", "flags"):
        assert [*getattr(read, kind)] == [*getattr(written, kind)]
        for name, column in getattr(written, kind).items():
            np.testing.assert_array_equal(getattr(read, kind)[name], column)
    np.testing.assert_array_equal(read.texts[names[0]].codes, written.texts[names[0]].codes)
    assert len(read) == 6
