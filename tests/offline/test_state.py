"""What a server recorded, as the jobs read it: events that join a dataset, and slates with their outcomes."""

from contextlib import closing

import numpy as np
import pandas as pd
import pytest

from builders import sent
from recsys.errors import DataError
from recsys.event_log import EventLog, LoggedEvent
from recsys.exposure_log import Exposure, ExposureLog
from recsys.types import EventType, SlateItem
from recsys_offline import cli, dataset, exposures

VIEW, BUY, SEARCH, SEEN = EventType.VIEW_ITEM, EventType.PURCHASE, EventType.SEARCH, EventType.IMPRESSION
START = 1_700_000_000


def record(state, *events):
    with closing(EventLog(state)) as log:
        log.append([LoggedEvent(*event) for event in events])
    return state


def write(folder, **columns):
    folder.mkdir(exist_ok=True)
    pd.DataFrame(columns).to_parquet(folder / "events.parquet")
    return folder


def rows(data):
    """Each event in words, in order."""
    events = data.events
    types = [EventType(number).word for number in events.event_type]
    users, items = data.users.ids(events.user_num), data.items.ids(events.item_num)
    return list(zip(users, items, types, (events.time - START).tolist(), strict=True))


@pytest.fixture
def state(tmp_path):
    return record(
        tmp_path / "state",
        ("e3", "u2", "i1", BUY, START + 30, 2.0, 9.5, "s1", "r1", 4),
        ("e2", "u1", "i1", VIEW, START + 20),
        ("e9", "u1", "", SEARCH, START + 25),
        ("e4", "u2", "í5", VIEW, START + 40, 1.0, None, "s1"),
    )


def test_a_state_directory_is_a_dataset(state):
    data = dataset.read(state)
    assert rows(data) == [
        ("u1", "i1", "view_item", 20),
        ("u2", "i1", "purchase", 30),
        ("u2", "í5", "view_item", 40),
    ]
    np.testing.assert_array_equal(data.events.quantity, [1, 2, 1])
    np.testing.assert_array_equal(data.events.price, np.array([np.nan, 9.5, np.nan], dtype=np.float32))
    session = data.events.session_num
    assert session[1] == session[2] != session[0]


def test_recorded_events_join_those_of_a_dataset_and_an_id_that_both_have_counts_once(state, tmp_path):
    folder = write(
        tmp_path / "shop",
        event_id=["e1", "e2"],
        user_id=["u1", "u1"],
        item_id=["i0", "i1"],
        event_type=["view_item", "view_item"],
        event_time=[START + 35, START + 20],
    )
    data = dataset.read(folder, state=state)
    assert rows(data) == [
        ("u1", "i1", "view_item", 20),
        ("u2", "i1", "purchase", 30),
        ("u1", "i0", "view_item", 35),
        ("u2", "í5", "view_item", 40),
    ]
    assert data.facts.rows_read == 6
    (twice,) = [finding for finding in data.findings if finding.name == "repeated event ids"]
    assert (twice.count, twice.where) == (1, "events.db row 2")


def test_a_dataset_of_other_columns_and_types_takes_recorded_events_too(state, tmp_path):
    folder = write(tmp_path / "shop", user_id=[7, 8], item_id=[1, 2], event_type=["purchase"] * 2, price=[1.0, 2.0])
    with pytest.raises(DataError, match="event_time is missing"):
        dataset.read(folder, state=state)
    times = pd.to_datetime([START, START + 10], unit="s", utc=True)
    write(folder, user_id=[7, 8], item_id=[1, 2], event_type=["purchase"] * 2, price=[1.0, 2.0], event_time=times)
    data = dataset.read(folder, state=state)
    assert [row[0] for row in rows(data)] == ["7", "8", "u1", "u2", "u2"]
    np.testing.assert_array_equal(data.events.price, np.array([1, 2, np.nan, 9.5, np.nan], dtype=np.float32))
    np.testing.assert_array_equal(data.events.quantity, [1, 1, 1, 2, 1])


def test_the_hash_of_joined_data_tells_what_either_part_holds(state, tmp_path):
    columns = {"user_id": ["u"], "item_id": ["a"], "event_type": ["view_item"], "event_time": [START]}
    hashes = {dataset.read(write(tmp_path / "shop", **columns), state=state).facts.sha256}
    record(state, ("new", "u1", "i1", VIEW, START))
    hashes.add(dataset.read(tmp_path / "shop", state=state).facts.sha256)
    hashes.add(dataset.read(write(tmp_path / "shop", **{**columns, "item_id": ["b"]}), state=state).facts.sha256)
    assert len(hashes) == 3


