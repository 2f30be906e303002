"""Columns of the items file become attributes that conditions of a trained bundle are asked of."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

import shops
from recsys.errors import DataError
from recsys.rules import AnyOf, Flag, Range, Rules, WithinCategory
from recsys.types import Query
from recsys_offline import dataset
from recsys_offline.as_of import as_of

DAY = shops.DAY
LATER = shops.START + 15 * DAY


def items() -> pa.Table:
    return pa.table(
        {
            "item_id": ["d", "b", "a", "c", "b"],
            "title": ["Dish", "old", "Apple", "Cup", "Bowl"],
            "category": ["home>kitchen", "", "food", "home > kitchen > cups", "home"],
            "brand": ["x", "", "y", None, "x"],
            "price": pa.array([19.99, 1, 0.5, None, 3], pa.float64()),
            "available": [True, True, True, None, False],
            "created_time": pa.array([LATER, None, shops.START, None, None], pa.timestamp("s", "UTC")),
            "valid_until_time": pa.array([None, None, shops.START + 5 * DAY, None, None], pa.timestamp("s", "UTC")),
            "colour": pa.array(["red", "red", "green", "", "blue"]).dictionary_encode(),
            "weight": pa.array([7, None, 2, 3, 4], pa.int32()),
            "vegan": [None, True, True, False, False],
            "story": ["s" * 300, "", "short", "", ""],
            "tags": [["a"], [], ["b"], [], []],
        }
    )


@pytest.fixture
def path(tmp_path) -> Path:
    rows = [
        (f"u{user}", item, "purchase", shops.START + day * DAY + user)
        for day in range(20)
        for user, item in enumerate("abca")
    ]
    folder = shops.write(tmp_path / "data", sorted(rows, key=lambda row: row[3]))
    pa.parquet.write_table(items(), folder / "items.parquet")
    return folder


def test_each_column_of_one_value_an_item_is_an_attribute_of_its_kind(path):
    attributes = dataset.read(path).catalogue.attributes

    def text(name):
        column = attributes.texts[name]
        return [column.values[code] if code >= 0 else None for code in column.codes]

    assert sorted(attributes.texts) == ["brand", "category", "colour", "story"]
    assert text("category") == ["food", "home", "home > kitchen > cups", "home > kitchen"]
    assert text("brand") == ["y", "x", None, "x"]
    assert text("colour") == ["green", "blue", None, "red"]
    assert text("story") == ["short", None, None, None]
    nan = np.nan
    expected = {
        "price": [0.5, 3, nan, 19.99],
        "created_time": [shops.START, nan, nan, LATER],
        "valid_until_time": [shops.START + 5 * DAY, nan, nan, nan],
        "weight": [2, 4, 3, 7],
    }
    assert sorted(attributes.numbers) == sorted(expected)
    for name, column in expected.items():
        np.testing.assert_array_equal(attributes.numbers[name], column)
    flags = {name: column.tolist() for name, column in attributes.flags.items()}
    assert flags == {"available": [1, 0, -1, 1], "vegan": [1, 0, 0, -1]}


def test_a_column_without_a_name_or_of_lengths_of_time_is_no_attribute(path, tmp_path):
    lasting = pa.array([1, 2, 3, 4, 5], pa.duration("s"))
    pa.parquet.write_table(items().append_column("lasts", lasting), path / "items.parquet")
    assert "lasts" not in dataset.read(path).catalogue.attributes.names
    (path / "items.parquet").unlink()
    (path / "items.csv").write_text(",item_id,title\n0,a,Apple\n1,b,Bowl\n")
    assert dataset.read(path).catalogue.attributes.names == frozenset()
    assert not shops.train(path, tmp_path / "registry", als={"factors": 2}).model.catalogue.names


def test_an_earlier_dataset_has_the_attributes_of_the_items_that_were_there(path):
    early = as_of(dataset.read(path), shops.START + 10 * DAY)
    assert early.items.ids(np.arange(len(early.items))) == ["a", "b", "c"]
    attributes = early.catalogue.attributes
    assert len(attributes) == 3
    assert attributes.numbers["weight"].tolist() == [2, 4, 3]
    assert attributes.mask(AnyOf("colour", ("blue", "red")), early.items).tolist() == [False, True, False]


def test_a_trained_bundle_filters_by_them_and_serves_nothing_that_is_sold_out_or_over(path, tmp_path):
    recommender = shops.train(path, tmp_path / "registry", als={"factors": 2})

    def slate(condition=None, now=recommender.until):
        rules = Rules() if condition is None else Rules(condition)
        answer = recommender.answer([Query("u0", 10, now, rules=rules)], lambda: 0.0)
        assert not answer.errors
        return sorted(item.item_id for item in answer.slates[0].items)

    assert slate() == ["c", "d"]
    assert slate(now=shops.START + 5 * DAY - 1) == ["a", "c", "d"]
    assert slate(WithinCategory("home > kitchen")) == ["c", "d"]
    assert slate(Range("price", 19.99, 19.99)) == ["d"]
    assert slate(Flag("vegan", value=False)) == ["c"]
    assert slate(AnyOf("colour", ("green", "red"))) == ["d"]


def test_an_items_file_in_csv_has_attributes_too(path):
    table = items().drop(["tags", "created_time", "valid_until_time"])
    (path / "items.parquet").unlink()
    plain = table["colour"].cast("string")
    pa.csv.write_csv(table.set_column(table.column_names.index("colour"), "colour", plain), path / "items.csv")
    attributes = dataset.read(path).catalogue.attributes
    assert sorted(attributes.numbers) == ["price", "weight"]
    assert attributes.flags["vegan"].tolist() == [1, 0, 0, -1]
    assert "colour" in attributes.texts


def test_a_time_of_the_items_file_that_is_none_is_refused(path):
    table = items()
    at = table.column_names.index("valid_until_time")
    pa.parquet.write_table(table.set_column(at, "valid_until_time", pa.array(["soon"] * 5)), path / "items.parquet")
    with pytest.raises(DataError, match="valid_until_time"):
        dataset.read(path)
