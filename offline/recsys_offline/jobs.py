"""Whole jobs, as the commands and the demo run them."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

from recsys import bundle, manifest
from recsys.config import Config
from recsys.errors import DataError
from recsys.registry import Registry
from recsys_offline import dataset
from recsys_offline.dataset import Dataset
from recsys_offline.evaluate import run as evaluation
from recsys_offline.train import run as training
from recsys_offline.train.describe import describe
from recsys_offline.train.publish import check_writable, publish
from recsys_offline.train.steps import Steps


def train_bundle(
    path: Path,
    registry: Registry,
    until: int | None,
    parameters: Config,
    state: Path | None = None,
    steps: Steps | None = None,
) -> str:
    """Train on a dataset, and on what a server's state directory holds, and publish the bundle; returns its id.

    What each step takes is told to ``steps``.

    Raises:
        DataError: the dataset cannot be used, or ``until`` (unix seconds) lies in the future.
    """
    if until is not None and until > time.time():
        raise DataError("--until lies in the future; give a time up to now, or leave it out to use all events")
    check_writable(registry)  # now, not hours later
    steps = steps or Steps(training.N_STEPS + 2)
    try:
        with steps("Read the dataset"):
            data = dataset.read(path, int(time.time()), state)
        for finding in data.findings:
            print(finding.line(), file=sys.stderr)
        trained = training.train(data, until, parameters, steps)
        for line in (*trained.choices, trained.verdict):
            print(line, file=sys.stderr)
        with steps("Publish"):
            facts = (trained, asdict(data.facts), parameters, steps.done, int(time.time()))
            return publish(registry, trained.model, partial(describe, *facts))
    finally:
        steps.close()


def evaluate_bundle(data: Dataset, registry: Registry, bundle_id: str, start: int | None) -> evaluation.Report:
    """The report of one bundle."""
    folder = registry.path(bundle_id)
    return evaluation.evaluate(data, bundle.load(folder), manifest.read(folder), start)
