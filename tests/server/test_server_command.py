"""``recsys-server`` and its neighbours as processes, on a real bundle."""

import json
import re
import shutil
import time

import pytest

from recsys import manifest
from recsys.registry import Registry
from server_process import ANY_PORT, ROOT, run, started


@pytest.fixture
def registry(published, tmp_path):
    """A copy of it that a test may spoil."""
    shutil.copytree(published, tmp_path / "registry")
    return tmp_path / "registry"


def other_bundle(registry):
    found = Registry(registry)
    return next(bundle_id for bundle_id in found.bundle_ids() if bundle_id != found.live())


def flip_a_byte(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_the_server_serves_says_so_in_one_line_and_drains_on_sigterm(registry, world, tmp_path):
    with started(registry, tmp_path) as server:
        assert server.bundle_id == Registry(registry).live()
        known, new = server.ask("--slate-size", "5", world.users.id(3), "somebody-new")
        (seeded,) = server.ask("--seed", world.items.id(1), "--exclude-policy", "seen")
        assert server.stop() == 0
        assert server.process.stdout.read() == ""
    assert (known["served_from"], new["served_from"]) == ("SERVED_FROM_MODEL", "SERVED_FROM_POPULAR_CACHE")
    assert [item["rank"] for item in known["items"]] == [1, 2, 3, 4, 5]
    assert len(new["items"]) == 5
    assert seeded["served_from"] == "SERVED_FROM_MODEL"
    assert len(seeded["items"]) == 20
    assert world.items.id(1) not in [item["item_id"] for item in seeded["items"]]
    assert all(json.loads(line)["level"] == "info" for line in server.log.read_text().splitlines())


def test_a_published_bundle_is_loaded_and_a_damaged_one_refused_by_the_name_of_its_file(registry, world, tmp_path):
    first, second = Registry(registry).live(), other_bundle(registry)
    with started(registry, tmp_path) as server:
        Registry(registry).promote(second)
        server.wait_for_log(f"serving bundle {second}")
        assert server.ask(world.users.id(3))[0]["bundle_id"] == second
        flip_a_byte(Registry(registry).path(first) / "als_item_factors.npy")
        Registry(registry).promote(first)
        server.wait_for_log("als_item_factors.npy")
        time.sleep(0.5)
        assert server.ask(world.users.id(4))[0]["bundle_id"] == second
        assert server.stop() == 0
    errors = [line for line in map(json.loads, server.log.read_text().splitlines()) if line["level"] == "error"]
    assert len(errors) == 1
    assert first in errors[0]["message"]
    assert "traceback" not in errors[0]


def test_an_empty_registry_is_waited_for(registry, world, tmp_path):
    bundle_id = Registry(registry).live()
    with started(tmp_path / "empty", tmp_path) as server:
        assert server.bundle_id == "none"
        refused = run("-m", "recsys_server.ask", "--address", server.address)
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
        assert "UNAVAILABLE" in refused.stderr
        shutil.copytree(registry, tmp_path / "empty")
        server.wait_for_log(f"serving bundle {bundle_id}")
        assert server.ask(world.users.id(3))[0]["bundle_id"] == bundle_id


@pytest.mark.parametrize("name", ["ranker.ubj", "manifest.json", "users.npy"])
def test_a_server_does_not_start_on_a_damaged_bundle_and_says_why_in_one_line(registry, name):
    flip_a_byte(Registry(registry).path(Registry(registry).live()) / name)
    done = run("-m", "recsys_server", "--registry", str(registry), *ANY_PORT)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert name in done.stderr


def test_a_server_does_not_start_on_a_bundle_that_answers_otherwise_than_where_it_was_made(registry):
    bundles = Registry(registry)
    path = bundles.path(bundles.live())
    made = manifest.read(path)
    golden = tuple(one.model_copy(update={"scores": tuple(score + 1 for score in one.scores)}) for one in made.golden)
    other = made.model_copy(update={"golden": golden})
    other = other.model_copy(update={"bundle_id": made.bundle_id[:-12] + other.content_hash()[:12]})
    manifest.write(other, path.rename(path.with_name(other.bundle_id)))
    bundles.promote(other.bundle_id)
    done = run("-m", "recsys_server", "--registry", str(registry), *ANY_PORT)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "answers differently" in done.stderr


def test_what_keeps_a_server_from_starting_is_one_line(registry, tmp_path):
    (tmp_path / "bad.toml").write_text("[server]\nlistne = 1\n")
    bad_file = ("--config", str(tmp_path / "bad.toml"))
    with started(registry, tmp_path) as server:
        for argv, status, word in [
            (("--listen", server.address, "--metrics", "127.0.0.1:0"), 1, server.address),
            (("--listen", "127.0.0.1:0", "--metrics", server.metrics_address), 1, server.metrics_address),
            (bad_file, 1, "server.listen"),
            (("--nonsense",), 2, "--nonsense"),
        ]:
            done = run("-m", "recsys_server", "--registry", str(registry), *argv)
            assert (done.returncode, done.stdout) == (status, "")
            assert done.stderr.count("\n") == 1, done.stderr
            assert word in done.stderr


def test_nothing_of_training_is_in_the_process(published):
    code = f"""
import asyncio, sys
from pathlib import Path
from recsys_server import lean_imports
lean_imports.refuse()
from recsys_server import __main__, app, ask, models
asyncio.run(models.load(Path({str(Registry(published).path(Registry(published).live()))!r})))
print([name for name in {lean_names()} if sys.modules.get(name)])
"""
    done = run("-c", code)
    assert done.stdout == "[]\n", done.stderr


def test_threads_that_write_give_the_interpreter_back_soon(tmp_path):
    code = f"""
import contextlib, sys
from recsys_server import __main__
with contextlib.suppress(SystemExit):
    __main__.main(["--registry", {str(tmp_path)!r}, "--listen", "nowhere"])
print(sys.getswitchinterval())
"""
    done = run("-c", code)
    assert float(done.stdout) <= 0.001, done.stderr


def lean_names():
    return ["implicit", "pandas", "polars", "pyarrow", "sklearn", "matplotlib", "torch", "recsys_offline"]


def test_no_module_of_ours_in_the_server_imports_pickle():
    for folder in (ROOT / "server", ROOT / "recsys"):
        for path in folder.rglob("*.py"):
            assert not re.search(
                r"^\s*(import|from) +(pickle|cloudpickle|joblib|marshal)\b", path.read_text(), re.MULTILINE
            )


def test_the_storefront_fills_a_slot_and_falls_back_when_nobody_answers(registry, world, tmp_path):
    script = str(ROOT / "examples" / "storefront.py")
    user = world.users.id(3)
    with started(registry, tmp_path) as server:
        for _ in range(5):  # its deadline is short, and a machine that tests may be slow
            done = run(script, "--address", server.address, "--user", user, "--seen-now", world.items.id(1))
            assert done.returncode == 0, done.stderr
            if "bestseller" not in done.stdout:
                break
        assert len(re.findall(r"^ +\d+  i\d\d$", done.stdout, re.MULTILINE)) == 10
        assert re.search(r"recommendation_id: \w{32}", done.stdout)
        server.stop()
        alone = run(script, "--address", server.address, "--user", user)
    assert alone.returncode == 0
    assert "bestseller-1" in alone.stdout


def test_assignments_can_be_asked_for(registry, tmp_path):
    file = tmp_path / "experiments.toml"
    file.write_text('[[experiments]]\nname = "ranker"\nvariants = [{ name = "on" }, { name = "off" }]\n')
    (tmp_path / "recsys.toml").write_text(f'[server]\nexperiments = "{file}"\n')
    with started(registry, tmp_path, "--config", str(tmp_path / "recsys.toml")) as server:
        answers = server.ask("--assign", "u1", "u2")
    assert [answer["assignments"][0]["experiment"] for answer in answers] == ["ranker", "ranker"]
    assert {answer["assignments"][0]["reason"] for answer in answers} == {"assigned"}
