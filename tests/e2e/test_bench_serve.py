"""The benchmark of serving, whole and small: an echo and real servers of a real bundle under load."""

import json

from recsys_offline.bench.serve import PAIRS
from recsys_offline.bench.serve_table import PROMISED, STAGES, STEADY, STEADY_EVENTS, is_sound, summary
from shops import recsys

SMALL = ("--users", 1_500, "--items", 300, "--factors", 8, "--rounds", 1, "--seconds", 0.3)


def test_servers_and_an_echo_take_turns_and_every_slate_is_read(tmp_path):
    out = tmp_path / "made" / "serve.json"
    done = recsys("bench", "serve", *SMALL, "--cache-dir", tmp_path / "cache", "--out", out)
    assert done.status == 0, done.err + done.out
    result = json.loads(out.read_text())
    (table,) = result["tables"]
    assert (table["users"], table["items"], table["factors"], result["rounds"]) == (1_500, 300, 8, 1)
    (loads,) = table["rounds"]
    assert {"echo, closed", "server, closed, known users", "server, 1000/s", "server, 200% of capacity"} < {*loads}
    assert all(load["sent"] > 0 and load["cpu_us"] > 0 for load in loads.values())
    closed = loads["server, closed, known users"]
    assert closed["served_from"]["SERVED_FROM_MODEL"] > 0
    assert "SERVED_FROM_POPULAR_CACHE" not in closed["served_from"]  # nobody is unknown there
    assert all(closed["stage_seconds"][stage] > 0 for stage in STAGES)
    assert 0 < closed["started_cpu_us"] < closed["cpu_us"]
    assert min(load["answered_per_second"] for load in (loads["echo, closed"], closed)) > 0  # which is more, time tells
    assert {"echo, 64 calls", "server, 64 calls, known users", "bare echo, closed"} < {*loads}
    assert loads["cached, closed"]["served_from"]["SERVED_FROM_USER_CACHE"] > 0
    assert [{*pair} for pair in table["pairs"]] == [{STEADY, STEADY_EVENTS}] * PAIRS
    assert [*table["pairs"][0]] != [*table["pairs"][1]]  # each is first by turns
    assert all(pair[STEADY_EVENTS]["records"]["kept"] > 0 for pair in table["pairs"])
    assert 1 < table["pss_anon_mib"]["echo"] < table["pss_anon_mib"]["uncached"] < 1_000
    for line in (
        "| server, 200% of capacity |",
        "- CPU of a computed answer / echo: ",
        "- stages, us of an answer at full load: look_up ",
    ):
        assert line in done.out
    assert done.out.endswith("serve.json\n")
    assert is_sound(result)
    loads[PROMISED] |= {"ok": 0, "good": 0, "ms": dict.fromkeys(loads[PROMISED]["ms"])}
    assert not is_sound(result)  # a server that answers nothing is no fast one
    assert "p99 at 1,000/s inf ms" in summary(table)["promise"]
    assert "refused or late 100.00%" in summary(table)["promise"]
