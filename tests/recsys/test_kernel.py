"""Every kernel is compiled once: a request that waits for the compiler waits for seconds."""

import importlib
import os
import pkgutil
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import builders
import recsys
import worlds
from recsys import bundle, kernel
from recsys.content_source import DescribedSource
from recsys.item_blocks import ItemBlocks
from recsys.item_index import IndexChoice, ItemIndex
from recsys.kernel import frozen
from recsys.recommender import Recommender
from recsys.rules import AnyOf, Rules
from recsys.sources import SimilaritySource
from recsys.spectral_source import SpectralSource
from recsys.types import EventType, LiveEvent, Query

OUTER = "@kernel\ndef outer(x):\n    return inner(x)\n"
NAMES = (module.name for module in pkgutil.iter_modules(recsys.__path__))
MODULES = [importlib.import_module(f"recsys.{name}") for name in NAMES if name.endswith("_kernels")]


def compiled() -> dict[str, int]:
    """The variants that there are of each kernel."""
    loops = (loop for module in MODULES for loop in vars(module).values() if hasattr(loop, "signatures"))
    return {f"{loop.__module__}.{loop.__name__}": len(loop.signatures) for loop in loops}


@pytest.fixture(scope="module")
def trained() -> Recommender:
    """With every kind of source, as training leaves them: arrays that may be written to, the wide indices of scipy."""
    plain = worlds.branded(worlds.recommender(worlds.world(), ranker=None))
    als, near, *others = plain.model.snapshot.sources
    index = ItemIndex(IndexChoice("Flat", 0, 1.0, searched=40), als.item_factors, ItemBlocks.of(als.item_factors))
    als, neighbours = replace(als, index=index), near.neighbours.copy()
    neighbours.indptr, neighbours.indices = neighbours.indptr.astype(np.int64), neighbours.indices.astype(np.int64)
    wide = SimilaritySource(neighbours, near.weights, 9.0, name="sessions")
    spectral = SpectralSource(als.item_factors, 1 / als.length, near.weights, 9.0, index)
    sources = (als, near, wide, spectral, DescribedSource(als, als.item_factors), *others)
    blend = np.asfortranarray(np.ones((3, len(sources)), np.float32))
    return Recommender(
        plain.identity, replace(plain.model, snapshot=replace(plain.model.snapshot, sources=sources), blend=blend)
    )


def queries(recommender: Recommender) -> list[Query]:
    """Of users known and new, in the middle of a visit and with a condition."""
    now, seen = recommender.until + 60, LiveEvent("i05", EventType.VIEW_ITEM, recommender.until + 5)
    plain = [Query(user, 10, now, seeds) for user in ("u00", "u40", "new") for seeds in ((), ("i05", "i20"))]
    in_view = Query("u01", 10, now, live_events=(seen,))
    return [
        *plain,
        in_view,
        in_view._replace(rules=Rules(condition=AnyOf("brand", ("b1",)))),
        in_view._replace(explain=True),
    ]


def asked(recommender: Recommender) -> None:
    """Every way to ask, all queries at once and each alone."""
    own = queries(recommender)
    for batch in (own, *([query] for query in own)):
        for ask in (recommender.answer, recommender.similar, recommender.rank_items):
            assert not ask(batch, lambda: 0.0).errors


def test_neither_a_mapped_bundle_nor_a_lone_query_is_a_reason_to_compile(trained, recommender, tmp_path):
    for model in (trained, recommender):  # one knows every source, the other has a ranker
        asked(model)
    code = compiled()
    assert sum(code.values()) > len(MODULES)
    for place, model in enumerate((trained, recommender)):
        folder = builders.write_bundle(model.model, tmp_path / str(place), until=model.until)
        asked(bundle.load(folder))
    assert compiled() == code


def test_a_kernel_is_compiled_anew_when_another_that_it_calls_has_changed(tmp_path):
    package = tmp_path / "recsys"
    package.mkdir()
    (package / "__init__.py").write_text("")
    shutil.copy(kernel.__file__, package / "kernel.py")
    head = "from recsys.kernel import kernel\n"
    (package / "outer_kernels.py").write_text(f"{head}from recsys.inner_kernels import inner\n{OUTER}")
    for step in (1, 2):
        (package / "inner_kernels.py").write_text(f"{head}@kernel\ndef inner(x):\n    return x + {step}\n")
        asked = "from recsys.outer_kernels import outer; print(outer(40), sum(outer.stats.cache_hits.values()))"
        for hits in (0, 1):
            answer = subprocess.run(
                [sys.executable, "-c", asked],
                cwd=tmp_path,
                env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)},
                capture_output=True,
                text=True,
                check=True,
            ).stdout.split()
            assert answer == [str(40 + step), str(hits)]


def test_a_frozen_array_is_the_same_memory_which_nobody_writes_to():
    array = np.arange(3.0)
    view = frozen(array)
    array[0] = 7
    assert view.tolist() == [7, 1, 2]
    assert array.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 1
