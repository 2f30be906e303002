"""The registry: promote, rollback, and what happens to a damaged alias."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from recsys.errors import RegistryError
from recsys.registry import KEPT_BEFORE, Registry


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    registry = Registry(tmp_path / "registry")
    for bundle_id in ("b1", "b2", "b3"):
        registry.path(bundle_id).mkdir(parents=True)
    return registry


def test_an_empty_registry_has_nothing_and_says_what_to_do(tmp_path):
    registry = Registry(tmp_path / "nothing here")
    assert registry.live() is None
    assert registry.bundle_ids() == []
    with pytest.raises(RegistryError, match="run recsys train first"):
        registry.find(None)


def test_the_promoted_bundle_is_live_and_found(registry):
    registry.promote("b2")
    assert registry.live() == registry.find(None) == "b2"
    assert registry.find("b1") == "b1"
    assert registry.bundle_ids() == ["b1", "b2", "b3"]


@pytest.mark.parametrize("bundle_id", ["b9", "../b1", "..", ".", "b1/x"])
def test_an_unknown_bundle_is_refused_with_those_that_are_there(registry, bundle_id):
    registry.promote("b1")
    for change in (registry.find, registry.promote):
        with pytest.raises(RegistryError, match=rf"no bundle {re.escape(repr(bundle_id))}; there are: b1, b2, b3"):
            change(bundle_id)
    assert registry.live() == "b1"


def test_rollback_goes_back_step_by_step_to_the_first(registry):
    for bundle_id in ("b1", "b2", "b3", "b3"):
        registry.promote(bundle_id)
    assert registry.rollback() == registry.live() == "b2"
    assert registry.rollback() == registry.live() == "b1"
    with pytest.raises(RegistryError, match="no bundle served before this one; promote one by its id"):
        registry.rollback()
    assert registry.live() == "b1"


def test_rollback_skips_bundles_that_were_removed(registry):
    for bundle_id in ("b1", "b2", "b3"):
        registry.promote(bundle_id)
    registry.path("b2").rmdir()
    assert registry.rollback() == "b1"


def test_a_bundle_that_is_promoted_again_stands_in_the_past_once(registry):
    for bundle_id in ("b1", "b2", "b1"):
        registry.promote(bundle_id)
    assert registry.rollback() == "b2"
    with pytest.raises(RegistryError):
        registry.rollback()


def test_only_the_last_bundles_are_remembered(registry):
    for num in range(KEPT_BEFORE + 5):
        registry.path(f"n{num}").mkdir()
        registry.promote(f"n{num}")
    alias = json.loads((registry.root / "live.json").read_text())
    assert len([alias["bundle_id"], *alias["before"]]) == KEPT_BEFORE


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "null", "7", '"b1"', "{}", "\x00"),
        '{"bundle_id": "b1"}',
        '{"bundle_id": 5, "before": []}',
        '{"bundle_id": "b1", "before": "b2"}',
        '{"bundle_id": "b1", "before": [null]}',
    ],
)
def test_a_damaged_alias_is_reported_in_one_line_and_mended_by_promoting(registry, text):
    registry.promote("b1")
    (registry.root / "live.json").write_text(text)
    for reading in (registry.live, registry.rollback, lambda: registry.find(None)):
        with pytest.raises(RegistryError, match=r"^.*live\.json cannot be read; promote a bundle to write it anew$"):
            reading()
    registry.promote("b2")
    assert registry.live() == "b2"


def test_concurrent_promotes_leave_a_valid_alias_that_forgets_nobody_and_is_valid_all_the_time(registry):
    wanted = ["b1", "b2", "b3"] * 8
    with ThreadPoolExecutor(8) as pool:
        promoted = [pool.submit(registry.promote, bundle_id) for bundle_id in wanted]
        while not all(one.done() for one in promoted):
            assert registry.live() in {"b1", "b2", "b3", None}
    assert not [one for one in promoted if one.exception()]
    alias = json.loads((registry.root / "live.json").read_text())
    assert sorted([alias["bundle_id"], *alias["before"]]) == ["b1", "b2", "b3"]
    assert {path.name for path in registry.root.iterdir()} == {".lock", "live.json", "versions"}
