"""Ids to rows and back."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recsys.vocabulary import MAX_ID_BYTES, Vocabulary

ids = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=6)
asked = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)  # empty, NUL and longer ones included


@settings(max_examples=100, deadline=None)
@given(st.lists(ids), st.lists(asked))
@example(["a"], ["a\0", "\0", "", "ab", "ab\0"])
@example(["a", "bcd"], ["a\0", "a\0\0", "a\0b", "bc", "bcd\0"])
def test_known_ids_go_to_their_row_and_back_and_all_others_are_unknown(known, others):
    vocabulary = Vocabulary.of(known)
    assert len(vocabulary) == len(set(known))
    for text in known:
        assert vocabulary.id(vocabulary.num(text)) == text
    assert all(vocabulary.num(text) == -1 for text in set(others) - set(known))


@settings(max_examples=100, deadline=None)
@given(st.lists(ids), st.lists(asked))
@example(["a"], ["a\0", "\0", "", "ab", "ab\0"])
@example(["a", "bcd"], ["a\0", "a\0\0", "a\0b", "bc", "bcd\0"])
def test_many_look_ups_at_once_are_the_single_ones(known, others):
    vocabulary = Vocabulary.of(known)
    wanted = known + others
    assert vocabulary.nums(wanted).tolist() == [vocabulary.num(text) for text in wanted]
    assert vocabulary.ids(vocabulary.nums(known)) == known


def test_rows_do_not_depend_on_the_order_in_which_ids_come():
    assert Vocabulary.of(["b", "é", "a", "b"]).array.tolist() == Vocabulary.of(["é", "a", "b"]).array.tolist()


def test_an_empty_vocabulary_knows_nobody():
    assert Vocabulary.of([]).num("a") == -1
    assert Vocabulary.of([]).nums(["a", ""]).tolist() == [-1, -1]


@pytest.mark.parametrize("text", ["", "a\0b", "a\0", "x" * (MAX_ID_BYTES + 1), "é" * (MAX_ID_BYTES // 2 + 1)])
def test_what_cannot_be_an_id_is_refused(text):
    with pytest.raises(ValueError, match="not an id"):
        Vocabulary.of(["fine", text])


def test_the_longest_id_fits():
    assert Vocabulary.of(["x" * MAX_ID_BYTES, "y"]).num("x" * MAX_ID_BYTES) == 0
