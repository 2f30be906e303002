"""A server of our own for as long as a job needs it, and a client: the jobs themselves know no gRPC."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsys.errors import RecsysError

SAID = 500
"""Characters of its log that are shown of a server that does not start."""
DRAIN_SECONDS = 30.0
Ask = Callable[..., dict[str, Any]]
_ADDRESS = re.compile(r" on (\S+),")


@dataclass(frozen=True, slots=True)
class Running:
    """A server that serves: its process, its address, and the line that it printed."""

    process: subprocess.Popen[str]
    address: str
    line: str


@contextmanager
def running(
    options: Sequence[str | Path], log: Path, *, metrics: str = "", end: signal.Signals = signal.SIGTERM
) -> Iterator[Running]:
    """Start a server on a free port, and end it after the block.

    Args:
        options: of recsys-server, such as ``("--registry", DIR)``.
        log: where its log goes.
        metrics: address of its metrics; empty: none.
        end: the signal that ends it.

    Raises:
        RecsysError: it does not start; shows the end of its log.
    """
    command = [sys.executable, "-m", "recsys_server", *map(str, options)]
    command += ["--listen", "127.0.0.1:0", "--metrics", metrics]
    with log.open("w+") as told:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=told, text=True)  # noqa: S603 - our own
        with process:
            try:
                line = process.stdout.readline().strip() if process.stdout else ""
                found = _ADDRESS.search(line)
                if not found:
                    told.seek(0)
                    raise RecsysError(f"the server did not start: {told.read()[-SAID:]}")
                yield Running(process, found[1], line)
            finally:
                process.send_signal(end)
                process.wait(timeout=DRAIN_SECONDS)


@contextmanager
def calling(*addresses: str) -> Iterator[Ask]:
    """A function that calls servers: from "Service.Method", a request as JSON, and which server, to the response.

    It raises RecsysError where a call is refused or a server cannot be reached.
    """
    command = [sys.executable, "-m", "recsys_server.call", *addresses]
    process = subprocess.Popen(  # noqa: S603 - our own
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    with process:

        def ask(method: str, request: dict[str, Any], server: int = 0) -> dict[str, Any]:
            if process.stdin is not None:
                process.stdin.write(json.dumps({"method": method, "request": request, "server": server}) + "\n")
            line = process.stdout.readline() if process.stdout is not None else ""
            answer: dict[str, Any] = json.loads(line) if line else {"error": "the server did not answer"}
            if "error" in answer:
                raise RecsysError(f"{method}: {answer['error']}")
            return answer

        yield ask
