"""What ``recsys bench train`` runs in processes of its own: a shop drawn, the whole job, and its two libraries alone.

The whole job leaves the most that it handed to ``implicit`` and to XGBoost in files, which is what its last fits were
given; alone, each library is given the same again, and every processor.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from recsys import manifest, ranker
from recsys.config import Config, RankerSection
from recsys.ranker import Ranker, TrainingSet
from recsys.registry import Registry
from recsys.types import EventType
from recsys_offline import directory
from recsys_offline.bench.crowd import Wares, shop
from recsys_offline.jobs import train_bundle
from recsys_offline.openmp import ensure_openmp
from recsys_offline.simulate.write import ids
from recsys_offline.train import run as training
from recsys_offline.train.steps import Steps

SEED = 7
EVENTS_OF_USER = 9
ITEMS_PER_ROOT = 20
"""A catalogue grows with the root of what is done in the shop: 20,000 items at a million events, 140,000 at 50."""
DATASET, REGISTRY, ALS, XGBOOST = "dataset", "registry", "als", "xgboost"
_DIGITS = 8
_WORDS = pa.array([event_type.word for event_type in EventType])
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)

Figures = dict[str, Any]


def draw(folder: Path, wanted: int) -> Figures:
    """Write a shop of about so many events as a dataset."""
    random = np.random.default_rng(SEED)
    users, items = max(wanted // EVENTS_OF_USER, 1), round(ITEMS_PER_ROOT * wanted**0.5)
    wares = Wares.draw(random, items)
    catalogue, events = wares.catalogue(random), shop(random, wares, users)
    columns = {
        "user_id": ids("u", events.user_num, _DIGITS),
        "item_id": ids("i", events.item_num, _DIGITS),
        "event_type": pa.DictionaryArray.from_arrays(pa.array(events.event_type - 1), _WORDS),
        "event_time": pa.array(events.time, pa.timestamp("s", tz="UTC")),
        "session_id": ids("s", events.session_num, _DIGITS),
        "price": pa.array(events.price),
    }
    listed = {
        "item_id": ids("i", np.arange(items), _DIGITS),
        "title": catalogue.titles,
        "category": catalogue.categories,
        "price": catalogue.price,
    }
    directory.write(folder / DATASET, pa.table(columns), pa.table(listed))
    return {"interactions": len(events), "users": users, "items": items}


def whole(folder: Path, _: int) -> Figures:
    """``recsys train`` with default settings."""
    parameters = Config()
    steps = Steps(training.N_STEPS + 2)
    als, xgboost = _Most(), _Most()
    _watch_als(als)
    _watch_xgboost(xgboost)
    registry = Registry(folder / REGISTRY)
    with _watched() as spent:
        bundle_id = train_bundle(folder / DATASET, registry, None, parameters, steps=steps)
    _keep_als(folder, *als.kept)
    _keep_xgboost(folder, *xgboost.kept)
    contents = manifest.read(registry.path(bundle_id))
    return {
        **spent,
        "bundle_id": bundle_id,
        "choices": list(contents.choices),
        "metrics": contents.metrics,
        "steps": [step.model_dump() for step in steps.done],
    }


def als_alone(folder: Path, _: int) -> Figures:
    """``implicit`` on the matrix of the job's last fit, from chance and with all sweeps, as it would be used alone."""
    given = json.loads((folder / f"{ALS}.json").read_text(encoding="utf-8"))
    given |= {"iterations": Config().als.iterations, "num_threads": _processors()}
    matrix = sp.load_npz(folder / f"{ALS}.npz")
    model = _implicit()(**given)
    with threadpool_limits(1, user_api="blas"), _watched() as spent:
        model.fit(matrix, show_progress=False)
    return {**spent, **given, "shape": matrix.shape, "pairs": matrix.nnz}


def xgboost_alone(folder: Path, _: int) -> Figures:
    """XGBoost on the training set of the job's last fit, with all processors."""
    given = json.loads((folder / f"{XGBOOST}.json").read_text(encoding="utf-8"))
    arrays = (np.load(folder / f"{XGBOOST}_{name}.npy") for name in TrainingSet.__slots__)
    section = RankerSection(**given.pop("section"))
    training_set = TrainingSet(*arrays)
    with _watched() as spent:
        ranker.fit(training_set, section, threads=_processors(), **given)
    return {**spent, "shape": training_set.features.shape, "trees": section.trees}


class _Most:
    """The largest of what is handed to a library; nothing is written while the job is timed.

    Attributes:
        kept: it, and what goes with it.
    """

    def __init__(self) -> None:
        self.kept: tuple[Any, ...] = ()
        self._lock = threading.Lock()  # fits run side by side
        self._size = 0

    def take(self, size: int, *given: Any) -> None:
        """One more."""
        with self._lock:
            if size > self._size:
                self._size, self.kept = size, given


def _watch_als(most: _Most) -> None:
    """The largest matrix that ``implicit`` fits from now on is kept."""
    model_of = _implicit()
    fit: Callable[..., None] = model_of.fit

    def fit_and_keep(model: Any, matrix: sp.csr_matrix, **options: bool) -> None:
        given = {name: getattr(model, name) for name in ("factors", "regularization", "random_state")}
        most.take(matrix.nnz, matrix, given)
        fit(model, matrix, **options)

    model_of.fit = fit_and_keep


def _keep_als(folder: Path, matrix: sp.csr_matrix, given: Figures) -> None:
    """In files."""
    sp.save_npz(folder / f"{ALS}.npz", matrix, compressed=False)
    (folder / f"{ALS}.json").write_text(json.dumps(given), encoding="utf-8")


def _watch_xgboost(most: _Most) -> None:
    """Likewise for what the ranker is fitted on."""
    fit = ranker.fit

    def fit_and_keep(training: TrainingSet, config: RankerSection, seed: int, threads: int) -> Ranker:
        most.take(len(training), training, {"section": config.model_dump(), "seed": seed})
        return fit(training, config, seed, threads)

    ranker.fit = fit_and_keep


def _keep_xgboost(folder: Path, training: TrainingSet, given: Figures) -> None:
    """In files."""
    for name in TrainingSet.__slots__:
        np.save(folder / f"{XGBOOST}_{name}.npy", getattr(training, name))
    (folder / f"{XGBOOST}.json").write_text(json.dumps(given), encoding="utf-8")


def _processors() -> int:
    return len(os.sched_getaffinity(0))


def _implicit() -> Any:
    """The class that the job fits ALS with."""
    ensure_openmp()
    from implicit.cpu.als import AlternatingLeastSquares  # noqa: PLC0415 - needs OpenMP found first

    return AlternatingLeastSquares


@contextmanager
def _watched() -> Iterator[Figures]:
    """Seconds, those of all threads' work, and the most memory that this process has had; there once the block ends."""
    spent: Figures = {}
    start, worked = time.monotonic(), time.process_time()
    yield spent
    spent["seconds"] = round(time.monotonic() - start, 2)
    spent["cpu_seconds"] = round(time.process_time() - worked, 2)
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    spent["peak_mib"] = round(int(_PEAK.findall(status)[0]) / 1024)


PARTS: dict[str, Callable[[Path, int], Figures]] = {
    "draw": draw,
    "whole": whole,
    ALS: als_alone,
    XGBOOST: xgboost_alone,
}

if __name__ == "__main__":
    print(json.dumps(PARTS[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))))
