"""`Report`: quality of a classification model, and facts of its training run."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from warmstart.labels import Classes, Label, Targets
from warmstart.run_report import RunReport
from warmstart.scores import accuracy, macro_f1, mean_loss, predictions
from warmstart.tables import html_scroll, html_stack, html_table, text_table

_CLASS_HEADERS = ("class", "precision", "recall", "f1", "support")
_PAIR_HEADERS = ("true", "predicted", "texts")
_SHOWN_CLASSES = 20
_SHOWN_PAIRS = 5


@dataclass(frozen=True, repr=False, eq=False, kw_only=True)
class Report(RunReport):
    """Quality on evaluation texts, and the facts of the training run; either part may be absent.

    `plot` draws the confusion matrix, or for multi-label the F1 of every class.

    Attributes
    ----------
    classes : list of str, int or bool
        The C labels.
    n_texts : int
        Number of texts evaluated; if it is 0, the next six are None or empty.
    accuracy : float or None
        Share of texts predicted right; for multi-label, right in every class.
    macro_f1 : float or None
        Mean F1 of the classes that occur.
    loss : float or None
        Mean cross entropy in nats, without class weights and label smoothing.
    entity_f1 : float or None
        F1 over all entities for entity recognition; the classes are then the labels of entities.
    per_class : list of dict
        ``label, precision, recall, f1, support`` of every class.
    confusion : ndarray of int64, shape (C, C), or None
        Number of texts by true (row) and predicted (column) class; None for multi-label. With `sample_weight` these are
        sums of weights, float64, and so is the support of a class.
    training : dict
        ``tokens, elapsed_s, tokens_per_s, peak_memory_bytes, parameters, trainable_parameters, steps, epochs``,
        ``best_step, best_score, kept_step, stopped_early, stopped_by, batch_tokens``, of a head that was solved for
        ``l2``, its penalty, and under ``choices`` for each parameter that was chosen its value and why; empty where
        nothing was trained.
    """

    classes: list[Label]
    accuracy: float | None = None
    macro_f1: float | None = None
    per_class: list[dict[str, Any]] = field(default_factory=list)
    confusion: NDArray[Any] | None = None
    entity_f1: float | None = None

    @classmethod
    def blank(cls, target: Classes, training: dict[str, Any] | None = None) -> "Report":
        """Return a report without evaluation texts."""
        return cls(classes=target.values.tolist(), training=training or {})

    @classmethod
    def of_logits(
        cls,
        logits: NDArray[np.float32],
        targets: Targets,
        classes: Classes,
        training: dict[str, Any] | None = None,
        sample_weight: NDArray[np.float64] | None = None,
    ) -> "Report":
        """Compute the report from logits.

        Parameters
        ----------
        logits : ndarray of float32, shape (N, C)
            Logits of the model.
        targets : ndarray
            True class indices ``[N]``, or for multi-label 0/1 ``[N, C]``.
        classes : Classes
            The C labels.
        training : dict, optional
            Facts of the training run.
        sample_weight : ndarray of float64, shape (N,), optional
            How much each text counts; those of weight 0 are left out.
        """
        from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

        if sample_weight is not None:
            rows = np.flatnonzero(sample_weight)
            logits, targets, sample_weight = logits[rows], targets[rows], sample_weight[rows]
        labels = classes.values.tolist()
        truth, predicted = targets.astype(np.int64), predictions(logits, classes.multi_label)
        indices = np.arange(len(labels))
        columns = precision_recall_fscore_support(
            truth, predicted, labels=indices, average=None, zero_division=0, sample_weight=sample_weight
        )
        return cls(
            classes=labels,
            n_texts=len(truth),
            accuracy=accuracy(truth, predicted, sample_weight),
            macro_f1=macro_f1(truth, predicted, sample_weight),
            loss=mean_loss(logits, targets, classes.multi_label, sample_weight=sample_weight),
            per_class=[
                {"label": label, "precision": float(p), "recall": float(r), "f1": float(f), "support": s.item()}
                for label, p, r, f, s in zip(labels, *columns, strict=True)
            ],
            confusion=None
            if classes.multi_label
            else confusion_matrix(truth, predicted, labels=indices, sample_weight=sample_weight),
            training=training or {},
        )

    def worst_pairs(self, n: int = _SHOWN_PAIRS) -> list[tuple[Label, Label, Any]]:
        """Return the n most frequent confusions: true label, predicted label, number of texts or their weight."""
        if self.confusion is None:
            return []
        errors = self.confusion.copy()
        np.fill_diagonal(errors, 0)
        order = np.argsort(-errors, axis=None, kind="stable")[:n]
        pairs = [divmod(int(cell), len(self.classes)) for cell in order]
        return [(self.classes[t], self.classes[p], errors[t, p].item()) for t, p in pairs if errors[t, p]]

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Report":
        """Undo `to_dict`."""
        confusion = data["confusion"]
        return cls(**{**data, "confusion": None if confusion is None else np.array(confusion)})

    def __repr__(self) -> str:
        width = max(len(name) for name, _ in self._facts())
        blocks = ["\n".join(f"{name.ljust(width)}  {value}" for name, value in self._facts())]
        if self.n_texts:
            rows = self._class_rows()
            if len(rows) > _SHOWN_CLASSES:
                rows = sorted(rows, key=lambda row: row[3])[:_SHOWN_CLASSES]
                blocks.append(f"the {_SHOWN_CLASSES} of {len(self.classes)} classes with the lowest f1")
            blocks.append(text_table(_CLASS_HEADERS, rows))
        if self.worst_pairs():
            blocks.append("most frequent confusions\n" + text_table(_PAIR_HEADERS, self.worst_pairs()))
        return "\n\n".join(blocks)

    def _repr_html_(self) -> str:
        blocks = [html_table(("", ""), self._facts(), caption="Report")]
        if self.n_texts:
            blocks.append(html_scroll(html_table(_CLASS_HEADERS, self._class_rows(), caption="Classes")))
        if self.worst_pairs():
            blocks.append(html_table(_PAIR_HEADERS, self.worst_pairs(), caption="Most frequent confusions"))
        return html_stack(*blocks)

    def _draw(self) -> Any:
        from warmstart.plots import draw_report

        return draw_report(self)

    def _class_rows(self) -> list[tuple[Any, ...]]:
        rows = self.per_class
        return [
            (str(r["label"]), f"{r['precision']:.3f}", f"{r['recall']:.3f}", f"{r['f1']:.3f}", r["support"])
            for r in rows
        ]

    def _quality(self) -> list[tuple[str, str]]:
        return [
            *([] if self.entity_f1 is None else [("f1 of entities", f"{self.entity_f1:.4f}")]),
            ("accuracy", f"{self.accuracy:.4f}"),
            ("macro f1", f"{self.macro_f1:.4f}"),
            ("loss", f"{self.loss:.4f}"),
        ]
