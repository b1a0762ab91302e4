"""`ClassifierBackbone`: a backbone together with the head of a published classifier."""

from typing import Any

from warmstart import _core
from warmstart.backbone import Backbone
from warmstart.labels import Classes
from warmstart.warn import warn


class ClassifierBackbone(Backbone):
    """A backbone with the head of a classifier of texts or of words, and what its outputs mean.

    It is the ``backbone`` of what ``from_pretrained`` of a classifier opens: fitted on labels that the head has, it
    goes on from the head; everything else takes it for the backbone that it is.
    """

    __slots__ = ("_classes", "_model", "_of_words")

    def __init__(self, model: _core.TaskModel, classes: Classes, of_words: bool) -> None:
        super().__init__(model.backbone)
        self._model = model
        self._classes = classes
        self._of_words = of_words

    def __reduce__(self) -> tuple[Any, ...]:
        return (ClassifierBackbone, (self._model, self._classes, self._of_words))


def with_published_head(
    backbone: Backbone, classes: Classes, of_words: bool, pooling: Any = "auto", by_place: bool = False
) -> tuple[Classes, _core.TaskModel | None]:
    """Return the classes of a published head that has all of `classes`, and its model; else `classes` and None.

    Parameters
    ----------
    backbone : Backbone
        As it was given.
    classes : Classes
        Those that were learnt from the labels.
    of_words : bool
        Whether words are classified, not texts.
    pooling : str or sequence of str
        What the head of texts is to take.
    by_place : bool
        Whether the labels are a matrix without names: its columns are those of the head, in its order.

    Warns
    -----
    UserWarning
        There is a head for such a task, but its labels are others, or another pooling was asked for.
    """
    if not isinstance(backbone, ClassifierBackbone) or backbone._of_words != of_words:
        return classes, None
    if pooling != "auto":
        warn(f"the model's own head is left out and a new one begins, as pooling={pooling!r} asked")
        return classes, None
    own, asked = backbone._classes, classes.values.tolist()
    known = own.values.tolist()
    fits = len(asked) == len(known) if by_place else set(asked) <= set(known)
    if own.multi_label == classes.multi_label and fits:
        return own, backbone._model
    unlike = [label for label in asked if label not in known] or asked
    numbers = ", also where a tool of scikit-learn has made numbers of them" if isinstance(unlike[0], int) else ""
    warn(
        f"the model's own head is left out and a new one begins: its labels are {known[:5]}, and labels has "
        f"{unlike[:5]}{numbers}; to go on from it, call them as it does"
    )
    return classes, None
