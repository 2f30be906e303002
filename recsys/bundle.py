"""Bundles: a model as a directory of plain arrays, a FAISS index and an XGBoost model, without a pickle."""

from __future__ import annotations

import mmap
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys import catalogue_files, features, manifest
from recsys.als import Confidence
from recsys.content import ContentModel, Encoder
from recsys.content_source import ContentSource, DescribedSource
from recsys.errors import BundleError
from recsys.interactions import Histories
from recsys.item_blocks import ItemBlocks
from recsys.item_index import IndexChoice, ItemIndex
from recsys.item_stats import ItemStats
from recsys.large_pages import in_large_pages
from recsys.manifest import GoldenAnswer, Manifest
from recsys.model import Model
from recsys.ranker import Ranker
from recsys.recommender import Identity, Recommender
from recsys.slate import Slots
from recsys.snapshot import Snapshot
from recsys.sources import AlsSource, CandidateSource, PopularitySource, RepeatsSource, SimilaritySource
from recsys.spectral_source import SpectralSource
from recsys.types import Array, ExcludePolicy, Float32s, Query, ServingParameters, Slate
from recsys.vocabulary import Vocabulary

RANKER = "ranker.ubj"
HISTORY = ("indptr", "item_num", "event_type", "time", "price", "session_num")
BITS = "factor_bits"
"""The array of a source's factors in half precision."""
SCORE_TOLERANCE = 1e-4
WRITTEN_AT_ONCE = 2**26
"""Bytes of an array."""
MAPPED_AT_ONCE = 2**33
"""Bytes of an array, at most: vectors of 400 numbers of ten million users, which have been hashed and are in memory."""


def save(model: Model, folder: Path) -> dict[str, dict[str, object]]:
    """Write a model's files; returns what the manifest must say of each source.

    Args:
        model: what to write.
        folder: exists and is empty.
    """
    snapshot = model.snapshot
    arrays: dict[str, Array] = {
        "users": model.users.array,
        "items": model.items.array,
        "item_stats": snapshot.stats.values,
        **{f"history_{name}": getattr(snapshot.histories, name) for name in HISTORY},
        **{f"catalogue_{name}": array for name, array in catalogue_files.arrays(model.catalogue).items()},
    }
    described: dict[str, dict[str, object]] = {}
    for source in snapshot.sources:
        columns, described[source.name] = _describe(source)
        arrays |= {f"{source.name}_{name}": array for name, array in columns.items()}
        if isinstance(source, AlsSource | SpectralSource) and source.index.choice.probes:
            source.index.write(folder / f"{source.name}.index")
    for name, array in arrays.items():
        _write(folder / f"{name}.npy", np.ascontiguousarray(array))
    if model.ranker is not None:
        model.ranker.write(folder / RANKER)
    return described


