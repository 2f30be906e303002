"""The benchmark's tasks: who is asked, what is known of them, and what is to be found."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import worlds
from recsys.metrics import Truth
from recsys.types import ExcludePolicy, ServingParameters
from recsys_offline import dataset, directory
from recsys_offline.as_of import as_of
from recsys_offline.bench import cases, quality
from recsys_offline.bench.cases import Case
from recsys_offline.evaluate.contenders import STAGE_1, TWO_STAGE, contenders_among
from recsys_offline.train.run import train as train_model
from shops import DAY, START, write


def test_of_a_new_customer_the_first_five_items_are_known_and_the_others_are_to_be_found(tmp_path):
    cut = START + 10 * DAY
    bought = [("old", "a", "purchase", cut - 1), *(("old", item, "purchase", cut + 1) for item in "abcdefg")]
    bought += [("new", item, "purchase", cut + 60 * place) for place, item in enumerate("abbcdaefgb")]
    bought += [("new", "z", "refund", cut + 5), ("few", "a", "purchase", cut), ("few", "b", "purchase", cut + 9)]
    bought += [("same", item, "purchase", cut + 7) for item in "gfedcba"]
    data = dataset.read(write(tmp_path / "shop", bought))
    task = cases._newcomers(data, cut)
    assert task.policy == ExcludePolicy.PURCHASED
    told = {}
    for row in range(len(task.truth)):
        part = slice(*task.known.indptr[row : row + 2])
        known = data.items.ids(task.known.item_num[part][::-1])
        found = data.items.ids(task.truth.item_num[slice(*task.truth.indptr[row : row + 2])])
        told["".join(known)] = ("".join(found), int(task.known.time[part][0]) - cut)
    assert told == {"abcde": ("fg", 360), "gfedc": ("ab", 7)}
    assert task.truth.user_num.tolist() == [0, 1]


def test_hidden_items_are_known_from_their_start_on_but_by_no_event(tmp_path):
    cut, n = cases._seconds(cases.LAST_MONTH), 40
    days = np.repeat([30, 20, -1], n)  # before the cut: each item is sold twice before it and once after
    lines = {
        "InvoiceNo": [f"{num}" for num in range(3 * n)],
        "StockCode": [f"{10_000 + num % n}" for num in range(3 * n)],
        "Description": ["CUP"] * 3 * n,
        "Quantity": [1] * 3 * n,
        "InvoiceDate": pa.array(cut - days * DAY, pa.timestamp("s")),
        "UnitPrice": [2.5] * 3 * n,
        "CustomerID": [f"{num % 5}" for num in range(3 * n)],
        "Country": ["France"] * 3 * n,
    }
    pq.write_table(pa.table(lines), tmp_path / "transactions.parquet")
    case = cases.online_retail_cold(tmp_path, tmp_path / "shop")
    hidden = case.data.items.ids(case.tasks[0].among)
    assert len(hidden) == 4
    then = as_of(case.data, cut)
    rows = then.items.nums(hidden)
    assert (then.catalogue.created_time[rows] == cut - 30 * DAY).all()
    assert not np.isin(then.events.item_num, rows).any()
    assert set(case.tasks[0].truth.item_num) == set(case.tasks[0].among)


def test_prices_are_those_of_before_the_cut_and_of_later_ones_where_there_are_no_others(tmp_path):
    cut = START + 10 * DAY
    sold = [("a", cut - 3, 1.0), ("a", cut - 2, 3.0), ("a", cut - 1, 2.0), ("a", cut, 9.0), ("b", cut, 7.0)]
    path = write(tmp_path / "shop", [("u", item, "purchase", time) for item, time, _ in sold])
    events = pq.read_table(path / "events.parquet").append_column("price", pa.array([price for *_, price in sold]))
    directory.write(path, events, pa.table({"item_id": ["a", "b"], "price": [8.0, 7.0]}))
    data = cases._priced_before(dataset.read(path), cut)
    assert data.catalogue.price[data.items.nums(["a", "b"])].tolist() == [2.0, 7.0]


def test_a_task_is_asked_with_nothing_but_what_is_known(tmp_path):
    cut = START + 30 * DAY
    random = np.random.default_rng(1)
    rows = [
        (f"u{user}", f"i{random.integers(30):02}", "purchase", START + int(random.integers(30)) * DAY)
        for user in range(40)
        for _ in range(8)
    ]
    rows += [("new", f"i{item:02}", "purchase", cut + 60 * item) for item in range(8)]
    data = dataset.read(write(tmp_path / "shop", sorted(rows, key=lambda row: row[3])))
    task = cases._newcomers(data, cut)
    recommender = quality.Recommender(quality.Identity("", cut, 0), trained(data, cut).model)
    case = Case("shop", data, cut, (task,))
    truth = quality.in_rows_of(recommender, case, task)
    (batch,) = quality._asked(recommender, case, task, truth)
    items = recommender.model.items
    assert items.ids(batch.history.item_num) == [f"i{item:02}" for item in (4, 3, 2, 1, 0)]
    assert items.ids(batch.excluded) == [f"i{item:02}" for item in range(5)]
    assert items.ids(truth.item_num) == ["i05", "i06", "i07"]
    assert batch.user_num.tolist() == [-1]
    assert batch.now.tolist() == [min(cut + 240, recommender.model.latest)]


def trained(data, until):
    return train_model(data, until, quality.Config(), quality.Steps(20))


def test_items_ranked_among_themselves_stand_in_the_order_of_each_source_and_stage():
    recommender = worlds.recommender(worlds.world())
    items = np.arange(3, 40, 4, dtype=np.int32)
    batch = recommender.user_batch(np.array([0, 5], dtype=np.int32), ExcludePolicy.PURCHASED)
    keys = np.concatenate([query * batch.n_items + items for query in range(2)])
    candidates, blend, both = recommender.rank_given(batch, keys, ServingParameters())
    assert candidates.item_num.tolist() == [*items, *items]
    rows = contenders_among(recommender, ServingParameters(), items)
    als = recommender.model.snapshot.sources[0]
    expected = als.user_factors[[0, 5]].astype(np.float32) @ als.item_factors[items].T
    for name, score in (
        ("als", expected),
        (STAGE_1, blend.reshape(2, -1)),
        (TWO_STAGE, both.reshape(2, -1)),
    ):
        slates = rows[name](batch, 5)
        assert slates.tolist() == items[np.argsort(-score, axis=1, kind="stable")[:, :5]].tolist(), name


def test_the_table_has_a_line_for_a_task_that_lacks_some_contenders():
    score = {"recall": 0.5, "ndcg": 0.25}
    task = {"users": 3, "contenders": {"content": score, STAGE_1: score}}
    lines = quality.table_lines({"data_sets": {"shop": {"tasks": {"cold": task}, "train_seconds": 1, "peak_mib": 2}}})
    cell = "0.5000 / 0.2500"
    assert lines[2] == f"| shop, cold | 3 |  | {cell} (content) | {cell} | not used | 1 | 2 |"


def test_a_truth_of_known_users_keeps_items_that_the_model_has_never_seen():
    recommender = worlds.recommender(worlds.world())
    model = recommender.model
    data = type("Data", (), {"users": model.users, "items": model.items})()
    truth = Truth.of(np.array([2, 2], np.int32), np.array([1, 99], np.int32), 100)
    task = cases.Task("t", ExcludePolicy.NONE, truth)
    mapped = quality.in_rows_of(recommender, Case("c", data, None, (task,)), task)
    assert mapped.user_num.tolist() == [2]
    assert mapped.item_num.tolist() == [1, len(model.items)]
