"""The benchmark of training, whole and small: the job, its libraries alone, and how seconds grow."""

import json
import os

import numpy as np
import pytest

from recsys import ranker
from recsys.registry import Registry
from recsys_offline import dataset
from recsys_offline.bench import train, train_parts
from recsys_offline.train import specs
from shops import recsys

EVENTS = 4_000


def size(interactions, whole, tuning=0.0):
    steps = [
        {"name": "Tune the sources on 422 users", "seconds": tuning, "peak_mib": 10.0},
        {"name": "Fit sources of 3 windows", "seconds": 3.5, "peak_mib": 30.0},
        {"name": "Fit the ranker on all windows", "seconds": 1.0, "peak_mib": 40.0},
    ]
    alone = {"seconds": interactions / 1_000, "peak_mib": 5}
    figures = {
        "whole": {"seconds": whole, "peak_mib": 40, "steps": steps},
        "als": alone,
        "xgboost": {"seconds": 3 * interactions / 1_000, "peak_mib": 6},
    }
    return {"interactions": interactions, "users": 7, "items": 3, **figures, "ratio": train.ratio(figures)}


def test_the_job_and_both_libraries_are_measured_on_a_shop_of_the_size_asked_for(tmp_path):
    out = tmp_path / "made" / "train.json"
    done = recsys("bench", "train", "--events", EVENTS, "--out", out)
    assert done.status == 0, done.err + done.out
    result = json.loads(out.read_text())
    (made,) = result["sizes"]
    assert 0.8 * EVENTS < made["interactions"] < 1.2 * EVENTS
    assert result["growth"] == {}
    names = [step["name"] for step in made["whole"]["steps"]]
    assert (names[0], names[-1]) == ("Read the dataset", "Publish")
    assert "Judge the ranker, and fit all sources up to the end" in names
    assert made["whole"]["seconds"] >= sum(step["seconds"] for step in made["whole"]["steps"][:-1])
    assert made["als"]["shape"][1] == made["items"]
    assert made["xgboost"]["shape"][0] > 1_000
    for part in ("whole", "als", "xgboost"):
        assert made[part]["seconds"] > 0
        assert made[part]["peak_mib"] > 100
    assert made["ratio"] > 1
    assert f"| {made['interactions']:,} |" in done.out
    assert "| Publish |" in done.out
    assert done.out.endswith("train.json\n")


@pytest.fixture
def unwrapped(monkeypatch):
    """Puts back what the job's process wraps."""
    model = train_parts._implicit()
    monkeypatch.setattr(ranker, "fit", ranker.fit)
    monkeypatch.setattr(model, "fit", model.fit)


@pytest.mark.usefixtures("unwrapped")
def test_alone_the_libraries_are_given_the_most_that_the_job_gave_them_and_all_processors(tmp_path, monkeypatch):
    monkeypatch.setattr(specs, "TUNED_EVENTS", 0)  # as of large data, whose last fit goes on from an earlier one
    train_parts.draw(tmp_path, EVENTS)
    given = []
    fit = ranker.fit
    monkeypatch.setattr(ranker, "fit", lambda *those: given.append(those) or fit(*those))
    train_parts.whole(tmp_path, 0)
    train_parts.xgboost_alone(tmp_path, 0)
    *of_job, (alone, *settings) = given
    (of_job, *alike, _) = max(of_job, key=lambda those: len(those[0]))
    assert settings == [*alike, len(os.sched_getaffinity(0))]
    for name in ranker.TrainingSet.__slots__:
        np.testing.assert_array_equal(getattr(alone, name), getattr(of_job, name))
    read = dataset.read(tmp_path / "dataset")
    pairs = np.unique(np.stack([read.events.user_num, read.events.item_num]), axis=1).shape[1]
    found = train_parts.als_alone(tmp_path, 0)
    registry = Registry(tmp_path / "registry")
    factors = np.load(registry.path(registry.live()) / "als_item_factors.npy", mmap_mode="r")
    assert (found["pairs"], found["factors"], found["iterations"]) == (pairs, factors.shape[1], 10)


def test_steps_of_one_kind_have_one_name_whatever_they_count():
    assert train.by_kind(size(1_000, 9.0)["whole"]["steps"]) == {
        "Tune the sources": (0.0, 10.0),
        "Fit sources": (3.5, 30.0),
        "Fit the ranker": (1.0, 40.0),
    }


def test_growth_is_the_slope_of_the_logarithms_with_and_without_tuning():
    sizes = [size(1_000, 10.0, 5.0), size(10_000, 50.0), size(100_000, 500.0)]
    found = train.growth(sizes)
    assert (found["als"], found["xgboost"], found["whole without tuning"]) == (1.0, 1.0, 1.0)
    assert found["whole"] == pytest.approx(np.log10(500 / 10) / 2, abs=1e-3)
    told = train.lines({"sizes": sizes, "growth": found})
    assert "| 10,000 | 7 | 3 | 50.0 | 40 | 10.0 | 5 | 30.0 | 6 | 1.25 |" in told
    assert told[-1].endswith("whole 0.85, als 1.00, xgboost 1.00, whole without tuning 1.00")
