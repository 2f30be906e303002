"""The benchmark of filters, on a small catalogue."""

import json

from shops import recsys


def test_filters_are_timed_and_what_they_find_is_compared_with_brute_force(tmp_path):
    done = recsys("bench", "filters", "--items", 3_000, "--out", tmp_path / "made" / "filters.json")
    assert done.status == 0, done.err
    result = json.loads((tmp_path / "made" / "filters.json").read_text())
    rows = result["filters"]["exact"]
    assert list(rows) == ["1", "0.5", "0.05", "0.001"]
    for row in rows.values():
        assert 0 < row["als_us"] < row["request_us"] <= row["request_us_p99"]
        assert row["recall"] == 1
    assert [rows[share]["full"] for share in ("1", "0.5", "0.05")] == [1, 1, 1]
    assert set(result["fold_in"]) == {"1", "10", "32", "64", "128", "500"}
    assert done.out.count("\n| ") == 2 + 4 + 6 - 1
    assert done.out.endswith("filters.json\n")
