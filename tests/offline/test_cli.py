"""What a person types: every mistake ends in one line that helps, and never in a traceback."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from recsys_offline import cli
from shops import command, process, recsys

COMMANDS = (
    "",
    "import",
    "import online-retail",
    "import retailrocket",
    "import table",
    "simulate",
    "check",
    "train",
    "evaluate",
    "recommend",
    "bundles",
    "demo",
)
TABLE = "import table events.csv --out dataset --user-id user_id --item-id item_id"

# What is typed in a folder with a shop, a registry and some broken files; the status; what the line must hold.
MISTAKES = (
    ("", 2, "COMMAND"),
    ("recomend", 2, "invalid choice: 'recomend'"),
    ("train", 2, "DATASET, --registry"),
    ("train nowhere --registry fresh", 1, "nowhere: no such directory; give a directory made by recsys import"),
    ("train corrupt --registry fresh", 1, "events.parquet: cannot be read"),
    ("train nocolumn --registry fresh", 1, "no column 'item_id'; nearest columns: item"),
    ("train shop --registry fresh --until yesterday", 2, "'yesterday' is not a time; write 2026-01-31"),
    ("train shop --registry fresh --until 1990-01-01", 1, "no event before --until; give a time after 2024-01-01"),
    ("train shop --registry fresh --config unknown.toml", 1, "als.factor: unknown key, did you mean 'als.factors'?"),
    (
        "train shop --registry fresh --config range.toml",
        1,
        "ranker.trees: input should be greater than or equal to 1, not 0",
    ),
    ("train shop --registry fresh --config nowhere.toml", 1, "nowhere.toml: No such file"),
    ("train shop --registry fresh --config noise", 1, "noise: not TOML"),
    ("train shop --registry file", 1, "file/staging: Not a directory"),
    ("train shop --registry /proc/registry", 1, "/proc/registry"),
    ("evaluate shop --registry empty --out report", 1, "empty: no bundle is published here; run recsys train first"),
    ("evaluate shop --registry registry --bundle none --out report", 1, "no bundle 'none'; there are: 2024"),
    ("evaluate shop --registry registry --against none --out report", 1, "no bundle 'none'; there are: 2024"),
    ("evaluate shop --registry registry --from 2023-01-01 --out report", 1, "--from lies before the end"),
    ("evaluate shop --registry registry --out file", 1, "file: File exists"),
    ("recommend --registry empty --out lists.csv", 1, "empty: no bundle is published here"),
    ("recommend --registry nowhere --out lists.csv", 1, "nowhere: no bundle is published here"),
    ("recommend --registry registry --bundle none --out lists.csv", 1, "no bundle 'none'; there are: 2024"),
    ("recommend --registry registry --bundle .. --out lists.csv", 1, "no bundle '..'; there are: 2024"),
    ("recommend --registry damaged --out lists.csv", 1, "items.npy is damaged; publish it again or roll back"),
    ("recommend --registry registry --k 0 --out lists.csv", 2, "--k: '0' is not a number from 1"),
    ("recommend --registry registry --k many --out lists.csv", 2, "--k: 'many' is not a number from 1"),
    ("recommend --registry registry --exclude bought --out lists.csv", 2, "invalid choice: 'bought'"),
    ("recommend --registry registry --out lists.txt", 2, "must end in .parquet or .csv"),
    ("recommend --registry registry --out file/lists.csv", 1, "file"),
    ("recommend --registry registry --users nowhere.csv --out lists.csv", 1, "nowhere.csv: No such file"),
    ("recommend --registry registry --users noise --out lists.csv", 1, "noise: not a text file of users"),
    ("recommend --registry registry --users nobody.csv --out lists.csv", 1, "nobody.csv: no users"),
    ("recommend --registry registry --users shop/items.parquet --out lists.csv", 1, "no column 'user_id'"),
    ("bundles show --registry empty", 1, "no bundle is published here"),
    ("bundles show none --registry registry", 1, "no bundle 'none'"),
    ("bundles promote --registry registry", 1, "give the bundle to promote"),
    ("bundles promote .. --registry registry", 1, "no bundle '..'"),
    ("bundles rollback --registry registry", 1, "no bundle served before this one"),
    (
        "bundles rollback 2024 --registry registry",
        1,
        "rollback takes no bundle; to go back to one: recsys bundles promote",
    ),
    ("train shop --registry locked", 1, "locked/.lock: Is a directory"),
    ("bundles list --registry unreadable", 1, "live.json cannot be read; promote a bundle to write it anew"),
    ("bundles remove --registry registry", 2, "invalid choice: 'remove'"),
    (f"{TABLE}", 1, "give either --event-type COLUMN or --as-type TYPE"),
    (f"{TABLE} --as-type buy", 2, "invalid choice: 'buy'"),
    (f"{TABLE} --event-type event_type --map buy", 2, "'buy' is not OLD=TYPE; TYPE is one of view_item"),
    (f"{TABLE} --event-type event_type --map view=look", 2, "'view=look' is not OLD=TYPE"),
    (f"{TABLE.replace('--user-id user_id', '--user-id user')} --as-type purchase", 1, "no column 'user'"),
    (f"{TABLE.replace('events.csv', 'nowhere.csv')} --as-type purchase", 1, "nowhere.csv: no such file"),
    (f"{TABLE.replace('--out dataset', '--out keep')} --as-type purchase", 1, "keep: not a dataset that recsys wrote"),
    ("simulate --out dataset --users 0", 1, "--users 0: give a number from 1"),
    ("simulate --out dataset --days many", 2, "invalid int value: 'many'"),
)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, shop: Path, registry: Path) -> Path:
    """A folder as a person may have it."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "shop").symlink_to(shop)
    for name in ("registry", "damaged", "unreadable"):
        shutil.copytree(registry, folder / name)
    items = next((folder / "damaged").rglob("items.npy"))
    items.write_bytes(items.read_bytes()[:-1] + b"?")
    (folder / "unreadable" / "live.json").write_text("{")
    (folder / "locked" / ".lock").mkdir(parents=True)
    for name in ("empty", "corrupt", "nocolumn", "keep"):
        (folder / name).mkdir()
    (folder / "keep" / "thesis.txt").touch()
    (folder / "corrupt" / "events.parquet").write_bytes((shop / "events.parquet").read_bytes()[:-100])
    (folder / "nocolumn" / "events.csv").write_text("user_id,item,event_type\nu,i,purchase\n")
    (folder / "events.csv").write_text("user_id,item_id,event_type\nu,i,buy\n")
    (folder / "file").touch()
    (folder / "noise").write_bytes(bytes(range(128, 256)))
    (folder / "nobody.csv").write_text("user_id\n")
    (folder / "unknown.toml").write_text("[als]\nfactor = 8\n")
    (folder / "range.toml").write_text("[ranker]\ntrees = 0\n")
    return folder


