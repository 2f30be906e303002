"""Batch lists: exactly k rows for everybody, and the same answers as one by one."""

import csv

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys import bundle
from recsys.errors import DataError
from recsys.types import ExcludePolicy, Query, ServingParameters
from recsys_offline.batch import read_user_ids
from shops import SHOP_UNTIL, recsys

USERS = ["u00000001", "nobody", "u00000007", "né,w", "u00000300"]
K = 7


def lists(registry, out, *options: object) -> pd.DataFrame:
    done = recsys("recommend", "--registry", registry, "--out", out, *options)
    assert done.status == 0, done.err
    read = pd.read_parquet(out) if out.suffix == ".parquet" else pd.read_csv(out)
    assert done.out.startswith(f"{len(read):,} rows for {read.user_id.nunique():,} users")
    return read


@pytest.fixture
def users(tmp_path):
    path = tmp_path / "users.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["country", "user_id"], *(["de", user] for user in USERS)])
    return path


@pytest.mark.parametrize("k", [1, 20, 150])
def test_everybody_gets_exactly_k_rows_ranked_from_one_without_repeats(registry, users, tmp_path, k):
    rows = lists(registry, tmp_path / "lists.parquet", "--users", users, "--k", k)
    assert list(rows.columns) == ["user_id", "item_id", "rank", "score"]
    assert rows.user_id.unique().tolist() == USERS
    for _, own in rows.groupby("user_id"):
        assert own["rank"].tolist() == list(range(1, k + 1))
        assert own.item_id.nunique() == k
        assert own.score.is_monotonic_decreasing


def test_without_a_file_all_users_of_the_bundle_get_a_list(registry, bundle_dir, tmp_path):
    rows = lists(registry, tmp_path / "lists.csv", "--k", 3)
    model = bundle.load(bundle_dir).model
    assert rows.groupby("user_id").size().to_dict() == dict.fromkeys(model.users.ids(slice(None)), 3)


def test_more_than_the_catalogue_gives_the_whole_catalogue_less_what_is_excluded(registry, bundle_dir, users, tmp_path):
    n_items = len(bundle.load(bundle_dir).model.items)
    rows = lists(registry, tmp_path / "lists.csv", "--users", users, "--k", 10**20)
    assert set(rows.groupby("user_id").item_id.nunique()) == {n_items}
    seen = lists(registry, tmp_path / "seen.csv", "--users", users, "--k", 1_000, "--exclude", "seen")
    assert seen.groupby("user_id").size()["nobody"] == n_items
    assert (seen.groupby("user_id").size() < n_items).any()


def test_csv_and_parquet_hold_the_same(registry, users, tmp_path):
    one = lists(registry, tmp_path / "lists.parquet", "--users", users)
    other = lists(registry, tmp_path / "lists.csv", "--users", users)
    pd.testing.assert_frame_equal(one, other, check_dtype=False, rtol=1e-5)


def test_users_come_from_csv_parquet_or_plain_lines_each_once(registry, users, tmp_path):
    expected = lists(registry, tmp_path / "lists.csv", "--users", users, "--k", 2)
    pq.write_table(pa.table({"user_id": [*USERS, None, USERS[0]]}), tmp_path / "users.parquet")
    plain = [user for user in USERS if "," not in user]
    (tmp_path / "users.txt").write_text("\n".join([*plain, "", plain[0]]))
    pd.testing.assert_frame_equal(
        lists(registry, tmp_path / "a.csv", "--users", tmp_path / "users.parquet", "--k", 2), expected
    )
    rows = lists(registry, tmp_path / "b.csv", "--users", tmp_path / "users.txt", "--k", 2)
    pd.testing.assert_frame_equal(rows, expected[expected.user_id.isin(plain)].reset_index(drop=True))


def test_users_are_read_as_a_dataset_reads_them(tmp_path):
    pq.write_table(pa.table({"user_id": [17850.0, None, 12.0]}), tmp_path / "floats.parquet")
    assert read_user_ids(tmp_path / "floats.parquet") == ["17850", "12"]
    pq.write_table(pa.table({"user_id": pa.array([b"u1", b"u2"], pa.binary())}), tmp_path / "bytes.parquet")
    assert read_user_ids(tmp_path / "bytes.parquet") == ["u1", "u2"]
    broken = pa.array([b"\xff"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"user_id": broken}), tmp_path / "broken.parquet")
    with pytest.raises(DataError, match=r"broken\.parquet: column 'user_id' holds no ids"):
        read_user_ids(tmp_path / "broken.parquet")
    for text in ("user_id\nu1\n", "u1\n"):  # as spreadsheets write it
        (tmp_path / "users.csv").write_text(text, encoding="utf-8-sig")
        assert read_user_ids(tmp_path / "users.csv") == ["u1"]


def test_policies_keep_out_what_was_bought_or_seen_and_nothing_more(registry, shop, tmp_path):
    events = pd.read_parquet(shop / "events.parquet")
    past = events[(events.event_time < SHOP_UNTIL) & events.user_id.notna() & events.item_id.notna()]
    bought = past[past.event_type == "purchase"].groupby("user_id").item_id.agg(set)
    seen = past[past.event_type != "impression"].groupby("user_id").item_id.agg(set)
    for policy, out in (("none", {}), ("purchased", bought), ("seen", seen)):
        rows = lists(registry, tmp_path / f"{policy}.csv", "--k", 1_000, "--exclude", policy)
        catalogue = set(rows.item_id)
        for user, own in rows.groupby("user_id").item_id:
            assert catalogue - set(own) == out.get(user, set()), (policy, user)


@pytest.mark.parametrize("name", ["registry", "cycle_registry"])
@pytest.mark.parametrize("policy", list(ExcludePolicy))
def test_a_list_is_what_the_recommender_answers_to_the_same_user(request, tmp_path, name, policy):
    registry = request.getfixturevalue(name)
    rows = lists(registry, tmp_path / "lists.parquet", "--k", K, "--exclude", policy)
    recommender = bundle.load(next((registry / "versions").iterdir()))
    asked = ["nobody", *rows.user_id.unique()[::9]]
    (tmp_path / "asked.txt").write_text("\n".join(asked))
    rows = lists(registry, tmp_path / "asked.parquet", "--users", tmp_path / "asked.txt", "--k", K, "--exclude", policy)
    parameters = ServingParameters(exclude_policy=policy)
    for user, own in rows.groupby("user_id"):
        slate = recommender.answer([Query(user, K, recommender.until, parameters=parameters)], lambda: 0.0).slates[0]
        assert [item.item_id for item in slate.items] == own.item_id.tolist()
        assert [item.score for item in slate.items] == pytest.approx(own.score.tolist(), rel=1e-5, abs=1e-5)


def test_a_failed_write_leaves_an_earlier_file_as_it_was(registry, users, tmp_path, monkeypatch):
    out = tmp_path / "lists.csv"
    lists(registry, out, "--users", users)
    before = out.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", str(out))

    monkeypatch.setattr("recsys_offline.batch._lists", full)
    done = recsys("recommend", "--registry", registry, "--users", users, "--out", out)
    assert (done.status, done.err) == (1, f"recsys: {out}: No space left on device\n")
    assert out.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
