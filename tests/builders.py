"""Values for tests, made of the few facts that matter to a test."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from recsys import bundle, features, manifest
from recsys.interactions import Events, Histories
from recsys.manifest import GoldenAnswer, Manifest
from recsys.model import Model
from recsys.queries import QueryBatch, exclusions
from recsys.recommender import Identity, Recommender
from recsys.sources import Proposal
from recsys.types import EventType, ExcludePolicy, Int32s, Int64s, ServedFrom, Slate, SlateItem
from recsys_server import codec_slate


def events(*rows: tuple) -> Events:
    """From rows (user, item, type, time, session 0, quantity 1, price NaN), the last three optional, in their order."""
    full = [(*row, *(0, 1.0, np.nan)[len(row) - 4 :]) for row in rows]
    types = (np.int32, np.int32, np.int8, np.int64, np.int32, np.float32, np.float32)
    columns = zip(*full, strict=True) if full else [()] * len(types)
    return Events(*(np.array(column, dtype=dtype) for column, dtype in zip(columns, types, strict=True)))


def batch(
    histories: Histories,
    now: int,
    n_items: int,
    user_num: Int32s | None = None,
    policies: list[ExcludePolicy] | None = None,
    further: list[Int32s] | None = None,
) -> QueryBatch:
    """One query for each history; users to fold in (-1) unless they are given."""
    policies = policies or [ExcludePolicy.NONE] * len(histories)
    return QueryBatch(
        user_num=np.full(len(histories), -1, dtype=np.int32) if user_num is None else user_num,
        now=np.full(len(histories), now, dtype=np.int64),
        history=histories,
        discovery=np.array([policy != ExcludePolicy.NONE for policy in policies], dtype=bool),
        n_items=n_items,
        excluded=exclusions(histories, policies, n_items, further),
    )


def sent(*items: SlateItem) -> bytes:
    """A slate as a server sends it."""
    return codec_slate.slate(Slate(items, ServedFrom.MODEL), "b1", ())


def nobodies(count: int, n_items: int) -> QueryBatch:
    """Queries of which nothing is known."""
    nothing = (np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int8), np.zeros(0, dtype=np.int64))
    columns = (*nothing, np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.int32))
    return batch(Histories(np.zeros(count + 1, dtype=np.int64), *columns), 0, n_items)


def write_bundle(
    model: Model, root: Path, *, until: int, tamper: Callable[[Path], object] = lambda _: None, **changes: object
) -> Path:
    """A complete bundle in a folder below root, which is named as the bundle.

    Args:
        model: what to write.
        root: the folder to write into.
        until: end of the data, unix seconds.
        tamper: changes files before they are hashed.
        changes: replace what the manifest says.
    """
    folder = root / "staged"
    folder.mkdir(parents=True)
    sources = bundle.save(model, folder)
    tamper(folder)
    contents = Manifest(
        schema_version=manifest.SCHEMA_VERSION,
        bundle_id="",
        created_time=until,
        until=until,
        horizon_seconds=model.latest - until,
        has_times=until > 0,
        data={},
        parameters={},
        targets=(EventType.PURCHASE.word,),
        sources=sources,
        blend=tuple(map(tuple, model.blend.tolist())),
        slots={model.snapshot.source_names[slots.source]: slots.shares for slots in model.slots},
        has_ranker=model.ranker is not None,
        feature_hash=features.feature_hash(model.snapshot.source_names),
        metrics={},
        choices=(),
        steps=(),
        libraries={},
        golden=golden_answers(model, until),
        files={path.name: manifest.file_entry(path) for path in folder.iterdir()},
    ).model_copy(update=changes)
    contents = contents.model_copy(update={"bundle_id": f"test-{contents.content_hash()[:12]}"})
    manifest.write(contents, folder)
    return folder.rename(root / contents.bundle_id)


def golden_answers(model: Model, until: int) -> tuple[GoldenAnswer, ...]:
    """What the model answers to its first user, and to nobody."""
    asked = [{"user_id": user, "seed_item_ids": (), "exclude_policy": "none"} for user in (model.users.id(0), "")]
    blank = [GoldenAnswer(**query, slate_size=5, item_ids=(), scores=()) for query in asked]
    queries = [bundle.golden_query(answer, until) for answer in blank]
    answer = Recommender(Identity("", until, 0), model).answer(queries, lambda: 0.0)
    assert not answer.errors
    return tuple(
        golden.model_copy(
            update={
                "item_ids": tuple(item.item_id for item in slate.items),
                "scores": tuple(item.score for item in slate.items),
            }
        )
        for golden, slate in zip(blank, answer.slates, strict=True)
    )


def score_of(proposal: Proposal, query: np.ndarray, item: np.ndarray) -> np.ndarray:
    """What a source says of some pairs, as merging asks it."""
    score = np.zeros((len(query), 2), dtype=np.float32)
    if proposal.say is not None:
        proposal.say(query.astype(np.int32), item.astype(np.int32), score, 1)
    assert not score[:, 0].any()
    return score[:, 1]


def proposed_keys(proposals: Sequence[Proposal], batch: QueryBatch) -> Int64s:
    """Of all pairs that are proposed, rising."""
    item = np.concatenate([proposal.item_num for proposal in proposals], axis=1)
    query, place = np.nonzero(item >= 0)
    return np.unique(batch.keys(query, item[query, place]))
