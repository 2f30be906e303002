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
from recsys.forest_kernels import BLOCK, DEPTHS, EACH, FEW, NODE, STEP, UNREACHED, Coding, Walking, in_lines
from recsys.types import Array, Float32s, Int64s

Tree = dict[str, Any]
"""As XGBoost writes it: of each node the children (-1: none), the feature, the threshold or score, and the default."""
LEAVES = 256
"""Leaves of a tree that a byte can tell from each other."""
THRESHOLDS = UNREACHED - 2
"""Thresholds of a column of codes, which has two more codes: of what is missing, and of what reaches none."""
NOT_HERE = -0.0
"""Changes no sum that it is added to."""
COLUMN = np.dtype([("feature", np.uint32), ("cuts", np.uint32), ("missing", np.uint8)], align=True)
"""A column of codes: of which feature, by which of the lists of thresholds, and the code of a missing value."""
ALWAYS_LEFT = (0, UNREACHED * EACH)


@dataclass(frozen=True, slots=True)
class Forest:
    """The trees of a model.

    Attributes:
        columns: COLUMN[c], those of codes, by feature. One with many thresholds has several lists of them, and one
            whose missing values go left at some nodes and right at others has two columns, one behind the other.
        starts: int64[l + 1], of the lists of thresholds.
        thresholds: float32[m]: of each list -inf, its thresholds, rising, and NaN up to a multiple of STEP.
        roots: int64[l + 1], where the lists begin in levels.
        levels: float32[m]: of each list nothing, and the same numbers as a binary search meets them, level by level,
            with NaN behind the last, so that there are 2**d in all (Eytzinger's order): below number i are 2 i and
            2 i + 1.
        nodes: uint32[k, NODE], tree after tree: of each first those above leaves, then those that join what is below.
        bounds: int64[2 * t + 1], of both kinds of nodes of the trees.
        leaves: float32[t, FEW], their scores; float32[t, LEAVES] where a tree has more.
        slots: results of nodes that a tree needs at once.
        base: score of a row before any tree.
    """

    columns: Array
    starts: Int64s
    thresholds: Float32s
    roots: Int64s
    levels: Float32s
    nodes: Array
    bounds: Int64s
    leaves: Float32s
    slots: int
    base: float

    @classmethod
    def of(cls, booster: xgboost.Booster) -> Forest:
        """The trees of a model with numerical features, whose score is the sum of its trees."""
        learner = json.loads(bytes(booster.save_raw("json")))["learner"]
        trees = [part for tree in learner["gradient_booster"]["model"]["trees"] for part in _parts(tree)]
        base = np.float32(learner["learner_model_param"]["base_score"].strip("[]"))
        cuts = _Cuts.of(trees)
        steps = [_in_steps(thresholds) for thresholds in cuts.lists]
        levels = [_by_levels(step) for step in steps]
        layouts = [_Layout.of(tree, cuts) for tree in trees]
        most = max((len(layout.leaves) for layout in layouts), default=0)
        leaves = np.zeros((len(trees), FEW if most <= FEW else LEAVES), dtype=np.float32)
        for row, tree, layout in zip(leaves, trees, layouts, strict=True):
            row[: len(layout.leaves)] = [tree["split_conditions"][leaf] for leaf in layout.leaves]
        kinds = [kind for layout in layouts for kind in (layout.lowest, layout.joins)]
        return cls(
            np.array([*cuts.columns], dtype=COLUMN),
            np.cumsum([0, *map(len, steps)], dtype=np.int64),
            _aligned(np.concatenate([np.zeros(0), *steps]).astype(np.float32)),
            np.cumsum([0, *map(len, levels)], dtype=np.int64),
            _aligned(np.concatenate([np.zeros(0), *levels]).astype(np.float32)),
            np.array([node for kind in kinds for node in kind], dtype=np.uint32).reshape(-1, NODE),
            np.cumsum([0, *map(len, kinds)], dtype=np.int64),
            _aligned(leaves),
            max((len(layout.lowest) for layout in layouts), default=1),
            float(base),
        )

    def score(self, features: Float32s) -> Float32s:
        """float32[n]: the score of each row of features float32[n, f]; NaN is a missing value."""
        return forest_kernels.score(np.ascontiguousarray(features, dtype=np.float32), self.coding, self.walking)

    @property
    def coding(self) -> Coding:
        """What a kernel makes codes by."""
        return self.columns, self.starts, self.thresholds, self.roots, self.levels

    @property
    def walking(self) -> Walking:
        """What a kernel makes scores of codes by."""
        return self.nodes, self.bounds, self.leaves, self.slots, self.base


