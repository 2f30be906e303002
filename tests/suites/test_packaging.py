"""What is shipped: the wheel, its version, the generated code, and a repository that knows no machine."""

import fnmatch
import re
import subprocess
import sys
import tomllib
import zipfile
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MACHINE = re.compile(r"(?<![\w.])/(?:home|root|Users|work|mnt)/|--(?:extra-)?index-url|--find[-]links|/simple/?[\s\"']")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=ROOT, check=True)
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def sources():
    """The files of the repository: all but what .gitignore names."""
    ignored = {".git", *(line.strip("/") for line in (ROOT / ".gitignore").read_text().split())}
    for path in ROOT.rglob("*"):
        parts = path.relative_to(ROOT).parts
        if path.is_file() and not any(fnmatch.fnmatch(part, name) for part in parts for name in ignored):
            yield path


def test_the_wheel_holds_our_three_packages_and_nothing_else_at_its_top(wheel):
    top = {name.split("/")[0] for name in wheel.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"recsys", "recsys_offline", "recsys_server"}


def test_the_wheel_tells_type_checkers_about_each_package_and_holds_the_wire_types(wheel):
    assert {
        "recsys/py.typed",
        "recsys_offline/py.typed",
        "recsys_server/py.typed",
        "recsys/v1/recommendation_service_pb2.py",
    } <= set(wheel.namelist())


def test_the_changelog_starts_with_the_version_of_the_package():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == version


def test_the_generated_code_is_what_the_protos_say(tmp_path):
    protos = sorted(str(path) for path in (ROOT / "protos").rglob("*.proto"))
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'protos'}", *outputs, *protos], check=True)
    generated = {path.name: path.read_text() for path in (tmp_path / "recsys/v1").iterdir()}
    committed = {path.name: path.read_text() for path in (ROOT / "recsys/v1").glob("*_pb2*.py*")}
    assert committed == generated, "run `make protos`"


def test_every_dependency_is_pinned_and_every_pin_is_exact():
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.]+", pin) for pin in pins)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = chain(project["dependencies"], *project["optional-dependencies"].values())
    names = {re.match(r"[\w-]+", requirement)[0] for requirement in wanted} - {"recsys"}
    assert names <= {pin.split("==")[0] for pin in pins}


def test_no_file_names_a_machine_or_a_package_index():
    found = {
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in sources()
        if path != Path(__file__) and (match := MACHINE.search(path.read_text(errors="ignore")))
    }
    assert found == set()
