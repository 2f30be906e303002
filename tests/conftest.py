"""Datasets and registries made once for a whole run and shared by its workers: tests read them and never write."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

# Before a library starts threads: spinning ones would take the processors from the other workers.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """What one worker makes and the others wait for."""
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    made = root / "shared" / name
    made.parent.mkdir(exist_ok=True)
    with (made.parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            fresh = made.with_name(f"{name}.partial")
            make(fresh)
            fresh.rename(made)
    return made


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated shop: shops.SHOP says how large."""
    from recsys_offline.simulate import simulate
    from shops import SHOP

    return once(tmp_path_factory, "shop", lambda path: simulate(path, *SHOP))


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory, shop: Path) -> Path:
    """A registry with one bundle, trained on the shop until shops.SHOP_UNTIL; it answers by stage 1 alone."""
    from shops import SHOP_UNTIL

    return once(tmp_path_factory, "registry", lambda path: _train(shop, path, SHOP_UNTIL))


@pytest.fixture(scope="session")
def cycle_shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shop of shops.write_cycles."""
    from shops import write_cycles

    return once(tmp_path_factory, "cycle_shop", write_cycles)


@pytest.fixture(scope="session")
def cycle_registry(tmp_path_factory: pytest.TempPathFactory, cycle_shop: Path) -> Path:
    """A registry with one bundle of both stages, trained on the cycle shop until shops.CYCLE_UNTIL."""
    from shops import CYCLE_UNTIL

    return once(tmp_path_factory, "cycle_registry", lambda path: _train(cycle_shop, path, CYCLE_UNTIL))


@pytest.fixture(scope="session")
def bundle_dir(registry: Path) -> Path:
    """The directory of the registry's bundle."""
    return next((registry / "versions").iterdir())


def _train(dataset: Path, path: Path, until: str) -> None:
    from shops import recsys

    done = recsys("train", dataset, "--registry", path, "--until", until)
    assert done.status == 0, done.err
