"""Shops with too little of something: they train, answer, and never end in a traceback."""

import json
from pathlib import Path

import pytest

from recsys_offline.dataset import read
from shops import DAY, START, Row, recsys, write

PLENTY = [(f"u{num % 20}", f"i{num * num % 7}", "purchase", START + num % 28 * DAY) for num in range(300)]


def changed(**columns: object) -> list[Row]:
    """Plenty of events with some columns of one value."""
    names = ("user", "item", "event_type", "time")
    return [tuple(columns.get(name, value) for name, value in zip(names, row, strict=True)) for row in PLENTY]


SHOPS = {
    "one user, one item, three events": [("u1", "i1", "view_item", START + day * DAY) for day in range(3)],
    "one event": [("u1", "i1", "purchase", START)],
    "no purchase": changed(event_type="view_item"),
    "one second": changed(time=START),
    "one item": changed(item="i1"),
    "one user": changed(user="u1"),
    "no times": changed(time=0),
    "no times, one event": [("u1", "i1", "purchase", 0)],
    "times before 1970": [(user, item, kind, time - 60 * 365 * DAY) for user, item, kind, time in PLENTY],
}


@pytest.mark.parametrize("kind", ["refund", "impression"])
def test_a_shop_in_which_nobody_acts_on_anything_is_refused_with_one_line(tmp_path: Path, kind: str):
    path = write(tmp_path / "shop", changed(event_type=kind))
    trained = recsys("train", path, "--registry", tmp_path / "registry")
    assert trained.status == 1
    assert "nothing to learn from" in trained.err.splitlines()[-1]
    assert "Traceback" not in trained.err


@pytest.mark.parametrize("name", SHOPS)
def test_it_trains_and_answers_known_and_unknown_users(tmp_path: Path, name: str):
    path = write(tmp_path / "shop", SHOPS[name])
    trained = recsys("train", path, "--registry", tmp_path / "registry")
    assert trained.status == 0, trained.err
    assert trained.err.splitlines()[-2].startswith(("ranker", "no ranker"))
    (tmp_path / "users.txt").write_text("u1\nnobody\n")
    options = ("--users", tmp_path / "users.txt", "--k", 3, "--out", tmp_path / "lists.csv")
    for policy in ("none", "purchased", "seen"):
        done = recsys("recommend", "--registry", tmp_path / "registry", "--exclude", policy, *options)
        assert done.status == 0, done.err
    assert recsys("recommend", "--registry", tmp_path / "registry", *options).status == 0
    lines = (tmp_path / "lists.csv").read_text().splitlines()[1:]
    assert len(lines) == 2 * min(3, len(read(path).items))


@pytest.mark.parametrize("name", SHOPS)
def test_it_is_judged_or_refused_with_one_line(tmp_path: Path, name: str):
    rows = SHOPS[name]
    path = write(tmp_path / "shop", rows)
    until = "2024-01-20" if name != "times before 1970" else "1964-01-20"
    trained = recsys("train", path, "--registry", tmp_path / "registry", "--until", until)
    assert trained.status == 0, trained.err
    done = recsys("evaluate", path, "--registry", tmp_path / "registry", "--out", tmp_path)
    assert done.status == 0 or (done.status == 1 and len(done.err.splitlines()) == 1), done.err
    if done.status == 0:
        report = json.loads((tmp_path / "report.json").read_text(), parse_constant=pytest.fail)  # NaN is not JSON
        assert report["modes"]["repeats allowed"]["users"] > 0
