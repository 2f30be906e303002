"""`kill -9` of a training at any moment leaves the registry usable, with a bundle that is whole."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from recsys import bundle, manifest
from recsys.registry import Registry
from shops import DAY, START, command, recsys, train, write

MOMENTS = 8

# Publishes again and again from a loaded bundle; each child is killed one file operation later than the one before.
KILLED_AT_EVERY_STEP = """
import json, os, signal, sys
from pathlib import Path
from recsys import bundle, manifest
from recsys.registry import Registry
from recsys_offline.train.publish import publish

registry = Registry(Path(sys.argv[1]))
first = registry.path(registry.live())
model, contents = bundle.load(first).model, manifest.read(first)
CHANGES = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir"}

def child(number):
    seen = 0
    def step():
        nonlocal seen
        seen += 1
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)
    def hook(event, arguments):
        if event in CHANGES and isinstance(arguments[0], (str, os.PathLike)) and sys.argv[1] in str(arguments[0]):
            step()
    def counted(function):
        return lambda *arguments, **options: (step(), function(*arguments, **options))[1]
    os.fsync, json.dump = counted(os.fsync), counted(json.dump)
    def describe(folder, sources):
        files = {path.name: manifest.file_entry(path) for path in sorted(folder.iterdir())}
        fresh = contents.model_copy(update={"data": {"attempt": number}, "files": files})
        return fresh.model_copy(update={"bundle_id": "attempt-" + fresh.content_hash()[:12]})
    sys.addaudithook(hook)
    publish(registry, model, describe)

for number in range(1, 1000):
    before = registry.live()
    if not (pid := os.fork()):
        try:
            child(number)
        finally:
            os._exit(0)
    killed = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    for bundle_id in registry.bundle_ids():
        manifest.verify(registry.path(bundle_id))
    left = len(list(registry.staging.iterdir()))
    print(json.dumps({"killed": killed, "moved": registry.live() != before, "left": left}))
    if not killed:
        break
"""


@pytest.fixture
def small_shop(tmp_path: Path) -> Path:
    rows = [(f"u{n % 40}", f"i{n * n % 17}", "purchase", START + n % 28 * DAY) for n in range(400)]
    return write(tmp_path / "shop", rows)


def test_killed_at_any_file_operation_of_a_publish_the_alias_names_a_whole_bundle(small_shop, tmp_path):
    train(small_shop, tmp_path / "registry", als={"factors": 8})
    script = [sys.executable, "-c", KILLED_AT_EVERY_STEP, str(tmp_path / "registry")]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}  # a team of threads does not survive a fork
    done = subprocess.run(script, capture_output=True, text=True, check=False, timeout=100, env=alone)
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    killed, last = told[:-1], told[-1]
    assert len(killed) > 40  # every file is written once and read back once
    assert sum(one["left"] > 0 for one in killed) > 30
    assert max(one["left"] for one in killed) == 1  # what one run leaves, the next one sweeps
    assert last == {"killed": False, "moved": True, "left": 0}
    moved = [one["moved"] for one in told]
    assert moved == sorted(moved)  # the alias moves at one moment, and before it not at all


def test_what_others_have_left_in_the_staging_area_keeps_nobody_from_publishing(small_shop, tmp_path):
    staging = tmp_path / "registry" / "staging"
    (staging / "empty").mkdir(parents=True)
    (staging / "notes.txt").touch()
    (staging / "dangling").symlink_to(tmp_path / "nowhere")
    done = recsys("train", small_shop, "--registry", tmp_path / "registry")
    assert done.status == 0, done.err
    assert sorted(path.name for path in staging.iterdir()) == ["dangling", "notes.txt"]


def test_killed_at_random_moments_a_training_leaves_the_old_bundle_or_the_new_one(small_shop, tmp_path):
    def start(seed: int) -> subprocess.Popen[bytes]:
        """A training that has begun."""
        config = tmp_path / f"{seed}.toml"
        config.write_text(f"[train]\nseed = {seed}\nthreads = 1\n")
        typed = command("train", small_shop, "--registry", tmp_path / "registry", "--config", config)
        process = subprocess.Popen(typed, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        # A library may warn before the first line of our own.
        assert any(line.startswith(b"Read the dataset") for line in iter(process.stderr.readline, b""))
        return process

    registry = Registry(tmp_path / "registry")
    with start(100) as whole:
        begun = time.monotonic()
        assert whole.stderr.read()
    took = time.monotonic() - begun
    published = {registry.live()}
    for seed, moment in enumerate(np.random.default_rng(11).random(MOMENTS) * took):
        with start(seed) as process:
            time.sleep(moment)
            process.kill()
        listed = recsys("bundles", "list", "--registry", registry.root)
        assert listed.status == 0, listed.err
        live = registry.live()
        assert f"{live}  made" in listed.out
        bundle.check_golden(registry.path(live), bundle.load(registry.path(live)))
        for bundle_id in registry.bundle_ids():
            manifest.verify(registry.path(bundle_id))
        published.add(live)
    with start(200) as last:
        assert last.stderr.read()
    assert last.returncode == 0
    assert registry.live() not in published
    assert list(registry.staging.iterdir()) == []
