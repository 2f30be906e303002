"""``recsys bench quality``: public data, default settings, every contender, with intervals, seconds and memory."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from recsys.config import Config
from recsys.errors import DataError
from recsys.metrics import Truth, bootstrap_interval, per_user
from recsys.queries import QueryBatch
from recsys.recommender import Identity, Recommender
from recsys.sources import retrieve, top
from recsys.types import Float32s, Float64s, Int32s, ServingParameters
from recsys_offline.bench.cases import DATA_SETS, Case, DataSet, Task
from recsys_offline.evaluate.contenders import STAGE_1, TWO_STAGE, Contender, batches, contenders
from recsys_offline.train import run as training
from recsys_offline.train.describe import LIBRARIES
from recsys_offline.train.steps import Steps, peak_mib

K = 20
SEED = 7
RRF = "reciprocal rank fusion"
RRF_OFFSET = 60.0
DATA = "RECSYS_BENCH_DATA"


@dataclass(frozen=True, slots=True)
class Score:
    """One contender in one task: means over users, with a 95 % interval of NDCG@20."""

    recall: float
    ndcg: float
    ndcg_low: float
    ndcg_high: float
    hit_rate: float


def bench(out: Path, only: list[str]) -> dict[str, Any]:
    """Judge every data set that is there, each in a process of its own, and write the figures to a file.

    Raises:
        DataError: no data folder is named, or a data set is not in it.
    """
    folder = data_folder()
    found = [one for one in DATA_SETS if not only or one.name in only]
    if unknown := set(only) - {one.name for one in DATA_SETS}:
        raise DataError(f"no data set {', '.join(sorted(unknown))}; there are: {', '.join(d.name for d in DATA_SETS)}")
    result: dict[str, Any] = {"machine": machine(), "seed": SEED, "data_sets": {}}
    for one in found:
        print(f"{one.name} ...", file=sys.stderr, flush=True)
        result["data_sets"][one.name] = _in_own_process(one, folder)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


def data_folder() -> Path:
    """The folder that the environment names.

    Raises:
        DataError: none is named, or a data set is missing; says which and where their owners publish them.
    """
    named = os.environ.get(DATA)
    missing = [
        one for one in DATA_SETS if not named or not all((Path(named) / one.name / f).is_file() for f in one.files)
    ]
    if missing or not named:
        where = "; ".join(f"{one.name}/{'+'.join(one.files)} ({one.origin})" for one in missing)
        raise DataError(f"set {DATA} to a folder with the data sets; missing: {where}")
    return Path(named)


def machine() -> dict[str, Any]:
    """Where and of what the figures were made."""
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)  # noqa: S607
    return {
        "processors": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
        "revision": git.stdout.strip() or "unknown",
    }


def _in_own_process(one: DataSet, folder: Path) -> dict[str, Any]:
    """The figures of one data set, so that its peak memory is its own."""
    command = [sys.executable, "-m", "recsys_offline.bench.quality", one.name, str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603 - ourselves
    if done.returncode:
        raise DataError(f"{one.name}: the benchmark failed; see above")
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def judge(one: DataSet, folder: Path) -> dict[str, Any]:
    """Train on one data set with default settings, and score every contender of every task."""
    config = Config()
    with tempfile.TemporaryDirectory(prefix="recsys-bench-") as scratch:
        case = one.prepare(folder / one.name, Path(scratch) / "dataset")
    start = time.monotonic()
    steps = Steps(training.n_steps(config))
    trained = training.train(case.data, case.until, config, steps)
    steps.close()
    seconds = time.monotonic() - start
    recommender = Recommender(Identity("", trained.until, 0), trained.model)
    return {
        "train_seconds": round(seconds, 1),
        "choices": list(trained.choices),
        "verdict": trained.verdict,
        "tasks": {task.name: _task(task, case, config, recommender) for task in case.tasks},
        "seconds": round(time.monotonic() - start, 1),
        "peak_mib": round(peak_mib()),
    }


def _task(task: Task, case: Case, config: Config, recommender: Recommender) -> dict[str, Any]:
    """The scores of all contenders in a task."""
    truth = in_rows_of(recommender, case, task.truth)
    retrieval = config.retrieval
    parameters = ServingParameters(
        exclude_policy=task.policy,
        candidates_per_source=retrieval.candidates_per_source,
        candidates=retrieval.candidates,
    )
    rows: dict[str, Contender] = contenders(recommender, parameters)
    rows[RRF] = _fusion(recommender, retrieval.candidates_per_source)
    ndcg: dict[str, Float64s] = {}
    scores: dict[str, Any] = {}
    for name, slates_of in rows.items():
        slates = np.concatenate([slates_of(batch, K) for batch in batches(recommender, truth.user_num, task.policy)])
        values = per_user(truth, slates, K)
        ndcg[name] = values["ndcg"]
        low, high = bootstrap_interval(values["ndcg"], SEED)
        recall, gained, hit = (float(values[metric].mean()) for metric in ("recall", "ndcg", "hit_rate"))
        scores[name] = asdict(Score(recall, gained, low, high, hit))
    gain = bootstrap_interval(ndcg[TWO_STAGE] - ndcg[STAGE_1], SEED) if TWO_STAGE in ndcg else None
    return {"users": len(truth), "contenders": scores, "two_stage_over_stage_1": gain}


def in_rows_of(recommender: Recommender, case: Case, truth: Truth) -> Truth:
    """A truth in the dataset's rows, in the rows of the model; items that it does not know cannot be found."""
    users, items = case.data.users, case.data.items
    model = recommender.model
    user_rows = model.users.nums(users.ids(truth.user_num))
    named = np.unique(truth.item_num)
    rows = np.full(truth.n_items, -1, dtype=np.int64)
    in_data = named[named < len(items)]
    rows[in_data] = model.items.nums(items.ids(in_data))
    unknown = named[rows[named] < 0]
    rows[unknown] = len(model.items) + np.arange(len(unknown))
    user: Int32s = np.repeat(user_rows, np.diff(truth.indptr)).astype(np.int32)
    return Truth.of(user, rows[truth.item_num].astype(np.int32), len(model.items) + len(unknown))


