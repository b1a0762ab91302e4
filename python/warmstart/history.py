"""`History`: how a training run went, evaluation by evaluation."""

from typing import Any

from warmstart.tables import format_cell, html_table, text_table

_COLUMNS = ("step", "epoch", "loss", "eval_loss", "score", "learning_rate", "grad_norm", "tokens", "elapsed_s")
_FORMATS = {"epoch": ".3f", "learning_rate": ".2e", "grad_norm": ".3f", "elapsed_s": ",.1f"}


class History:
    """The course of a training run.

    Attributes
    ----------
    rows : list of dict
        One for each evaluation, or each epoch in a run without evaluation texts: ``step, epoch``, ``loss`` (mean since
        the row before), ``eval_loss``, the metric under its own name, ``learning_rate, grad_norm, tokens, elapsed_s``.
        ``pandas.DataFrame(history.rows)`` takes them as they are.
    steps : list of dict
        At most 1000 steps with ``step, epoch, loss``, evenly spaced, for the curve. They are not saved.
    metric : str
        Name of the metric that chose the best weights.
    best_step : int or None
        Step of the best evaluation, whose weights are kept unless the last were asked for; None without evaluation
        texts.
    """

    def __init__(self, rows: list[dict[str, Any]], metric: str, best_step: int | None = None) -> None:
        self.rows = rows
        self.metric = metric
        self.best_step = best_step
        self.steps: list[dict[str, Any]] = []

    @classmethod
    def of_run(cls, told: dict[str, list[dict[str, Any]]], metric: str, best_step: int | None) -> "History":
        """Return the history from the ``rows`` and ``curve`` that the core recorded."""
        rows = told["rows"]
        for row in rows:
            score = row.pop("score", None)
            if score is not None and metric != "loss":
                row[metric] = score
        history = cls(rows, metric, best_step)
        history.steps = told["curve"]
        return history

    @property
    def columns(self) -> list[str]:
        """The keys that occur in the rows, in the order of display."""
        order = [self.metric if name == "score" else name for name in _COLUMNS]
        return [name for name in dict.fromkeys(order) if any(name in row for row in self.rows)]

    def to_dict(self) -> dict[str, list[Any]]:
        """Return the rows as columns."""
        return {name: [row.get(name) for row in self.rows] for name in self.columns}

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return text_table(*self._table()) if self.rows else "History: no evaluation and no whole epoch was completed"

    def _repr_html_(self) -> str:
        return html_table(*self._table(), caption="History") if self.rows else f"<p>{self!r}</p>"

    def _table(self) -> tuple[list[str], list[list[str]]]:
        names = self.columns
        columns = [_format_column(name, [row.get(name) for row in self.rows]) for name in names]
        table = [list(line) for line in zip(*columns, strict=True)]
        if self.best_step is None:
            return names, table
        marks = ["best" if row["step"] == self.best_step else "" for row in self.rows]
        return [*names, ""], [[*line, mark] for line, mark in zip(table, marks, strict=True)]

    def plot(self) -> Any:
        """Draw loss and metric over epochs.

        Returns
        -------
        list of matplotlib Axes
            One for the loss and, where there is one, one for the metric.

        Raises
        ------
        ImportError
            matplotlib is not installed.
        """
        from warmstart.plots import draw_history

        return draw_history(self)


def _format_column(name: str, values: list[Any]) -> list[str]:
    """Give the floats of a column the same number of decimals: four to losses and metrics, none to whole epochs."""
    floats = [value for value in values if isinstance(value, float)]
    spec = _FORMATS.get(name, ".4f")
    if name == "epoch" and all(value.is_integer() for value in floats):
        spec = ".0f"
    return [format(value, spec) if isinstance(value, float) else format_cell(value) for value in values]
