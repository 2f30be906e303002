"""``recsys bench quality``: public data, default settings, every contender, with intervals, seconds and memory."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite.binding import get_host_cpu_name

from recsys.config import Config
from recsys.errors import DataError
from recsys.fetching import top
from recsys.metrics import Truth, bootstrap_interval, per_user
from recsys.queries import QueryBatch, for_histories
from recsys.recommender import Identity, Recommender
from recsys.retriever import retrieve
from recsys.types import Float32s, Float64s, Int32s, Int64s, ServingParameters
from recsys_offline.bench.cases import DATA_SETS, Case, DataSet, Task
from recsys_offline.evaluate.contenders import STAGE_1, TWO_STAGE, Contender, batches, contenders, contenders_among
from recsys_offline.train import run as training
from recsys_offline.train.describe import LIBRARIES
from recsys_offline.train.steps import Steps, peak_mib

K = 20
SEED = 7
RRF = "reciprocal rank fusion"
RRF_OFFSET = 60.0
DATA = "RECSYS_BENCH_DATA"
ANSWERS = "answers"
"""NDCG@20 of each user's final slate; compared, not kept."""


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

    Where ``only`` names some, the file keeps its figures of the others, each with the revision that it was made by.

    Raises:
        DataError: no data folder is named, or a data set is not in it.
    """
    folder = data_folder()
    found = [one for one in DATA_SETS if not only or one.name in only]
    if unknown := set(only) - {one.name for one in DATA_SETS}:
        raise DataError(f"no data set {', '.join(sorted(unknown))}; there are: {', '.join(d.name for d in DATA_SETS)}")
    result: dict[str, Any] = {"machine": machine(), "seed": SEED, "data_sets": _kept(out) if only else {}}
    answers: dict[str, dict[str, Float64s]] = {}
    for one in found:
        print(f"{one.name} ...", file=sys.stderr, flush=True)
        figures = result["data_sets"][one.name] = {"revision": revision(), **_in_own_process(one, folder)}
        answers[one.name] = {name: np.array(task.pop(ANSWERS)) for name, task in figures["tasks"].items()}
        if one.against in answers:
            _compare(figures, one.against, answers[one.name], answers[one.against])
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


def _kept(out: Path) -> dict[str, Any]:
    """The figures of an earlier run."""
    kept: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))["data_sets"] if out.is_file() else {}
    return kept


def _compare(figures: dict[str, Any], against: str, own: dict[str, Float64s], other: dict[str, Float64s]) -> None:
    """Writes what a data set's answers gain over those of another with the same users, with a 95 % interval."""
    figures["against"] = against
    for name, task in figures["tasks"].items():
        low, high = bootstrap_interval(own[name] - other[name], SEED)
        task["gain"] = {"ndcg": float((own[name] - other[name]).mean()), "low": low, "high": high}


def data_folder() -> Path:
    """The folder that the environment names.

    Raises:
        DataError: none is named, or a data set is missing; says which and where their owners publish them.
    """
    named = os.environ.get(DATA)
    missing = [
        one for one in DATA_SETS if not named or not all((Path(named) / one.folder / f).is_file() for f in one.files)
    ]
    if missing or not named:
        where = "; ".join(dict.fromkeys(f"{one.folder}/{'+'.join(one.files)} ({one.origin})" for one in missing))
        raise DataError(f"set {DATA} to a folder with the data sets; missing: {where}")
    return Path(named)


def machine() -> dict[str, Any]:
    """Where and of what the figures were made."""
    return {
        "processors": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
        "processor": _processor(),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
        "revision": revision(),
    }


def _processor() -> str:
    """What it calls itself, and the compiler's name for what it can do, which tells the generation."""
    told = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    found = re.search(r"^model name\s*: (.+)$", told, re.MULTILINE)
    return f"{found[1] if found else platform.processor()} ({get_host_cpu_name()})"