@pytest.mark.parametrize(("typed", "status", "words"), MISTAKES, ids=[typed or "nothing" for typed, _, _ in MISTAKES])
def test_a_mistake_ends_in_one_line_that_says_what_to_do(desk, monkeypatch, typed, status, words):
    monkeypatch.chdir(desk)
    done = recsys(*typed.split())
    # Before the line there may be progress, and the dataset's findings.
    *before, line = done.err.splitlines()
    assert (done.status, words in line) == (status, True), done.err
    assert line.startswith("recsys")
    assert all(re.search(r"peak +[\d,]+ MiB|searches without an item", other) for other in before), before
    assert done.out == ""
    assert not (desk / "lists.csv").exists()
    assert not (desk / "fresh" / "live.json").exists()


def test_a_mistake_in_a_real_process_prints_no_traceback(desk):
    done = process("train", desk / "nocolumn", "--registry", desk / "fresh")
    assert done.status == 1
    assert done.out == ""
    assert "Traceback" not in done.err
    assert done.err.splitlines()[-1].startswith("recsys: events.csv: no column 'item_id'")


def test_check_tells_the_problem_and_exits_with_one(desk, shop):
    done = recsys("check", desk / "nocolumn")
    assert done.status == 1
    assert "no column 'item_id'" in done.out
    assert recsys("check", shop).status == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_that_names_its_options(command):
    done = recsys(*command.split(), "--help")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith(f"usage: recsys {command}".rstrip())
    for option in re.findall(r"^  +(--[a-z-]+)(?: [A-Z]+)?$", done.out, re.MULTILINE):
        assert option == "--version", f"{option} has no help text"


def test_help_takes_no_time_as_no_library_is_loaded():
    import subprocess
    import sys

    script = "import sys; from recsys_offline import cli; cli.build_parser(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pandas", "pyarrow", "xgboost", "faiss", "implicit", "scipy"} & set(loaded)


def test_bundles_are_listed_shown_promoted_and_rolled_back(registry, shop, tmp_path):
    here = tmp_path / "registry"
    shutil.copytree(registry, here)
    (tmp_path / "other.toml").write_text("[als]\nfactors = 8\n")
    old = json.loads((here / "live.json").read_text())["bundle_id"]
    new = recsys("train", shop, "--registry", here, "--until", "2024-02-20", "--config", tmp_path / "other.toml").last

    def live() -> str:
        lines = recsys("bundles", "list", "--registry", here).out.splitlines()
        assert sorted(line.split()[0] for line in lines) == sorted([old, new])
        return next(line.split()[0] for line in lines if line.endswith("  live"))

    assert live() == new
    assert recsys("bundles", "rollback", "--registry", here).out == f"{old} is live\n"
    assert live() == old
    assert recsys("bundles", "promote", new, "--registry", here).out == f"{new} is live\n"
    assert live() == new
    shown = json.loads(recsys("bundles", "show", "--registry", here).out)
    assert shown["bundle_id"] == new
    assert shown["parameters"]["als"]["factors"] == 8


def test_where_the_output_cannot_go_is_told_in_one_line(registry):
    typed = command("bundles", "list", "--registry", registry)
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(typed, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "recsys: system: No space left on device"


def test_a_damaged_bundle_is_not_promoted(registry, tmp_path):
    here = tmp_path / "registry"
    shutil.copytree(registry, here)
    bundle_dir = next((here / "versions").iterdir())
    (bundle_dir / "users.npy").unlink()
    done = recsys("bundles", "promote", bundle_dir.name, "--registry", here)
    assert done.status == 1
    assert "users.npy is missing" in done.err


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (KeyboardInterrupt(), 130, "recsys: interrupted; what was complete is kept\n"),
        (MemoryError(), 1, "recsys: out of memory; "),
        (OSError(28, "No space left on device", "/disk/file"), 1, "recsys: /disk/file: No space left on device\n"),
    ],
)
def test_what_the_machine_does_to_a_job_is_one_line_too(monkeypatch, capsys, error, status, line):
    def fail(_: object) -> int:
        raise error

    monkeypatch.setattr(cli, "_run", fail)
    assert cli.main(["check", "anywhere"]) == status
    assert capsys.readouterr().err.startswith(line)


def test_times_without_an_offset_are_utc():
    assert cli._time("2024-01-01") == cli._time("2024-01-01T01:00:00+01:00") == 1_704_067_200
