"""Where bundles live, and the alias that names the one that serves.

versions/<bundle id>/ holds complete bundles only: they are renamed into place.
staging/ holds bundles in the making; what a killed run left there is swept.
live.json is the alias: the bundle that serves, and those that served before it.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recsys.errors import RegistryError

KEPT_BEFORE = 50


class Registry:
    """A registry in a directory; every change of it is one atomic rename."""

    __slots__ = ("root",)

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def versions(self) -> Path:
        """The folder of the bundles."""
        return self.root / "versions"

    @property
    def staging(self) -> Path:
        """The folder of bundles in the making."""
        return self.root / "staging"

    def path(self, bundle_id: str) -> Path:
        """The directory of a bundle, there or not."""
        return self.versions / bundle_id

    def bundle_ids(self) -> list[str]:
        """All bundles, by id."""
        return sorted(path.name for path in self.versions.iterdir()) if self.versions.is_dir() else []

    def live(self) -> str | None:
        """The bundle that serves, or None before the first was published."""
        served = self._served()
        return served[0] if served else None

    def find(self, bundle_id: str | None) -> str:
        """That bundle, or the live one for None.

        Raises:
            RegistryError: there is none.
        """
        found = bundle_id or self.live()
        if found is None:
            raise RegistryError(f"{self.root}: no bundle is published here; run recsys train first")
        if found not in self.bundle_ids():
            known = ", ".join(self.bundle_ids()) or "none"
            raise RegistryError(f"{self.root}: no bundle {found!r}; there are: {known}")
        return found

    def promote(self, bundle_id: str) -> None:
        """Let a bundle serve.

        Raises:
            RegistryError: there is no such bundle.
        """
        bundle = self.find(bundle_id)
        with self.lock():
            try:
                served = self._served()
            except RegistryError:  # promoting is how a damaged alias is mended; what it remembered is lost
                served = []
            before = [one for one in served if one != bundle]
            self._point([bundle, *before][:KEPT_BEFORE])

    def rollback(self) -> str:
        """Let the bundle serve that served before; returns its id.

        Raises:
            RegistryError: there is none.
        """
        with self.lock():
            before = [served for served in self._served()[1:] if self.path(served).is_dir()]
            if not before:
                raise RegistryError(f"{self.root}: no bundle served before this one; promote one by its id")
            self._point(before)
            return before[0]

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Held while the registry changes; the system frees it when its holder dies."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _served(self) -> list[str]:
        """The live bundle, then those before it."""
        try:
            alias = json.loads((self.root / "live.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return []
        except (OSError, ValueError):
            alias = None
        match alias:
            case {"bundle_id": str(live), "before": [*before]} if all(isinstance(one, str) for one in before):
                return [live, *before]
        raise RegistryError(f"{self.root}/live.json cannot be read; promote a bundle to write it anew")

    def _point(self, served: list[str]) -> None:
        """Replace the alias."""
        alias = self.root / "live.json"
        fresh = alias.with_suffix(".new")
        with fresh.open("w", encoding="utf-8") as file:
            json.dump({"bundle_id": served[0], "before": served[1:]}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(alias)
        sync_folder(self.root)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder last through a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
