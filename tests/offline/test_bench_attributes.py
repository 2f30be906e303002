"""One shop told twice, without and with what it says of its items: the same questions, and what the telling gains."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys_offline.bench import cases, quality
from recsys_offline.bench.cases import Case


def write_shop(folder: Path) -> Path:
    """Files of the published shape: 12 households, 40 days, and a product that nobody bought."""
    random = np.random.default_rng(2)
    lines = [(f"h{line % 12}", f"p{random.integers(9)}", line // 12) for line in range(480)]
    households, products, days = zip(*lines, strict=True)
    transactions = {
        "household_id": households,
        "product_id": products,
        "transaction_timestamp": pa.array([86_400 * (17_000 + day) for day in days], pa.timestamp("s")),
        "basket_id": [f"{household}-{day}" for household, _, day in lines],
        "quantity": [1.0] * len(lines),
    }
    catalogue = {
        "product_id": [f"p{num}" for num in range(10)],
        "department": ["food"] * 5 + ["home"] * 5,
        "product_category": ["bread", None] * 5,
        "product_type": ["white", None] * 5,
        "brand": ["own", "other"] * 5,
        "manufacturer_id": [str(num % 3) for num in range(10)],
    }
    demographics = {"household_id": ["h0", "h1", "h99"], "age": ["19-24", "65+", None]}
    folder.mkdir()
    for name, table in (
        ("transactions_sample", transactions),
        ("products", catalogue),
        ("demographics", demographics),
    ):
        pq.write_table(pa.table(table), folder / f"{name}.parquet")
    return folder


def found(case: Case) -> list[set[tuple[str, str]]]:
    """The truth of each task as ids."""
    data = case.data
    return [
        {
            (data.users.id(int(user)), data.items.id(int(item)))
            for row, user in enumerate(task.truth.user_num)
            for item in task.truth.item_num[task.truth.indptr[row] : task.truth.indptr[row + 1]]
        }
        for task in case.tasks
    ]


def test_with_attributes_the_same_users_are_asked_for_the_same_items(tmp_path):
    folder = write_shop(tmp_path / "data")
    plain = cases.dunnhumby(folder, tmp_path / "plain")
    told = cases.dunnhumby_attributes(folder, tmp_path / "told")
    assert found(told) == found(plain)
    assert found(plain)[0]
    assert (told.until, len(told.data.items)) == (plain.until, 9)
    assert told.data.catalogue.categories[:2] == ("food > bread > white", "food")
    assert told.data.catalogue.brands[:2] == ("own", "other")
    assert not any(plain.data.catalogue.categories + plain.data.catalogue.brands)


def test_the_gain_is_that_of_the_same_users_with_its_interval():
    figures = {"tasks": {"all": {}}}
    own, other = np.array([0.5, 0.25] * 200), np.array([0.25, 0.25] * 200)
    quality._compare(figures, "plain", {"all": own}, {"all": other})
    gain = figures["tasks"]["all"]["gain"]
    assert gain["ndcg"] == 0.125
    assert 0 < gain["low"] < 0.125 < gain["high"]
    assert quality._gain_lines({"data_sets": {"told": figures}})[1].startswith(
        "told over plain, all: NDCG@20 +0.1250 (+0"
    )
    assert quality._gain_lines({"data_sets": {"plain": {"tasks": {"all": {}}}}}) == []
