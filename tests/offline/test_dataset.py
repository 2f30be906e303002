"""Dataset directories, clean and dirty, as arrays."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.errors import DataError
from recsys.types import EventType
from recsys_offline import dataset, directory
from recsys_offline.tables import TableError

HEADER = "user_id,item_id,event_type,event_time"
NEW_YEAR = 1_704_067_200  # 2024-01-01T00:00:00Z


def write_csv(path: Path, *rows: str, header: str = HEADER, name: str = "events.csv") -> Path:
    path.mkdir(exist_ok=True)
    (path / name).write_text("\n".join((header, *rows)) + "\n", encoding="utf8")
    return path


def write_parquet(path: Path, **columns) -> Path:
    path.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), path / "events.parquet")
    return path


def counts(data: dataset.Dataset) -> dict[str, int]:
    return {finding.name: finding.count for finding in data.findings}


def test_events_come_sorted_by_time_and_at_equal_times_in_the_order_of_the_file(tmp_path):
    path = write_csv(
        tmp_path,
        "u,late,view_item,2024-01-02T00:00:00Z",
        "u,b,view_item,2024-01-01T00:00:00Z",
        "u,a,purchase,2024-01-01T00:00:00Z",
    )
    data = dataset.read(path)
    assert data.items.ids(data.events.item_num) == ["b", "a", "late"]
    assert data.events.event_type.tolist() == [EventType.VIEW_ITEM, EventType.PURCHASE, EventType.VIEW_ITEM]
    assert data.events.time.tolist() == [NEW_YEAR, NEW_YEAR, NEW_YEAR + 86_400]
    assert data.findings == ()


def test_csv_parquet_and_a_folder_of_parts_read_the_same(tmp_path):
    users, items = ["é", "u", "é", None], ["a", "b", "c", "a"]
    types, sessions = ["view_item", "purchase", "search", "refund"], ["s", "", "s", "t"]
    times = pa.array([NEW_YEAR + 5 * n for n in range(4)], pa.timestamp("s", "UTC"))
    columns = {"user_id": users, "item_id": items, "event_type": types, "event_time": times, "session_id": sessions}
    whole = write_parquet(tmp_path / "whole", **columns)
    (tmp_path / "parts" / "events").mkdir(parents=True)
    for part in range(2):
        rows = pa.table(columns).slice(2 * part, 2)
        if part:  # other parts may hold their texts as categories
            rows = rows.set_column(0, "user_id", rows["user_id"].dictionary_encode())
        pq.write_table(rows, tmp_path / "parts" / "events" / f"{part}.parquet")
    rows = zip(users, items, types, times.to_pylist(), sessions, strict=True)
    text = [f"{user or ''},{item},{word},{time:%Y-%m-%d %H:%M:%S},{visit}" for user, item, word, time, visit in rows]
    csv = write_csv(tmp_path / "csv", *text, header=HEADER + ",session_id")

    first, *others = [dataset.read(path) for path in (whole, tmp_path / "parts", csv)]
    for other in others:
        assert other.users.array.tolist() == first.users.array.tolist()
        for column in ("user_num", "item_num", "event_type", "time", "session_num", "quantity", "price"):
            np.testing.assert_array_equal(getattr(other.events, column), getattr(first.events, column))


def test_a_row_with_a_session_but_no_user_is_an_anonymous_session_and_one_with_neither_is_dropped(tmp_path):
    path = write_csv(
        tmp_path,
        "u,a,view_item,2024-01-01,",
        ",a,view_item,2024-01-01,visit-1",
        ",b,view_item,2024-01-02,visit-1",
        ",a,view_item,2024-01-02,visit-2",
        ",a,view_item,2024-01-02,",
        header=HEADER + ",session_id",
    )
    data = dataset.read(path)
    assert len(data.users) == 1
    assert data.events.user_num.tolist()[0] == 0
    anonymous = data.events.user_num[1:]
    assert sorted(set(anonymous)) == [1, 2]
    assert anonymous[0] == anonymous[1] != anonymous[2]
    assert counts(data) == {"events of nobody": 1, "events of anonymous sessions": 3}
    assert data.findings[0].where == "events.csv row 5"


def test_a_visit_is_a_users_session_or_else_a_users_day_in_utc(tmp_path):
    path = write_csv(
        tmp_path,
        "u,a,view_item,2024-01-01T23:59:59Z,",
        "u,a,view_item,2024-01-02T00:00:00Z,",
        "u,b,view_item,2024-01-02T23:00:00Z,",
        "v,b,view_item,2024-01-02T23:00:00Z,",
        "v,b,view_item,2024-01-03T00:00:01Z,s",
        "v,b,view_item,2024-01-05T00:00:02Z,s",
        "u,b,view_item,2024-01-05T00:00:03Z,s",
        header=HEADER + ",session_id",
    )
    night, *second, other, visit, later, stranger = dataset.read(path).events.session_num.tolist()
    assert second[0] == second[1]
    assert visit == later
    assert sorted({night, second[0], other, visit, stranger}) == [0, 1, 2, 3, 4]


def test_in_a_static_set_an_event_without_session_is_in_none_of_the_sessions(tmp_path):
    rows = ("u,a,view_item,s", "u,b,view_item,", "u,c,view_item,t")
    data = dataset.read(write_csv(tmp_path, *rows, header="user_id,item_id,event_type,session_id"))
    assert sorted(data.events.session_num) == [0, 1, 2]


def test_each_row_is_counted_once_under_the_first_rule_that_drops_it(tmp_path):
    path = write_csv(
        tmp_path,
        "u,a,view_item,2024-01-01,1",
        "u,a,view_item,2024-01-01,1",  # the same event again
        ",,view_item,2034-01-01,1",  # and again, nobody's, without an item, in the future
        ",,view_item,2034-01-01,2",  # nobody's
        "u,,search,2024-01-01,3",
        "u,,view_item,2024-01-01,4",
        "u,a,view_item,2034-01-01,5",
        "u,b,view_item,2024-01-01,",
        "u,b,view_item,2024-01-01,",  # without an event_id nothing is a duplicate
        header=HEADER + ",event_id",
    )
    data = dataset.read(path, now=NEW_YEAR + 86_400)
    assert counts(data) == {
        "repeated event ids": 2,
        "events of nobody": 1,
        "searches without an item": 1,
        "events without an item": 1,
        "future times": 1,
    }
    assert (data.facts.rows_read, data.facts.rows) == (9, 3)
    assert [finding.where for finding in data.findings] == [f"events.csv row {row}" for row in (2, 4, 5, 6, 7)]


def test_prices_and_quantities_that_cannot_be_become_unknown_and_are_counted(tmp_path):
    rows = [f"u,a,purchase,2024-01-01,{price},{units}" for price, units in (("2.5", "3"), ("0", ""), ("", "0.5"))]
    bad = [f"u,a,purchase,2024-01-01,{price},{units}" for price, units in (("-1", "-1"), ("nan", "0"), ("inf", "inf"))]
    data = dataset.read(write_csv(tmp_path, *rows, *bad, header=HEADER + ",price,quantity"))
    np.testing.assert_array_equal(data.events.price, np.array([2.5, 0, *[np.nan] * 4], dtype=np.float32))
    assert data.events.quantity.tolist() == [3, 1, 0.5, 1, 1, 1]
    assert counts(data) == {"bad prices": 3, "bad quantities": 3}


def test_a_set_without_times_is_static(tmp_path):
    without = dataset.read(write_csv(tmp_path / "a", "u,a,view_item", header="user_id,item_id,event_type"))
    empty = dataset.read(write_csv(tmp_path / "b", "u,a,view_item,"), now=0)
    for data in (without, empty):
        assert not data.has_times
        assert data.events.time.tolist() == [0]
        assert data.facts.start_time == ""


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            ("u,a,view_item,2024-01-01", "u,a,view_item,"),
            r"events.csv row 2: event_time is missing \(1 of 2 rows\); fill",
        ),
        (("u,a,view_item,yesterday",), "events.csv row 1: event_time 'yesterday' is not a time; write ISO 8601"),
        (("u,a,view_item,2024-01-01", "u,a,clik,2024-01-01"), r"row 2: event_type 'clik' is not known \(1 rows\)"),
        (("u,a,serch,2024-01-01",), "did you mean 'search'"),
        (("u,a,view_item,7",), "row 1: event_time '7' is not a unix time"),
        ((f"u,{'x' * 257},view_item,2024-01-01",), "row 1: item_id 'xxxx.* is not an id"),
        (("u,a,view_item",), r"events.csv: cannot be read \(row 1 has 3 fields, the header 4\); mend"),
        ((",a,view_item,2024-01-01",), "no event is left of 1 rows; 1 events of nobody: dropped"),
        ((), "events.csv: no event is left of 0 rows"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_the_row_and_the_fix(tmp_path, rows, message):
    with pytest.raises(DataError, match=message) as refusal:
        dataset.read(write_csv(tmp_path, *rows))
    assert "\n" not in str(refusal.value)


def test_a_missing_column_is_refused_with_the_nearest_names(tmp_path):
    with pytest.raises(DataError, match="no column 'user_id'; nearest columns: userid"):
        dataset.read(write_csv(tmp_path, "u,a,view_item", header="userid,item_id,event_type"))


def test_the_row_of_a_problem_is_named_in_its_part(tmp_path):
    (tmp_path / "events").mkdir()
    for part, word in enumerate(("view_item", "vew_item")):
        table = pa.table({"user_id": ["u", "u"], "item_id": ["a", "b"], "event_type": ["purchase", word]})
        pq.write_table(table, tmp_path / "events" / f"part-{part}.parquet")
    with pytest.raises(DataError, match=r"events/part-1\.parquet row 2: event_type 'vew_item'"):
        dataset.read(tmp_path)


def test_a_damaged_parquet_file_is_refused_in_one_line(tmp_path):
    path = write_parquet(tmp_path, user_id=["u"] * 999, item_id=["a"] * 999, event_type=["view_item"] * 999)
    whole = (path / "events.parquet").read_bytes()
    for damage in (whole[:-9], whole[: len(whole) // 2], b"", whole.replace(b"PAR1", b"PAR2")):
        (path / "events.parquet").write_bytes(damage)
        with pytest.raises(TableError, match=r"events\.parquet: cannot be read") as refusal:
            dataset.read(path)
        assert "\n" not in str(refusal.value)


def test_times_that_no_shop_can_have_are_dropped_and_counted(tmp_path):
    known = [NEW_YEAR, NEW_YEAR + 1, NEW_YEAR + 2]
    never = [np.iinfo(np.int64).min, -62_135_769_600_000, *(time * 1000 for time in known)]
    columns = {"user_id": ["u"] * 5, "item_id": ["a"] * 5, "event_type": ["view_item"] * 5}
    data = dataset.read(write_parquet(tmp_path / "whole", **columns, event_time=never))
    assert counts(data) == {"times before 1900": 2}
    assert data.events.time.tolist() == known
    infinite = [-np.inf, np.inf, *map(float, known)]
    data = dataset.read(write_parquet(tmp_path / "floats", **columns, event_time=infinite), now=NEW_YEAR + 9)
    assert sum(counts(data).values()) == 2
    assert data.events.time.tolist() == known


@pytest.mark.parametrize("kind", [pa.binary(), pa.binary(2), pa.list_(pa.int8())])
def test_event_ids_that_are_no_text_are_refused_or_read(tmp_path, kind):
    ids = pa.array([[1], [2]], kind) if pa.types.is_list(kind) else pa.array([b"\xff\xfe", b"\xff\xfd"], kind)
    columns = {"user_id": ["u"] * 2, "item_id": ["a"] * 2, "event_type": ["view_item"] * 2, "event_id": ids}
    with pytest.raises(DataError, match=r"events\.parquet: column 'event_id' holds no ids"):
        dataset.read(write_parquet(tmp_path, **columns))


def test_users_and_items_without_events_are_known(tmp_path):
    write_csv(tmp_path, "u2,b,view_item,2024-01-01")
    write_csv(tmp_path, "u1,SE", "u2,NO", header="user_id,country", name="users.csv")
    write_csv(tmp_path, "a,Apple", "c,", header="item_id,title", name="items.csv")
    data = dataset.read(tmp_path)
    assert data.users.ids(np.arange(len(data.users))) == ["u1", "u2"]
    assert data.items.ids(np.arange(len(data.items))) == ["a", "b", "c"]
    assert data.events.user_num.tolist() == [1]
    assert data.catalogue.titles == ("Apple", "", "")
    assert data.catalogue.listed.tolist() == [True, False, True]


def test_the_catalogue_stands_in_the_order_of_the_vocabulary_and_the_last_row_of_an_item_counts(tmp_path):
    write_csv(tmp_path, "u,b,view_item,2024-01-01", "u,z,view_item,2024-01-01")
    header = "item_id,title,category,brand,price,available,created_time,colour"
    rows = ("z,Zed,,Acme,-3,false,2024-01-01,red", "b,Old,home,,1,0,,", "b,New,home > oven,,2.5,,,", ",Nameless,,,,,,")
    write_csv(tmp_path, *rows, header=header, name="items.csv")
    data = dataset.read(tmp_path)
    catalogue = data.catalogue
    assert (catalogue.titles, catalogue.categories) == (("New", "Zed"), ("home > oven", ""))
    assert catalogue.brands == ("", "Acme")
    np.testing.assert_array_equal(catalogue.price, np.array([2.5, np.nan], dtype=np.float32))
    assert catalogue.available.tolist() == [True, False]
    assert catalogue.created_time.tolist() == [0, NEW_YEAR]
    assert counts(data) == {"items without an id": 1, "repeated items": 1, "bad prices of items": 1}


def test_a_word_that_is_neither_true_nor_false_is_refused_with_its_row(tmp_path):
    write_csv(tmp_path, "u,b,view_item,2024-01-01")
    write_csv(tmp_path, "a,true", "b,maybe", header="item_id,available", name="items.csv")
    with pytest.raises(DataError, match=r"items\.csv row 2: available 'maybe' is neither true nor false"):
        dataset.read(tmp_path)


def test_the_hash_of_the_data_follows_the_bytes_and_not_the_place(tmp_path):
    here, there = (write_csv(tmp_path / name, "u,a,view_item,2024-01-01") for name in ("here", "there"))
    first = dataset.read(here).facts
    assert dataset.read(there).facts == first
    assert first.start_time == "2024-01-01T00:00:00+00:00"
    write_csv(there, "u,a,view_item,2024-01-02")
    assert dataset.read(there).facts.sha256 != first.sha256


@pytest.mark.parametrize(
    "column",
    [
        pa.array([NEW_YEAR] * 2, pa.int64()),
        pa.array([NEW_YEAR * 1000 + 999] * 2, pa.int64()),
        pa.array([NEW_YEAR * 1_000_000] * 2, pa.int64()),
        pa.array([float(NEW_YEAR)] * 2),
        pa.array([NEW_YEAR * 1_000_000_000] * 2, pa.timestamp("ns")),
        pa.array([NEW_YEAR // 86_400] * 2, pa.date32()),
        pa.array(["2024-01-01", "2024-01-01 00:00:00.5"]),
        pa.array(["2024-01-01T00:00:00Z", "2024-01-01T02:00+02:00"]),
        pa.array(["2024-01-01T00:00:00Z", " 2024-01-01"]),
        pa.array([str(NEW_YEAR)] * 2).dictionary_encode(),
    ],
)
def test_times_are_read_in_any_usual_form(tmp_path, column):
    path = write_parquet(tmp_path, user_id=[1, 2], item_id=["a"] * 2, event_type=["view_item"] * 2, event_time=column)
    assert dataset.read(path).events.time.tolist() == [NEW_YEAR] * 2


def test_whole_numbers_are_ids_even_where_pandas_made_them_floats(tmp_path):
    users = pa.array([7.0, float("nan"), 12.0])
    path = write_parquet(tmp_path, user_id=users, item_id=[3, 2, 3], event_type=["view_item"] * 3)
    data = dataset.read(path)
    assert data.users.array.tolist() == [b"12", b"7"]
    assert counts(data) == {"events of nobody": 1}


def test_two_files_of_one_table_are_refused(tmp_path):
    write_csv(tmp_path, "u,a,view_item,2024-01-01")
    write_parquet(tmp_path, user_id=["u"], item_id=["a"], event_type=["view_item"])
    with pytest.raises(DataError, match=r"both events.parquet and events.csv; keep one"):
        dataset.read(tmp_path)


IDS = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=9)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(IDS, IDS, IDS | st.none(), st.integers(0, 10**9)), min_size=1, max_size=40))
def test_every_event_keeps_its_user_item_and_time(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("any")
    users, items, event_ids, times = (list(column) for column in zip(*rows, strict=True))
    stamps = pa.array(times, pa.timestamp("s", "UTC"))
    words = ["view_item"] * len(rows)
    write_parquet(
        path,
        user_id=users,
        item_id=items,
        event_type=words,
        event_time=stamps,
        event_id=pa.array(event_ids, pa.string()),
    )
    data = dataset.read(path)
    seen, expected = set(), []
    for user, item, event_id, time in rows:
        if event_id is None or event_id not in seen:
            expected.append((time, user, item))
        seen.add(event_id)
    expected.sort(key=lambda event: event[0])
    found = zip(data.users.ids(data.events.user_num), data.items.ids(data.events.item_num), strict=True)
    assert [(time, *ids) for time, ids in zip(data.events.time.tolist(), found, strict=True)] == expected


def test_a_killed_import_leaves_nothing_and_a_failed_one_the_earlier_dataset(tmp_path):
    out = tmp_path / "out"
    # As dead as by kill -9: no clean-up runs.
    code = f"""
