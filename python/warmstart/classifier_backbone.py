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

    def __init__(self, model: _core.Classifier, classes: Classes, of_words: bool) -> None:
        super().__init__(model.backbone)
        self._model = model
        self._classes = classes
        self._of_words = of_words

    def __reduce__(self) -> tuple[Any, ...]:
        return (ClassifierBackbone, (self._model, self._classes, self._of_words))


def with_published_head(
    backbone: Backbone, classes: Classes, of_words: bool
) -> tuple[Classes, _core.Classifier | None]:
    """Return the classes of a published head that has all of `classes`, and its model; else `classes` and None.

    Warns
    -----
    UserWarning
        There is a head for such a task, but its labels are others.
    """
    if not isinstance(backbone, ClassifierBackbone) or backbone._of_words != of_words:
        return classes, None
    own, asked = backbone._classes, classes.values.tolist()
    known = own.values.tolist()
    # The columns of a matrix without names are those of the head, in its order.
    is_by_place = classes.multi_label and classes.values.dtype.kind == "i" and len(classes) == len(own)
    if own.multi_label == classes.multi_label and (is_by_place or set(asked) <= set(known)):
        return own, backbone._model
    unlike = [label for label in asked if label not in known] or asked
    warn(
        f"the model's own head is left out and a new one begins: its labels are {known[:5]}, and labels has "
        f"{unlike[:5]}; to go on from it, call them as it does"
    )
    return classes, None
