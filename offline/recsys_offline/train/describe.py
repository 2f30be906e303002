"""The manifest of a fresh bundle."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from recsys import bundle, features, manifest
from recsys.config import Config
from recsys.manifest import GoldenAnswer, Manifest, Step
from recsys.model import Model
from recsys.recommender import Identity, Recommender
from recsys.types import ExcludePolicy
from recsys_offline.train.run import Trained

LIBRARIES = ("numpy", "scipy", "numba", "faiss-cpu", "xgboost-cpu", "implicit")
GOLDEN_USERS = 4
GOLDEN_SIZE = 10


def describe(
    trained: Trained,
    data: dict[str, Any],
    config: Config,
    steps: Sequence[Step],
    created_time: int,
    folder: Path,
    sources: dict[str, dict[str, Any]],
) -> Manifest:
    """The manifest of a staged bundle, its id made of the data's end and the content's hash.

    Args:
        trained: the model and its facts.
        data: facts about the dataset.
        config: parameters of the run.
        steps: what each step took.
        created_time: unix seconds.
        folder: the staged files.
        sources: the sources' parameters, as :func:`recsys.bundle.save` returns them.
    """
    model = trained.model
    contents = Manifest(
        schema_version=manifest.SCHEMA_VERSION,
        bundle_id="",
        created_time=created_time,
        until=trained.until,
        horizon_seconds=trained.horizon_seconds,
        has_times=trained.until != 0,
        data=data,
        parameters=config.model_dump(mode="json"),
        targets=tuple(target.word for target in trained.targets),
        sources=sources,
        blend=tuple(tuple(row) for row in model.blend.tolist()),
        slots={model.snapshot.source_names[slots.source]: slots.shares for slots in model.slots},
        has_ranker=model.ranker is not None,
        feature_hash=features.feature_hash(model.snapshot.source_names),
        metrics=dict(trained.metrics),
        choices=trained.choices,
        steps=tuple(steps),
        libraries={name: version(name) for name in LIBRARIES},
        golden=golden_answers(model, trained.until),
        files={path.name: manifest.file_entry(path) for path in sorted(folder.iterdir())},
    )
    day = datetime.fromtimestamp(trained.until, UTC).strftime("%Y%m%d") if trained.until else "static"
    return contents.model_copy(update={"bundle_id": f"{day}-{contents.content_hash()[:12]}"})


def golden_answers(model: Model, until: int) -> tuple[GoldenAnswer, ...]:
    """What the model answers to a few users with and without history, to nobody, and to a page of an item."""
    histories = model.snapshot.histories
    active = np.flatnonzero(np.diff(histories.indptr) > 0)
    users = active[np.linspace(0, len(active) - 1, min(GOLDEN_USERS, len(active))).astype(int)]
    popular = model.items.id(int(model.popular.order[0]))
    asked = [
        *((model.users.id(int(user)), (), policy) for user in users for policy in ExcludePolicy),
        ("", (), ExcludePolicy.NONE),
        ("", (popular,), ExcludePolicy.NONE),
    ]
    recommender = Recommender(Identity("", until, 0), model)
    blank = [
        GoldenAnswer(
            user_id=user_id,
            seed_item_ids=seeds,
            exclude_policy=policy,
            slate_size=GOLDEN_SIZE,
            item_ids=(),
            scores=(),
        )
        for user_id, seeds, policy in asked
    ]
    answer = recommender.answer([bundle.golden_query(query, until) for query in blank], lambda: 0.0)
    if answer.errors:
        raise answer.errors[0]
    return tuple(
        query.model_copy(
            update={
                "item_ids": tuple(item.item_id for item in slate.items),
                "scores": tuple(item.score for item in slate.items),
            }
        )
        for query, slate in zip(blank, answer.slates, strict=True)
    )
