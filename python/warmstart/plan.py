"""`Plan`: what a strategy does to every parameter of a model, as ``strategy.explain(backbone)`` shows it."""

from math import prod
from typing import Any

from warmstart.tables import format_cell, html_table, text_table

_HEADERS = ("layer", "parameters", "trainable", "learning rate", "weight decay")


class Plan:
    """The plan that a strategy compiles to, at the peak of its schedule.

    Attributes
    ----------
    rows : list of dict
        One for each parameter tensor: ``name, shape, trainable, learning_rate, weight_decay``.
    """

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    @property
    def n_parameters(self) -> int:
        """Number of weights in all."""
        return sum(prod(row["shape"]) for row in self.rows)

    @property
    def n_trainable(self) -> int:
        """Number of weights that training changes."""
        return sum(prod(row["shape"]) for row in self.rows if row["trainable"])

    def by_layer(self) -> list[tuple[Any, ...]]:
        """Sum up per layer: name, parameters, trainable parameters, learning rates, weight decays."""
        groups: dict[str, list[dict[str, Any]]] = {}
        for row in self.rows:
            groups.setdefault(layer_of(row["name"]), []).append(row)
        lines: list[tuple[Any, ...]] = []
        for layer, rows in groups.items():
            trained = [row for row in rows if row["trainable"]]
            lines.append(
                (
                    layer,
                    sum(prod(row["shape"]) for row in rows),
                    sum(prod(row["shape"]) for row in trained),
                    _distinct(row["learning_rate"] for row in trained) if trained else "frozen",
                    _distinct(row["weight_decay"] for row in trained),
                )
            )
        return lines

    def __repr__(self) -> str:
        return text_table(_HEADERS, [*self.by_layer(), self._total()])

    def _repr_html_(self) -> str:
        return html_table(_HEADERS, [*self.by_layer(), self._total()], caption="Plan")

    def _total(self) -> tuple[Any, ...]:
        return ("total", self.n_parameters, self.n_trainable, None, None)


def layer_of(name: str) -> str:
    """Cut a parameter's path behind its first number, else at its first dot: ``encoder.layer.3``, ``embeddings``."""
    parts = name.split(".")
    number = next((i for i, part in enumerate(parts) if part.isdigit()), None)
    if number is not None:
        return ".".join(parts[: number + 1])
    return parts[0]


def _distinct(values: Any) -> str:
    return " / ".join(format_cell(value) for value in sorted(set(values), reverse=True))
