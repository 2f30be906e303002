"""``recsys-server --workers``: real processes that share a port, and what becomes of them."""

import os
import re
import shutil
import signal
import socket
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from recsys.registry import Registry
from recsys.v1 import event_pb2, event_service_pb2, event_service_pb2_grpc
from recsys.v1 import recommendation_service_pb2 as pb
from recsys.v1 import recommendation_service_pb2_grpc as pb_grpc
from server_process import ANY_PORT, children, ended, run, started

TWO = ("--workers", "2")


@pytest.fixture(scope="module")
def server(published, tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    with started(published, folder, *TWO, "--state", str(folder / "state")) as running:
        yield running


@pytest.fixture
def pair(server):
    """A connection to each worker: (0, channel), (1, channel), and more of the same."""
    channels, found = [], {}
    while len(found) < 2:
        channels.append(channel(server.address))
        before = answered(server)
        ask(channels[-1])
        worker = next(worker for worker, count in answered(server).items() if count > before.get(worker, 0))
        found.setdefault(worker, channels[-1])
    yield found
    for each in channels:
        each.close()


def channel(address):
    """A channel with a connection of its own."""
    return grpc.insecure_channel(
        address,
        options=[
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.initial_reconnect_backoff_ms", 50),
            ("grpc.max_reconnect_backoff_ms", 100),
        ],
    )


def ask(connection, user_id="nobody"):
    stub = pb_grpc.RecommendationServiceStub(connection)
    return stub.Recommend(pb.RecommendRequest(user_id=user_id, slate_size=5), timeout=5)


def metrics(server):
    with urllib.request.urlopen(f"http://{server.metrics_address}/metrics", timeout=5) as page:
        return page.read().decode()


def answered(server):
    """Recommend calls answered by each worker."""
    counts = re.findall(r'requests_total{code="OK",method="Recommend",worker="(\d)"} (\S+)', metrics(server))
    return {int(worker): float(count) for worker, count in counts}


def soon(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_the_metrics_of_all_workers_stand_at_one_address_each_with_its_number(server, pair):
    page = metrics(server)
    assert len(pair) == 2
    for worker in pair:
        assert f'recsys_bundle_info{{bundle="{server.bundle_id}",worker="{worker}"}} 1.0' in page
        assert f'process_resident_memory_bytes{{worker="{worker}"}}' in page
        assert f'recsys_rpc_duration_seconds_bucket{{le="+Inf",method="Recommend",worker="{worker}"}}' in page
    assert page.count("# TYPE recsys_requests_total counter") == 1


def test_an_event_that_one_worker_acknowledged_is_known_to_the_other_at_once(world, pair):
    for user, (told, asked) in {"new-1": (0, 1), "new-2": (1, 0)}.items():
        assert ask(pair[asked], user).served_from == pb.SERVED_FROM_POPULAR_CACHE
        event = event_pb2.Event(event_id=user, user_id=user, item_id=world.items.id(1))
        event.event_type = event_pb2.EVENT_TYPE_VIEW_ITEM
        event.event_time.GetCurrentTime()
        stub = event_service_pb2_grpc.EventServiceStub(pair[told])
        assert stub.RecordEvents(event_service_pb2.RecordEventsRequest(events=[event])).accepted_count == 1
        assert ask(pair[asked], user).served_from == pb.SERVED_FROM_MODEL


def test_a_killed_worker_is_replaced_soon_and_the_other_answers_all_along(request, server, world, pair):
    calls, stop = {0: [], 1: []}, threading.Event()

    def load(worker):
        number = 0
        while not stop.is_set():
            number += 1
            try:
                ask(pair[worker], world.users.id(number % 20))
                calls[worker].append((time.monotonic(), True))
            except grpc.RpcError:
                calls[worker].append((time.monotonic(), False))
                time.sleep(0.01)

    threads = [threading.Thread(target=load, args=(worker,)) for worker in pair]

    def finish():
        stop.set()
        for thread in threads:
            thread.join()

    request.addfinalizer(finish)
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    pids = children(server.process.pid)
    counted = answered(server)
    victim = pids[1]  # the metrics' process was forked first, then worker 0
    killed = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    assert soon(lambda: len(children(server.process.pid)) == 3 and victim not in children(server.process.pid))
    assert soon(lambda: 'bundle_info{bundle="' + server.bundle_id + '",worker="0"} 1.0' in metrics(server))
    back = time.monotonic()
    assert answered(server).get(0, 0) < counted[0], "a new worker counts from nothing"
    time.sleep(0.3)
    finish()
    assert all(ok for _, ok in calls[1])
    assert max(later - earlier for (earlier, _), (later, _) in zip(calls[1], calls[1][1:], strict=False)) < 2
    assert back - killed < 5
    assert all(ok for at, ok in calls[0] if at > killed + 2)
    server.wait_for_log("worker 0 ended with status -9")


def test_the_process_of_the_metrics_is_replaced_too(server):
    (serving,) = (pid for pid in children(server.process.pid) if holds_port(pid, server.metrics_address))
    os.kill(serving, signal.SIGKILL)
    assert soon(lambda: serving not in children(server.process.pid))

    def readable():
        try:
            return "recsys_requests_total" in metrics(server)
        except OSError:
            return False

    assert soon(readable)


def holds_port(pid, address):
    """Whether a process listens on a port."""
    port = f":{int(address.rpartition(':')[2]):04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    sockets = {f"socket:[{line[9]}]" for line in lines if line[1].endswith(port) and line[3] == "0A"}
    return any(str(file.readlink()) in sockets for file in Path(f"/proc/{pid}/fd").iterdir() if file.is_symlink())


def test_a_published_bundle_reaches_every_worker(server, published, pair):
    other = next(each for each in Registry(published).bundle_ids() if each != server.bundle_id)
    Registry(published).promote(other)
    try:
        assert soon(lambda: {ask(each).bundle_id for each in pair.values()} == {other}, 20)
    finally:
        Registry(published).promote(server.bundle_id)
    assert soon(lambda: {ask(each).bundle_id for each in pair.values()} == {server.bundle_id}, 20)


def test_a_worker_that_dies_while_the_live_bundle_is_damaged_is_replaced_by_one_that_serves_as_the_others_do(
    published, tmp_path
):
    registry = Registry(tmp_path / "registry")
    good = Registry(published).live()
    (bad,) = {*Registry(published).bundle_ids()} - {good}
    for bundle_id in (good, bad):
        shutil.copytree(Registry(published).path(bundle_id), registry.path(bundle_id))
    (registry.path(bad) / "users.npy").write_bytes(b"nothing")
    registry.promote(good)
    with started(registry.root, tmp_path, *TWO) as server:
        registry.promote(bad)
        assert soon(lambda: server.log.read_text().count(f"bundle {bad} refused") == 2)
        victim = children(server.process.pid)[1]
        os.kill(victim, signal.SIGKILL)
        assert soon(lambda: metrics(server).count('bundle_info{bundle="' + good) == 2, 20)
        assert victim not in children(server.process.pid)
        assert soon(lambda: server.log.read_text().count(f"bundle {bad} refused") == 3)


def test_on_sigterm_all_drain_and_none_is_left(published, tmp_path):
    with started(published, tmp_path, *TWO) as server:
        pids = children(server.process.pid)
        assert len(pids) == 3
        assert server.ask("u03")[0]["items"]
        assert server.stop() == 0
        assert all(map(ended, pids))
        assert "error" not in server.log.read_text()


def test_workers_end_with_their_parent(published, tmp_path):
    with started(published, tmp_path, *TWO) as server:
        pids = children(server.process.pid)
        server.process.kill()
        server.process.wait()
        assert soon(lambda: all(map(ended, pids)))


def test_what_keeps_workers_from_starting_is_one_line(server, published, tmp_path):
    broken = Registry(tmp_path / "broken")
    bundle = Registry(published).path(server.bundle_id)
    shutil.copytree(bundle, broken.path(bundle.name))
    broken.promote(bundle.name)
    (broken.path(bundle.name) / "users.npy").write_bytes(b"nothing")
    with socket.create_server(("127.0.0.1", 0)) as taken, ThreadPoolExecutor(2) as threads:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        free = "127.0.0.1:0"
        cases = [
            (published, ("--listen", address, "--metrics", free, *TWO), 1, address),
            (published, ("--listen", server.address, "--metrics", free, *TWO), 1, server.address),
            (published, ("--listen", server.address, "--metrics", free), 1, server.address),
            (published, ("--listen", free, "--metrics", address, *TWO), 1, address),
            (published, (*ANY_PORT, "--workers", "0"), 2, "--workers"),
            (broken.root, (*ANY_PORT, *TWO), 1, "users.npy"),
        ]
        ends = [
            threads.submit(run, "-m", "recsys_server", "--registry", str(root), *argv) for root, argv, _, _ in cases
        ]
    for (_, _, status, word), end in zip(cases, ends, strict=True):
        done = end.result()
        assert (done.returncode, done.stdout) == (status, "")
        assert done.stderr.count("\n") == 1, done.stderr
        assert word in done.stderr