def revision() -> str:
    """The commit of the code."""
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)  # noqa: S607
    return git.stdout.strip() or "unknown"


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
        case = one.prepare(folder / one.folder, Path(scratch) / "dataset")
    start = time.monotonic()
    steps = Steps(training.N_STEPS)
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
    truth = in_rows_of(recommender, case, task)
    retrieval = config.retrieval
    parameters = ServingParameters(
        exclude_policy=task.policy,
        candidates_per_source=retrieval.candidates_per_source,
        candidates=retrieval.candidates,
    )
    if task.among is None:
        rows = contenders(recommender, parameters)
        rows[RRF] = _fusion(recommender, retrieval.candidates_per_source)
    else:
        rows = contenders_among(recommender, parameters, np.unique(item_rows(recommender, case)[task.among]))
    ndcg: dict[str, Float64s] = {}
    scores: dict[str, Any] = {}
    for name, slates_of in rows.items():
        slates = np.concatenate([slates_of(batch, K) for batch in _asked(recommender, case, task, truth)])
        values = per_user(truth, slates, K)
        ndcg[name] = values["ndcg"]
        low, high = bootstrap_interval(values["ndcg"], SEED)
        recall, gained, hit = (float(values[metric].mean()) for metric in ("recall", "ndcg", "hit_rate"))
        scores[name] = asdict(Score(recall, gained, low, high, hit))
    gain = bootstrap_interval(ndcg[TWO_STAGE] - ndcg[STAGE_1], SEED) if TWO_STAGE in ndcg else None
    answered = ndcg.get(TWO_STAGE, ndcg[STAGE_1]).tolist()
    return {"users": len(truth), "contenders": scores, "two_stage_over_stage_1": gain, ANSWERS: answered}


def _asked(recommender: Recommender, case: Case, task: Task, truth: Truth) -> Iterator[QueryBatch]:
    """The queries of a task; of new users at the time of the last item known of them, as a server would take it."""
    if task.known is None:
        yield from batches(recommender, truth.user_num, task.policy)
        return
    now = task.known.time[task.known.indptr[:-1]].clip(recommender.until, recommender.model.latest)
    history = replace(task.known, item_num=item_rows(recommender, case)[task.known.item_num].astype(np.int32))
    history = history.where(history.item_num >= 0)
    unknown = np.full(len(history), -1, dtype=np.int32)
    yield for_histories(history, unknown, now, len(recommender.model.items), task.policy)


def item_rows(recommender: Recommender, case: Case) -> Int64s:
    """int64[items of the data]: their rows in the model, -1 where it does not know them."""
    items = case.data.items
    return recommender.model.items.nums(items.ids(np.arange(len(items)))).astype(np.int64)


def in_rows_of(recommender: Recommender, case: Case, task: Task) -> Truth:
    """A task's truth in the rows of the model; items that it does not know cannot be found."""
    truth, model = task.truth, recommender.model
    of_model = task.known is None
    user_rows = model.users.nums(case.data.users.ids(truth.user_num)) if of_model else truth.user_num
    named = np.unique(truth.item_num)
    rows = np.full(truth.n_items, -1, dtype=np.int64)
    rows[: len(case.data.items)] = item_rows(recommender, case)
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
                _cell(rows["most popular"]) if "most popular" in rows else "",
                f"{_cell(rows[best])} ({best})",
                _cell(rows[STAGE_1]),
                _cell(rows[TWO_STAGE]) if TWO_STAGE in rows else "not used",
                f"{figures['train_seconds']:.0f}",
                f"{figures['peak_mib']:,}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return lines + _gain_lines(result)


def _gain_lines(result: dict[str, Any]) -> list[str]:
    """What the answers on a data set gain over those on the one that it is compared with."""
    gains = [
        f"{name} over {figures['against']}, {task}: NDCG@20"
        f" {scored['gain']['ndcg']:+.4f} ({scored['gain']['low']:+.4f} to {scored['gain']['high']:+.4f})"
        for name, figures in result["data_sets"].items()
        for task, scored in figures["tasks"].items()
        if "gain" in scored
    ]
    return ["", *gains] if gains else []


def _cell(row: dict[str, float]) -> str:
    return f"{row['recall']:.4f} / {row['ndcg']:.4f}"


if __name__ == "__main__":
    chosen = next(one for one in DATA_SETS if one.name == sys.argv[1])
    print(json.dumps(judge(chosen, Path(sys.argv[2]))))
