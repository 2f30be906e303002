"""Factors in half precision: what is lost, and what their bits stand for in compiled code."""

import numpy as np
import pytest

from recsys.half_kernels import half
from recsys.halves import LARGEST, bits_of, halved
from recsys.kernel import frozen, kernel
from recsys.product_kernels import portable_product, products

FINITE = np.arange(2**16, dtype=np.uint16)[np.isfinite(np.arange(2**16, dtype=np.uint16).view(np.float16))]


@kernel
def without_the_instruction(vectors, bits, score):
    width = bits.shape[1]
    for row in range(len(score)):
        score[row] = portable_product(vectors, np.intp(0), bits, row * width, width)


@kernel
def numbers(bits, found):
    for at in range(len(bits)):
        found[at] = half(bits[at])


def test_factors_are_as_near_as_eleven_bits_come_and_stay_the_same_when_halved_again():
    factors = np.random.default_rng(0).normal(size=(90, 7)).astype(np.float32)
    halves = halved(factors)
    np.testing.assert_allclose(halves, factors, rtol=2**-11, atol=2**-25)
    np.testing.assert_array_equal(halved(halves), halves)
    np.testing.assert_array_equal(bits_of(halves).view(np.float16), halves)
    assert not bits_of(halves).flags.writeable


def test_numbers_too_large_for_half_precision_are_its_largest():
    assert halved(np.array([[1e9, -1e9, 65_519.0]])).tolist() == [[LARGEST, -LARGEST, LARGEST]]


def test_factors_that_would_lose_something_are_refused_but_where_their_bits_are_known():
    factors, bits = np.full((1, 2), 0.1, dtype=np.float32), np.zeros((1, 2), dtype=np.uint16)
    with pytest.raises(ValueError, match="half precision"):
        bits_of(factors)
    assert np.shares_memory(bits_of(factors, bits), bits)


def test_every_finite_number_is_read_from_its_bits():
    expected, bits = FINITE.view(np.float16).astype(np.float32), frozen(FINITE[:, None])
    one, rows = np.ones((1, 1), dtype=np.float32), np.arange(len(FINITE), dtype=np.int32)
    by_instruction, by_any, alone = (np.empty(len(FINITE), dtype=np.float32) for _ in range(3))
    products(np.zeros_like(rows), rows, one, bits, by_instruction)
    without_the_instruction(one, bits, by_any)
    numbers(FINITE, alone)
    for found in (by_instruction, by_any, alone):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("width", [1, 45, 64, 130, 192])
def test_products_of_bits_are_those_of_their_numbers_to_the_last_bit(width):
    random = np.random.default_rng(width)
    vectors = random.normal(size=(1, width)).astype(np.float32)
    factors = halved(random.normal(size=(30, width)))
    bits = bits_of(factors)
    rows = np.arange(30, dtype=np.int32)
    expected, found, by_any = (np.empty(30, dtype=np.float32) for _ in range(3))
    products(np.zeros_like(rows), rows, vectors, frozen(factors), expected)
    products(np.zeros_like(rows), rows, vectors, bits, found)
    without_the_instruction(vectors, bits, by_any)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(by_any, expected)
