"""The simulated shop keeps its word: what its truth says is what its events show."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recsys.errors import DataError
from recsys_offline.simulate import SimulationReport, World, simulate

USERS, ITEMS, DAYS, SEED = 4_000, 400, 90, 3
END = pd.Timestamp("2024-01-01", tz="UTC") + pd.Timedelta(days=DAYS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of the shop."""
    out = tmp_path_factory.mktemp("simulated") / "shop"
    simulate(out, USERS, ITEMS, DAYS, SEED)
    return out


@pytest.fixture(scope="module")
def events(folder: Path) -> pd.DataFrame:
    """Its events, with the numbers that the ids stand for."""
    table = pd.read_parquet(folder / "events.parquet")
    table["user_num"] = table.user_id.str[1:].astype(int)
    table["item_num"] = table.item_id.str[1:].astype(float)
    return table


@pytest.fixture(scope="module")
def world() -> World:
    """Its truth."""
    return World.of(ITEMS, DAYS, SEED)


def of_type(events: pd.DataFrame, *words: str) -> pd.DataFrame:
    return events[events.event_type.isin(words)]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_one_seed_gives_the_same_bytes_and_another_seed_gives_others(tmp_path: Path) -> None:
    for name, seed in (("one", 5), ("again", 5), ("other", 6)):
        simulate(tmp_path / name, 300, 60, 20, seed)
    assert contents(tmp_path / "one") == contents(tmp_path / "again")
    assert contents(tmp_path / "one").keys() == {"events.parquet", "items.parquet", "users.parquet"}
    assert all(contents(tmp_path / "one")[name] != data for name, data in contents(tmp_path / "other").items())


def test_more_users_leave_the_events_of_the_others_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulate(tmp_path / "small", 150, 60, 20, 5)
    monkeypatch.setattr("recsys_offline.simulate.run.USERS_PER_PART", 200)
    report = simulate(tmp_path / "large", 500, 60, 20, 5)
    small, large = pd.read_parquet(tmp_path / "small/events.parquet"), pd.read_parquet(tmp_path / "large/events")
    assert report.parts == len(list((tmp_path / "large/events").iterdir())) == 3
    assert len(large) == report.events
    pd.testing.assert_frame_equal(large[large.user_id.isin(small.user_id)], small)
    users = pd.read_parquet(tmp_path / "large/users.parquet")
    pd.testing.assert_frame_equal(users[:150], pd.read_parquet(tmp_path / "small/users.parquet"))
    assert len(users) == 500


def test_the_files_have_the_columns_of_a_dataset(folder: Path, events: pd.DataFrame) -> None:
    assert list(events.columns[:10]) == [
        "user_id", "item_id", "event_type", "event_time", "event_id", "quantity", "price", "session_id",
        "recommendation_id", "position",
    ]  # fmt: skip
    assert events.event_time.dtype == pd.DatetimeTZDtype("us", "UTC")
    assert events.event_id.is_unique
    assert events.user_id.notna().all()
    assert (events.item_id.isna() == (events.event_type == "search")).all()
    assert (events.position.notna() == events.event_type.isin(("impression", "select_item"))).all()
    items = pd.read_parquet(folder / "items.parquet")
    assert list(items.columns) == ["item_id", "title", "category", "brand", "price", "available", "created_time"]
    assert items.category.str.fullmatch(r"[\w-]+ > [\w -]+").all()
    assert len(items) == ITEMS
    assert len(pd.read_parquet(folder / "users.parquet")) == USERS


def test_the_report_counts_what_is_in_the_files(tmp_path: Path) -> None:
    done: list[tuple[int, int]] = []
    report = simulate(tmp_path / "shop", 200, 50, 30, 1, lambda users, total: done.append((users, total)))
    table = pd.read_parquet(tmp_path / "shop/events.parquet")
    assert {word.word: count for word, count in report.counts.items() if count} == dict(table.event_type.value_counts())
    assert report.active_users == table.user_id.nunique()
    assert report.repeat_purchases == of_type(table, "purchase").duplicated(["user_id", "item_id"]).sum()
    assert f"{len(table):,}" in report.lines()[0]
    assert done == [(200, 200)]