def _write(path: Path, array: Array) -> None:
    """Write an array as numpy does, in large pieces out of memory, also of one that is mapped.

    So Linux keeps the file in large pages, as it does what is read as :mod:`recsys.large_pages` asks.
    """
    rows = max(1, WRITTEN_AT_ONCE // max(array[:1].nbytes, 1))
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        for start in range(0, len(array), rows):
            array[start : start + rows].copy().tofile(file)


def load(folder: Path, *, verified: bool = False) -> Recommender:
    """The recommender of a bundle, its arrays mapped from the files.

    Args:
        folder: of the bundle.
        verified: whether every file has just been hashed by somebody else, so that it need not be here.

    Raises:
        BundleError: a file is missing or damaged, or the bundle was made by another version.
    """
    contents = manifest.read(folder) if verified else manifest.verify(folder)
    names = tuple(contents.sources)
    if contents.feature_hash != features.feature_hash(names):
        raise BundleError(f"bundle {folder.name}: its ranker expects other features than this version; train it again")
    stats = ItemStats(contents.until, _map(folder, "item_stats"))
    histories = Histories(*(_map(folder, f"history_{name}") for name in HISTORY))
    sources = _sources(folder, contents.sources)
    model = Model(
        users=Vocabulary(_map(folder, "users")),
        items=Vocabulary(_map(folder, "items")),
        snapshot=Snapshot(histories, stats, sources),
        blend=np.array(contents.blend, dtype=np.float32),
        ranker=Ranker.read(folder / RANKER) if contents.has_ranker else None,
        latest=contents.until + contents.horizon_seconds,
        slots=tuple(Slots(names.index(name), shares) for name, shares in contents.slots.items()),
        catalogue=catalogue_files.catalogue(lambda name: _map(folder, f"catalogue_{name}"), len(stats.values)),
    )
    return Recommender(Identity(contents.bundle_id, contents.until, contents.created_time), model)


def golden_query(answer: GoldenAnswer, until: int) -> Query:
    """The query of a golden answer."""
    return Query(
        user_id=answer.user_id,
        slate_size=answer.slate_size,
        now=until,
        seed_item_ids=answer.seed_item_ids,
        parameters=ServingParameters(exclude_policy=ExcludePolicy(answer.exclude_policy)),
    )


def as_trained(contents: Manifest, policy: ExcludePolicy) -> ServingParameters:
    """How the jobs ask a bundle: with the depths of retrieval that its ranker was trained on."""
    depths = contents.parameters["retrieval"]
    return ServingParameters(
        exclude_policy=policy,
        candidates_per_source=depths["candidates_per_source"],
        candidates=depths["candidates"],
    )


def check_golden(folder: Path, recommender: Recommender) -> None:
    """Ask the golden queries again.

    Raises:
        BundleError: an answer differs from the one that was given when the bundle was made.
    """
    contents: Manifest = manifest.read(folder)
    queries = [golden_query(answer, contents.until) for answer in contents.golden]
    answered = recommender.answer(queries, lambda: 0.0)
    if answered.errors:
        raise BundleError(f"bundle {folder.name}: a golden query fails: {answered.errors[0]}")
    for expected, slate in zip(contents.golden, answered.slates, strict=True):
        if not _agree(expected, slate):
            raise BundleError(
                f"bundle {folder.name}: answers differently here than where it was made (user {expected.user_id!r});"
                " train it with the libraries of this server"
            )


def _agree(expected: GoldenAnswer, slate: Slate) -> bool:
    """Whether a slate is the expected one, but for rounding: items of nearly one score may change places."""
    if len(slate.items) != len(expected.item_ids):
        return False
    last = expected.scores[-1] if expected.scores else 0.0
    score_of = dict(zip(expected.item_ids, expected.scores, strict=True))
    wanted = [score_of.get(item.item_id, last) for item in slate.items]
    found = [item.score for item in slate.items]
    close = partial(np.allclose, rtol=SCORE_TOLERANCE, atol=SCORE_TOLERANCE)
    return bool(close(found, wanted) and close(found, expected.scores))


def _describe(source: CandidateSource) -> tuple[dict[str, Array], dict[str, object]]:  # noqa: PLR0911 - one a kind
    """A source's arrays, and its parameters."""
    match source:
        case AlsSource(item_factors, user_factors, gram, confidence, index):
            arrays: dict[str, Array] = {
                "item_factors": item_factors,
                "user_factors": user_factors,
                "gram": gram,
                BITS: source.bits,
            }
            return arrays | _blocks(index), {
                "kind": "als",
                "weights": confidence.weights.tolist(),
                "alpha": confidence.alpha,
                "half_life_days": confidence.half_life_days,
                "until": confidence.until,
                "index": asdict(index.choice),
            }
        case SpectralSource(item_factors, inverse_degree, weights, half_life_days, index):
            arrays = {"item_factors": item_factors, "inverse_degree": inverse_degree, BITS: source.bits}
            described = {"kind": "spectral", "weights": weights.tolist(), "half_life_days": half_life_days}
            return arrays | _blocks(index), {**described, "index": asdict(index.choice)}
        case DescribedSource(_, factors):
            return {"factors": factors, BITS: source.bits}, {"kind": "described"}
        case ContentSource(_, item_num, ContentModel(encoder, weights, strength)):
            terms = {"terms": encoder.terms.array, "idf": encoder.idf}
            described = {"kind": "content", "dimensions": encoder.dimensions, "strength": strength}
            return {"item_num": item_num, "weights": weights, **terms}, described
        case SimilaritySource(neighbours, weights, half_life_days):
            arrays = {"indptr": neighbours.indptr, "indices": neighbours.indices, "data": neighbours.data}
            return arrays, {"kind": "neighbours", "weights": weights.tolist(), "half_life_days": half_life_days}
        case RepeatsSource(types, half_life_days):
            return {}, {"kind": "repeats", "types": types.tolist(), "half_life_days": half_life_days}
        case PopularitySource(popularity):
            return {"score": popularity}, {"kind": "popularity"}
    raise TypeError(f"no file format for {source.name}")


def _blocks(index: ItemIndex) -> dict[str, Array]:
    """The arrays of an index that searches blocks."""
    if index.blocks is None:
        return {}
    return {f"index_{field.name}": getattr(index.blocks, field.name) for field in fields(ItemBlocks)}


def _index(folder: Path, name: str, choice: IndexChoice, factors: Float32s) -> ItemIndex:
    """The index of a source, as it was chosen."""
    if choice.probes:
        return ItemIndex.read(folder / f"{name}.index", choice, factors)
    if choice.searched:
        blocks = ItemBlocks(*(_map(folder, f"{name}_index_{field.name}") for field in fields(ItemBlocks)))
        return ItemIndex(choice, factors, blocks)
    return ItemIndex.exact(factors)


def _sources(folder: Path, described: dict[str, dict[str, Any]]) -> tuple[CandidateSource, ...]:
    """The sources, in order."""
    sources: list[CandidateSource] = []
    for name, parameters in described.items():
        sources.append(_source(folder, name, parameters, sources))
    return tuple(sources)


def _source(  # noqa: PLR0911 - one a kind
    folder: Path, name: str, parameters: dict[str, Any], earlier: list[CandidateSource]
) -> CandidateSource:
    """The source of that name, from its files, its parameters and the sources before it."""

    def array(column: str) -> Array:
        return _map(folder, f"{name}_{column}")

    given: dict[str, Any] = {
        key: np.array(value) if isinstance(value, list) else value for key, value in parameters.items()
    }
    match given.pop("kind"):
        case "spectral":
            item_factors = array("item_factors")
            index = _index(folder, name, IndexChoice(**given.pop("index")), item_factors)
            return SpectralSource(
                item_factors, array("inverse_degree"), **given, index=index, name=name, known_bits=array(BITS)
            )
        case "als":
            item_factors = array("item_factors")
            index = _index(folder, name, IndexChoice(**given.pop("index")), item_factors)
            return AlsSource(
                item_factors, array("user_factors"), array("gram"), Confidence(**given), index, known_bits=array(BITS)
            )
        case "described":
            als = next(source for source in earlier if isinstance(source, AlsSource))
            return DescribedSource(als, array("factors"), known_bits=array(BITS))
        case "content":
            als = next(source for source in earlier if isinstance(source, AlsSource))
            encoder = Encoder(Vocabulary(array("terms")), array("idf"), given["dimensions"])
            return ContentSource(als, array("item_num"), ContentModel(encoder, array("weights"), given["strength"]))
        case "neighbours":
            rows = len(array("indptr")) - 1
            stored = (array("data"), array("indices"), array("indptr"))
            return SimilaritySource(sp.csr_array(stored, shape=(rows, rows)), **given, name=name)
        case "repeats":
            return RepeatsSource(**given, name=name)
        case "popularity":
            return PopularitySource.of(array("score"))
    raise BundleError(f"bundle {folder.name}: unknown source {name!r}; it was made by a newer version")


def _map(folder: Path, name: str) -> Array:
    """An array of a bundle, mapped read-only; all of its pages at once, unless they are too many.

    Else queries meet pages that none has met before, for hours if users are many, and wait for the system to map them.
    """
    loaded = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
    if isinstance(loaded.base, mmap.mmap):
        in_large_pages(loaded.base)
    array: Array = loaded.view(np.ndarray)
    if 0 < array.nbytes <= MAPPED_AT_ONCE:
        np.ravel(array, order="K").view(np.uint8)[:: mmap.PAGESIZE].max()
    return array
