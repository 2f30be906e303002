"""A fitted XGBoost model as arrays, and its scores by vector instructions.

XGBoost walks each row down each tree, and sets a prediction up anew for every call. Here a feature's value first
becomes a code of one byte: how many of the model's thresholds for it the value reaches. Then a tree is worked from its
leaves up, and each node for a block of rows at once: where a row would go left it takes what the left side made of it,
which is the number of a leaf, a byte too. Every node is looked at, but by a compare and a choice that a processor
makes for up to 64 rows together.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import xgboost

from recsys import forest_kernels
from recsys.forest_kernels import BLOCK, STEP, UNREACHED
from recsys.types import Array, Float32s, Int64s

Tree = dict[str, Any]
"""As XGBoost writes it: of each node the children (-1: none), the feature, the threshold or score, and the default."""
LEAVES = 256
"""Leaves of a tree that a byte can tell from each other."""
THRESHOLDS = UNREACHED - 2
"""Thresholds of a column of codes, which has two more codes: of what is missing, and of what reaches none."""
NOT_HERE = -0.0
"""Changes no sum that it is added to."""
NODE = np.dtype(
    [
        *((name, np.uint32) for name in ("upper", "left", "right")),
        *((name, np.uint8) for name in ("upper_bar", "left_bar", "right_bar", "a", "b", "c", "d")),
        ("joins", np.bool_),
    ],
    align=True,
)
"""A node of a tree with its two children, so that fewer numbers go through memory.

