"""Metrics of all workers at one address, whatever a worker or the environment does."""

import socket
import threading

from prometheus_client import CollectorRegistry, Counter, generate_latest, start_http_server

from recsys_server import worker_metrics


def test_workers_are_asked_without_a_proxy_and_one_that_dies_in_its_answer_is_left_out(monkeypatch):
    own = CollectorRegistry()
    Counter("calls", "Calls.", registry=own).inc(3)
    server, thread = start_http_server(0, "127.0.0.1", own)
    dying = socket.create_server(("127.0.0.1", 0))

    def die():
        connection, _ = dying.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ncalls_total 7\n")

    helper = threading.Thread(target=die)
    helper.start()
    try:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        monkeypatch.delenv("no_proxy", raising=False)
        joined = worker_metrics.registry(lambda: [server.server_port, dying.getsockname()[1], 0])
        text = generate_latest(joined).decode()
    finally:
        server.shutdown()
        thread.join()
        helper.join()
        server.server_close()
        dying.close()
    assert 'calls_total{worker="0"} 3.0' in text
    assert 'worker="1"' not in text
