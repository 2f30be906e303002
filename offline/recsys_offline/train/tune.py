"""Choosing each source's parameters on the newest window, by what the source adds to those before it.

What does best alone often says what the others say already; so the sources are settled one after the other, cheap and
plain ones first, and each option is judged in a blend with what is settled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from recsys.candidates import merge
from recsys.interactions import Histories
from recsys.metrics import Truth
from recsys.queries import QueryBatch, for_users
from recsys.sources import CandidateSource, Proposal
from recsys.splits import Window
from recsys.types import ExcludePolicy, Float32s, Int64s
from recsys_offline.train import fitting
from recsys_offline.train.blending import Problem
from recsys_offline.train.fitting import Setting
from recsys_offline.train.specs import Spec
from recsys_offline.train.training_set import labelled

CANDIDATES = 50
"""Of each source for a query."""
LEAST_GAIN = 1.005
"""An alternative must be better by this factor: what is not clearly better is noise, and the default stays."""
WEIGHTS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 32.0)
"""Tried for a source beside the settled ones, relative to the largest of theirs."""
ORDER = ("popularity", "repeats", "als")
"""Kinds that are settled first; the others follow as proposed."""


@dataclass(frozen=True, slots=True)
class Question:
    """The queries of one mode, what came true, and what the settled sources say.

    Attributes:
        batch: one query for each user of the truth.
        truth: what the users did next.
        proposals: of the settled sources that pay in this mode.
        weights: theirs in the blend.
        keys: int64[n], rising: the pairs that they propose.
        blend: float32[n], their blend.
        ndcg: NDCG@20 of that blend.
    """

    batch: QueryBatch
    truth: Truth
    proposals: tuple[Proposal, ...] = ()
    weights: tuple[float, ...] = ()
    keys: Int64s = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    blend: Float32s = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    ndcg: float = 0.0

    def joined_by(self, source: CandidateSource) -> Question:
        """The same with one source more, at the weight that pays most."""
        proposal = source.propose(self.batch, CANDIDATES)
        keys, blend = self._widened(proposal)
        candidates = merge([proposal], self.batch, keys)
        columns = np.column_stack([blend, candidates.scaled[:, 0]])
        pair = replace(
            candidates,
            score=columns,
            rank=np.full_like(columns, np.nan),
            scale=np.ones((len(self.batch), 2), np.float32),
        )
        problem = Problem.of([labelled(self.batch, self.truth, pair)])
        largest = max(self.weights, default=1.0)
        tried = [share * largest for share in (WEIGHTS if self.weights else (1.0,))]
        reached, weight = max((problem.ndcg(np.array([1, each], dtype=np.float32)), each) for each in tried)
        if reached <= self.ndcg:
            return self
        summed: Float32s = (blend + weight * columns[:, 1]).astype(np.float32)
        proposals, weights = (*self.proposals, proposal), (*self.weights, weight)
        return Question(self.batch, self.truth, proposals, weights, keys, summed, reached)

    def _widened(self, proposal: Proposal) -> tuple[Int64s, Float32s]:
        """The pairs with those of a proposal, and the settled sources' blend of all."""
        query, place = np.nonzero(proposal.item_num >= 0)
        further = np.setdiff1d(self.batch.keys(query, proposal.item_num[query, place]), self.keys)
        said = np.zeros(len(further), dtype=np.float32)
        if self.proposals:
            said = merge(self.proposals, self.batch, further).scaled @ np.array(self.weights, dtype=np.float32)
        keys = np.concatenate([self.keys, further])
        order = np.argsort(keys)
        return keys[order], np.concatenate([self.blend, said])[order]


Answers = tuple[Question, ...]


def questions(window: Window, truth: Truth, policies: tuple[ExcludePolicy, ...], n_users: int, limit: int) -> Answers:
    """The queries of the window's users in each mode, nothing settled yet."""
    histories = Histories.of(window.past, n_users, limit)
    batches = (for_users(histories, truth.user_num, window.now, truth.n_items, policy) for policy in policies)
    return tuple(Question(batch, truth) for batch in batches)


def settle(specs: Sequence[Spec], window: Window, asked: Answers, setting: Setting) -> tuple[Spec, ...]:
    """The specs with nothing left to choose, in their order."""
    if not any(group for spec in specs for group in spec.options):
        return tuple(spec.settled() for spec in specs)
    settled: dict[str, Spec] = {}
    for spec in sorted(specs, key=lambda spec: ORDER.index(spec.kind) if spec.kind in ORDER else len(ORDER)):
        settled[spec.name], asked = _settle(spec, window, asked, setting)
    return tuple(settled[spec.name] for spec in specs)


def _settle(spec: Spec, window: Window, asked: Answers, setting: Setting) -> tuple[Spec, Answers]:
    """One spec settled, and the questions with its source; coordinate search over the groups of its options."""
    latest: list[tuple[Spec, CandidateSource]] = []

    def answers(tried: Spec) -> Answers:
        source = next((fitted for known, fitted in latest if _same_fit(known, tried)), None)
        source = source or fitting.fit(tried, window.past, window.now, setting)
        latest[:] = [(tried, source)]
        return tuple(question.joined_by(fitting.asked_with(source, tried)) for question in asked)

    chosen, best = spec, answers(spec)
    for group in spec.options:
        chosen, best = _better(chosen, best, [chosen.but(changed) for changed in group], answers)
    return chosen.settled(), best


def _same_fit(one: Spec, other: Spec) -> bool:
    """Whether two specs differ at most in how a history is read, which needs no fitting."""
    return one.but({fitting.HISTORY: 0.0}) == other.but({fitting.HISTORY: 0.0})


def _better(chosen: Spec, best: Answers, tried: list[Spec], answers: Callable[[Spec], Answers]) -> tuple[Spec, Answers]:
    """The best of what was chosen and what is tried."""
    if not tried:
        return chosen, best
    reached = [(spec, answers(spec)) for spec in tried]
    top, top_answers = max(reached, key=lambda pair: _quality(pair[1]))
    return (top, top_answers) if _quality(top_answers) > LEAST_GAIN * _quality(best) else (chosen, best)


def _quality(asked: Answers) -> float:
    """Geometric mean over the modes, so that the hard one counts as much as the easy one."""
    return float(np.exp(np.mean([np.log(max(question.ndcg, 1e-9)) for question in asked])))
