"""Exposures are written after the answer: soon, all of them on a drain, and never in the way of an answer."""

import contextlib

import server_fakes as fakes
from recsys.exposure_log import Exposure, ExposureLog
from recsys_server import log_writer
from recsys_server.log_writer import LogWriter


def exposure(num):
    return Exposure(f"r{num}", num, "u1", "home", "b1", (), b"slate")


def stored(state):
    with contextlib.closing(ExposureLog(state)) as log:
        return [one.recommendation_id for part in log.scan() for one in part]


async def test_a_recorded_exposure_is_in_the_log_soon(tmp_path):
    writer = LogWriter("exposures", ExposureLog(tmp_path), [].append)
    writer.record(exposure(1))
    await fakes.until(lambda: stored(tmp_path) == ["r1"])
    writer.record(exposure(2))
    await writer.close()
    assert stored(tmp_path) == ["r1", "r2"]


async def test_beyond_the_most_that_wait_exposures_are_dropped_and_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(log_writer, "MOST_WAITING", 5)
    lost = []
    writer = LogWriter("exposures", ExposureLog(tmp_path), lost.append)
    for num in range(8):
        writer.record(exposure(num))
    await writer.close()
    assert (stored(tmp_path), sum(lost)) == ([f"r{num}" for num in range(5)], 3)


async def test_exposures_that_the_disk_refuses_are_counted_and_the_next_ones_are_tried(tmp_path):
    lost = []
    log = ExposureLog(tmp_path)
    log.close()
    writer = LogWriter("exposures", log, lost.append)
    for num in range(3):
        writer.record(exposure(num))
    await writer.close()
    assert sum(lost) == 3


async def test_a_row_that_cannot_be_written_is_counted_and_the_next_ones_are_written(tmp_path):
    lost = []
    writer = LogWriter("exposures", ExposureLog(tmp_path), lost.append)
    writer.record(None)
    await fakes.until(lambda: lost == [1])
    writer.record(exposure(2))
    await writer.close()
    assert stored(tmp_path) == ["r2"]
