"""Stage 2: an XGBoost model over the feature matrix."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xgboost

from recsys.config import RankerSection
from recsys.forest import Forest
from recsys.item_stats import ItemStats
from recsys.scorer import Scorer
from recsys.types import Float32s, Int32s


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Candidates with labels.

    Attributes:
        features: float32[n, f].
        label: float32[n], 1 where the user acted on the item in the window after the cut, else 0.
        group: int32[n], rising: rows of one query have one number.
    """

    features: Float32s
    label: Float32s
    group: Int32s

    def __len__(self) -> int:
        return len(self.label)

    def thinned(self, limit: int) -> TrainingSet:
        """At most ``limit`` groups, evenly spread over all."""
        place = np.cumsum(np.diff(self.group, prepend=self.group[:1]) > 0)
        groups = int(place[-1]) + 1 if len(self) else 0
        if groups <= limit:
            return self
        kept = np.zeros(groups, dtype=bool)
        kept[np.linspace(0, groups - 1, limit).astype(np.int64)] = True
        rows = kept[place]
        return TrainingSet(self.features[rows], self.label[rows], self.group[rows])


class Ranker:
    """A fitted model; scores compare inside one query only."""

    __slots__ = ("_scorer", "booster", "forest")

    def __init__(self, booster: xgboost.Booster) -> None:
        self.booster = booster
        self.forest = Forest.of(booster)
        self._scorer: Scorer | None = None

    @classmethod
    def read(cls, path: Path) -> Ranker:
        """The model in a ``.ubj`` file; the file must have been verified before, as XGBoost trusts what it reads."""
        booster = xgboost.Booster()
        booster.load_model(path)
        booster.set_param({"nthread": 1})
        return cls(booster)

    def write(self, path: Path) -> None:
        """Write the model to a ``.ubj`` file."""
        self.booster.save_model(path)

    def score(self, features: Float32s) -> Float32s:
        """float32[n]: the score of each row of features float32[n, f]."""
        return self.forest.score(features)

    def scorer(self, stats: ItemStats, sources: int) -> Scorer:
        """What scores candidates of so many sources; the same one as long as the statistics are the same."""
        last = self._scorer
        if last is None or last.stats is not stats:
            self._scorer = last = Scorer.of(self.forest, stats, sources)
        return last

    def contributions(self, features: Float32s) -> Float32s:
        """float32[n, f + 1]: what each feature adds to the score, the base last; each row adds up to its score.

        TreeSHAP (Lundberg, Erion and Lee, Consistent Individualized Feature Attribution for Tree Ensembles, 2018).
        """
        return np.asarray(self.booster.predict(xgboost.DMatrix(features, nthread=1), pred_contribs=True))


def fit(training: TrainingSet, config: RankerSection, seed: int, threads: int) -> Ranker:
    """LambdaMART (Burges, From RankNet to LambdaRank to LambdaMART, 2010) on the groups of a training set."""
    # The same trees as of a QuantileDMatrix, which takes less memory and twice the time to make.
    data = xgboost.DMatrix(training.features, training.label, qid=training.group, nthread=threads)
    parameters = {
        "objective": "rank:ndcg",
        "lambdarank_pair_method": "topk",
        "lambdarank_num_pair_per_sample": 20,
        "max_depth": config.depth,
        "eta": config.learning_rate,
        "min_child_weight": config.min_child_weight,
        "subsample": config.subsample,
        "colsample_bytree": config.colsample,
        "tree_method": "hist",
        "seed": seed,
        "nthread": threads,
    }
    return Ranker(xgboost.train(parameters, data, num_boost_round=config.trees))
