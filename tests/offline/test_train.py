"""What a training leaves: the same bundle for the same seed, and a manifest that says what it took."""

import json
import shutil

import numpy as np
import pytest

from recsys import manifest
from recsys_offline.train import learning
from shops import DAY, SHOP_UNTIL, START, process, recsys, train, write


def test_the_same_seed_gives_the_same_bundle_and_moves_nothing_but_the_alias(shop, registry, bundle_dir, tmp_path):
    copy = tmp_path / "registry"
    shutil.copytree(registry, copy)
    done = process("train", shop, "--registry", copy, "--until", SHOP_UNTIL)  # a process of its own: no shared state
    assert done.status == 0, done.err
    assert done.last == bundle_dir.name
    assert [path.name for path in (copy / "versions").iterdir()] == [bundle_dir.name]


def test_another_seed_gives_another_bundle(shop, bundle_dir, tmp_path):
    (tmp_path / "seed.toml").write_text("[train]\nseed = 8\n")
    options = ("--until", SHOP_UNTIL, "--config", tmp_path / "seed.toml")
    done = recsys("train", shop, "--registry", tmp_path / "registry", *options)
    assert done.status == 0, done.err
    other, here = (manifest.read(path) for path in (tmp_path / "registry" / "versions" / done.last, bundle_dir))
    assert other.files["als_item_factors.npy"] != here.files["als_item_factors.npy"]


def test_progress_goes_to_stderr_and_stdout_holds_the_bundle_id_alone(shop, tmp_path):
    done = recsys("train", shop, "--registry", tmp_path / "registry", "--until", SHOP_UNTIL)
    assert done.out == json.loads((tmp_path / "registry" / "live.json").read_text())["bundle_id"] + "\n"
    assert "Read the dataset" in done.err
    assert "NDCG@20 in the newest window" in done.err


def test_the_manifest_says_what_each_step_took_which_index_was_chosen_and_what_the_data_was(bundle_dir):
    told = manifest.read(bundle_dir)
    names = [step.name for step in told.steps]
    assert names[0] == "Read the dataset"
    assert "Judge the ranker, and fit all sources up to the end" in names
    assert sum("Fit sources of 5 windows" in name for name in names) == 1
    assert all(step.seconds >= 0 for step in told.steps)
    peaks = [step.peak_mib for step in told.steps]
    assert peaks == sorted(peaks)
    assert 50 < peaks[0] < 100_000
    exact = {"factory": "Flat", "probes": 0, "recall": 1.0, "searched": 0, "clusters": 0, "reach": 0.0}
    assert told.sources["als"]["index"] == exact
    assert told.data["rows"] > 5_000
    assert told.data["end_time"].startswith("2024-02-")
    assert told.targets == ("purchase",)
    assert told.parameters["train"]["seed"] == 7
    assert {"numpy", "faiss-cpu", "xgboost-cpu"} <= told.libraries.keys()


def test_metrics_of_the_manifest_hold_both_stages_and_an_interval_around_their_difference(bundle_dir):
    metrics = manifest.read(bundle_dir).metrics
    gain = metrics["two_stage_ndcg@20"] - metrics["stage_1_ndcg@20"]
    assert metrics["gain_low"] < gain < metrics["gain_high"]
    assert metrics["users"] > 20


def test_anonymous_sessions_teach_similarity_and_get_no_list(tmp_path):
    rows = [
        (f"u{user}", f"i{(user + day) % 10}", "view_item", START + day * DAY) for day in range(8) for user in range(12)
    ]
    together = [(None, item, "view_item", START + 7 * DAY) for _ in range(30) for item in ("i0", "i5")]
    alone = write(tmp_path / "alone", rows)
    mixed = write(tmp_path / "mixed", rows + together, [None] * len(rows) + [f"s{num // 2}" for num in range(60)])
    similarity = {}
    for path in (alone, mixed):
        model = train(path, tmp_path / "registry").model
        assert len(model.users) == 12
        source = next(source for source in model.snapshot.sources if source.name == "item_similarity")
        similarity[path.name] = source.neighbours[[model.items.num("i0")], [model.items.num("i5")]].item()
    assert similarity["mixed"] > similarity["alone"] + 0.2
    done = recsys("recommend", "--registry", tmp_path / "registry", "--out", tmp_path / "lists.csv", "--k", 2)
    assert done.status == 0
    assert {line.split(",")[0].strip('"') for line in (tmp_path / "lists.csv").read_text().splitlines()[1:]} == {
        f"u{user}" for user in range(12)
    }


@pytest.mark.parametrize(("gain", "kept"), [(0.0, False), (-0.1, False), (0.1, True)])
def test_a_ranker_is_used_only_where_its_gain_is_surely_above_nothing(gain, kept):
    stage_1 = np.random.default_rng(1).random(200)
    judged = learning.Judged(stage_1, stage_1 + gain, (0.0, 0.05))
    assert (judged.metrics(seed=7)["gain_low"] > 0) == kept


def test_a_user_who_is_asked_for_in_two_modes_is_one_observation():
    mean = learning._mean_of_each(np.int32([4, 7, 9, 4, 9]), np.array([0.0, 1.0, 0.5, 1.0, 0.1]))
    np.testing.assert_allclose(mean, [0.5, 1.0, 0.3])


def test_a_gain_that_may_be_luck_is_not_surely_above_nothing():
    random = np.random.default_rng(1)
    judged = learning.Judged(random.random(50), random.random(50) + 0.05, (0.0, 0.05))
    told = judged.metrics(seed=7)
    assert told["two_stage_ndcg@20"] > told["stage_1_ndcg@20"] - 0.05
    assert told["gain_low"] < 0 < told["gain_high"]
