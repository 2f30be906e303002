"""The figures of README come from the file that the benchmark wrote."""

import json
from pathlib import Path

from recsys_offline.bench.quality import table_lines

ROOT = Path(__file__).parents[2]


def test_the_table_is_what_the_benchmark_wrote():
    figures = json.loads((ROOT / "bench/quality.json").read_text())
    assert "\n".join(table_lines(figures)) in (ROOT / "README.md").read_text()
