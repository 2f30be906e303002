"""``recsys bench train``: seconds and memory of the training job, beside its two libraries alone, as the data grows."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recsys.errors import RecsysError
from recsys_offline.bench.quality import machine
from recsys_offline.bench.train_parts import ALS, PARTS, SEED, XGBOOST

TUNING = "Tune the sources"
_COUNT = re.compile(r" (of|on) .*")

Figures = dict[str, Any]


def bench(out: Path, events: Sequence[int]) -> Figures:
    """Train on shops of about so many events each, and write the figures to a file.

    Raises:
        RecsysError: a part fails.
    """
    sizes = [_measure(wanted) for wanted in events]
    result = {"machine": machine(), "seed": SEED, "sizes": sizes, "growth": growth(sizes)}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


def _measure(wanted: int) -> Figures:
    """One size, each part in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="recsys-bench-") as scratch:
        figures = {part: _run(part, Path(scratch), wanted) for part in PARTS}
    return {**figures.pop("draw"), **figures, "ratio": ratio(figures)}


def _run(part: str, folder: Path, wanted: int) -> Figures:
    print(f"{part}, {wanted:,} events ...", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "recsys_offline.bench.train_parts", part, str(folder), str(wanted)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603 - ourselves
    if done.returncode:
        raise RecsysError(f"{part}, {wanted:,} events: the benchmark failed; see above")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def ratio(figures: Figures) -> float:
    """Seconds of the whole job over those of both libraries alone."""
    whole, als, xgboost = (float(figures[part]["seconds"]) for part in ("whole", ALS, XGBOOST))
    return round(whole / (als + xgboost), 3)


def by_kind(steps: Sequence[Figures]) -> dict[str, tuple[float, float]]:
    """Seconds of each step, by its name without counts, in which sizes differ, and the peak memory in MiB so far."""
    return {_COUNT.sub("", step["name"]): (step["seconds"], step["peak_mib"]) for step in steps}


def growth(sizes: Sequence[Figures]) -> dict[str, float]:
    """The exponents by which seconds grow with interactions; nothing for one size.

    Small data is tuned and large is not, which flatters the whole, so that it is told without the tuning as well.
    """
    if len(sizes) == 1:
        return {}

    seconds = {part: [size[part]["seconds"] for size in sizes] for part in ("whole", ALS, XGBOOST)}
    tuning = [by_kind(size["whole"]["steps"]).get(TUNING, (0.0, 0.0))[0] for size in sizes]
    seconds["whole without tuning"] = list(np.subtract(seconds["whole"], tuning))
    logs = np.log([size["interactions"] for size in sizes])
    return {name: round(float(np.polyfit(logs, np.log(each), 1)[0]), 3) for name, each in seconds.items()}


def lines(result: Figures) -> list[str]:
    """The figures as two Markdown tables, each library alone beside the whole job, and a line."""
    table = [
        "| interactions | users | items | job, s | peak MiB | ALS, s | peak MiB | XGBoost, s | peak MiB | ratio |",
        f"|{'---|' * 10}",
    ]
    for size in result["sizes"]:
        spent = (f"{size[part]['seconds']:,.1f} | {size[part]['peak_mib']:,}" for part in ("whole", ALS, XGBOOST))
        counts = (f"{size[name]:,}" for name in ("interactions", "users", "items"))
        table.append(f"| {' | '.join((*counts, *spent))} | {size['ratio']:.2f} |")
    kinds = [by_kind(size["whole"]["steps"]) for size in result["sizes"]]
    heads = (f"{size['interactions']:,}: s | peak MiB" for size in result["sizes"])
    table += ["", f"| step | {' | '.join(heads)} |", f"|{'---|' * (1 + 2 * len(kinds))}"]
    for kind in dict.fromkeys(kind for each in kinds for kind in each):
        cells = (f"{each[kind][0]:,.1f} | {each[kind][1]:,.0f}" if kind in each else " | " for each in kinds)
        table.append(f"| {kind} | {' | '.join(cells)} |")
    exponents = ", ".join(f"{name} {value:.2f}" for name, value in result["growth"].items())
    return [*table, "", f"Seconds grow with interactions by the exponent: {exponents}"] if exponents else table
