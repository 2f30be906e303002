"""Bundles: what is saved answers alike when loaded, and whatever is wrong with a file is said in one line."""

import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import builders
import worlds
from recsys import bundle, manifest
from recsys.catalogue_log import ItemChange
from recsys.errors import BundleError
from recsys.extend import changed
from recsys.halves import halved
from recsys.item_blocks import ItemBlocks
from recsys.item_index import IndexChoice, ItemIndex
from recsys.recommender import Recommender
from recsys.spectral_source import SpectralSource
from recsys.types import ExcludePolicy, Query, ServingParameters

NEXT = manifest.SCHEMA_VERSION + 1


@pytest.fixture(scope="module")
def folder(recommender: Recommender, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return builders.write_bundle(recommender.model, tmp_path_factory.mktemp("whole"), until=recommender.until)


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(folder, tmp_path / folder.name)


def refusal(folder: Path, check: Callable[[Path], object] = bundle.load) -> str:
    with pytest.raises(BundleError) as error:
        check(folder)
    message = str(error.value)
    assert "\n" not in message
    assert folder.name in message
    return message


def questions(recommender: Recommender) -> list[Query]:
    return [
        Query(user, 30, recommender.until + 86_400, seeds, ("i01",), ServingParameters(policy, use_ranker))
        for user in ("u00", "u17", "u40", "", "new")
        for seeds in ((), ("i05", "i20"))
        for policy in ExcludePolicy
        for use_ranker in (True, False)
    ]


@pytest.mark.parametrize(
    ("shop", "ranked"), [(worlds.world(), True), (worlds.world(), False), (worlds.world(static=True), False)]
)
def test_a_loaded_bundle_answers_as_the_model_that_was_saved(tmp_path, shop, ranked):
    saved = worlds.recommender(shop, **({} if ranked else {"ranker": None}))
    folder = builders.write_bundle(saved.model, tmp_path / "registry", until=shop.until)
    loaded = bundle.load(folder)
    bundle.check_golden(folder, loaded)
    assert (loaded.bundle_id, loaded.until, loaded.created_time) == (folder.name, shop.until, shop.until)
    assert loaded.model.latest == saved.model.latest
    assert (loaded.model.ranker is not None) == ranked
    queries = questions(saved)
    for before, after in zip(*(one.answer(queries, lambda: 0.0).slates for one in (saved, loaded)), strict=True):
        assert before == after


def test_two_sources_of_one_kind_keep_their_names_and_what_they_know(recommender, tmp_path):
    model = recommender.model
    _, similar, popular, repeats = model.snapshot.sources
    sources = (similar, replace(similar, name="visits", half_life_days=1.0), popular, replace(repeats, name="touched"))
    saved = replace(model, snapshot=replace(model.snapshot, sources=sources), ranker=None)
    folder = builders.write_bundle(saved, tmp_path / "registry", until=recommender.until)
    loaded = bundle.load(folder)
    assert loaded.model.snapshot.source_names == ("item_similarity", "visits", "popularity", "touched")
    assert [source.half_life_days for source in loaded.model.snapshot.sources[:2]] == [similar.half_life_days, 1.0]
    bundle.check_golden(folder, loaded)


def test_the_low_pass_filter_answers_alike_when_loaded_and_grows_with_new_items(recommender, tmp_path):
    model = recommender.model
    als, *others = model.snapshot.sources
    factors = halved(np.random.default_rng(0).random((len(model.items), 5)))
    source = SpectralSource(factors, 1 / factors.sum(axis=1), als.confidence.weights, 9.0, ItemIndex.exact(factors))
    saved = replace(model, snapshot=replace(model.snapshot, sources=(source, *others)), ranker=None)
    folder = builders.write_bundle(saved, tmp_path / "registry", until=recommender.until)
    loaded = bundle.load(folder)
    queries = questions(recommender)
    whole = Recommender(recommender.identity, saved).answer(queries, lambda: 0.0)
    assert loaded.answer(queries, lambda: 0.0).slates == whole.slates
    assert any("spectral" in item.sources for slate in whole.slates for item in slate.items)
    grown = Recommender(recommender.identity, changed(saved, [ItemChange("newest")], 1))
    assert grown.model.items.num("newest") == len(model.items)
    assert grown.answer(queries, lambda: 0.0).slates == whole.slates


def test_an_index_of_blocks_is_the_same_when_loaded_and_maps_them(recommender, tmp_path):
    model = recommender.model
    als, *others = model.snapshot.sources
    choice = IndexChoice("Flat", 0, 0.9, searched=20)
    searched = replace(als, index=ItemIndex(choice, als.item_factors, ItemBlocks.of(als.item_factors)))
    saved = replace(model, snapshot=replace(model.snapshot, sources=(searched, *others)), ranker=None)
    folder = builders.write_bundle(saved, tmp_path / "registry", until=recommender.until)
    loaded = bundle.load(folder)
    index = loaded.model.als.index
    assert index.choice == choice
    np.testing.assert_array_equal(index.blocks.codes, searched.index.blocks.codes)
    assert not index.blocks.codes.flags.writeable
    queries = questions(recommender)
    whole = Recommender(recommender.identity, saved).answer(queries, lambda: 0.0)
    assert loaded.answer(queries, lambda: 0.0).slates == whole.slates


def test_a_loaded_bundle_cannot_be_changed(folder):
    model = bundle.load(folder).model
    for array in (model.snapshot.histories.item_num, model.snapshot.stats.values, model.users.array):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_the_same_content_has_the_same_hash_whenever_and_however_long_it_was_made(folder):
    contents = manifest.read(folder)
    step = manifest.Step(name="fit", seconds=3.0, peak_mib=99.0)
    later = {"bundle_id": "x", "created_time": 1, "steps": (step,), "libraries": {"numpy": "9"}}
    assert contents.model_copy(update=later).content_hash() == contents.content_hash()
    for change in ({"until": 3}, {"blend": ((1.0,),)}, {"golden": ()}, {"files": {}}):
        assert contents.model_copy(update=change).content_hash() != contents.content_hash()


def test_a_flipped_byte_in_any_file_is_found_and_the_file_named(copy):
    files = sorted(copy.iterdir())
    assert len(files) > 15
    for path in files:
        whole = path.read_bytes()
        for place in {0, len(whole) // 2, len(whole) - 1}:
            flipped = bytearray(whole)
            flipped[place] ^= 0x01
            path.write_bytes(flipped)
            assert path.name in refusal(copy)
        path.write_bytes(whole)
    bundle.load(copy)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from([manifest.MANIFEST, manifest.SEAL]), data=st.data())
def test_a_flipped_bit_anywhere_in_the_manifest_or_its_seal_is_found(folder, copy, name, data):
    flipped = bytearray((folder / name).read_bytes())
    flipped[data.draw(st.integers(0, len(flipped) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    (copy / name).write_bytes(flipped)
    assert name in refusal(copy)
    shutil.copy(folder / name, copy / name)


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data + b"\0", lambda _: b""])
def test_a_file_that_was_cut_or_grew_is_found(copy, damage):
    for path in sorted(copy.iterdir()):
        whole = path.read_bytes()
        path.write_bytes(damage(whole))
        assert path.name in refusal(copy)
        path.write_bytes(whole)


def test_a_missing_file_is_named(copy):
    for path in sorted(copy.iterdir()):
        path.rename(copy.parent / "away")
        assert path.name in refusal(copy)
        (copy.parent / "away").rename(path)


def test_a_file_that_does_not_belong_to_it_is_named(copy):
    (copy / "model.pkl").write_bytes(b"")
    assert "model.pkl does not belong to it" in refusal(copy)


def test_a_folder_in_the_place_of_a_file_is_named(copy):
    for name in ("items.npy", manifest.MANIFEST):
        (copy / name).rename(copy.parent / name)
        (copy / name).mkdir()
        assert name in refusal(copy)
        (copy / name).rmdir()
        (copy.parent / name).rename(copy / name)


def test_what_is_not_there_at_all_is_said(tmp_path):
    assert "No such file" in refusal(tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    assert manifest.MANIFEST in refusal(tmp_path / "empty")


def test_a_bundle_under_another_name_is_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "renamed")
    assert "name different bundles" in refusal(tmp_path / "renamed")


def test_a_manifest_that_was_edited_and_sealed_again_is_refused(copy):
    contents = manifest.read(copy)
    manifest.write(contents.model_copy(update={"until": contents.until + 1}), copy)
    assert "name different bundles" in refusal(copy)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema_version": NEXT}, f"schema version {NEXT}, this version reads {NEXT - 1}; train"),
        ({"feature_hash": "0" * 64}, "its ranker expects other features than this version; train it again"),
    ],
)
def test_a_bundle_of_another_version_is_refused_with_what_to_do(recommender, tmp_path, changes, said):
    written = builders.write_bundle(recommender.model, tmp_path, until=recommender.until, **changes)
    assert said in refusal(written)


