"""`RegressionReport`: quality of a model of real numbers, and facts of its training run."""

import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from warmstart.numbers import Numbers
from warmstart.run_report import RunReport
from warmstart.samples import drawn
from warmstart.tables import html_scroll, html_stack, html_table, text_table
from warmstart.weights import Weights

MEASURES = ("r2", "mae", "rmse", "pearson", "spearman")
_HEADERS = ("target", *MEASURES)
_SHOWN_TARGETS = 20

MOST_POINTS = 1000
"""Number of texts, sampled from more, whose true and predicted numbers are kept for the plot."""


@dataclass(frozen=True, repr=False, eq=False, kw_only=True)
class RegressionReport(RunReport):
    """Quality on evaluation texts, and the facts of the training run; either part may be absent.

    `plot` draws predicted against true numbers, of the first four targets.

    Attributes
    ----------
    targets : list of str
        The names of the T targets.
    n_texts : int
        Number of texts evaluated; if it is 0, the next ones are None or empty.
    loss : float or None
        Mean training loss, of numbers in standard deviations of the training set; for a published model in its own
        units.
    r2, mae, rmse, pearson, spearman : float or None
        Share of explained variance, mean absolute and root mean squared error in the units of the targets, correlations
        of numbers and of ranks; for several targets the mean over them. The correlations are None if all numbers are
        equal, or texts have weights.
    per_target : list of dict
        ``target`` and these scores for each target.
    true, predicted : ndarray of float64, shape (P, T)
        True and predicted numbers of at most 1000 texts, sampled from more, for the plot.
    training : dict
        Facts of the training run, as in `Report`.
    """

    targets: list[str]
    r2: float | None = None
    mae: float | None = None
    rmse: float | None = None
    pearson: float | None = None
    spearman: float | None = None
    per_target: list[dict[str, Any]] = field(default_factory=list)
    true: NDArray[np.float64] | None = None
    predicted: NDArray[np.float64] | None = None

    @classmethod
    def blank(cls, target: Numbers, training: dict[str, Any] | None = None) -> "RegressionReport":
        """Return a report without evaluation texts."""
        return cls(targets=target.names, training=training or {})

    @classmethod
    def of_predictions(
        cls,
        predicted: NDArray[np.float64],
        true: NDArray[np.float64],
        names: list[str],
        loss: float,
        training: dict[str, Any] | None = None,
        sample_weight: Weights | None = None,
    ) -> "RegressionReport":
        """Evaluate predictions ``[N, T]``, in the units of the targets."""
        if sample_weight is not None:
            rows = np.flatnonzero(sample_weight)
            predicted, true, sample_weight = predicted[rows], true[rows], sample_weight[rows]
        per_target = [
            {"target": name, **_measures(true[:, i], predicted[:, i], sample_weight)} for i, name in enumerate(names)
        ]
        rows = drawn(len(true), MOST_POINTS)
        return cls(
            targets=names,
            n_texts=len(true),
            loss=loss,
            per_target=per_target,
            training=training or {},
            true=true[rows],
            predicted=predicted[rows],
            **{name: _mean(per_target, name) for name in MEASURES},
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "RegressionReport":
        """Undo `to_dict`."""
        points = {
            name: None if data[name] is None else np.array(data[name], dtype=np.float64)
            for name in ("true", "predicted")
        }
        return cls(**{**data, **points})

    def _draw(self) -> Any:
        from warmstart.plots import draw_regression

        return draw_regression(self)

    def _quality(self) -> list[tuple[str, str]]:
        values = [("loss", self.loss), *((name, getattr(self, name)) for name in MEASURES)]
        return [(name, _shown(value)) for name, value in values]

    def _rows(self) -> list[tuple[str, ...]]:
        return [(row["target"], *(_shown(row[name]) for name in MEASURES)) for row in self.per_target]

    def __repr__(self) -> str:
        width = max(len(name) for name, _ in self._facts())
        blocks = ["\n".join(f"{name.ljust(width)}  {value}" for name, value in self._facts())]
        if len(self.per_target) > 1:
            if len(self.per_target) > _SHOWN_TARGETS:
                blocks.append(f"the first {_SHOWN_TARGETS} of {len(self.per_target)} targets")
            blocks.append(text_table(_HEADERS, self._rows()[:_SHOWN_TARGETS]))
        return "\n\n".join(blocks)

    def _repr_html_(self) -> str:
        blocks = [html_table(("", ""), self._facts(), caption="Report")]
        if len(self.per_target) > 1:
            blocks.append(html_scroll(html_table(_HEADERS, self._rows(), caption="Targets")))
        return html_stack(*blocks)


def correlation(kind: str, true: NDArray[Any], predicted: NDArray[Any]) -> float | None:
    """Return Pearson's or Spearman's correlation, averaged over columns; None if a column is constant."""
    from scipy import stats

    measure = stats.pearsonr if kind == "pearson" else stats.spearmanr
    pairs = list(zip(true.reshape(len(true), -1).T, predicted.reshape(len(true), -1).T, strict=True))
    if len(true) < 2 or any((one == one[0]).all() for pair in pairs for one in pair):
        return None
    with warnings.catch_warnings():
        # scipy also warns of nearly constant input, but then there still is a correlation.
        warnings.simplefilter("ignore", stats.NearConstantInputWarning)
        return float(np.mean([measure(*pair).statistic for pair in pairs]))


def _measures(
    true: NDArray[np.float64], predicted: NDArray[np.float64], weights: Weights | None
) -> dict[str, float | None]:
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    correlations = {
        kind: correlation(kind, true, predicted) if weights is None else None for kind in ("pearson", "spearman")
    }
    return {
        # R2 is undefined for a single text and for constant numbers.
        "r2": None if (true == true[0]).all() else float(r2_score(true, predicted, sample_weight=weights)),
        "mae": float(mean_absolute_error(true, predicted, sample_weight=weights)),
        "rmse": float(root_mean_squared_error(true, predicted, sample_weight=weights)),
        **correlations,
    }


def _mean(per_target: list[dict[str, Any]], measure: str) -> float | None:
    values = [row[measure] for row in per_target]
    return None if None in values else float(np.mean(values))


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"
