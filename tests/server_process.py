"""``recsys-server`` as a process."""

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
LINE = re.compile(r"^recsys-server serving bundle (\S+) on (127\.0\.0\.1:\d+), metrics on (127\.0\.0\.1:\d+)\n$")
ANY_PORT = ("--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0")


def environment():
    paths = [str(ROOT), str(ROOT / "offline"), str(ROOT / "server")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "RECSYS_SERVER__RELOAD_SECONDS": "0.1"}


class Server:
    """A running server."""

    def __init__(self, process, line, log):
        self.process = process
        self.line = line
        self.bundle_id, self.address, self.metrics_address = LINE.match(line).groups()
        self.log = log

    def ask(self, *argv):
        done = run("-m", "recsys_server.ask", "--address", self.address, *argv)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def wait_for_log(self, word):
        end = time.monotonic() + 20
        while time.monotonic() < end:
            if word in self.log.read_text():
                return
            time.sleep(0.05)
        raise AssertionError(f"no {word!r} in {self.log.read_text()}")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=20)


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def ended(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@contextmanager
def started(registry, tmp_path, *argv):
    log = tmp_path / "server.log"
    command = [sys.executable, "-m", "recsys_server", "--registry", str(registry), *ANY_PORT, *argv]
    with (
        log.open("w") as stderr,
        subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=stderr, text=True) as process,
    ):
        try:
            assert select.select([process.stdout], [], [], 30)[0], log.read_text()
            yield Server(process, process.stdout.readline(), log)
        finally:
            process.kill()


def run(*argv):
    return subprocess.run(
        [sys.executable, *argv], env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
