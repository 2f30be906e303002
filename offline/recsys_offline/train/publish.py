"""Publishing: a bundle is staged, verified by loading, made durable, renamed into place, and named by the alias."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from recsys import bundle, manifest
from recsys.errors import BundleError
from recsys.manifest import Manifest
from recsys.model import Model
from recsys.registry import Registry, sync_folder

OWNED = ".owned"

Describe = Callable[[Path, dict[str, dict[str, object]]], Manifest]
"""Makes the manifest from the staged files and the sources' parameters."""


def publish(registry: Registry, model: Model, describe: Describe) -> str:
    """Write a model as a bundle, verify it by loading, and let it serve; returns its id.

    The same content has the same id: publishing it again only moves the alias.

    Args:
        registry: where to.
        model: what to publish.
        describe: makes the manifest.

    Raises:
        BundleError: the bundle does not answer as the model did; the alias stays.
    """
    with staged(registry) as stage:
        folder = stage / "bundle"
        folder.mkdir()
        contents = describe(folder, bundle.save(model, folder))
        manifest.write(contents, folder)
        folder = folder.rename(stage / contents.bundle_id)
        bundle.check_golden(folder, bundle.load(folder))
        _sync(folder)
        target = registry.path(contents.bundle_id)
        target.parent.mkdir(parents=True, exist_ok=True)
        with registry.lock():
            if target.exists() and not _intact(target):
                target.rename(stage / "damaged")
            if not target.exists():
                folder.rename(target)
                sync_folder(target.parent)
    registry.promote(contents.bundle_id)
    return contents.bundle_id


def check_writable(registry: Registry) -> None:
    """Do all that publishing does to a registry but the publishing.

    Raises:
        OSError: something of it cannot be written.
    """
    with staged(registry):
        pass


@contextmanager
def staged(registry: Registry) -> Iterator[Path]:
    """An own folder in the registry's staging area, gone afterwards; those of killed runs are swept."""
    registry.staging.mkdir(parents=True, exist_ok=True)
    with registry.lock():
        _sweep(registry.staging)
        folder = Path(tempfile.mkdtemp(dir=registry.staging))
        owned = (folder / OWNED).open("w")
        fcntl.flock(owned, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        owned.close()


def _sweep(staging: Path) -> None:
    """Remove the folders whose owner has died: the system freed their lock."""
    for folder in staging.iterdir():
        try:
            with (folder / OWNED).open("a") as owned:
                fcntl.flock(owned, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # its owner lives, or it is somebody else's
            continue


def _intact(folder: Path) -> bool:
    """Whether a bundle that stands already is whole."""
    try:
        manifest.verify(folder)
    except BundleError:
        return False
    return True


def _sync(folder: Path) -> None:
    """Bring every file of a folder to the disk."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    sync_folder(folder)
