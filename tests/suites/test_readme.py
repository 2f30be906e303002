"""The figures of README come from the file that the benchmark wrote."""

import json
from pathlib import Path

from recsys_offline.bench import crash, live, parity, quality, serve_table

ROOT = Path(__file__).parents[2]


def figures(name):
    return json.loads((ROOT / "bench" / f"{name}.json").read_text())


def test_the_tables_are_what_the_benchmarks_wrote():
    readme = (ROOT / "README.md").read_text()
    assert "\n".join(quality.table_lines(figures("quality"))) in readme
    assert "\n".join(live.table_lines(figures("live"))) in readme
    words = " ".join(readme.split())
    assert all(line in words for line in (*crash.lines(figures("crash")), *parity.lines(figures("parity"))))
    first, *others = figures("serve")["tables"]
    served = [f"- {name}: {text}" for name, text in serve_table.summary(first).items()]
    in_brief = (*others, *figures("serve-xeon")["tables"])
    assert all(line in words for line in (*served, *(line for table in in_brief for line in serve_table.brief(table))))
