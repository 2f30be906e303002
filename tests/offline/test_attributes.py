"""What items have in common: read from any file, chosen by rule, a help where history is thin."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp

from recsys.config import Config
from recsys.interactions import Events, Histories
from recsys.queries import for_users
from recsys.sources import AlsSource
from recsys.types import EventType, ExcludePolicy
from recsys_offline import attributes, dataset, directory
from recsys_offline.as_of import as_of
from recsys_offline.attributes import AttributeCodes
from recsys_offline.train import fitting
from recsys_offline.train.factorise import Shape
from recsys_offline.train.fitting import Setting
from recsys_offline.train.specs import Facts, Spec, propose

DAY = 86_400
EVENTS = pa.table(
    {
        "user_id": ["u", "v", "w"],
        "item_id": ["a", "b", "c"],
        "event_type": ["purchase"] * 3,
        "event_time": pa.array([DAY * 9_000, DAY * 9_001, DAY * 9_002], pa.timestamp("s", "UTC")),
    }
)


def read(path: Path, items: pa.Table | None = None) -> dataset.Dataset:
    directory.write(path / "shop", EVENTS, items)
    return dataset.read(path / "shop")


def column(known: AttributeCodes, name: str) -> list[int]:
    return known.codes[:, known.names.index(name)].tolist()


def chosen(*columns: list[int]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    names = tuple("abcdefgh"[: len(columns)])
    kept, reasons = attributes.choose(AttributeCodes(names, np.array(columns, dtype=np.int32).T))
    return kept.names, reasons


def test_items_share_levels_of_a_category_brands_and_any_further_column(tmp_path):
    items = pa.table(
        {
            "item_id": ["a", "b", "c"],
            "category": ["home > kitchen", "home>garden", None],
            "brand": ["x", "y", "x"],
            "maker": pa.array([7, None, 7], pa.int64()),
        }
    )
    known = read(tmp_path, items).item_attributes
    assert known.names == ("category_1", "category_2", "brand", "maker")
    home, kitchen = column(known, "category_1"), column(known, "category_2")
    assert home[0] == home[1] >= 0
    assert home[2] == kitchen[2] == -1
    assert kitchen[0] != kitchen[1]
    assert column(known, "brand")[0] == column(known, "brand")[2] != column(known, "brand")[1]
    assert column(known, "maker")[0] == column(known, "maker")[2] >= 0
    assert column(known, "maker")[1] == -1


def test_of_an_item_that_stands_twice_the_last_row_counts(tmp_path):
    items = pa.table({"item_id": ["a", "b", "a"], "brand": ["x", "y", "y"]})
    brand = column(read(tmp_path, items).item_attributes, "brand")
    assert brand[0] == brand[1] >= 0
    assert brand[2] == -1


@pytest.mark.parametrize("items", [None, pa.table({"item_id": ["a"]}), pa.table({"item_id": ["a"], "brand": [None]})])
def test_a_shop_that_says_nothing_has_no_attributes_and_that_is_no_error(tmp_path, items):
    data = read(tmp_path, items)
    assert attributes.choose(data.item_attributes)[0].names == ()
    assert attributes.value_rows(attributes.choose(data.item_attributes)[0]) is None


def test_titles_prices_times_and_long_texts_are_nothing_to_share(tmp_path):
    items = pa.table(
        {
            "item_id": ["a", "b"],
            "title": ["one", "one"],
            "price": [1.0, 1.0],
            "created_time": pa.array([0, 0], pa.timestamp("s", "UTC")),
            "weight": [0.5, 0.5],
            "description": ["long " * 100] * 2,
        }
    )
    assert read(tmp_path, items).item_attributes.names == ()


def test_columns_that_teach_nothing_are_left_out_with_the_reason():
    names, reasons = chosen([0, 0, 1, 1, 2, 2], [0, 0, 0, 0, 0, 0], [0, 1, 2, 3, 4, 5], [2, 2, 0, 0, 1, 1])
    assert names == ("a",)
    assert reasons == (
        "a: 3 values",
        "b: left out, one value",
        "c: left out, 6 values are too many",
        "d: left out, says what another says",
    )
    assert chosen([*([-1] * 96), 0, 0, 1, 1])[1] == ("a: left out, hardly ever filled",)


def test_only_the_first_six_columns_are_taken():
    random = np.random.default_rng(0)
    names, reasons = chosen(*(random.integers(0, 4, 50).tolist() for _ in range(8)))
    assert names == tuple("abcdef")
    assert reasons[-1] == "h: left out, 6 are enough"


def test_values_are_numbered_without_gaps_by_the_items_that_are_there():
    kept, _ = attributes.choose(AttributeCodes(("a",), np.array([[9], [4], [9], [-1], [4]], dtype=np.int32)))
    assert kept.codes[:, 0].tolist() == [0, 1, 0, -1, 1]


def test_as_of_keeps_attributes_with_their_items(tmp_path):
    items = pa.table(
        {
            "item_id": ["a", "b", "c"],
            "brand": ["x", "y", "z"],
            "created_time": pa.array([0, DAY * 9_001, 0], pa.timestamp("s", "UTC")),
        }
    )
    data = read(tmp_path, items)
    then = as_of(data, DAY * 9_001)
    assert then.items.ids(np.arange(2)) == ["a", "c"]
    assert column(then.item_attributes, "brand") == [column(data.item_attributes, "brand")[num] for num in (0, 2)]


BRANDS, ITEMS_OF_BRAND, USERS_OF_BRAND, BOUGHT = 6, 40, 15, 3


def brand_shop() -> tuple[np.ndarray, sp.csr_matrix, dict[str, object]]:
    """Users who buy one brand each, so few items that hardly two users share one; one more item is never sold."""
    random = np.random.default_rng(3)
    user = np.repeat(np.arange(BRANDS * USERS_OF_BRAND), BOUGHT)
    item = random.integers(0, ITEMS_OF_BRAND, len(user)) + user // USERS_OF_BRAND * ITEMS_OF_BRAND
    brand = np.repeat(np.arange(BRANDS), ITEMS_OF_BRAND)
    brand = np.append(brand, 0).astype(np.int32)
    n = len(user)
    columns = {
        "user_num": user.astype(np.int32),
        "item_num": item.astype(np.int32),
        "event_type": np.full(n, EventType.PURCHASE, dtype=np.int8),
        "time": np.zeros(n, dtype=np.int64),
        "session_num": np.arange(n, dtype=np.int32),
        "quantity": np.ones(n, dtype=np.float32),
        "price": np.full(n, np.nan, dtype=np.float32),
    }
    values = attributes.value_rows(AttributeCodes(("brand",), brand[:, None]))
    assert values is not None
    return brand, values, columns


def als_of(weight: float) -> tuple[np.ndarray, AlsSource, Histories]:
    """ALS over the shop of brands, with values of this weight."""
    brand, values, columns = brand_shop()
    events = Events(**columns)
    shape = Shape(BRANDS * USERS_OF_BRAND, BRANDS * USERS_OF_BRAND, len(brand))
    config = Config()
    setting = Setting(shape, config, 1, (EventType.PURCHASE,), values=values)
    facts = replace(Facts.of(events, len(brand), False, (EventType.PURCHASE,)), has_attributes=True)
    spec: Spec = propose(facts, config)[0].but({"factors": 16.0, "regularization": 1.0, "attributes": weight})
    source = fitting.fit(spec, events, 0, setting)
    assert isinstance(source, AlsSource)
    return brand, source, Histories.of(events, shape.users, 100)


def share_of_own_brand(weight: float) -> float:
    """Of new items proposed to the users, how many are of the brand they buy."""
    brand, source, histories = als_of(weight)
    users = np.arange(len(histories), dtype=np.int32)
    batch = for_users(histories, users, 0, len(brand), ExcludePolicy.PURCHASED)
    slates = source.propose(batch, 10).item_num
    return float((brand[slates] == users[:, None] // USERS_OF_BRAND).mean())


def test_values_bring_together_items_that_hardly_anybody_has_in_common():
    assert share_of_own_brand(0.0) < 0.8
    assert share_of_own_brand(4.0) > 0.9


def test_an_item_that_nobody_acted_on_stays_without_factors_and_users_fold_in_as_before():
    brand, source, histories = als_of(4.0)
    assert not source.item_factors[len(brand) - 1].any()
    known = for_users(histories, np.arange(5, dtype=np.int32), 0, len(brand), ExcludePolicy.NONE)
    fresh = replace(known, user_num=np.full(5, -1, dtype=np.int32))
    np.testing.assert_allclose(source.vectors(known), source.vectors(fresh), atol=5e-3)


def test_values_are_tried_only_where_items_share_some():
    facts = Facts.of(Events(**brand_shop()[2]), 10, False, (EventType.PURCHASE,))
    without, having = (propose(replace(facts, has_attributes=there), Config())[0] for there in (False, True))
    tried = [{changed.get("attributes") for group in spec.options for changed in group} for spec in (without, having)]
    assert tried == [{None}, {None, 1.0, 4.0}]
    assert without.parameters["attributes"] == having.parameters["attributes"] == 0
