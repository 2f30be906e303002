"""Nothing that happens after a cut moves what is known at the cut."""

import shutil
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from recsys import features, manifest, splits
from recsys.config import Config, TrainSection
from recsys.queries import N_MODES
from recsys.snapshot import Snapshot
from recsys.types import EventType, Float32s
from recsys_offline import dataset
from recsys_offline.as_of import as_of
from recsys_offline.cli import _time
from recsys_offline.dataset import Dataset
from recsys_offline.train import snapshots, training_set
from recsys_offline.train.job import prepare, with_truth
from recsys_offline.train.learning import CONTENT
from recsys_offline.train.specs import Facts, Spec, propose
from shops import DAY, SHOP_UNTIL, recsys

UNTIL = _time(SHOP_UNTIL)
HORIZON_DAYS = 8
# What a bundle is named and made by, and facts about the whole dataset: the rest must not move.
OTHERWISE = {"bundle_id", "created_time", "data", "steps"}


def with_events(path: Path, shop: Path, *planted: dict[str, object]) -> Path:
    """A copy of the shop with further events."""
    shutil.copytree(shop, path)
    events = pq.read_table(path / "events.parquet")
    rows = pa.Table.from_pylist(list(planted), schema=events.schema)
    pq.write_table(pa.concat_tables([events, rows]), path / "events.parquet")
    return path


def at(time: int) -> datetime:
    return datetime.fromtimestamp(time, UTC)


def planted_after(shop: Path, time: int) -> list[dict[str, object]]:
    """Purchases that would tempt every part of a training, on both sides of what is known."""
    events = pq.read_table(shop / "events.parquet")
    user, item = events["user_id"][0].as_py(), events["item_id"][0].as_py()
    common = {"event_type": "purchase", "event_time": at(time), "quantity": 99.0, "price": 12_345.0}
    return [
        {**common, "user_id": user, "item_id": item},
        *({**common, "user_id": f"A-new-{num}", "item_id": item} for num in range(50)),
        *({**common, "user_id": user, "item_id": f"A-new-{num}"} for num in range(30)),
        *({**common, "session_id": f"A-{num}", "item_id": item, "event_time": at(time + num)} for num in range(20)),
    ]


def contents(bundle_dir: Path) -> tuple[dict[str, str], dict[str, object]]:
    """Hashes of the files, and what the manifest says beside the names."""
    told = manifest.read(bundle_dir)
    return {name: entry.sha256 for name, entry in told.files.items()}, told.model_dump(exclude=OTHERWISE)


def test_no_byte_of_a_bundle_moves_with_what_happens_after_until(shop, bundle_dir, tmp_path):
    busier = with_events(tmp_path / "busier", shop, *planted_after(shop, UNTIL))
    ended = tmp_path / "ended"
    shutil.copytree(shop, ended)
    events = pq.read_table(shop / "events.parquet")
    pq.write_table(events.filter(pc.less(events["event_time"], at(UNTIL))), ended / "events.parquet")
    expected = contents(bundle_dir)
    for name, other in (("busier", busier), ("ended", ended)):
        done = recsys("train", other, "--registry", tmp_path / f"registry-{name}", "--until", SHOP_UNTIL)
        assert done.status == 0, done.err
        assert contents(tmp_path / f"registry-{name}" / "versions" / done.last) == expected, name


def test_a_bundle_does_move_with_an_event_just_before_until(shop, bundle_dir, tmp_path):
    earlier = with_events(tmp_path / "earlier", shop, *planted_after(shop, UNTIL - 1)[:1])
    done = recsys("train", earlier, "--registry", tmp_path / "registry", "--until", SHOP_UNTIL)
    moved = contents(tmp_path / "registry" / "versions" / done.last)
    assert moved != contents(bundle_dir)


@dataclass(frozen=True, slots=True)
class Cut:
    """One window of a dataset, as the training job replays it."""

    window: splits.Window
    snapshot: Snapshot
    replays: list[training_set.Replay]
    features: list[Float32s]
    training: training_set.TrainingSet