@dataclass(frozen=True, slots=True)
class _Cuts:
    """The thresholds of a model.

    Attributes:
        of_feature: of each feature the number of its first list, and all its thresholds, rising.
        lists: of at most THRESHOLDS each.
        columns: the place of each column of codes, which is as COLUMN; in order.
    """

    of_feature: dict[int, tuple[int, Float32s]]
    lists: list[Float32s]
    columns: dict[tuple[int, int, int], int]

    @classmethod
    def of(cls, trees: list[Tree]) -> _Cuts:
        found: dict[int, set[float]] = {}
        for tree, node in _inner(trees):
            found.setdefault(tree["split_indices"][node], set()).add(tree["split_conditions"][node])
        cuts = cls({}, [], {})
        for feature in sorted(found):
            thresholds = np.unique(np.array([*found[feature]], dtype=np.float32))
            cuts.of_feature[feature] = len(cuts.lists), thresholds
            starts = range(0, len(thresholds), THRESHOLDS)
            cuts.lists.extend(thresholds[start : start + THRESHOLDS] for start in starts)
        columns = sorted({cuts._test(tree, node)[0] for tree, node in _inner(trees)})
        cuts.columns.update((column, place) for place, column in enumerate(columns))
        return cuts

    def test(self, tree: Tree, node: int) -> tuple[int, int]:
        """Where the codes begin that decide at a node, and the largest one that goes left, in each byte of a number."""
        column, bar = self._test(tree, node)
        return self.columns[column] * BLOCK, bar * EACH

    def _test(self, tree: Tree, node: int) -> tuple[tuple[int, int, int], int]:
        """The column that decides at a node, and the bar."""
        feature = tree["split_indices"][node]
        first, thresholds = self.of_feature[feature]
        place = int(np.searchsorted(thresholds, np.float32(tree["split_conditions"][node])))
        # Missing values are below all others where they go left, else above.
        missing = 0 if tree["default_left"][node] else UNREACHED
        return (feature, first + place // THRESHOLDS, missing), place % THRESHOLDS + 1


@dataclass(frozen=True, slots=True)
class _Layout:
    """One tree: its nodes, each with the two below it, so that fewer numbers go through memory; its leaves' numbers.

    A node is three places of codes, the bars of these, four numbers of leaves (or the slots of four nodes below, where
    it joins them), and the slot for its result, which of the tree is slot 0.
    """

    tree: Tree
    cuts: _Cuts
    lowest: list[tuple[int, ...]]
    joins: list[tuple[int, ...]]
    leaves: dict[int, int]

    @classmethod
    def of(cls, tree: Tree, cuts: _Cuts) -> _Layout:
        layout = cls(tree, cuts, [], [], {})
        if _depth(tree) % 2 == 0:
            layout._add(0, *layout._children(0))
        else:  # below a node of which only the left side is ever taken, so that the leaves are in pairs of levels
            leaf = tree["left_children"].index(-1)
            layout._add(leaf, 0, leaf)
        return layout

    def _add(self, upper: int, left: int, right: int) -> int:
        """A node and the two below it, after all that is below these; in place of a node there may be a leaf.

        Returns:
            Its slot: that of the first node below, which nobody reads afterwards.
        """
        places, bars = zip(*map(self._test, (upper, left, right)), strict=True)
        ends = (*self._children(left), *self._children(right))
        if any(_is_inner(self.tree, end) for end in ends):
            made = {end: self._add(end, *self._children(end)) for end in dict.fromkeys(ends)}
            slots = [made[end] * BLOCK for end in ends]
            self.joins.append((*places, *bars, *slots, slots[0]))
            return made[ends[0]]
        numbers = [self.leaves.setdefault(end, len(self.leaves)) * EACH for end in ends]
        self.lowest.append((*places, *bars, *numbers, len(self.lowest) * BLOCK))
        return len(self.lowest) - 1

    def _children(self, node: int) -> tuple[int, int]:
        """Of a leaf itself, twice."""
        inner = _is_inner(self.tree, node)
        return (self.tree["left_children"][node], self.tree["right_children"][node]) if inner else (node, node)

    def _test(self, node: int) -> tuple[int, int]:
        return self.cuts.test(self.tree, node) if _is_inner(self.tree, node) else ALWAYS_LEFT


def _aligned(values: Float32s) -> Float32s:
    """The same where no vector of them lies in two lines of the cache, which would take twice as long to read."""
    memory: Float32s = in_lines(values.nbytes).view(np.float32).reshape(values.shape)
    memory[...] = values
    return memory


def _in_steps(thresholds: Float32s) -> Float32s:
    """What a value that is not missing reaches, thresholds, and what no value reaches, up to a multiple of STEP."""
    return np.concatenate([[-np.inf], thresholds, np.full(STEP - 1 - len(thresholds) % STEP or STEP, np.nan)])


def _by_levels(numbers: Float32s) -> Float32s:
    """Rising numbers, and NaN where there are no more, in Eytzinger's order."""
    depth = max(int(np.count_nonzero(~np.isnan(numbers))).bit_length(), DEPTHS[0])
    levels = np.full(1 << depth, np.nan)
    for level in range(depth):
        step = 1 << (depth - level)
        own = numbers[step // 2 - 1 :: step][: 1 << level]
        levels[1 << level : (1 << level) + len(own)] = own
    return levels


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


def _inner(trees: list[Tree]) -> Iterator[tuple[Tree, int]]:
    """All nodes of trees that are not leaves."""
    for tree in trees:
        yield from ((tree, node) for node in range(len(tree["left_children"])) if _is_inner(tree, node))


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
