"""Batch lists: slates of many users at once, written as they are made."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa

from recsys.errors import DataError
from recsys.recommender import Recommender
from recsys.slate import Asked
from recsys.stages import Stopwatch
from recsys.types import ExcludePolicy, Int32s, ServingParameters
from recsys_offline.table_files import writer
from recsys_offline.tables import Table

USERS_AT_ONCE = 2_000
SCHEMA = pa.schema([("user_id", pa.string()), ("item_id", pa.string()), ("rank", pa.int32()), ("score", pa.float32())])


def recommend(recommender: Recommender, user_ids: list[str], k: int, parameters: ServingParameters, out: Path) -> int:
    """Write k rows (user_id, item_id, rank from 1, score) for each user, known or not; returns the rows written.

    There are fewer where the catalogue has fewer items.

    Raises:
        DataError: the file's name does not end in ``.parquet`` or ``.csv``.
    """
    k, rows = min(k, len(recommender.model.items)), 0
    with writer(out, SCHEMA) as write:
        for start in range(0, len(user_ids), USERS_AT_ONCE):
            table = _lists(recommender, user_ids[start : start + USERS_AT_ONCE], k, parameters)
            write(table)
            rows += table.num_rows
    return rows


def read_user_ids(path: Path) -> list[str]:
    """The users of a file, each once, in order: a column ``user_id`` of csv or parquet, or a plain line each.

    Raises:
        DataError: the file holds no users, or is not text.
    """
    if path.suffix == ".parquet":
        users = Table.at(path).ids("user_id")
        texts = users.distinct.to_pylist()
        ids = [texts[num] for num in users.num[users.num >= 0].tolist()]
    else:
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:  # spreadsheets write a mark before the text
                lines = [line for line in csv.reader(file) if line]
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{path}: not a text file of users ({error}); save it as UTF-8") from error
        named = bool(lines) and "user_id" in lines[0]
        column = lines[0].index("user_id") if named else 0
        ids = [line[column] for line in lines[1 if named else 0 :] if len(line) > column]
    if not ids:
        raise DataError(f"{path}: no users; give a column user_id, or one id a line")
    return list(dict.fromkeys(ids))


def _lists(recommender: Recommender, user_ids: list[str], k: int, parameters: ServingParameters) -> pa.Table:
    """The rows of some users."""
    model = recommender.model
    user_num: Int32s = model.users.nums(user_ids)
    batch = recommender.user_batch(user_num, ExcludePolicy(parameters.exclude_policy))
    ranked = recommender.rank(batch, [Asked(k)] * len(user_ids), parameters, Stopwatch(lambda: 0.0))
    for error in ranked.errors:
        raise error
    lengths = [len(slate.item_num) for slate in ranked.slates]
    user = np.repeat(np.arange(len(user_ids)), lengths)
    return pa.table(
        [
            pa.array(user_ids).take(pa.array(user)),
            model.items.ids(np.concatenate([slate.item_num for slate in ranked.slates])),
            np.concatenate([np.arange(1, length + 1, dtype=np.int32) for length in lengths]),
            np.concatenate([slate.score for slate in ranked.slates]),
        ],
        schema=SCHEMA,
    )