def test_a_manifest_of_a_later_schema_may_hold_anything_else(copy):
    text = json.dumps({"schema_version": NEXT, "new": []})
    (copy / manifest.MANIFEST).write_text(text)
    (copy / manifest.SEAL).write_text(manifest._seal(text.encode()))
    assert f"schema version {NEXT}" in refusal(copy)


@pytest.mark.parametrize(
    "update", [lambda answer: {"item_ids": answer.item_ids[::-1]}, lambda answer: {"scores": (9.0, *answer.scores[1:])}]
)
def test_answers_that_differ_from_the_golden_ones_are_refused(recommender, tmp_path, update):
    first, *others = builders.golden_answers(recommender.model, recommender.until)
    golden = (first.model_copy(update=update(first)), *others)
    written = builders.write_bundle(recommender.model, tmp_path, until=recommender.until, golden=golden)
    loaded = bundle.load(written)
    assert "answers differently here" in refusal(written, lambda path: bundle.check_golden(path, loaded))


def test_a_stage_that_fails_on_a_golden_query_is_told(folder):
    loaded = bundle.load(folder)
    object.__setattr__(loaded.model, "retriever", "none")
    assert "a golden query fails" in refusal(folder, lambda path: bundle.check_golden(path, loaded))


@pytest.mark.parametrize(
    "plant",
    [
        lambda path, trap: np.save(path, np.array([trap]), allow_pickle=True),
        lambda path, trap: path.write_bytes(pickle.dumps(trap)),
    ],
)
def test_a_pickle_in_the_place_of_an_array_is_never_opened(recommender, tmp_path, plant):
    opened = tmp_path / "opened"

    class Trap:
        def __reduce__(self):
            return Path.touch, (opened,)

    written = builders.write_bundle(
        recommender.model,
        tmp_path,
        until=recommender.until,
        tamper=lambda folder: plant(folder / "item_stats.npy", Trap()),
    )
    with pytest.raises(ValueError, match=r"pickle|[Oo]bject"):
        bundle.load(written)
    assert not opened.exists()


