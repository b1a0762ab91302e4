"""`LanguageBackbone`: a backbone together with the head of its language model."""

from typing import Any

from warmstart import _core
from warmstart.backbone import Backbone

Model = _core.LanguageModel | _core.ReplacedDetector


class LanguageBackbone(Backbone):
    """A backbone with its language model head, or a detector of replaced tokens with its generator.

    `LanguageModel` trains all of it further; everything else uses it as a plain backbone.
    ``LanguageModel.from_pretrained`` opens one, and ``LanguageModel.backbone_`` is one.

    Examples
    --------
    >>> import warmstart as ws
    >>> first = ws.LanguageModel(backbone, max_steps=1, random_state=0, verbose=False).fit(texts)
    >>> second = ws.LanguageModel(first.backbone_, max_steps=1, random_state=0, verbose=False).fit(texts)
    """

    __slots__ = ("_is_new", "_model")

    def __init__(self, model: Model, is_new: bool = False, is_random: bool = False) -> None:
        super().__init__(model.backbone)
        self._model = model
        self._is_new = is_new
        self._is_random = is_random

    def __reduce__(self) -> tuple[Any, ...]:
        return (LanguageBackbone, (self._model, self._is_new, self._is_random))
