"""The catalogue as arrays: what a bundle stores of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from recsys.catalogue import ItemCatalogue, TextColumn
from recsys.types import Array

TEXTS, NUMBERS, FLAGS = "texts", "numbers", "flags"
_BETWEEN = "\0"
"""Between two texts; in none of them."""


def arrays(catalogue: ItemCatalogue) -> dict[str, Array]:
    """Every array of a catalogue by its name; what the shop has deleted is of no bundle."""
    n_items = len(catalogue)
    codes = [column.codes for column in catalogue.texts.values()]
    values = {f"{TEXTS}_{num}": _joined(column.values) for num, column in enumerate(catalogue.texts.values())}
    return {
        f"{TEXTS}_names": _joined([*catalogue.texts]),
        TEXTS: np.array(codes, dtype=np.int32).reshape(-1, n_items),
        **values,
        f"{NUMBERS}_names": _joined([*catalogue.numbers]),
        NUMBERS: np.array([*catalogue.numbers.values()], dtype=np.float64).reshape(-1, n_items),
        f"{FLAGS}_names": _joined([*catalogue.flags]),
        FLAGS: np.array([*catalogue.flags.values()], dtype=np.int8).reshape(-1, n_items),
    }


def catalogue(array: Callable[[str], Array], n_items: int) -> ItemCatalogue:
    """The catalogue of n items whose arrays a function gives by name."""
    names = {kind: _parts(array(f"{kind}_names")) for kind in (TEXTS, NUMBERS, FLAGS)}
    texts = [
        TextColumn(codes, tuple(_parts(array(f"{TEXTS}_{num}"))))
        for num, codes in zip(range(len(names[TEXTS])), array(TEXTS), strict=True)
    ]
    return ItemCatalogue(
        texts=dict(zip(names[TEXTS], texts, strict=True)),
        numbers=dict(zip(names[NUMBERS], array(NUMBERS), strict=True)),
        flags=dict(zip(names[FLAGS], array(FLAGS), strict=True)),
        deleted=np.zeros(n_items, dtype=bool),
    )


def _joined(texts: Sequence[str]) -> Array:
    """uint8[bytes]: texts, none of them empty, as one array."""
    return np.frombuffer(_BETWEEN.join(texts).encode(), dtype=np.uint8)


def _parts(joined: Array) -> list[str]:
    return joined.tobytes().decode().split(_BETWEEN) if len(joined) else []
