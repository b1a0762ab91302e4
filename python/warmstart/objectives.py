"""Training objectives of language models, as plain data; the core checks values and whether a backbone fits."""

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from warmstart.backbone import Backbone
from warmstart.options import finite, flag, one_of, optional_count

UNITS = ("token", "word", "span")


class Objective(ABC):
    """Base class of objectives, which can be written as JSON for the core."""

    kind: ClassVar[str]

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return ``{"kind": ..., **parameters}``."""


@dataclass(frozen=True, kw_only=True)
class MaskedLM(Objective):
    """Predict hidden tokens from those around them (BERT, Devlin et al. 2019).

    80% of the chosen tokens are replaced by the mask token, 10% by a random token, and 10% stay.

    Parameters
    ----------
    rate : float
        Part of the tokens that is chosen.
    unit : {"token", "word", "span"}
        Unit that is chosen as a whole: tokens, words, or spans of words of geometric length (SpanBERT, Joshi et al.
        2020).

    Examples
    --------
    >>> MaskedLM(rate=0.3)
    MaskedLM(rate=0.3, unit='word')
    """

    kind: ClassVar[str] = "masked"

    rate: float = 0.15
    unit: str = "word"

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"kind": ..., **parameters}``.

        Raises
        ------
        TypeError, ValueError
            `rate` is no number, or `unit` is another.
        """
        return {"kind": self.kind, "rate": finite("rate", self.rate), "unit": one_of("unit", self.unit, UNITS)}


@dataclass(frozen=True, kw_only=True)
class CausalLM(Objective):
    """Predict each token from those before it.

    Parameters
    ----------
    stream : bool
        Train on all documents one after another in blocks of `max_length` tokens, instead of on documents that do not
        see each other. Documents end with the end-of-text token either way, where the tokenizer has one.

    Examples
    --------
    >>> CausalLM(stream=True)
    CausalLM(stream=True)
    """

    kind: ClassVar[str] = "causal"

    stream: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"kind": ..., **parameters}``.

        Raises
        ------
        TypeError
            `stream` is no bool.
        """
        return {"kind": self.kind, "stream": flag("stream", self.stream)}


@dataclass(frozen=True, kw_only=True)
class PermutationLM(Objective):
    """Predict a sixth of the tokens in a random order, each from those before it (XLNet, Yang et al. 2019).

    A document longer than `max_length` is split into consecutive sequences: each one attends to the hidden states of
    the text before it, kept from the previous step without gradients (Dai et al. 2019). Up to eight sequences of a
    document follow each other; the next ones come at another time and start without memory. Evaluation uses no memory.

    Parameters
    ----------
    memory : int, optional
        Number of tokens before a sequence whose hidden states are kept, 0 for none. None takes `max_length`, so that a
        step keeps no more tokens than it reads. The paper has 384 for sequences of 512.

    Examples
    --------
    >>> PermutationLM(memory=384)
    PermutationLM(memory=384)
    """

    kind: ClassVar[str] = "permutation"

    memory: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"kind": ..., **parameters}``.

        Raises
        ------
        TypeError, ValueError
            `memory` is no integer of at least 0.
        """
        return {"kind": self.kind, "memory": optional_count("memory", self.memory)}


@dataclass(frozen=True, kw_only=True)
class ReplacedTokenDetection(Objective):
    """Tell which tokens a small generator has put in the place of hidden ones (ELECTRA, Clark et al. 2020).

    Both are trained together; where their embeddings have the same shape they share them.

    Parameters
    ----------
    generator : Backbone, str or path, optional
        A model with the same tokenizer and maximum length, not causal; None makes one like the backbone, a quarter as
        wide.
    rate : float
        Part of the tokens that is hidden from the generator.
    weight : float
        Factor of the detector's loss beside the generator's.

    Examples
    --------
    >>> ReplacedTokenDetection(rate=0.25).to_dict()
    {'kind': 'replaced', 'rate': 0.25, 'weight': 50.0}
    """

    kind: ClassVar[str] = "replaced"

    generator: Backbone | str | os.PathLike[str] | None = None
    rate: float = 0.15
    weight: float = 50.0

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"kind": ..., **parameters}``, but for the generator.

        Raises
        ------
        TypeError, ValueError
            `rate` or `weight` is no number.
        """
        return {"kind": self.kind, "rate": finite("rate", self.rate), "weight": finite("weight", self.weight)}


OBJECTIVES: dict[str, type[Objective]] = {
    kind.kind: kind for kind in (MaskedLM, CausalLM, PermutationLM, ReplacedTokenDetection)
}


def require_objective(value: Any) -> Objective:
    """Return `value`.

    Raises
    ------
    TypeError
        It is no objective.
    """
    if not isinstance(value, Objective):
        kinds = "MaskedLM(), CausalLM(), PermutationLM() or ReplacedTokenDetection()"
        raise TypeError(f"objective must be None, {kinds}, got {value!r} ({type(value).__name__})")
    return value
