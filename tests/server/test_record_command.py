"""``python -m recsys_server.record``: lines in, the ids of what the server keeps out."""

import asyncio
import json
import os
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import server_fakes as fakes
from recsys.event_log import EventLog

ROOT = Path(__file__).parents[2]


def line(**fields):
    return json.dumps({"user_id": "u1", "item_id": "i1", "event_type": "EVENT_TYPE_VIEW_ITEM", **fields})


async def record(address, *lines, batch="2"):
    command = [sys.executable, "-m", "recsys_server.record", "--address", address, "--batch", batch]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "server")])
    return await asyncio.to_thread(
        subprocess.run,
        command,
        input="".join(f"{text}\n" for text in lines),
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def test_it_prints_the_id_of_each_event_that_is_kept_and_the_reason_against_the_others(tmp_path):
    async with fakes.serving(fakes.FakeRegistry(), fakes.settings(state=tmp_path)) as client:
        bad = line(event_id="bad", price=-1)
        done = await record(client.app.address, line(event_id="a"), bad, line(), line(event_id="a"))
        refused = await record(client.app.address, line(event_id="b"), "nonsense")
    with closing(EventLog(tmp_path)) as log:
        stored = [event for part in log.scan() for event in part]
    first, made, again = done.stdout.split()
    assert (done.returncode, first, again) == (1, "a", "a")
    assert [event.event_id for event in stored] == ["a", made]
    assert abs(stored[0].event_time - time.time()) < 60
    assert done.stderr == "record: bad: price: must be 0 or more and finite\n"
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)


async def test_a_batch_of_nothing_is_wrong_use():
    done = await record("127.0.0.1:1", line(), batch="0")
    assert (done.returncode, done.stdout) == (2, "")
    assert "'0' is not a number from 1" in done.stderr


async def test_where_nobody_answers_it_says_so_in_one_line():
    done = await record("127.0.0.1:1", line())
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "UNAVAILABLE" in done.stderr