def cut(data: Dataset, specs: tuple[Spec, ...], number: int) -> Cut:
    config = Config(train=TrainSection(threads=1))
    job = prepare(data, UNTIL, config)
    windows = splits.by_time(job.events, job.until, HORIZON_DAYS, 3, job.setting.targets)
    window, truth = with_truth(job, windows)[number]
    snapshot = snapshots.fit(window.past, window.now, specs, job.setting)
    blend: Float32s = np.ones((N_MODES, len(snapshot.sources)), dtype=np.float32)
    replays = [part for policy in job.policies for part in training_set.replay(snapshot, truth, window.now, policy, 50)]
    matrices = [
        features.matrix(
            features.Context(part.batch, part.candidates, part.candidates.blend(blend, part.batch.mode), snapshot.stats)
        )
        for part in replays
    ]
    training = training_set.build(snapshot, truth, window, job.policies, job.setting.targets, blend, config)
    return Cut(window, snapshot, replays, matrices, training)


def same_features(one: Cut, other: Cut) -> None:
    """Every candidate and every bit of its features."""
    for mine, its in zip(one.replays, other.replays, strict=True):
        np.testing.assert_array_equal(mine.candidates.query_num, its.candidates.query_num)
        np.testing.assert_array_equal(mine.candidates.item_num, its.candidates.item_num)
    for mine, its in zip(one.features, other.features, strict=True):
        np.testing.assert_array_equal(mine.view(np.int32), its.view(np.int32))


@pytest.fixture(scope="module")
def data(shop: Path) -> Dataset:
    return as_of(dataset.read(shop), UNTIL)


@pytest.fixture(scope="module")
def specs(data: Dataset) -> tuple[Spec, ...]:
    """The sources that the whole of the data calls for: which they are may follow from the newest window."""
    job = prepare(data, UNTIL, Config())
    facts = Facts.of(job.events, len(data.items), has_times=True, targets=job.setting.targets)
    return (*propose(facts, job.config), *CONTENT)


def test_the_training_set_of_a_window_is_bit_equal_with_and_without_later_events(data, specs):
    with_later = cut(data, specs, 0)
    end = with_later.window.now + HORIZON_DAYS * DAY
    assert (data.events.time >= end).sum() > 1_000
    without = cut(replace(data, events=data.events.before(end)), specs, -1)
    same_features(with_later, without)
    for column in ("features", "label", "group"):
        mine, its = (getattr(one.training, column).view(np.int32) for one in (with_later, without))
        np.testing.assert_array_equal(mine, its)


def test_an_event_at_the_cut_is_a_label_and_moves_neither_candidate_nor_feature(data, specs):
    before = cut(data, specs, 2)
    first = before.replays[0]
    user = int(first.batch.user_num[0])
    missed = int(first.candidates.item_num[(first.candidates.query_num == 0) & ~first.label][0])
    place = int(np.searchsorted(data.events.time, before.window.now))
    planted = {"user_num": user, "item_num": missed, "event_type": EventType.PURCHASE, "time": before.window.now}
    planted |= {"session_num": 0, "quantity": 1, "price": 3}
    columns = {name: np.insert(getattr(data.events, name), place, value) for name, value in planted.items()}
    after = cut(replace(data, events=replace(data.events, **columns)), specs, 2)
    same_features(before, after)
    moved = [np.flatnonzero(its.label != mine.label) for mine, its in zip(before.replays, after.replays, strict=True)]
    assert first.candidates.item_num[moved[0]].tolist() == [missed]


def test_an_event_just_before_the_cut_does_move_features(data, specs):
    before = cut(data, specs, 2)
    user_num = data.events.user_num.copy()
    user_num[np.searchsorted(data.events.time, before.window.now) - 1] = before.replays[0].batch.user_num[0]
    after = cut(replace(data, events=replace(data.events, user_num=user_num)), specs, 2)
    with pytest.raises(AssertionError):
        same_features(before, after)