def test_a_visit_goes_on_from_the_dataset_into_the_log(state, tmp_path):
    folder = write(
        tmp_path / "shop",
        user_id=["u2", "u2"],
        item_id=["a", "b"],
        event_type=["view_item"] * 2,
        event_time=[START, START + 1],
        session_id=["s1", "s0"],
    )
    session = dataset.read(folder, state=state).events.session_num
    assert session[0] == session[3] == session[4] != session[1]


def test_the_hash_of_the_data_tells_what_was_recorded_and_not_how_the_file_lies(state):
    events = dataset.read(state).facts.sha256
    record(state, ("e9", "u1", "other", VIEW, START))
    with closing(EventLog(state)) as log:
        sum(log.prune(START - 1))
    assert dataset.read(state).facts.sha256 == events
    record(state, ("new", "u1", "other", VIEW, START))
    assert dataset.read(state).facts.sha256 != events


def test_a_directory_without_a_log_and_an_empty_log_are_errors_that_say_so(state, tmp_path):
    with pytest.raises(DataError, match=r"no events\.db; give the directory of recsys-server --state"):
        dataset.read(state, state=tmp_path)
    with pytest.raises(DataError, match="no event is left"):
        dataset.read(record(tmp_path / "empty"))
    write(state, user_id=["u1"], item_id=["a"], event_type=["view_item"])
    with pytest.raises(DataError, match=r"both events\.parquet and events\.db"):
        dataset.read(state)


def test_check_takes_a_state_directory(state, capsys):
    cli.main(["check", str(state)])
    assert "searches without an item" in capsys.readouterr().out


def test_each_item_of_a_slate_comes_with_what_followed_from_it(tmp_path):
    state = record(
        tmp_path / "state",
        ("e1", "u1", "i2", VIEW, START + 5, 1.0, None, "", "r1", 2),
        ("e2", "u1", "i2", BUY, START + 6, 1.0, None, "", "r1", 2),
        ("e3", "u1", "i2", BUY, START + 7, 1.0, None, "", "r1", 2),
        ("e4", "u1", "i1", SEEN, START + 7, 1.0, None, "", "r1", 1),
        ("e5", "u1", "i2", VIEW, START + 8),
        ("e6", "u1", "i2", VIEW, START + 8, 1.0, None, "", "lost", 1),
    )
    items = (SlateItem("i1", 2.5, ("als", "fill")), SlateItem("i2", 1.5, ("content",), propensity=0.25))
    with closing(ExposureLog(state)) as log:
        log.append(
            [
                Exposure("r1", START, "u1", "home", "b1", (("ranker", "off"),), sent(*items)),
                Exposure("r2", START + 1, "", "", "b1", (), sent(*items[1:])),
            ]
        )
    report = exposures.export(state, tmp_path / "exposures.parquet")
    assert (report.slates, report.rows, report.joined, report.outcomes) == (2, 3, 3, 4)
    assert cli.main(["exposures", "--state", str(state), "--out", str(tmp_path / "exposures.csv")]) == 0
    table = pd.read_parquet(tmp_path / "exposures.parquet")
    first, second, third = table.to_dict("records")
    assert (first["item_id"], first["rank"], first["sources"]) == ("i1", 1, "als fill")
    assert [first[word] for word in exposures.OUTCOMES] == [0] * 5
    assert (second["view_item"], second["purchase"], second["propensity"]) == (1, 2, 0.25)
    assert (second["user_id"], second["placement"], second["assignments"]) == ("u1", "home", '{"ranker": "off"}')
    assert (third["recommendation_id"], third["purchase"]) == ("r2", 0)
    assert first["exposure_time"] == pd.Timestamp(START, unit="s", tz="UTC")
    assert pd.read_csv(tmp_path / "exposures.csv")["purchase"].tolist() == [0, 2, 0]


def test_a_directory_without_exposures_is_an_error_that_says_so(tmp_path, capsys):
    assert cli.main(["exposures", "--state", str(tmp_path), "--out", str(tmp_path / "x.csv")]) == 1
    assert "no exposures.db; give the directory of recsys-server --state" in capsys.readouterr().err


def test_training_reads_the_state_that_it_is_told_of(state, tmp_path, capsys):
    registry = ["--registry", str(tmp_path / "registry")]
    assert cli.main(["train", str(state), "--state", str(tmp_path / "none"), *registry]) == 1
    assert "no events.db; give the directory of recsys-server --state" in capsys.readouterr().err