def test_events_stay_inside_the_period_and_follow_sign_up_and_launch(folder: Path, events: pd.DataFrame) -> None:
    joined = pd.read_parquet(folder / "users.parquet").set_index("user_id").created_time
    launched = pd.read_parquet(folder / "items.parquet").set_index("item_id").created_time
    assert (events.event_time > events.user_id.map(joined)).all()
    named = events[events.item_id.notna()]
    assert (named.event_time > named.item_id.map(launched)).all()
    assert (events.event_time >= pd.Timestamp("2024-01-01", tz="UTC")).all()
    assert (events.event_time < END).all()
    for created in (joined, launched):  # new ones come all the time
        assert 0.2 < (created > pd.Timestamp("2024-01-01", tz="UTC")).mean() < 0.5


def test_unavailable_items_are_those_that_no_longer_sell(folder: Path, events: pd.DataFrame) -> None:
    items = pd.read_parquet(folder / "items.parquet").set_index("item_id")
    late = of_type(events, "purchase", "view_item")
    late = late[late.event_time > END - pd.Timedelta(hours=2)]
    assert 0 < (~items.available).sum() < 0.15 * ITEMS
    assert items.available[late.item_id].all()


@pytest.mark.parametrize(
    ("later", "earlier"),
    [
        ("select_item", "impression"),
        ("add_to_cart", "view_item"),
        ("add_to_wishlist", "view_item"),
        ("purchase", "add_to_cart"),
        ("remove_from_cart", "add_to_cart"),
    ],
)
def test_inside_a_session_nothing_comes_before_what_leads_to_it(events: pd.DataFrame, later: str, earlier: str) -> None:
    place = ["session_id", "item_id"]
    first = of_type(events, earlier).groupby(place).event_time.min()
    followed = of_type(events, later).join(first.rename("before"), on=place)
    assert len(followed) > 50
    assert (followed.event_time > followed.before).all()


def test_a_refund_follows_a_purchase_of_the_same_item(events: pd.DataFrame) -> None:
    pair = ["user_id", "item_id"]
    paid = of_type(events, "purchase").groupby(pair).event_time.min().rename("paid_time")
    refunds = of_type(events, "refund").join(paid, on=pair)
    assert len(refunds) > 10
    assert (refunds.event_time > refunds.paid_time).all()


