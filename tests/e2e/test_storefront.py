"""The example client against a real server."""

import subprocess
import sys
from pathlib import Path

from recsys import bundle
from recsys.registry import Registry
from recsys_offline.server_process import running

EXAMPLE = Path(__file__).parents[2] / "examples" / "storefront.py"


def storefront(*arguments):
    command = [sys.executable, str(EXAMPLE), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)


def test_the_example_fills_a_slot_and_after_a_click_another_one(registry, tmp_path):
    found = Registry(registry)
    clicked = bundle.load(found.path(found.live())).model.items.id(3)
    with running(("--registry", registry, "--state", tmp_path / "state"), tmp_path / "log") as server:
        asked = ("--address", server.address, "--user", "somebody-new")
        first, second = storefront(*asked), storefront(*asked, "--click", clicked)
    assert first.stdout.count("\n") == second.stdout.count("\n") == 11
    assert first.stdout.splitlines()[:10] != second.stdout.splitlines()[:10]
    assert (first.stderr, second.stderr) == ("", "")


def test_without_a_server_the_example_shows_bestsellers():
    done = storefront("--address", "127.0.0.1:1", "--size", "2")
    assert done.stdout.splitlines() == ["  1  bestseller-1", "  2  bestseller-2", "recommendation_id: (bestsellers)"]
    assert "no recommendations" in done.stderr