``upper``, ``left`` and ``right`` are where the codes of their columns begin; a row goes left if its code is not above
the bar. Below are the four leaves ``a`` to ``d``; or, where the node joins, the four latest layers of the stack.
"""
ALWAYS_LEFT = (0, UNREACHED)


@dataclass(frozen=True, slots=True)
class Forest:
    """The trees of a model.

    Attributes:
        column: int64[c], the feature of each column of codes; one with many thresholds has several.
        starts: int64[c + 1], of the columns' thresholds.
        thresholds: float32[m]: of each column -inf, its thresholds, rising, and NaN up to a multiple of STEP.
        bars: float32[STEP * c], of each column the last of each STEP thresholds, then NaN.
        nodes: NODE[k], tree after tree, each in post-order: what is below a node comes before it.
        bounds: int64[t + 1], of the trees' nodes.
        leaves: float32[t, 256], their scores.
        layers: of the stack that the deepest tree needs.
        base: score of a row before any tree.
    """

    column: Int64s
    starts: Int64s
    thresholds: Float32s
    bars: Float32s
    nodes: Array
    bounds: Int64s
    leaves: Float32s
    layers: int
    base: float

    @classmethod
    def of(cls, booster: xgboost.Booster) -> Forest:
        """The trees of a model with numerical features, whose score is the sum of its trees."""
        learner = json.loads(bytes(booster.save_raw("json")))["learner"]
        trees = [part for tree in learner["gradient_booster"]["model"]["trees"] for part in _parts(tree)]
        base = np.float32(learner["learner_model_param"]["base_score"].strip("[]"))
        cuts = _Cuts.of(trees)
        steps = [_in_steps(thresholds) for _, thresholds in cuts.columns]
        bars = [np.append(step[STEP - 1 :: STEP], [np.nan] * (STEP - len(step) // STEP)) for step in steps]
        layouts = [_Layout.of(tree, cuts) for tree in trees]
        leaves = np.zeros((len(trees), LEAVES), dtype=np.float32)
        for row, tree, layout in zip(leaves, trees, layouts, strict=True):
            row[: len(layout.leaves)] = [tree["split_conditions"][leaf] for leaf in layout.leaves]
        return cls(
            np.array([feature for feature, _ in cuts.columns], dtype=np.int64),
            np.cumsum([0, *map(len, steps)], dtype=np.int64),
            np.concatenate([np.zeros(0), *steps]).astype(np.float32),
            np.concatenate([np.zeros(0), *bars]).astype(np.float32),
            np.array([node for layout in layouts for node in layout.nodes], dtype=NODE),
            np.cumsum([0, *(len(layout.nodes) for layout in layouts)], dtype=np.int64),
            leaves,
            max((3 * (_depth(tree) // 2) + 1 for tree in trees), default=1),
            float(base),
        )

    def score(self, features: Float32s) -> Float32s:
        """float32[n]: the score of each row of features float32[n, f]; NaN is a missing value."""
        return forest_kernels.score(
            np.ascontiguousarray(features, dtype=np.float32),
            self.column,
            self.starts,
            self.thresholds,
            self.bars,
            self.nodes,
            self.bounds,
            self.leaves,
            self.layers,
            self.base,
        )


@dataclass(frozen=True, slots=True)
class _Cuts:
    """The thresholds of a model: of each feature its first column and all of them, rising; and those of each column."""

    of_feature: dict[int, tuple[int, Float32s]]
    columns: list[tuple[int, Float32s]]

    @classmethod
    def of(cls, trees: list[Tree]) -> _Cuts:
        found: dict[int, set[float]] = {}
        for tree in trees:
            for node in range(len(tree["left_children"])):
                if _is_inner(tree, node):
                    found.setdefault(tree["split_indices"][node], set()).add(tree["split_conditions"][node])
        cuts = cls({}, [])
        for feature in sorted(found):
            thresholds = np.unique(np.array([*found[feature]], dtype=np.float32))
            cuts.of_feature[feature] = len(cuts.columns), thresholds
            starts = range(0, len(thresholds), THRESHOLDS)
            cuts.columns.extend((feature, thresholds[start : start + THRESHOLDS]) for start in starts)
        return cuts

    def test(self, tree: Tree, node: int) -> tuple[int, int]:
        """Where the codes begin that decide at a node, and the largest one that goes left."""
        first, thresholds = self.of_feature[tree["split_indices"][node]]
        place = int(np.searchsorted(thresholds, np.float32(tree["split_conditions"][node])))
        number = first + place // THRESHOLDS
        # Missing values are below all others in the first columns, and above them in their copies behind.
        column = number if tree["default_left"][node] else number + len(self.columns)
        return column * BLOCK, place % THRESHOLDS + 1


@dataclass(frozen=True, slots=True)
class _Layout:
    """One tree: its rows of NODE, and the numbers of its leaves."""

    tree: Tree
    cuts: _Cuts
    nodes: list[tuple[int, ...]]
    leaves: dict[int, int]

    @classmethod
    def of(cls, tree: Tree, cuts: _Cuts) -> _Layout:
        layout = cls(tree, cuts, [], {})
        if _depth(tree) % 2 == 0:
            layout._add(0, *layout._children(0))
        else:  # below a node of which only the left side is ever taken, so that the leaves are in pairs of levels
            leaf = tree["left_children"].index(-1)
            layout._add(leaf, 0, leaf)
        return layout

    def _add(self, upper: int, left: int, right: int) -> None:
        """A node and the two below it, after all that is below these; in place of a node there may be a leaf."""
        ends = (*self._children(left), *self._children(right))
        joins = any(_is_inner(self.tree, end) for end in ends)
        if joins:
            for end in ends:
                self._add(end, *self._children(end))
        places, bars = zip(*map(self._test, (upper, left, right)), strict=True)
        numbers = [0 if joins else self.leaves.setdefault(end, len(self.leaves)) for end in ends]
        self.nodes.append((*places, *bars, *numbers, joins))

    def _children(self, node: int) -> tuple[int, int]:
        """Of a leaf itself, twice."""
        inner = _is_inner(self.tree, node)
        return (self.tree["left_children"][node], self.tree["right_children"][node]) if inner else (node, node)

    def _test(self, node: int) -> tuple[int, int]:
        return self.cuts.test(self.tree, node) if _is_inner(self.tree, node) else ALWAYS_LEFT


def _in_steps(thresholds: Float32s) -> Float32s:
    """What a value that is not missing reaches, thresholds, and what no value reaches, up to a multiple of STEP."""
    return np.concatenate([[-np.inf], thresholds, np.full(STEP - 1 - len(thresholds) % STEP or STEP, np.nan)])


def _parts(tree: Tree) -> Iterator[Tree]:
    """The tree; or, where it has too many leaves, trees of the same sum, each of which is silent on some of them."""
    leaves = [*_leaves(tree, 0)]
    if len(leaves) <= LEAVES:
        yield tree
        return
    parents = {child: node for node in range(len(tree["left_children"])) for child in _below(tree, node)}
    most = LEAVES - 2 * _depth(tree)  # on each level there may be two sides that it is silent on
    for start in range(0, len(leaves), most):
        own = set(leaves[start : start + most])
        kept = set(own)
        for leaf in own:
            above = parents.get(leaf)
            while above is not None and above not in kept:
                kept.add(above)
                above = parents.get(above)
        lefts = [left if node in kept else -1 for node, left in enumerate(tree["left_children"])]
        values = [value if node in kept else NOT_HERE for node, value in enumerate(tree["split_conditions"])]
        yield {**tree, "left_children": lefts, "split_conditions": values}


def _is_inner(tree: Tree, node: int) -> bool:
    return bool(tree["left_children"][node] >= 0)


def _below(tree: Tree, node: int) -> tuple[int, ...]:
    """The children of a node."""
    return (tree["left_children"][node], tree["right_children"][node]) if _is_inner(tree, node) else ()


def _leaves(tree: Tree, node: int) -> Iterator[int]:
    """The leaves below a node, or itself, from left to right."""
    if not _is_inner(tree, node):
        yield node
    for child in _below(tree, node):
        yield from _leaves(tree, child)


def _depth(tree: Tree, node: int = 0) -> int:
    """Inner nodes on the longest way down from a node."""
    return max((1 + _depth(tree, child) for child in _below(tree, node)), default=0)
