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

from recsys import forest_kernels
from recsys.forest_kernels import LEAF_LEFT, LEAF_RIGHT, LEAVES, NODES
from recsys.types import Array, Float32s

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
        return forest_kernels.score(np.ascontiguousarray(features, dtype=np.float32), self.nodes, self.depth, self.base)


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
