"""Items as vectors of what the shop says of them, and the ridge to factors."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge

from recsys.content import (
    Attributes,
    ContentModel,
    Encoder,
    count_tokens,
    inverse_frequency,
    ridge,
    vocabulary,
)


def attributes(titles, categories=None, brands=None, price=None, embedding=None):
    n = len(titles)
    return Attributes(
        titles,
        categories or [""] * n,
        brands or [""] * n,
        np.full(n, np.nan, dtype=np.float32) if price is None else np.array(price, dtype=np.float32),
        np.zeros((n, 0), dtype=np.float32) if embedding is None else np.array(embedding, dtype=np.float32),
    )


def encoder(said, limit=1000):
    tokens = said.tokens()
    terms = vocabulary(tokens, limit)
    return Encoder(terms, inverse_frequency(count_tokens(tokens, terms)), said.embedding.shape[1])


titles = st.lists(
    st.lists(st.sampled_from("red Blue tea cup cup2 BIG été".split()), max_size=6), min_size=1, max_size=8
)


@settings(max_examples=60, deadline=None)
@given(titles)
def test_titles_become_the_vectors_that_scikit_learn_makes(words):
    texts = [" ".join(title) for title in words]
    if not any(texts):
        return
    oracle = TfidfVectorizer(token_pattern=r"\w+", dtype=np.float32)
    expected = oracle.fit_transform(texts).toarray()
    said = attributes(texts)
    made = encoder(said)
    columns = made.terms.nums(list(oracle.get_feature_names_out()))
    np.testing.assert_allclose(made.encode(said).toarray()[:, columns], expected, atol=1e-6)
    assert (made.encode(said).toarray()[:, -1] == 1).all()


def test_brand_every_prefix_of_the_category_and_the_price_step_are_tokens():
    said = attributes(["Tea cup"], ["Home > Kitchen"], ["Acme "], [4.0])
    assert said.tokens() == [["tea", "cup", "brand:acme", "category:home", "category:home > kitchen", "price:4"]]


@pytest.mark.parametrize("price", [np.nan, 0.0])
def test_what_the_shop_does_not_say_gives_no_token(price):
    assert attributes(["", "x\0"], price=[price, price]).tokens() == [[], ["x"]]


def test_a_token_too_long_for_a_vocabulary_is_passed_over():
    assert attributes(["a" * 257 + " b"], ["é" * 200]).tokens() == [["b"]]


def test_the_most_frequent_tokens_are_kept_and_the_first_in_alphabet_among_equals():
    tokens = [["b", "c", "c", "c"], ["b", "a"], ["d"]]
    assert vocabulary(tokens, 2).ids(np.arange(2)) == ["a", "b"]


def test_a_new_item_gets_the_vector_that_the_same_words_have_in_the_catalogue():
    said = attributes(["red cup", "blue cup", "red tea"], price=[1, 2, 3], embedding=[[3, 4], [0, 0], [0, 2]])
    made = encoder(said)
    new = attributes(["unheard cup red"], price=[1], embedding=[[6, 8]])
    np.testing.assert_allclose(made.encode(new).toarray()[0], made.encode(said).toarray()[0], atol=1e-6)


def test_embeddings_count_by_direction_and_an_unknown_one_counts_nothing():
    said = attributes(["a", "a"], embedding=[[0, 5], [0, 0]])
    np.testing.assert_allclose(encoder(said).encode(said).toarray()[:, 1:3], [[0, 1], [0, 0]])


def test_the_ridge_is_that_of_scikit_learn():
    random = np.random.default_rng(0)
    vectors = sp.csr_array(sp.random_array((60, 12), density=0.3, rng=random, dtype=np.float32))
    factors = random.normal(size=(60, 4)).astype(np.float32)
    weight = random.random(60)
    oracle = Ridge(alpha=0.7, fit_intercept=False).fit(vectors.toarray(), factors, sample_weight=weight)
    weights = ridge(vectors, factors, weight, [0.1, 0.7])[1]
    np.testing.assert_allclose(weights, oracle.coef_.T, atol=1e-4)
    made = ContentModel(encoder(attributes(["a"])), weights, 0.7)
    np.testing.assert_allclose(made.factors(vectors), oracle.predict(vectors.toarray()), rtol=1e-3, atol=1e-4)
