"""Items by what the shop says of them: attributes as sparse vectors, and a ridge from those to item factors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import scipy.sparse as sp
from scipy.linalg import cho_factor, cho_solve

from recsys.halves import halved
from recsys.types import Array, Float32s
from recsys.vocabulary import MAX_ID_BYTES, UNKNOWN, Vocabulary

WORD = re.compile(r"\w+")
PRICE_STEPS = 2
"""Price tokens for each doubling of the price."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a shop says of n items.

    Attributes:
        titles: n texts; empty where unknown.
        categories: n paths such as ``home > kitchen``; empty where unknown.
        brands: n texts; empty where unknown.
        price: float32[n]; NaN where unknown.
        embedding: float32[n, e], vectors that the shop brings; zeros where unknown, e 0 where there are none.
    """

    titles: Sequence[str]
    categories: Sequence[str]
    brands: Sequence[str]
    price: Float32s
    embedding: Float32s

    def tokens(self) -> list[list[str]]:
        """The tokens of each item: the words of its title, its brand, each prefix of its category, its price step."""
        rows = zip(self.titles, self.categories, self.brands, self.price.tolist(), strict=True)
        return [
            [token for token in _tokens(*row) if "\0" not in token and len(token.encode()) <= MAX_ID_BYTES]
            for row in rows
        ]


def _tokens(title: str, category: str, brand: str, price: float) -> Iterable[str]:
    yield from WORD.findall(title.lower())
    if brand:
        yield f"brand:{brand.strip().lower()}"
    parts = [part.strip().lower() for part in category.split(">") if part.strip()]
    yield from (f"category:{prefix}" for prefix in accumulate(parts, "{} > {}".format))
    if price > 0:
        # Steps of the logarithm: the same few tokens in any currency, and nothing to fit.
        yield f"price:{int(np.floor(PRICE_STEPS * np.log2(price)))}"


@dataclass(frozen=True, slots=True)
class Encoder:
    """From attributes to vectors.

    Attributes:
        terms: the tokens that count.
        idf: float32[len(terms)], inverse document frequency of each.
        dimensions: of the embedding that the shop brings; 0: none.
    """

    terms: Vocabulary
    idf: Float32s
    dimensions: int

    @property
    def width(self) -> int:
        """Columns of a vector: the terms, the embedding, and a constant."""
        return len(self.terms) + self.dimensions + 1

    def encode(self, attributes: Attributes) -> sp.csr_array:
        """float32 CSR[n, width], as :meth:`weigh` makes it of these items; unknown tokens are passed over."""
        return self.weigh(count_tokens(attributes.tokens(), self.terms), attributes.embedding)

    def weigh(self, counts: sp.csr_array, embedding: Float32s) -> sp.csr_array:
        """float32 CSR[n, width]: TF-IDF and embedding, each of length 1 or 0, and a constant 1.

        Args:
            counts: float32 CSR[n, len(terms)], how often each item has each term.
            embedding: float32[n, dimensions].
        """
        text = sp.csr_array(counts @ sp.diags_array(self.idf))
        length = np.sqrt(np.asarray(text.multiply(text).sum(axis=1)).ravel())
        text = sp.csr_array(sp.diags_array(1 / np.where(length > 0, length, 1)) @ text)
        size = np.linalg.norm(embedding, axis=1, keepdims=True)
        brought = sp.csr_array(embedding / np.where(size > 0, size, 1))
        constant = sp.csr_array(np.ones((counts.shape[0], 1), dtype=np.float32))
        return sp.csr_array(sp.hstack([text, brought, constant], format="csr"), dtype=np.float32)


def vocabulary(tokens: Iterable[list[str]], limit: int) -> Vocabulary:
    """The tokens that most items have, at most ``limit``; of equally frequent ones the first in alphabet."""
    seen: dict[str, int] = {}
    for item in tokens:
        for token in dict.fromkeys(item):
            seen[token] = seen.get(token, 0) + 1
    return Vocabulary.of(sorted(seen, key=lambda token: (-seen[token], token))[:limit])


def count_tokens(tokens: Sequence[list[str]], terms: Vocabulary) -> sp.csr_array:
    """float32 CSR[n, len(terms)]: how often each item has each term."""
    row = np.repeat(np.arange(len(tokens)), [len(item) for item in tokens])
    column = terms.nums([token for item in tokens for token in item])
    known = column != UNKNOWN
    ones = np.ones(int(known.sum()), dtype=np.float32)
    counts = sp.csr_array((ones, (row[known], column[known])), shape=(len(tokens), len(terms)))
    counts.sum_duplicates()
    return counts


def inverse_frequency(counts: sp.csr_array) -> Float32s:
    """float32[terms]: log((1 + n) / (1 + items with the term)) + 1, as scikit-learn smooths it."""
    having = np.bincount(counts.indices, minlength=counts.shape[1])
    idf: Float32s = (np.log((1 + counts.shape[0]) / (1 + having)) + 1).astype(np.float32)
    return idf


@dataclass(frozen=True, slots=True)
class ContentModel:
    """Item factors from attributes.

    Attributes:
        encoder: makes vectors of attributes.
        weights: float32[encoder.width, d], from a vector to item factors.
        strength: of the ridge that made them.
    """

    encoder: Encoder
    weights: Float32s
    strength: float

    def factors(self, vectors: sp.csr_array) -> Float32s:
        """float32[n, d]: the factors that items with these vectors should have, in half precision."""
        return halved(vectors @ self.weights)


def ridge(vectors: sp.csr_array, factors: Float32s, weight: Array, strengths: Sequence[float]) -> list[Float32s]:
    """For each strength the map of least weighted squared error plus the strength times its squared size.

    By normal equations, so that time and memory grow with the cube and square of the width, not with the items.

    Args:
        vectors: float32 CSR[n, width].
        factors: float32[n, d].
        weight: float[n], of each item's error.
        strengths: above 0.

    Returns:
        float32[width, d] for each.
    """
    weighted = sp.csr_array(vectors.T @ sp.diags_array(np.asarray(weight, dtype=np.float32)))
    gram, right = (weighted @ vectors).toarray(), weighted @ factors
    diagonal = gram.diagonal().copy()
    maps = []
    for strength in strengths:
        np.fill_diagonal(gram, diagonal + np.float32(strength))
        maps.append(cho_solve(cho_factor(gram, lower=True), right).astype(np.float32))
    return maps
