"""A report as lines for a terminal."""

from __future__ import annotations

from typing import Any

COLUMNS = {
    "precision": "P",
    "recall": "R",
    "ndcg": "NDCG",
    "map": "MAP",
    "mrr": "MRR",
    "hit_rate": "hit",
    "coverage": "cov",
}
NAME_WIDTH = 16


def table_lines(report: dict[str, Any]) -> list[str]:
    """One table for each mode and cut-off."""
    lines = [f"bundle {report['bundle_id']}, {' or '.join(report['targets'])} from {report['from_time']} on"]
    for mode, result in report["modes"].items():
        for k in next(iter(result["rows"].values())):
            lines += ["", f"{mode}, k = {k}, {result['users']:,} users", *_rows(result["rows"], k)]
        gain = result["two_stage_over_stage_1"]
        if gain:
            low, high = gain["ndcg@20_low"], gain["ndcg@20_high"]
            lines.append(f"two-stage over stage 1, NDCG@20: {low:+.4f} to {high:+.4f} (95 % interval, paired by user)")
    if not report["second_stage"]:
        lines.append("no second stage in this bundle: it did not beat stage 1 in training")
    if report["new_users_left_out"]:
        lines.append(f"{report['new_users_left_out']:,} users are new since training and not in the tables")
    return lines


def _rows(rows: dict[str, Any], k: str) -> list[str]:
    """The head and a line for each contender."""
    head = " " * NAME_WIDTH + "".join(f"{short + '@' + k:>10}" for short in COLUMNS.values())
    return [
        head,
        *(
            f"{name:<{NAME_WIDTH}}" + "".join(f"{row[k][metric]:>10.4f}" for metric in COLUMNS)
            for name, row in rows.items()
        ),
    ]
