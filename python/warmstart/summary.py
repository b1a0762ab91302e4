"""`Summary`: the modules of a backbone, as shown by ``backbone.summary()``."""

from collections.abc import Iterable
from itertools import groupby
from typing import Any

from warmstart.plan import layer_of
from warmstart.tables import format_bytes, html_table, text_table

_HEADERS = ("module", "shape", "parameters", "dtype", "bytes")
_INDENT = "  "

Row = dict[str, Any]


class Summary:
    """The parameters of a model.

    It is shown with a line for each module, weight and bias together. Neighbouring layers of the same structure are one
    block, whose lines count the parameters of all of them.

    Attributes
    ----------
    rows : list of dict
        One for each parameter tensor, in the order of the model: ``name, shape, parameters, dtype, bytes``.
        ``pandas.DataFrame(summary.rows)`` takes them as they are.
    """

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows

    @property
    def n_parameters(self) -> int:
        """Number of weights in all."""
        return sum(row["parameters"] for row in self.rows)

    @property
    def n_bytes(self) -> int:
        """Memory of the weights."""
        return sum(row["bytes"] for row in self.rows)

    def lines(self) -> list[tuple[Any, ...]]:
        """Return the displayed lines: module, shape, parameters, dtype, bytes; modules of a layer are indented."""
        lines = []
        for layers in _alike(self.rows):
            modules = [_module(names, rows) for names, rows in _modules(layers)]
            name = _span([layer for layer, _ in layers])
            if len(modules) == 1:
                inside, *rest = modules[0]
                lines.append((f"{name}.{inside}" if inside else name, *rest))
                continue
            whole = _sums(row for _, rows in layers for row in rows)
            lines.append((name, f"{len(layers)} alike, summed" if len(layers) > 1 else "", *whole))
            lines += [(_INDENT + inside, *rest) for inside, *rest in modules]
        return [*lines, ("total", "", *_sums(self.rows))]

    def __repr__(self) -> str:
        return text_table(_HEADERS, self.lines())

    def _repr_html_(self) -> str:
        # A browser drops leading spaces, but not these.
        lines = [(line[0].replace(_INDENT, "\u2003"), *line[1:]) for line in self.lines()]
        return html_table(_HEADERS, lines, caption="Summary")


Layer = tuple[str, list[Row]]


def _alike(rows: list[Row]) -> list[list[Layer]]:
    """Split rows into layers, and group neighbours that differ only in their number."""
    blocks: list[list[Layer]] = []
    for name, group in groupby(rows, key=lambda row: layer_of(row["name"])):
        layer = (name, list(group))
        if blocks and name[-1:].isdigit() and _pattern(blocks[-1][-1]) == _pattern(layer):
            blocks[-1].append(layer)
        else:
            blocks.append([layer])
    return blocks


def _pattern(layer: Layer) -> tuple[Any, ...]:
    name, rows = layer
    return _stem(name), [(row["name"][len(name) :], row["shape"], row["dtype"]) for row in rows]


def _stem(name: str) -> str:
    return name.rstrip("0123456789")


def _span(names: list[str]) -> str:
    """Abbreviate ``["encoder.layer.0", ..., "encoder.layer.5"]`` to ``"encoder.layer.0-5"``."""
    return names[0] if len(names) == 1 else f"{names[0]}-{names[-1][len(_stem(names[-1])) :]}"


def _modules(layers: list[Layer]) -> list[tuple[str, list[list[Row]]]]:
    """Name each module of a group of equal layers, with the rows of each of its tensors in all of them."""
    prefix = len(layers[0][0]) + 1
    tensors = list(zip(*(rows for _, rows in layers), strict=True))
    modules = groupby(tensors, key=lambda rows: _without_kind(rows[0]["name"])[prefix:])
    return [(name, [list(rows) for rows in group]) for name, group in modules]


def _without_kind(name: str) -> str:
    """Remove ``.weight`` or ``.bias``."""
    return name.rpartition(".")[0] if name.endswith((".weight", ".bias")) else name


def _module(name: str, tensors: list[list[Row]]) -> tuple[Any, ...]:
    shapes = (" x ".join(map(str, rows[0]["shape"])) for rows in tensors)
    return (name, " + ".join(shapes), *_sums(row for rows in tensors for row in rows))


def _sums(rows: Iterable[Row]) -> tuple[int, str, str]:
    rows = list(rows)
    dtypes = " / ".join(sorted({row["dtype"] for row in rows}))
    return sum(row["parameters"] for row in rows), dtypes, format_bytes(sum(row["bytes"] for row in rows))