import os, pathlib
from recsys_offline import directory
with directory.staged(pathlib.Path({str(out)!r})) as folder:
    (folder / "events.parquet").write_bytes(b"half")
    os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert not out.exists()

    events = pa.table({"user_id": ["u"], "item_id": ["a"], "event_type": ["view_item"]})
    directory.write(out, events)
    with pytest.raises(AttributeError):
        directory.write(out, events, items="not a table")
    assert dataset.read(out).facts.rows == 1
    assert [file.name for file in tmp_path.iterdir()] == ["out"]


def test_writing_replaces_a_dataset_but_never_anything_else(tmp_path):
    one = pa.table({"user_id": ["u"], "item_id": ["a"], "event_type": ["view_item"]})
    directory.write(tmp_path / "out", one, users=pa.table({"user_id": ["v"]}))
    directory.write(tmp_path / "out", one)
    assert len(dataset.read(tmp_path / "out").users) == 1
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="not a dataset that recsys wrote"):
        directory.write(tmp_path / "out", one)
    with pytest.raises(DataError, match="not a dataset that recsys wrote"):
        directory.write(tmp_path / "out" / "thesis.txt", one)
    assert (tmp_path / "out" / "thesis.txt").read_text() == "years of work"
    with pytest.raises(DataError, match="cannot be written"):
        directory.write(tmp_path / "out" / "thesis.txt" / "below", one)
