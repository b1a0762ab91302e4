"""`Plan`: effect of a strategy on every parameter of a model, as shown by ``strategy.explain(backbone)``."""

from dataclasses import dataclass
from math import prod
from typing import Any

from warmstart.tables import format_cell, html_stack, html_table, text_table

CHOICE_HEADERS = ("chosen", "value", "why")
_HEADERS = ("layer", "parameters", "trainable", "learning rate", "weight decay")


@dataclass(frozen=True)
class Choice:
    """A value that was chosen by default, and the reason."""

    value: Any
    why: str


class Plan:
    """The plan that a strategy compiles to, at the peak of its schedule.

    Attributes
    ----------
    rows : list of dict
        One for each parameter tensor: ``name, shape, trainable, learning_rate, weight_decay``.
    choices : dict of Choice
        Values that were chosen by default, by name, each with its ``value`` and ``why``.
    is_solved : bool
        Whether the trainable parameters are solved for directly: rates and decays then do not apply.
    """

    def __init__(
        self, rows: list[dict[str, Any]], choices: dict[str, Choice] | None = None, is_solved: bool = False
    ) -> None:
        self.rows = rows
        self.is_solved = is_solved
        self.choices = {} if choices is None else choices

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
                    self._rate(trained),
                    "" if self.is_solved else _distinct(row["weight_decay"] for row in trained),
                )
            )
        return lines

    def _rate(self, trained: list[dict[str, Any]]) -> str:
        if not trained:
            return "frozen"
        return "solved" if self.is_solved else _distinct(row["learning_rate"] for row in trained)

    def __repr__(self) -> str:
        blocks = [text_table(_HEADERS, [*self.by_layer(), self._total()])]
        if self.choices:
            blocks.append(text_table(CHOICE_HEADERS, choice_rows(self.choices)))
        return "\n\n".join(blocks)

    def _repr_html_(self) -> str:
        blocks = [html_table(_HEADERS, [*self.by_layer(), self._total()], caption="Plan")]
        if self.choices:
            blocks.append(html_table(CHOICE_HEADERS, choice_rows(self.choices), caption="Chosen"))
        return html_stack(*blocks)

    def _total(self) -> tuple[Any, ...]:
        return ("total", self.n_parameters, self.n_trainable, None, None)


def choice_rows(choices: dict[str, Choice]) -> list[tuple[str, str, str]]:
    """Return the lines of a table of choices: name, value, why."""
    return [(name, "" if choice.value is None else str(choice.value), choice.why) for name, choice in choices.items()]


def layer_of(name: str) -> str:
    """Cut a parameter's path behind its first number, else at its first dot: ``encoder.layer.3``, ``embeddings``."""
    parts = name.split(".")
    number = next((i for i, part in enumerate(parts) if part.isdigit()), None)
    if number is not None:
        return ".".join(parts[: number + 1])
    return parts[0]


def _distinct(values: Any) -> str:
    return " / ".join(format_cell(value) for value in sorted(set(values), reverse=True))
