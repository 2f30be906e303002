"""A server that records events is killed with SIGKILL: nothing that it acknowledged is lost, nothing is there twice."""

import json

from recsys_offline.bench import crash


def test_a_killed_server_has_kept_every_acknowledged_event_once(tmp_path, capsys):
    result = crash.bench(tmp_path / "crash.json", kills=3)
    assert crash.is_whole(result), result
    assert result["kills_amid_a_call"] >= 1
    assert result["acknowledged"] == result["stored"] == result["training_set"] == result["sent"]
    assert json.loads((tmp_path / "crash.json").read_text()) == result
    assert "3 kills" in crash.lines(result)[0]
    assert "3 kills" in capsys.readouterr().err


def test_what_was_lost_or_stored_twice_is_told():
    whole = {
        "acknowledged_and_lost": 0,
        "stored_twice": 0,
        "stored_and_never_sent": 0,
        "stored": 5,
        "training_set": 5,
        "file": "ok",
    }
    assert crash.is_whole(whole)
    for name, value in {"acknowledged_and_lost": 1, "stored_twice": 1, "training_set": 6, "file": "damaged"}.items():
        assert not crash.is_whole({**whole, name: value})
