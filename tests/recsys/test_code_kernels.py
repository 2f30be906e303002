"""Inner products of 8-bit codes, by the processor's own instruction and without it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from llvmlite.binding import get_host_cpu_features
from numba.core.errors import TypingError

from recsys.code_kernels import BLOCK, COLUMNS, LARGEST_ASKED, OFFSET, pack, portable_pack, portable_sums, sums
from recsys.kernel import kernel


@kernel
def by_either(codes, first, asked, row, start, own, portable):
    width = asked.shape[1]
    sums(codes, first, asked, row * width, width, np.int32(start), own)
    portable_sums(codes, first, asked, row * width, width, np.int32(start), portable)


@kernel
def packed(product, units, items, block, bar, found, scores, place):
    return pack(product, units, items, block * BLOCK, np.float32(bar), found, scores, place)


@kernel
def portably_packed(product, units, items, block, bar, found, scores, place):
    return portable_pack(product, units, items, block * BLOCK, np.float32(bar), found, scores, place)


def products(codes, asked):
    """int64[BLOCK], of a block's codes and a query's."""
    return ((codes.astype(int) - OFFSET) * asked.reshape(-1, 1, COLUMNS)).sum(axis=(0, 2))


@pytest.mark.parametrize("width", [4, 24, 64, 260])
def test_sums_are_the_same_integers_with_and_without_the_instruction(width):
    random = np.random.default_rng(width)
    codes = random.integers(0, 256, (3, width // COLUMNS, BLOCK, COLUMNS)).astype(np.uint8)
    asked = random.integers(-LARGEST_ASKED, LARGEST_ASKED + 1, (2, width)).astype(np.int8)
    own, portable = np.empty((2, BLOCK), dtype=np.int32)
    for block, row in ((0, 0), (2, 1)):
        start = -OFFSET * asked[row].sum(dtype=int)
        by_either(codes, block * codes[0].size, asked, row, start, own, portable)
        np.testing.assert_array_equal(own, products(codes[block], asked[row]))
        np.testing.assert_array_equal(portable, own)


def test_the_largest_codes_neither_wrap_nor_saturate():
    own, portable = np.empty((2, BLOCK), dtype=np.int32)
    for code in (0, 1, 255):
        for number in (-LARGEST_ASKED, 1, LARGEST_ASKED):
            codes = np.full((128, BLOCK, COLUMNS), code, dtype=np.uint8)
            by_either(codes, 0, np.full((1, 512), number, dtype=np.int8), 0, 7, own, portable)
            assert set(own) == set(portable) == {7 + 512 * code * number}


def test_sums_are_of_arrays_row_by_row():
    codes, asked, own = np.ones((1, BLOCK, 4), np.uint8), np.ones((8, 4), np.int8, order="F"), np.empty(BLOCK, np.int32)
    with pytest.raises(TypingError, match="row by row"):
        by_either(codes, 0, asked, 0, 0, own, own)


@pytest.mark.parametrize("either", [packed, portably_packed])
def test_items_whose_scores_reach_a_bar_are_written_down_in_order_and_nothing_beyond_a_block(either):
    random = np.random.default_rng(1)
    product = random.integers(-(10**6), 10**6, BLOCK).astype(np.int32)
    units, items = random.random((2, BLOCK)).astype(np.float32), random.integers(0, 10**6, (2, BLOCK)).astype(np.int32)
    for block in range(2):
        scores = product.astype(np.float32) * units[block]
        for bar in (-np.inf, *np.sort(scores)[[0, 1, 100, -1]], np.inf):
            found, own = np.full((3, 2 * BLOCK), -7, dtype=np.int32), np.full((3, 2 * BLOCK), np.nan, dtype=np.float32)
            place, wanted = 2 * BLOCK + 5, np.flatnonzero(scores >= bar)
            assert either(product, units, items, block, bar, found, own, place) == len(wanted)
            np.testing.assert_array_equal(found.ravel()[place : place + len(wanted)], items[block, wanted])
            np.testing.assert_array_equal(own.ravel()[place : place + len(wanted)], scores[wanted])
            for table, before in ((found, -7), (own, np.nan)):
                rest = np.delete(table.ravel(), np.s_[place : place + BLOCK])
                np.testing.assert_array_equal(rest, np.full_like(rest, before))


MADE = """
import numpy as np
from recsys.code_kernels import BLOCK, sums
from recsys.kernel import kernel

def summed(codes, asked, own):
    sums(codes, 0, asked, 0, asked.shape[1], np.int32(5), own)

if __name__ == "__main__":
    import made
    codes = (np.arange(64 * BLOCK) * 7 % 256).astype(np.uint8).reshape(16, BLOCK, 4)
    own = np.empty(BLOCK, dtype=np.int32)
    run = kernel(made.summed)
    run(codes, (np.arange(64) * 5 % 127 - 63).astype(np.int8).reshape(1, 64), own)
    code = next(iter(run.inspect_asm().values()))
    used = [name for name in ("vpdpbusd", "vpmaddubsw") if name in code] or ["-"]
    print((own * np.arange(BLOCK)).sum(), used[0], sum(run.stats.cache_hits.values()))
"""


def test_each_kind_of_processor_gets_code_of_its_own_that_answers_the_same(tmp_path):
    (tmp_path / "made.py").write_text(MADE)
    host = get_host_cpu_features()
    kinds = {None: {}, "": {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}}
    if host.get("avx2"):
        kinds["vpmaddubsw"] = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2"}
    best = "vpdpbusd" if host.get("avx512vnni") else "vpmaddubsw" if host.get("avx2") else ""
    answers = []
    for kept in ("0", "1"):
        for kind, cpu in kinds.items():
            asked = [sys.executable, str(tmp_path / "made.py")]
            roots = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
            own = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": roots} | cpu
            said = subprocess.run(asked, env=own, capture_output=True, text=True, check=True).stdout.split()
            answers.append(said[0])
            assert said[2] == kept
            assert kept == "1" or said[1] == ((best if kind is None else kind) or "-")  # what was kept has no text
    assert len(set(answers)) == 1
