"""Drawings with matplotlib, which is imported only here."""

from typing import Any, Protocol

import numpy as np

_LINE_COLOURS = ("#1f77b4", "#d95f02")
_CELL_INCHES = 0.32
_SMALL_CELL_INCHES = 0.21
_MANY_CLASSES = 30
_MIN_INCHES = 4.5
_MOST_PANELS = 4


class Curves(Protocol):
    """The attributes of a `History` that are drawn."""

    rows: list[dict[str, Any]]
    steps: list[dict[str, Any]]
    metric: str
    best_step: int | None


def draw_history(history: Curves) -> list[Any]:
    """Draw loss over epochs and, where there is one, the metric beside it; the kept weights are marked."""
    plt = _pyplot()
    rows = history.rows
    scored = [row for row in rows if history.metric in row and history.metric != "loss"]
    _, grid = plt.subplots(
        1, 2 if scored else 1, figsize=(9 if scored else 5, 3.4), squeeze=False, sharex=True, layout="constrained"
    )
    axes = list(grid[0])
    train, held_out = _LINE_COLOURS
    if history.steps:
        axes[0].plot(
            [s["epoch"] for s in history.steps], [s["loss"] for s in history.steps], color=train, alpha=0.3, linewidth=1
        )
    axes[0].plot([row["epoch"] for row in rows], [row["loss"] for row in rows], "o-", color=train, label="training")
    evaluated = [row for row in rows if "eval_loss" in row]
    if evaluated:
        axes[0].plot(
            [row["epoch"] for row in evaluated],
            [row["eval_loss"] for row in evaluated],
            "s-",
            color=held_out,
            label="evaluation",
        )
    axes[0].set(xlabel="epoch", ylabel="loss", title="Loss")
    axes[0].legend(frameon=False)
    if scored:
        axes[1].plot([row["epoch"] for row in scored], [row[history.metric] for row in scored], "s-", color=held_out)
        axes[1].set(xlabel="epoch", ylabel=history.metric, title="Evaluation texts")
    best = next((row for row in rows if row["step"] == history.best_step), None)
    for axis in axes:
        axis.xaxis.get_major_locator().set_params(integer=True)  # epochs, where the axis spans at least two
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
        if best is not None:
            axis.axvline(best["epoch"], color="#666666", linestyle=":", linewidth=1)
    if best is not None:
        where = axes[-1].get_xaxis_transform()
        axes[-1].text(best["epoch"], 0.02, "best ", transform=where, ha="right", va="bottom", color="#666666")
    return axes


def draw_report(report: Any) -> Any:
    """Draw the confusion matrix, or for multi-label the F1 of every class."""
    return _draw_bars(report) if report.confusion is None else _draw_confusion(report)


def _draw_confusion(report: Any) -> Any:
    plt = _pyplot()
    counts = np.asarray(report.confusion)
    names = [str(label) for label in report.classes]
    n = len(names)
    widest = max(map(len, names))
    cell = _SMALL_CELL_INCHES if n > _MANY_CLASSES else _CELL_INCHES
    side = max(_MIN_INCHES, cell * n + 0.075 * widest)
    figure, axis = plt.subplots(figsize=(side + 0.6, side), layout="constrained")
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    font = 9 if n <= 12 else 7 if n <= _MANY_CLASSES else 6
    for row, column in np.argwhere(counts):
        colour = "white" if shares[row, column] > 0.55 else "#222222"
        axis.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=font, color=colour)
    turn = 90 if n > 6 or widest > 8 else 0
    axis.set_xticks(range(n), names, rotation=turn, fontsize=font)
    axis.set_yticks(range(n), names, fontsize=font)
    axis.set(
        xlabel="predicted",
        ylabel="true",
        title=f"Confusion of {report.n_texts:,} texts, accuracy {report.accuracy:.3f}",
    )
    axis.spines[:].set_visible(False)
    figure.colorbar(image, ax=axis, label="share of the true class", shrink=min(1.0, 4 / side))
    return axis


def _draw_bars(report: Any) -> Any:
    plt = _pyplot()
    names = [str(row["label"]) for row in report.per_class]
    _, axis = plt.subplots(figsize=(6, max(2.0, _CELL_INCHES * len(names) + 1)), layout="constrained")
    bars = axis.barh(names, [row["f1"] for row in report.per_class], color=_LINE_COLOURS[0])
    axis.bar_label(bars, [f"{row['f1']:.2f} of {row['support']}" for row in report.per_class], padding=3, fontsize=8)
    axis.set(xlabel="f1", xlim=(0, 1.15), title=f"F1 of {len(names)} classes, macro {report.macro_f1:.3f}")
    axis.invert_yaxis()
    axis.spines[["top", "right"]].set_visible(False)
    return axis


def draw_regression(report: Any) -> Any:
    """Draw predicted against true numbers, a panel for each of at most four targets."""
    plt = _pyplot()
    names = report.targets[:_MOST_PANELS]
    figure, grid = plt.subplots(1, len(names), figsize=(4.2 * len(names), 4), squeeze=False, layout="constrained")
    for i, (axis, name) in enumerate(zip(grid[0], names, strict=True)):
        true, predicted = report.true[:, i], report.predicted[:, i]
        low, high = min(true.min(), predicted.min()), max(true.max(), predicted.max())
        axis.plot([low, high], [low, high], color="#666666", linestyle=":", linewidth=1)
        axis.scatter(true, predicted, s=12, alpha=0.4, color=_LINE_COLOURS[0], linewidths=0)
        shown = "" if len(report.targets) == 1 else f"{name}: "
        r2 = report.per_target[i]["r2"]
        title = f"{shown}{report.n_texts:,} texts" + ("" if r2 is None else f", R\u00b2 {r2:.3f}")
        axis.set(xlabel="true", ylabel="" if i else "predicted", title=title)
        axis.set_aspect("equal", adjustable="datalim")
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    n_drawn, n = len(report.true), len(report.targets)
    notes = [f"{n_drawn:,} of {report.n_texts:,} texts drawn"] if n_drawn < report.n_texts else []
    notes += [f"{len(names)} of {n} targets"] if len(names) < n else []
    if notes:
        figure.supxlabel(", ".join(notes), fontsize=8)
    return grid[0, 0]


def _pyplot() -> Any:
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "plot() draws with matplotlib, which is not installed: pip install warmstart[plot]"
        ) from error
    return plt
