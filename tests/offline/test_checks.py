"""What `recsys check` says about datasets."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_offline import checks, directory
from recsys_offline.checks import CheckReport, Status

START = 1_704_067_200
NOW = START + 100 * 86_400


def shop(path: Path, days: int = 30, **changes) -> Path:
    """A shop of 120 users who each view 5 of 12 items and buy one, spread over the days."""
    user, step = np.divmod(np.arange(120 * 6), 6)
    columns = {
        "user_id": [f"u{num}" for num in user],
        "item_id": [f"i{num}" for num in (user + step) % 12],
        "event_type": np.where(step == 5, "purchase", "view_item"),
        "event_time": pa.array(START + np.arange(len(user)) * days * 86_400 // len(user), pa.timestamp("s", "UTC")),
    }
    items = pa.table({"item_id": [f"i{num}" for num in range(12)]})
    directory.write(path, pa.table(columns | changes), items)
    return path


def found(report: CheckReport, status: Status) -> dict[str, str]:
    return {check.name: f"{check.text}; {check.fix}" for check in report.checks if check.status == status}


def test_a_clean_shop_is_usable_and_has_nothing_to_note(tmp_path):
    report = checks.check(shop(tmp_path / "shop"), NOW)
    assert report.usable
    assert {check.status for check in report.checks} == {Status.OK}
    assert report.lines()[-1] == "usable"
    assert found(report, Status.OK)["event types"] == "600 view_item, 120 purchase; "


def test_every_problem_is_named_at_once_with_row_and_fix(tmp_path):
    (tmp_path / "events.csv").write_text(
        "user,item_id,event_type,event_time,price\nu,a,view,2024-01-01,1\nu,a,view_item,,1\nu,a,view_item,2024-01-01,5€\n"
    )
    (tmp_path / "items.csv").write_text("item_id,available\na,perhaps\n")
    report = checks.check(tmp_path, NOW)
    assert not report.usable
    text = "\n".join(report.lines())
    for problem in (
        "no column 'user_id'; nearest columns: user",
        "events.csv row 1: event_type 'view' is not known (1 rows); did you mean 'view_item'?",
        "events.csv row 2: event_time is missing (1 of 3 rows)",
        "events.csv row 3: price '5€' is not a number",
        "items.csv row 1: available 'perhaps' is neither true nor false",
    ):
        assert problem in text


@pytest.mark.parametrize("name", ["nowhere", "empty", "file"])
def test_a_directory_without_events_is_a_problem_that_says_how_to_make_one(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    report = checks.check(tmp_path / name, NOW)
    assert not report.usable
    assert "recsys import" in report.lines()[0]


def test_a_dataset_whose_every_event_is_dropped_is_a_problem(tmp_path):
    report = checks.check(shop(tmp_path / "shop"), now=START - 1)
    assert not report.usable
    assert "720 future times: dropped" in report.lines()[0]


def test_dropped_rows_are_notes_and_leave_a_dataset_usable(tmp_path):
    report = checks.check(shop(tmp_path / "shop"), now=START + 20 * 86_400)
    assert report.usable
    assert found(report, Status.NOTE)["future times"].startswith("239 dropped (first: events.parquet row 482)")


def test_events_that_tell_no_taste_are_a_problem_and_no_purchase_is_a_note(tmp_path):
    viewed = checks.check(shop(tmp_path / "viewed", event_type=["view_item"] * 720), NOW)
    assert viewed.usable
    assert "no purchase" in found(viewed, Status.NOTE)["event types"]
    shown = checks.check(shop(tmp_path / "shown", event_type=["impression"] * 720), NOW)
    assert "nothing tells taste" in found(shown, Status.PROBLEM)["event types"]


def test_a_short_a_static_and_an_ancient_time_range_are_noted(tmp_path):
    short = checks.check(shop(tmp_path / "short", days=2), NOW)
    assert "2.0 days: short; bring at least 5 days" in found(short, Status.NOTE)["times"]
    static = checks.check(shop(tmp_path / "static", event_time=pa.nulls(720)), NOW)
    assert "static" in found(static, Status.NOTE)["times"]
    times = pa.array([1, *range(START, START + 719 * 3600, 3600)], pa.timestamp("s", "UTC"))
    ancient = checks.check(shop(tmp_path / "ancient", event_time=times), NOW)
    assert "1 events before 1990" in found(ancient, Status.NOTE)["times"]
    assert short.usable
    assert static.usable
    assert ancient.usable


def test_users_and_items_with_too_little_are_counted_and_are_a_problem_when_all_are_so(tmp_path):
    items = ["rare", *(f"i{num % 12}" for num in range(719))]
    users = ["new", *(f"u{num // 6}" for num in range(719))]
    report = checks.check(shop(tmp_path / "some", item_id=items, user_id=users), NOW)
    notes = found(report, Status.NOTE)
    assert notes["users"].startswith("1 of 121 users have fewer than two items")
    assert notes["items"].startswith("1 of 13 items have fewer than two users")
    assert notes["items file"].startswith("1 events of 1 items that it lacks (first: item 'rare')")
    alone = checks.check(shop(tmp_path / "all", user_id=[f"u{num}" for num in range(720)]), NOW)
    assert "nothing can be learnt" in found(alone, Status.PROBLEM)["users"]
    nobody = checks.check(shop(tmp_path / "none", user_id=pa.nulls(720, pa.string()), session_id=users), NOW)
    assert "all events are of anonymous sessions; fill user_id" in found(nobody, Status.PROBLEM)["users"]


def test_one_user_with_a_great_share_of_the_events_is_noted_as_a_possible_robot(tmp_path):
    events = pq.read_table(shop(tmp_path / "shop") / "events.parquet")
    users = ["robot" if num % 10 == 0 else user for num, user in enumerate(events["user_id"].to_pylist())]
    report = checks.check(shop(tmp_path / "crawled", user_id=users), NOW)
    assert found(report, Status.NOTE)["bots"].startswith("user 'robot' has 10.0% of the events")
    assert report.usable
