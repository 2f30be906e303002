"""From somebody's own table of events to lists, each command a process of its own."""

import csv
from pathlib import Path

import numpy as np

from shops import DAY, START, process


def own_table(path: Path) -> Path:
    """Orders and clicks of 120 customers, half of whom like even articles and half odd ones."""
    random = np.random.default_rng(4)
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["customer", "article", "what", "when"])
        for second in np.sort(random.integers(0, 60 * DAY, 6_000)):
            customer = random.integers(120)
            article = 2 * int(30 * random.random() ** 2) + customer % 2
            what = "order" if random.random() < 0.3 else "click"
            rows.writerow([f"c{customer}", f"a{article}", what, np.datetime64(START + int(second), "s")])
    return path


def test_import_check_train_and_recommend_work_on_a_table_with_its_own_words(tmp_path):
    table, dataset, registry, lists = (tmp_path / name for name in ("own.csv", "shop", "registry", "lists.csv"))
    own_table(table)
    columns = ("--user-id", "customer", "--item-id", "article", "--event-time", "when", "--event-type", "what")
    imported = process(
        "import", "table", table, "--out", dataset, *columns, "--map", "order=purchase", "click=view_item"
    )
    assert imported.status == 0, imported.err
    assert "6,000 events" in imported.out
    checked = process("check", dataset)
    assert checked.status == 0
    assert checked.out.endswith("usable\n")
    trained = process("train", dataset, "--registry", registry)
    assert trained.status == 0, trained.err
    assert (registry / "versions" / trained.last).is_dir()
    made = process("recommend", "--registry", registry, "--k", 5, "--out", lists)
    assert made.status == 0, made.err
    with lists.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 120 * 5
    fitting = [int(row["user_id"][1:]) % 2 == int(row["item_id"][1:]) % 2 for row in rows]
    assert np.mean(fitting) > 0.95
