"""A fitted XGBoost model as an array of nodes, and its scores by vector instructions.

XGBoost walks each row down each tree, and sets a prediction up anew for every call. Here a tree is worked from its
leaves up, and each node for a block of rows at once: where a row would go left it takes what the left side made of it.
Every node is looked at, but by a compare and a choice that a processor makes for 8 or 16 rows together.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import xgboost

from recsys.kernel import kernel
from recsys.types import Array, Float32s

BLOCK = 224
"""Rows that are worked together: some 80 KB of features, which the second-level cache holds."""
LEAVES, LEAF_LEFT, LEAF_RIGHT, NODES = range(4)
"""What is below a node: two leaves, a leaf on one side, or a node on both."""
NODE = np.dtype(
    [
        ("feature", np.int32),
        ("threshold", np.float32),
        ("left", np.float32),
        ("right", np.float32),
        ("below", np.int8),
        ("missing_left", np.bool_),
        ("is_root", np.bool_),
    ],
    align=True,
)
"""An inner node: a row goes left if its feature is less than the threshold, or missing where that goes left.

``left`` and ``right`` are the scores of the leaves below it, as far as there are any.
"""


@dataclass(frozen=True, slots=True)
class Forest:
    """The trees of a model.

    Attributes:
        nodes: NODE[m], tree after tree, each in post-order: what is below a node comes before it.
        depth: of the deepest tree.
        base: score of a row before any tree.
    """

    nodes: Array
    depth: int
    base: float

    @classmethod
    def of(cls, booster: xgboost.Booster) -> Forest:
        """The trees of a model with numerical features, whose score is the sum of its trees."""
        learner = json.loads(bytes(booster.save_raw("json")))["learner"]
        trees = learner["gradient_booster"]["model"]["trees"]
        base = np.float32(learner["learner_model_param"]["base_score"].strip("[]"))
        rows = [row for tree in trees for row in _post_order(tree, 0)]
        return cls(np.array(rows, dtype=NODE), max(map(_depth, trees), default=0), float(base))

    def score(self, features: Float32s) -> Float32s:
        """float32[n]: the score of each row of features float32[n, f]; NaN is a missing value."""
        return _score(np.ascontiguousarray(features, dtype=np.float32), self.nodes, self.depth, self.base)


def _post_order(tree: dict[str, Any], node: int) -> Iterator[tuple[int, float, float, float, int, bool, bool]]:
    """The inner nodes from one node of a tree down."""
    lefts, value = tree["left_children"], tree["split_conditions"]  # of a leaf the value is its score
    left, right = lefts[node], tree["right_children"][node]
    if left < 0:  # a tree without a split: both sides are the same
        yield 0, 0.0, value[node], value[node], LEAVES, False, True
        return
    on_left, on_right = lefts[left] >= 0, lefts[right] >= 0
    if on_left:
        yield from _post_order(tree, left)
    if on_right:
        yield from _post_order(tree, right)
    below = (LEAVES, LEAF_LEFT, LEAF_RIGHT, NODES)[on_right + 2 * on_left]
    missing_left = bool(tree["default_left"][node])
    yield tree["split_indices"][node], value[node], value[left], value[right], below, missing_left, node == 0


def _depth(tree: dict[str, Any], node: int = 0) -> int:
    """Inner nodes on the longest way down from a node."""
    left = tree["left_children"][node]
    return 0 if left < 0 else 1 + max(_depth(tree, left), _depth(tree, tree["right_children"][node]))


@kernel
def _score(features: Float32s, nodes: Array, depth: int, base: float) -> Float32s:
    """float32[n], block of rows by block, with a stack of what the sides of a tree made, one layer of it a side."""
    n, width = features.shape
    score = np.full(n, np.float32(base), dtype=np.float32)
    columns = np.empty(width * BLOCK, dtype=np.float32)
    stack = np.empty((depth + 2) * BLOCK, dtype=np.float32)
    for start in range(0, n, BLOCK):
        rows = min(BLOCK, n - start)
        for row in range(rows):
            for column in range(width):
                columns[column * BLOCK + row] = features[start + row, column]
        top = 0
        for node in nodes:
            if node.below == LEAVES:
                top += 1
            elif node.below == NODES:
                top -= 1
            _choose(stack, top, columns, node)
            if node.is_root:
                for row in range(rows):
                    score[start + row] += stack[BLOCK + row]
                top = 0
    return score


@kernel
def _choose(stack: Float32s, top: int, columns: Float32s, node: Any) -> None:
    """One node for a block of rows: the layer ``top`` of the stack, which is the left side's, becomes the node's.

    All positions are unsigned: with signed ones, which may count from the end, the loops would not become vector
    instructions.
    """
    first, mine, other = np.uint64(node.feature * BLOCK), np.uint64(top * BLOCK), np.uint64((top + 1) * BLOCK)
    threshold, missing_left, left, right = node.threshold, node.missing_left, node.left, node.right
    if node.below == LEAVES:
        for row in range(np.uint64(BLOCK)):
            goes_left = _goes_left(columns[first + row], threshold, missing_left)
            stack[mine + row] = left if goes_left else right
    elif node.below == LEAF_LEFT:
        for row in range(np.uint64(BLOCK)):
            goes_left = _goes_left(columns[first + row], threshold, missing_left)
            side = stack[mine + row]
            stack[mine + row] = left if goes_left else side
    elif node.below == LEAF_RIGHT:
        for row in range(np.uint64(BLOCK)):
            goes_left = _goes_left(columns[first + row], threshold, missing_left)
            side = stack[mine + row]
            stack[mine + row] = side if goes_left else right
    else:
        for row in range(np.uint64(BLOCK)):
            goes_left = _goes_left(columns[first + row], threshold, missing_left)
            on_left, on_right = stack[mine + row], stack[other + row]
            stack[mine + row] = on_left if goes_left else on_right


@kernel
def _goes_left(value: float, threshold: float, missing_left: bool) -> bool:
    return bool((value < threshold) | (missing_left & np.isnan(value)))
