"""The table of contents of a bundle, and the hashes by which damage shows."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from recsys.errors import BundleError
from recsys.large_pages import in_large_pages
from recsys.section import Section

SCHEMA_VERSION = 9
MANIFEST = "manifest.json"
SEAL = "manifest.json.sha256"
"""Holds the hash of the manifest, in the format of sha256sum."""
HASHED_AT_ONCE = 2
"""Files; hashing lets go of the interpreter's lock."""
_NICE = 10
"""Of priority that hashing gives up: who answers meanwhile, or tries what is hashed, goes first.

On Linux it is a thread's own.
"""

_NOT_CONTENT = {"bundle_id", "created_time", "steps", "libraries"}


class FileEntry(Section):
    """Hash and size of one file."""

    sha256: str
    size: int


class Step(Section):
    """What one step of training took: wall seconds, and the process's peak resident memory in MiB when it ended."""

    name: str
    seconds: float
    peak_mib: float


class GoldenAnswer(Section):
    """A query and what the bundle must answer to it."""

    user_id: str
    seed_item_ids: tuple[str, ...]
    exclude_policy: str
    slate_size: int
    item_ids: tuple[str, ...]
    scores: tuple[float, ...]


class Manifest(Section):
    """Everything there is to say of a bundle.

    Attributes:
        schema_version: of the files.
        bundle_id: date of the data's end and a hash of the content.
        created_time: unix seconds.
        until: end of the data, unix seconds; 0 in a static set.
        horizon_seconds: how far ahead the ranker learned to look.
        has_times: whether the data had times.
        data: facts about the dataset: rows, time range, hash.
        parameters: the configuration used for training.
        targets: event types that the ranker predicts.
        sources: for each source, in order, what it was fitted with.
        blend: weights of the sources, rebuy allowed and discovery.
        slots: for each source that has its own, the shares of a slate's places, rebuy allowed and discovery.
        has_ranker: whether there is a second stage.
        feature_hash: of the ranker's columns.
        metrics: from the newest window before the end, with an interval of the gain.
        choices: each source and what training chose for it, in words.
        steps: seconds and memory of training.
        libraries: versions.
        golden: queries with their answers.
        files: all other files of the directory.
    """

    schema_version: int
    bundle_id: str
    created_time: int
    until: int
    horizon_seconds: int
    has_times: bool
    data: dict[str, Any]
    parameters: dict[str, Any]
    targets: tuple[str, ...]
    sources: dict[str, dict[str, Any]]
    blend: tuple[tuple[float, ...], ...]
    slots: dict[str, tuple[float, float]]
    has_ranker: bool
    feature_hash: str
    metrics: dict[str, Any]
    choices: tuple[str, ...]
    steps: tuple[Step, ...]
    libraries: dict[str, str]
    golden: tuple[GoldenAnswer, ...]
    files: dict[str, FileEntry]

    def content_hash(self) -> str:
        """sha256 of all that makes answers: the same data, parameters and seed give the same hash."""
        content = self.model_dump(mode="json", exclude=_NOT_CONTENT)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def file_entry(path: Path) -> FileEntry:
    """Hash and size of a file, which is often read for the first time here, and served from later."""
    size, digest = path.stat().st_size, hashlib.sha256()
    if size:  # else there is nothing to map
        with path.open("rb") as file, mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as memory:
            in_large_pages(memory)
            digest.update(memory)
    return FileEntry(sha256=digest.hexdigest(), size=size)


def write(manifest: Manifest, folder: Path) -> None:
    """Write the manifest and its seal."""
    text = manifest.model_dump_json(indent=1) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    (folder / SEAL).write_text(_seal(text.encode()), encoding="utf-8")


def read(folder: Path) -> Manifest:
    """The manifest of a bundle, checked against its seal; the other files are not looked at.

    Raises:
        BundleError: it is missing, damaged, or of another schema version.
    """
    with _reading(folder, MANIFEST):
        text = (folder / MANIFEST).read_bytes()
    with _reading(folder, SEAL):
        seal = (folder / SEAL).read_bytes()
    if seal != _seal(text).encode():
        raise BundleError(f"bundle {folder.name}: {MANIFEST} or {SEAL} is damaged; publish it again or roll back")
    manifest = json.loads(text)
    if manifest["schema_version"] != SCHEMA_VERSION:
        raise BundleError(
            f"bundle {folder.name}: schema version {manifest['schema_version']}, this version reads {SCHEMA_VERSION};"
            " train it again"
        )
    return Manifest.model_validate(manifest)


def verify(folder: Path) -> Manifest:
    """The manifest, after every file was found to be there, alone, and as it was written.

    Raises:
        BundleError: names the first file that is missing, damaged, or not of the bundle.
    """
    manifest = read(folder)
    present = {path.name for path in folder.iterdir()} - {MANIFEST, SEAL}
    for name in sorted(present ^ set(manifest.files)):
        what = "is missing" if name in manifest.files else "does not belong to it"
        raise BundleError(f"bundle {folder.name}: {name} {what}; publish it again or roll back")
    with ThreadPoolExecutor(HASHED_AT_ONCE, initializer=partial(os.nice, _NICE)) as pool:
        largest_first = sorted(manifest.files.items(), key=_size, reverse=True)  # so that threads end together
        for _ in pool.map(partial(_check, folder), *zip(*largest_first, strict=True)):
            pass
    if folder.name != manifest.bundle_id or not manifest.bundle_id.endswith(manifest.content_hash()[:12]):
        raise BundleError(f"bundle {folder.name}: its directory and its manifest name different bundles")
    return manifest


def _size(file: tuple[str, FileEntry]) -> int:
    return file[1].size


def _check(folder: Path, name: str, entry: FileEntry) -> None:
    """Nothing where a file is as it was written; else a BundleError that names it."""
    with _reading(folder, name):
        found = file_entry(folder / name)
    if found != entry:
        raise BundleError(f"bundle {folder.name}: {name} is damaged; publish it again or roll back")


@contextmanager
def _reading(folder: Path, name: str) -> Iterator[None]:
    """A file that cannot be read is a BundleError that names it."""
    try:
        yield
    except OSError as error:
        raise BundleError(f"bundle {folder.name}: cannot read {name}: {error.strerror}") from error


def _seal(text: bytes) -> str:
    return f"{hashlib.sha256(text).hexdigest()}  {MANIFEST}\n"