def test_arrays_that_are_written_in_pieces_are_those_that_numpy_writes(recommender, tmp_path, monkeypatch):
    monkeypatch.setattr(bundle, "WRITTEN_AT_ONCE", 100)
    bundle.save(recommender.model, tmp_path)
    for name, array in {
        "items": recommender.model.items.array,
        "item_stats": recommender.model.snapshot.stats.values,
        "history_time": recommender.model.snapshot.histories.time,
    }.items():
        np.save(tmp_path / "whole.npy", array)
        assert (tmp_path / f"{name}.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()


def test_a_bundle_is_hashed_and_mapped_by_large_pages_where_the_system_has_them(recommender, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(manifest, "in_large_pages", lambda memory: asked.append(len(memory)))
    written = builders.write_bundle(recommender.model, tmp_path, until=recommender.until)
    asked.clear()
    loaded = bundle.load(written)
    sizes = [entry.size for entry in manifest.read(written).files.values()]
    assert sorted(asked) == sorted(size for size in sizes if size)
    if not Path("/sys/kernel/mm/transparent_hugepage").exists():
        pytest.skip("a system without large pages")
    flags, file = {}, ""
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if str(written) in line:
            file = line.rpartition("/")[2]
        elif line.startswith("VmFlags:") and file:
            flags[file], file = line.split()[1:], ""
    assert {"users.npy", "item_stats.npy", "history_time.npy"} <= {*flags}
    assert all("hg" in each for each in flags.values())
    assert len(loaded.model.users) > 0
