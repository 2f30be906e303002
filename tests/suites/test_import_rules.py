"""The import contracts of pyproject.toml hold, and each is broken by a fault planted against it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"recsys": "recsys", "recsys_offline": "offline/recsys_offline", "recsys_server": "server/recsys_server"}

DEPLOYABLES = "Jobs and service stand on the library and never see each other"
LIBRARY = "Inside the library imports point down, and nothing imports wire types"
OFFLINE = "Jobs know neither wire types nor gRPC"
SERVER = "The server loads no training library and no pickle"
ANSWERS = "The process that answers does not load gRPC"
PURE = "The library has no tables, trainers, sockets, clock or randomness of its own"

FAULTS = [
    ("recsys_offline", "import recsys_server", DEPLOYABLES),
    ("recsys_server", "import recsys_offline.openmp", DEPLOYABLES),
    ("recsys", "import recsys_server", DEPLOYABLES),
    ("recsys.types", "import recsys.sources", LIBRARY),
    ("recsys.types", "import recsys.v1.error_reason_pb2", LIBRARY),
    ("recsys.newcomer", "", LIBRARY),
    ("recsys_offline", "import recsys.v1.error_reason_pb2", OFFLINE),
    ("recsys_offline", "import grpc", OFFLINE),
    ("recsys_server", "import pandas", SERVER),
    ("recsys_server", "import implicit.als", SERVER),
    ("recsys_server", "import pickle", SERVER),
    ("recsys_server.handlers", "import grpc", ANSWERS),
    ("recsys.types", "import socket", PURE),
    ("recsys.types", "import time", PURE),
]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for folder in PACKAGES.values():
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def broken_contracts(root: Path) -> set[str]:
    roots = os.pathsep.join(str((root / folder).parent) for folder in PACKAGES.values())
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": roots, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    verdicts = dict(re.findall(r"^(.+?) (KEPT|BROKEN)\b", done.stdout, re.MULTILINE))
    assert set(verdicts) == {DEPLOYABLES, LIBRARY, OFFLINE, SERVER, ANSWERS, PURE}, done.stdout + done.stderr
    return {name for name, verdict in verdicts.items() if verdict == "BROKEN"}


def plant(root: Path, module: str, line: str) -> None:
    package, *inner = module.split(".")
    folder = root / PACKAGES[package]
    file = folder.joinpath(*inner).with_suffix(".py") if inner else folder / "__init__.py"
    with file.open("a") as code:
        code.write(f"\n{line}\n")


def test_every_contract_holds_in_the_code_as_it_is(copy):
    assert broken_contracts(copy) == set()


@pytest.mark.parametrize(("module", "line", "contract"), FAULTS)
def test_a_planted_import_breaks_its_contract(copy, module, line, contract):
    plant(copy, module, line)
    broken = broken_contracts(copy)
    assert contract in broken
    if module.startswith("recsys_"):  # what stands on the library would inherit a fault of the library
        assert broken == {contract}


def test_a_training_library_inside_the_library_is_seen_from_the_server_too(copy):
    plant(copy, "recsys_server", "import recsys.types")
    plant(copy, "recsys.types", "import pandas")
    assert {PURE, SERVER} <= broken_contracts(copy)
