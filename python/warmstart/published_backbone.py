"""`PublishedBackbone`: a backbone together with the head of a published model."""

from dataclasses import replace
from typing import Any

from warmstart import _core
from warmstart.backbone import Backbone
from warmstart.labels import Classes
from warmstart.numbers import Numbers
from warmstart.tasks import Target
from warmstart.warn import warn


class PublishedBackbone(Backbone):
    """A backbone with the head of a published model, and the meaning of its outputs.

    It is the ``backbone`` of an estimator opened by ``from_pretrained``: fitting on labels that the head has continues
    from the head; everything else uses it as a plain backbone.
    """

    __slots__ = ("_model", "_target")

    def __init__(self, model: _core.TaskModel, target: Target) -> None:
        super().__init__(model.backbone)
        self._model = model
        self._target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (PublishedBackbone, (self._model, self._target))


def _left_out(pooling: Any) -> bool:
    """Tell whether training cannot continue from a head, and warn of it."""
    if pooling == "auto":
        return False
    warn(f"the model's own head is left out and a new one begins, as pooling={pooling!r} asked")
    return True


def with_published_head(
    backbone: Backbone, classes: Classes, of_words: bool, pooling: Any = "auto", by_place: bool = False
) -> tuple[Classes, _core.TaskModel | None]:
    """Return the classes and the model of a published head that has all of `classes`; else `classes` and None.

    Parameters
    ----------
    backbone : Backbone
        The estimator's backbone as given.
    classes : Classes
        Classes of the training labels.
    of_words : bool
        Whether words are classified instead of texts.
    pooling : str or sequence of str
        Pooling for the head of a text classifier.
    by_place : bool
        Whether the labels are a matrix without names, whose columns are the head's outputs in order.

    Warns
    -----
    UserWarning
        There is a head for this task, but with other labels, or another pooling was asked for.
    """
    if not isinstance(backbone, PublishedBackbone) or backbone._model.of_words != of_words:
        return classes, None
    own = backbone._target
    if not isinstance(own, Classes) or _left_out(pooling):
        return classes, None
    asked, known = classes.values.tolist(), own.values.tolist()
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


def published_tags(backbone: Backbone) -> list[str]:
    """Return the tags of a published token classifier in the order of its outputs; empty if there is none."""
    if not isinstance(backbone, PublishedBackbone) or not backbone._model.of_words:
        return []
    return backbone._target.names


def published_numbers(backbone: Backbone, numbers: Numbers, pooling: Any) -> tuple[Numbers, _core.TaskModel | None]:
    """Return numbers as a published head has them, and its model, which gives them in their units; else None for it.

    Its columns are those of the same names, and where one side has none those of the same place.

    Warns
    -----
    UserWarning
        There is a head of other numbers, or another pooling was asked for.
    """
    if not isinstance(backbone, PublishedBackbone) or not isinstance(backbone._target, Numbers) or _left_out(pooling):
        return numbers, None
    own = backbone._target
    by_name = set(own.names) == set(numbers.names)
    if len(own) == len(numbers) and (by_name or not own.is_named or not numbers.is_named):
        order = [numbers.names.index(name) for name in own.names] if by_name else list(range(len(own)))
        names = own.names if own.is_named else numbers.names
        return replace(numbers, names=names, shift=numbers.shift[order], scale=numbers.scale[order]), backbone._model
    warn(
        f"the model's own head is left out and a new one begins: its targets are {own.names[:5]}, and labels has "
        f"{numbers.names[:5]}"
    )
    return numbers, None
