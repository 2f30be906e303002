"""Tables that are turned are those of numpy."""

import os
import subprocess
import sys

import numpy as np
import pytest

from recsys.turn_kernels import WORDS, turn

CODE = (
    "import numpy as np; from recsys.turn_kernels import turn\n"
    "rows, columns = np.load('rows.npy'), np.zeros((9, 40), dtype=np.float32)\n"
    "turn(columns, 0, 40, rows); np.save('columns.npy', columns)"
)


def rows_of(n: int, width: int) -> np.ndarray:
    return np.random.default_rng(n).normal(size=(n, width)).astype(np.float32)


@pytest.mark.parametrize("n", [0, 1, WORDS - 1, WORDS, WORDS + 1, 3 * WORDS, 250])
@pytest.mark.parametrize("width", [0, 1, 9, WORDS - 1, WORDS, WORDS + 1, 40])
def test_every_row_becomes_a_column_and_nothing_else_is_written(n, width):
    rows, columns = rows_of(n, width), np.full((2 * width + 2, n), 7, dtype=np.float32)
    turn(columns, n, 2 * n, rows)
    np.testing.assert_array_equal(columns[1 : 2 * width : 2], rows.T)
    assert (columns[::2] == 7).all()
    assert (columns[2 * width :] == 7).all()


def test_a_processor_without_long_vectors_turns_them_as_well(tmp_path):
    rows = rows_of(40, 9)
    np.save(tmp_path / "rows.npy", rows)
    plain = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path)}
    there = {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", CODE], cwd=tmp_path, env=os.environ | plain | there, check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "columns.npy"), rows.T)