def _fusion(recommender: Recommender, k_of_source: int) -> Contender:
    """Reciprocal rank fusion of the sources (Cormack, Clarke and Buettcher 2009)."""

    def slates(batch: QueryBatch, k: int) -> Int32s:
        candidates = retrieve(recommender.model.snapshot.sources, batch, k_of_source)
        score: Float32s = np.nan_to_num(1 / (RRF_OFFSET + candidates.rank)).sum(axis=1)
        bounds = np.searchsorted(candidates.query_num, np.arange(len(batch) + 1))
        best = np.full((len(batch), k), -1, dtype=np.int32)
        for row in range(len(batch)):
            part = slice(bounds[row], bounds[row + 1])
            places = top(score[part], k)
            best[row, : len(places)] = candidates.item_num[part][places]
        return best

    return slates


def table_lines(result: dict[str, Any]) -> list[str]:
    """The figures as a Markdown table: a line for each task."""
    lines = [
        "| data, task | users | most popular | best single source | stage 1 merged | two-stage | train s | peak MiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, figures in result["data_sets"].items():
        for task, scored in figures["tasks"].items():
            rows = scored["contenders"]
            single = {one: rows[one] for one in rows if one not in {"most popular", STAGE_1, TWO_STAGE, RRF}}
            best = max(single, key=lambda one: single[one]["ndcg"])
            cells = [
                f"{name}, {task}",
                f"{scored['users']:,}",
                _cell(rows["most popular"]),
                f"{_cell(rows[best])} ({best})",
                _cell(rows[STAGE_1]),
                _cell(rows[TWO_STAGE]) if TWO_STAGE in rows else "not used",
                f"{figures['train_seconds']:.0f}",
                f"{figures['peak_mib']:,}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def _cell(row: dict[str, float]) -> str:
    return f"{row['recall']:.4f} / {row['ndcg']:.4f}"


if __name__ == "__main__":
    chosen = next(one for one in DATA_SETS if one.name == sys.argv[1])
    print(json.dumps(judge(chosen, Path(sys.argv[2]))))
