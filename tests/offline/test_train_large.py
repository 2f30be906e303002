"""Large data: factors go on from before the oldest window, parts run side by side, and only who is asked for counts."""

from dataclasses import replace

import numpy as np
import pytest
from threadpoolctl import threadpool_info

import worlds
from recsys import bundle, ranker, splits
from recsys.als import Confidence
from recsys.config import AlsSection, Config, ItemModelSection, RankerSection, TrainSection
from recsys.content_source import ContentSource, DescribedSource
from recsys.sources import AlsSource
from recsys_offline import dataset
from recsys_offline.as_of import as_of
from recsys_offline.cli import _time
from recsys_offline.train import factorise, learning, run, snapshots, specs, training_set
from recsys_offline.train.job import prepare
from recsys_offline.train.specs import Facts, propose
from recsys_offline.train.steps import Steps
from shops import SHOP_UNTIL, recsys

UNTIL = _time(SHOP_UNTIL)
SHOP = worlds.world()
SHAPE = factorise.Shape(len(SHOP.users), len(SHOP.users) + worlds.ANONYMOUS, len(SHOP.items))
CONFIDENCE = Confidence.of(worlds.WEIGHTS, 5.0, 30.0, SHOP.until)


def fitted(events=SHOP.events, sweeps=10, **options):
    section = AlsSection(factors=4, regularization=5.0, iterations=sweeps)
    return factorise.als(events, SHAPE, CONFIDENCE, section, 1, 1, **options)


def loss(factors):
    """What ALS makes small: Hu, Koren and Volinsky 2008, equation 3."""
    confidence = np.ones((SHAPE.users, SHAPE.items))
    known = SHOP.events.where(SHOP.events.user_num < SHAPE.users)
    np.add.at(confidence, (known.user_num, known.item_num), CONFIDENCE.excess(known.event_type, known.time))
    missed = (confidence > 1) - factors.user_factors @ factors.item_factors.T
    squares = np.square(factors.user_factors).sum() + np.square(factors.item_factors).sum()
    return float((confidence * np.square(missed)).sum() + 5.0 * squares)


def test_who_is_asked_for_has_the_vector_of_a_whole_fit_and_nobody_else_has_one():
    asked = np.array([2, 5, 11], dtype=np.int32)
    whole, some = fitted(), fitted(asked=asked)
    np.testing.assert_array_equal(some.item_factors, whole.item_factors)
    np.testing.assert_array_equal(some.user_factors[asked], whole.user_factors[asked])
    assert np.flatnonzero(some.user_factors.any(axis=1)).tolist() == asked.tolist()
    assert some.user_factors.shape == whole.user_factors.shape


def test_going_on_from_earlier_factors_is_as_good_as_starting_anew_and_takes_fewer_sweeps():
    earlier = fitted(SHOP.events.before(int(np.quantile(SHOP.events.time, 0.6)))).item_factors
    kept = earlier.copy()
    anew, soon, onward = loss(fitted()), loss(fitted(sweeps=1)), loss(fitted(sweeps=1, start=earlier))
    assert onward < 1.02 * anew
    assert onward < soon
    np.testing.assert_array_equal(earlier, kept)


@pytest.fixture(scope="module")
def data(shop):
    return as_of(dataset.read(shop), UNTIL)


def started(data, config):
    """The job of large data, and its windows."""
    job = prepare(data, UNTIL, config)
    windows = splits.by_time(job.events, job.until, 8, 3, job.setting.targets)
    facts = Facts.of(job.events, len(data.items), True, job.setting.targets)
    return run.going_on(job, windows[0], propose(facts, config), Steps(1)), windows


@pytest.mark.parametrize("name", ["als", "spectral"])
def test_where_factors_start_from_nothing_shows_of_the_windows(data, monkeypatch, name):
    monkeypatch.setattr(specs, "TUNED_EVENTS", 0)
    config = Config(als=AlsSection(factors=8), item_model=ItemModelSection(ease_items=0))
    job, windows = started(data, config)
    turned = data.events.item_num.copy()
    after = data.events.time >= windows[0].now
    turned[after] = turned[after][::-1]
    other, _ = started(replace(data, events=replace(data.events, item_num=turned)), config)
    np.testing.assert_array_equal(job.setting.start[name], other.setting.start[name])
    turned[~after] = turned[~after][::-1]
    other, _ = started(replace(data, events=replace(data.events, item_num=turned)), config)
    assert not np.array_equal(job.setting.start[name], other.setting.start[name])


@pytest.mark.parametrize(("most", "times"), [(0, 1), (10**9, 0)])
def test_only_large_data_goes_on_from_before_the_windows(shop, tmp_path, monkeypatch, most, times):
    monkeypatch.setattr(specs, "TUNED_EVENTS", most)
    (tmp_path / "few.toml").write_text("[ranker]\ntrees = 5\n[split]\ncuts = 2\n")
    options = ("--until", SHOP_UNTIL, "--config", tmp_path / "few.toml")
    done = recsys("train", shop, "--registry", tmp_path / "registry", *options)
    assert done.status == 0, done.err
    assert done.err.count("Fit factors before all windows") == times