def test_clicks_on_lists_are_those_that_the_truth_foretells(events: pd.DataFrame, world: World) -> None:
    shown = of_type(events, "impression")
    clicked = of_type(events, "select_item").set_index(["recommendation_id", "position"]).item_id
    found = pd.MultiIndex.from_frame(shown[["recommendation_id", "position"]]).isin(clicked.index)
    seconds = (shown.event_time.astype("int64") // 1_000_000).to_numpy()
    asked = (shown.user_num.to_numpy(), shown.item_num.to_numpy(dtype=int), shown.position.to_numpy(dtype=int), seconds)
    inside = shown.event_time < END - pd.Timedelta(minutes=10)  # a click may fall behind the end
    assert (world.clicks(*asked) == found)[inside].all()
    assert (world.clicks(*asked, draw=1) != found).any()


def test_click_rates_fall_with_position_as_stated(events: pd.DataFrame, world: World) -> None:
    shown = of_type(events, "impression")
    assert len(shown) < 0.25 * len(events)
    seconds = (shown.event_time.astype("int64") // 1_000_000).to_numpy()
    chance = world.click_probability(
        shown.user_num.to_numpy(), shown.item_num.to_numpy(dtype=int), shown.position.to_numpy(dtype=int), seconds
    )
    clicked_position = of_type(events, "select_item").position
    for position in range(1, 9):
        expected = chance[shown.position == position]
        deviation = np.sqrt((expected * (1 - expected)).sum())
        assert abs((clicked_position == position).sum() - expected.sum()) < 4 * deviation, position


def test_a_user_examines_position_k_with_probability_k_to_the_minus_0_7(world: World) -> None:
    user, item = np.full(50, 5), np.arange(50)
    first, fourth = (world.click_probability(user, item, np.full(50, k), world.end_time) for k in (1, 4))
    assert np.allclose(fourth, first * 4**-0.7)


def test_what_the_truth_calls_likely_is_what_users_look_at_and_buy(events: pd.DataFrame, world: World) -> None:
    views = of_type(events, "view_item").drop_duplicates(["session_id", "item_id"])
    user, item = views.user_num.to_numpy(), views.item_num.to_numpy(dtype=int)
    liked = world.affinity(user, item)
    rng = np.random.default_rng(0)
    assert liked.mean() > world.affinity(user, rng.permutation(item)).mean() + 1.0
    staples = world.staples_of(world.users(np.arange(USERS)))
    ordinary = ~pd.MultiIndex.from_arrays((user, item)).isin(
        pd.MultiIndex.from_arrays((staples.user_row, staples.item_num))
    )
    bought = pd.MultiIndex.from_frame(views[["session_id", "item_id"]]).isin(
        pd.MultiIndex.from_frame(of_type(events, "purchase")[["session_id", "item_id"]])
    )
    chance = world.purchase_probability(user, item, (views.event_time.astype("int64") // 1_000_000).to_numpy())
    assert (chance > 0).all()
    chance, bought = chance[ordinary], bought[ordinary]
    order = np.argsort(chance)
    for part in np.array_split(order, 4):
        expected = chance[part].sum()
        assert abs(bought[part].sum() - expected) < 4 * np.sqrt(expected)


def test_the_interval_of_a_staple_can_be_read_from_its_purchases(events: pd.DataFrame, world: World) -> None:
    staples = world.staples_of(world.users(np.arange(USERS)))
    truth = pd.Series(staples.interval_days, pd.MultiIndex.from_arrays((staples.user_row, staples.item_num)))
    truth = truth[~truth.index.duplicated(keep=False)]
    bought = of_type(events, "purchase").sort_values("event_time").astype({"item_num": int})
    pair = [bought.user_num, bought.item_num]
    gaps = bought.event_time.groupby(pair).diff().dt.total_seconds() / 86_400
    median = gaps.groupby(pair).agg(["median", "count"])
    median = median[(median["count"] >= 3) & median.index.isin(truth.index)]
    error = np.abs(median["median"] / truth[median.index] - 1)
    assert len(error) > 100
    assert error.median() < 0.12


def test_a_basket_holds_what_goes_with_it_more_often_than_chance(folder: Path, events: pd.DataFrame) -> None:
    category = pd.read_parquet(folder / "items.parquet").set_index("item_id").category
    views = of_type(events, "view_item")
    views = views.assign(category=views.item_id.map(category))
    sessions = views.groupby("session_id").category.agg(set)
    trousers = sessions.map(lambda found: "Clothing > Trousers" in found)
    shirts = sessions.map(lambda found: "Clothing > T-Shirts" in found)
    assert (trousers & shirts).mean() > 2 * trousers.mean() * shirts.mean()


def test_demand_follows_the_season(tmp_path: Path) -> None:
    simulate(tmp_path / "year", 400, 200, 365, 4)
    table = pd.read_parquet(tmp_path / "year/events.parquet")
    category = pd.read_parquet(tmp_path / "year/items.parquet").set_index("item_id").category
    views = of_type(table, "view_item")

    def share(month: int, path: str) -> float:
        return float((views.item_id[views.event_time.dt.month == month].map(category) == path).mean())

    assert share(6, "Sports > Camping") > 1.5 * share(12, "Sports > Camping")
    assert share(12, "Clothing > Sweaters") > 1.5 * share(6, "Clothing > Sweaters")


def test_the_truth_answers_for_any_user_and_sells_nothing_before_its_launch(world: World) -> None:
    user = np.array([10**7, 3, 10**7])
    item = np.array([5, 6, 5])
    answers = world.click_probability(user, item, np.ones(3, dtype=int), world.end_time)
    assert answers[0] == answers[2]
    assert ((answers >= 0) & (answers < 1)).all()
    new = np.flatnonzero(world.items.launch_day > 1)[:1]
    opening = world.end_time - DAYS * 86_400
    assert world.click_probability(np.zeros(1), new, np.ones(1), opening)[0] == 0
    assert world.purchase_probability(np.zeros(1), new, opening)[0] == 0


def test_the_oracle_beats_the_popular_list_which_beats_chance(tmp_path: Path) -> None:
    report = simulate(tmp_path / "shop", 300, 400, 30, 1)
    assert report.headline.random < report.headline.popular < report.headline.oracle / 1.5


@pytest.mark.parametrize(("users", "items", "days"), [(1, 1, 1), (3, 1, 40), (50, 3, 8)])
def test_the_smallest_shops_work_too(tmp_path: Path, users: int, items: int, days: int) -> None:
    report = simulate(tmp_path / "shop", users, items, days, 0)
    assert isinstance(report, SimulationReport)
    assert len(pd.read_parquet(tmp_path / "shop/events.parquet")) == report.events


def test_an_older_dataset_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    simulate(tmp_path / "shop", 20, 10, 5, 0)
    simulate(tmp_path / "shop", 30, 10, 5, 0)
    assert len(pd.read_parquet(tmp_path / "shop/users.parquet")) == 30
    assert [path.name for path in tmp_path.iterdir()] == ["shop"]


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="another directory"):
        simulate(tmp_path, 20, 10, 5, 0)
    with pytest.raises(DataError, match="another directory"):
        simulate(tmp_path / "thesis.txt", 20, 10, 5, 0)
    assert contents(tmp_path) == {"thesis.txt": b"years of work"}


def test_a_run_that_fails_leaves_the_older_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simulate(tmp_path / "shop", 20, 10, 5, 0)
    before = contents(tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("recsys_offline.simulate.run.write_events", full)
    with pytest.raises(DataError, match="No space left"):
        simulate(tmp_path / "shop", 30, 10, 5, 0)
    assert contents(tmp_path) == before


def test_a_dataset_that_cannot_be_moved_into_place_leaves_the_older_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulate(tmp_path / "shop", 20, 10, 5, 0)
    before = contents(tmp_path)
    rename = Path.rename

    def rename_but_not_the_new(path: Path, target: Path) -> Path:
        if path.name.endswith(".partial"):
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", rename_but_not_the_new)
    with pytest.raises(DataError, match="Input/output error"):
        simulate(tmp_path / "shop", 30, 10, 5, 0)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("wrong", [{"users": 0}, {"items": 0}, {"days": 0}, {"seed": -1}, {"users": 10**9}])
def test_a_number_out_of_range_is_named(tmp_path: Path, wrong: dict[str, int]) -> None:
    given = {"users": 10, "items": 10, "days": 10, "seed": 0} | wrong
    with pytest.raises(DataError, match=f"--{next(iter(wrong))} "):
        simulate(tmp_path / "shop", given["users"], given["items"], given["days"], given["seed"])
    assert not list(tmp_path.iterdir())


def test_memory_does_not_grow_with_the_number_of_users(tmp_path: Path) -> None:
    def peak_megabytes(users: int) -> float:
        # Not getrusage: its peak of a child starts at the size of the parent, here pytest.
        code = (
            "import re, sys, pathlib; from recsys_offline.simulate import simulate;"
            f"simulate(pathlib.Path(sys.argv[1]), {users}, 200, 60, 1);"
            "print(re.search(r'VmHWM:\\s+(\\d+)', pathlib.Path('/proc/self/status').read_text())[1])"
        )
        run = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / str(users))], check=True, capture_output=True, text=True
        )
        return float(run.stdout) / 1024

    assert peak_megabytes(100_000) - peak_megabytes(20_000) < 50  # to hold the events takes 70
