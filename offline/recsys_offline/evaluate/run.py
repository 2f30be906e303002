"""The evaluation job: a bundle against a holdout, and its report."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recsys import bundle
from recsys.errors import DataError
from recsys.interactions import Events
from recsys.manifest import Manifest
from recsys.metrics import METRICS, Truth, bootstrap_interval, coverage, per_user
from recsys.queries import contains, exclusions
from recsys.recommender import Recommender
from recsys.types import EventType, ExcludePolicy, Float64s, Int32s
from recsys_offline.dataset import Dataset
from recsys_offline.evaluate.contenders import STAGE_1, TWO_STAGE, batches, contenders
from recsys_offline.train import training_set

CUTOFFS = (5, 10, 20)
MODES = ("repeats allowed", "new items only")
BOOTSTRAP_SEED = 7

Report = dict[str, Any]
"""What ``report.json`` holds."""


@dataclass(frozen=True, slots=True)
class Holdout:
    """What happened after the bundle's data, in the bundle's rows.

    Attributes:
        user_num: int32[n], of users that the bundle knows with a history.
        item_num: int32[n]; rows from the catalogue's size on are items that the bundle does not know.
        n_items: one above the largest item row.
        new_users: users of the holdout that the bundle knows nothing of.
    """

    user_num: Int32s
    item_num: Int32s
    n_items: int
    new_users: int


def evaluate(dataset: Dataset, recommender: Recommender, contents: Manifest, start: int | None) -> Report:
    """The report of a bundle on the events from ``start`` (unix seconds; None: the end of the bundle's data).

    A mode in which nobody has anything to find is left out.

    Raises:
        DataError: the dataset has no times, or no target events of known users after the start.
    """
    begin = contents.until if start is None else start
    future = _future(dataset, contents, begin)
    held = _holdout(dataset, recommender, future)
    if not len(held.user_num):
        raise DataError(f"{dataset.path}: nobody whom the bundle knows acts after its end; give a later dataset")
    policies = dict(zip(MODES, training_set.modes(_targets(contents)), strict=True))
    truths = {name: _truth(recommender, held, policy) for name, policy in policies.items()}
    return {
        "bundle_id": contents.bundle_id,
        "from_time": str(np.datetime64(begin, "s")),
        "until_time": str(np.datetime64(int(future.time[-1]), "s")),
        "targets": list(contents.targets),
        "catalogue_items": len(recommender.model.items),
        "new_users_left_out": held.new_users,
        "second_stage": contents.has_ranker,
        "modes": {
            name: _mode(recommender, truth, policies[name], contents) for name, truth in truths.items() if len(truth)
        },
    }


def write(report: Report, out: Path) -> Path:
    """Write ``report.json`` into a folder; returns its path."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "report.json"
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return path


def _future(dataset: Dataset, contents: Manifest, begin: int) -> Events:
    """The target events of the holdout."""
    if not dataset.has_times or not contents.has_times:
        raise DataError(f"{dataset.path}: a holdout needs times; train and evaluate on a dataset with event_time")
    if begin < contents.until:
        raise DataError(
            f"--from lies before the end of the bundle's data ({np.datetime64(contents.until, 's')}): the"
            " bundle has seen what it would be judged on; give a later time"
        )
    future = dataset.events.between(begin, np.iinfo(np.int64).max).of_types(_targets(contents))
    if not len(future):
        raise DataError(
            f"{dataset.path}: no {' or '.join(contents.targets)} after {np.datetime64(begin, 's')}; train with"
            " --until an earlier time to leave a holdout"
        )
    return future


def _targets(contents: Manifest) -> tuple[EventType, ...]:
    """The event types that the bundle predicts."""
    return tuple(EventType[word.upper()] for word in contents.targets)


def _holdout(dataset: Dataset, recommender: Recommender, future: Events) -> Holdout:
    """The holdout in the rows of the bundle."""
    model = recommender.model
    future = future.where(future.user_num < len(dataset.users))
    users, user_of = np.unique(future.user_num, return_inverse=True)
    items, item_of = np.unique(future.item_num, return_inverse=True)
    user_rows = model.users.nums(dataset.users.ids(users))
    item_rows = model.items.nums(dataset.items.ids(items))
    unknown = item_rows < 0
    item_rows[unknown] = len(model.items) + np.arange(unknown.sum())
    active = np.append(np.diff(model.snapshot.histories.indptr) > 0, False)
    known = active[user_rows]
    kept = known[user_of]
    return Holdout(
        user_rows[user_of][kept],
        item_rows[item_of][kept].astype(np.int32),
        len(model.items) + int(unknown.sum()),
        int((~known).sum()),
    )


def _mode(recommender: Recommender, truth: Truth, policy: ExcludePolicy, contents: Manifest) -> dict[str, Any]:
    """One mode's table: every contender, every metric, every cut-off."""
    rows: dict[str, Any] = {}
    ndcg: dict[str, Float64s] = {}
    for name, slates_of in contenders(recommender, bundle.as_trained(contents, policy)).items():
        parts = [slates_of(batch, CUTOFFS[-1]) for batch in batches(recommender, truth.user_num, policy)]
        slates = np.concatenate(parts)
        values = {k: per_user(truth, slates, k) for k in CUTOFFS}
        rows[name] = {
            str(k): {metric: round(float(values[k][metric].mean()), 6) for metric in METRICS}
            | {"coverage": round(coverage(slates, k, len(recommender.model.items)), 6)}
            for k in CUTOFFS
        }
        ndcg[name] = values[CUTOFFS[-1]]["ndcg"]
    gain = {}
    if TWO_STAGE in ndcg:
        low, high = bootstrap_interval(ndcg[TWO_STAGE] - ndcg[STAGE_1], BOOTSTRAP_SEED)
        gain = {"ndcg@20_low": round(low, 6), "ndcg@20_high": round(high, 6)}
    return {"users": len(truth), "rows": rows, "two_stage_over_stage_1": gain}


def _truth(recommender: Recommender, held: Holdout, policy: ExcludePolicy) -> Truth:
    """The holdout without what the policy keeps out of the slates."""
    user_num, item_num = held.user_num, held.item_num
    if policy != ExcludePolicy.NONE:
        history = recommender.model.snapshot.histories
        asked = np.unique(user_num)
        keys = exclusions(history.rows(asked), [policy] * len(asked), held.n_items)
        kept = ~contains(keys, np.searchsorted(asked, user_num).astype(np.int64) * held.n_items + item_num)
        user_num, item_num = user_num[kept], item_num[kept]
    return Truth.of(user_num, item_num, held.n_items)
