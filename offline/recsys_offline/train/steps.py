"""What a job is doing, for the person who waits: a bar on a terminal, plain lines elsewhere, and what each took."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from tqdm import tqdm

from recsys.manifest import Step


class Steps:
    """The steps of a job, measured.

    Args:
        total: how many there will be.
        stream: where progress goes; stderr for None.
    """

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._bar = tqdm(total=total, file=self._stream, disable=not self._stream.isatty(), leave=False, unit="step")
        self.done: list[Step] = []

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Run one step: its name while it runs; its seconds and the peak memory so far once it is done."""
        self._bar.set_description_str(name)
        start = time.monotonic()
        yield
        step = Step(name=name, seconds=round(time.monotonic() - start, 3), peak_mib=round(peak_mib(), 1))
        self.done.append(step)
        line = f"{step.name:<44} {step.seconds:>8.1f} s  peak {step.peak_mib:>7,.0f} MiB"
        tqdm.write(line, file=self._stream)
        self._bar.update()

    def close(self) -> None:
        """Take the bar away."""
        self._bar.close()


def peak_mib() -> float:
    """The largest resident memory that this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