def test_where_windows_hide_items_als_starts_anew_as_each_window_knows_what_the_others_hide(data, monkeypatch):
    monkeypatch.setattr(specs, "TUNED_EVENTS", 0)
    events = replace(data.events, time=np.zeros_like(data.events.time))
    steps = Steps(1)
    config = Config(als=AlsSection(factors=8), ranker=RankerSection(trees=5))
    run.train(replace(data, has_times=False, events=events), None, config, steps)
    names = [step.name for step in steps.done]
    assert "Judge the ranker, and fit all sources up to the end" in names
    assert "Fit factors before all windows" not in names


def large(data, threads):
    """A small ranker's model of the shop, as if it were large, and its steps."""
    sections = {"als": AlsSection(factors=8), "item_model": ItemModelSection(ease_items=0)}
    config = Config(train=TrainSection(threads=threads), ranker=RankerSection(trees=5), **sections)
    steps = Steps(run.N_STEPS)
    trained = run.train(data, UNTIL, config, steps)
    assert len(steps.done) <= run.N_STEPS
    return trained, {step.name for step in steps.done}


def test_parts_side_by_side_make_the_same_model_as_one_after_the_other(data, tmp_path, monkeypatch):
    monkeypatch.setattr(specs, "TUNED_EVENTS", 0)
    monkeypatch.setattr(run, "_gains", lambda *_: True)
    (one, alone), (two, together) = (large(data, threads) for threads in (1, 2))
    assert alone == together >= {"Fit the ranker on all windows"}
    assert one.metrics == two.metrics
    np.testing.assert_array_equal(one.model.blend, two.model.blend)
    assert one.model.ranker.booster.save_raw() == two.model.ranker.booster.save_raw()
    for name, trained in (("one", one), ("two", two)):
        (tmp_path / name).mkdir()
        bundle.save(trained.model, tmp_path / name)
    for path in sorted((tmp_path / "one").iterdir()):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


def test_a_ranker_without_a_sure_gain_is_not_fitted_on_all_windows(data, monkeypatch):
    monkeypatch.setattr(specs, "TUNED_EVENTS", 0)
    monkeypatch.setattr(run, "_gains", lambda *_: False)
    trained, names = large(data, 2)
    assert trained.model.ranker is None
    assert trained.metrics
    assert "Fit the ranker on all windows" not in names


def test_the_judged_ranker_learns_from_some_groups_before_the_newest_window_and_the_last_one_from_all(
    data, monkeypatch
):
    monkeypatch.setattr(specs, "TUNED_EVENTS", 0)
    monkeypatch.setattr(learning, "JUDGE_GROUPS", 50)
    monkeypatch.setattr(run, "_gains", lambda *_: True)
    fit, judge, fits, taught = ranker.fit, learning.judge, [], []
    monkeypatch.setattr(ranker, "fit", lambda training, *given: fits.append(training) or fit(training, *given))
    monkeypatch.setattr(learning, "judge", lambda job, learned: taught.append(learned) or judge(job, learned))
    large(data, 2)
    (judged, last), (learned,) = fits, taught
    assert last is learned.training
    groups = np.unique(judged.group)
    assert len(groups) == 50 < len(np.unique(learned.earlier.group)) < len(np.unique(last.group))
    assert groups[0] > last.group[learned.newest - 1]
    assert groups[-1] == last.group[-1]
    for group in groups[::10]:
        np.testing.assert_array_equal(judged.features[judged.group == group], last.features[last.group == group])
        np.testing.assert_array_equal(judged.label[judged.group == group], last.label[last.group == group])


def test_the_last_ranker_has_every_processor(data, monkeypatch):
    monkeypatch.setattr(specs, "TUNED_EVENTS", 0)
    monkeypatch.setattr(run, "_gains", lambda *_: True)
    fit, fits = ranker.fit, []

    def watched(*given):
        limits = {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "openmp"}
        fits.append((given[-1], min(limits)))
        return fit(*given)

    monkeypatch.setattr(ranker, "fit", watched)
    large(data, 2)
    assert fits[0][0] == 1
    assert fits[1] == (2, min(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "openmp"))


def test_windows_are_searched_as_one_call_with_what_asks_for_the_vectors_of_als(data, monkeypatch):
    monkeypatch.setattr(specs, "TUNED_EVENTS", 0)
    seen = []
    build = training_set.build
    monkeypatch.setattr(
        training_set, "build", lambda snapshot, *given: seen.append(snapshot) or build(snapshot, *given)
    )
    large(data, 2)
    assert seen
    for snapshot in seen:
        (als,) = (source for source in snapshot.sources if isinstance(source, AlsSource))
        others = [source for source in snapshot.sources if isinstance(source, ContentSource | DescribedSource)]
        assert others
        assert all(source.als is als for source in others)


def test_a_snapshot_for_some_users_has_their_whole_histories_and_no_other(data):
    job = prepare(data, UNTIL, Config())
    asked = np.array([3, 8], dtype=np.int32)
    whole, some = (snapshots.fit(job.events, UNTIL, (), each.setting).histories for each in (job, job.asking(asked)))
    for mine, its in zip(some.rows(asked).columns, whole.rows(asked).columns, strict=True):
        np.testing.assert_array_equal(mine, its)
    assert np.flatnonzero(np.diff(some.indptr)).tolist() == asked.tolist()
    assert len(some) == len(whole)
