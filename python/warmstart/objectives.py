"""What a language model is trained towards, as plain data; the core checks values and what a backbone can serve."""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar


class Objective:
    """What all objectives can do: be written as JSON for the core."""

    kind: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"kind": ..., **parameters}``."""
        return {"kind": self.kind, **asdict(self)}  # type: ignore[call-overload]


@dataclass(frozen=True, kw_only=True)
class MaskedLM(Objective):
    """Predict hidden tokens from those around them (BERT, Devlin et al. 2019).

    Of the chosen tokens 80% are replaced by the mask, 10% by a random token, and 10% stay.

    Parameters
    ----------
    rate : float
        Part of the tokens that is chosen.
    unit : {"token", "word", "span"}
        What is chosen together: tokens, whole words, or spans of words of geometric length (SpanBERT,
        Joshi et al. 2020).

    Examples
    --------
    >>> MaskedLM(rate=0.3)
    MaskedLM(rate=0.3, unit='word')
    """

    kind: ClassVar[str] = "masked"

    rate: float = 0.15
    unit: str = "word"


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


@dataclass(frozen=True, kw_only=True)
class PermutationLM(Objective):
    """Predict a sixth of the tokens in a random order, each from those before it (XLNet, Yang et al. 2019).

    Examples
    --------
    >>> PermutationLM()
    PermutationLM()
    """

    kind: ClassVar[str] = "permutation"


OBJECTIVES: dict[str, type[Objective]] = {kind.kind: kind for kind in (MaskedLM, CausalLM, PermutationLM)}


def require_objective(value: Any) -> Objective:
    """Return `value`.

    Raises
    ------
    TypeError
        It is no objective.
    """
    if not isinstance(value, Objective):
        kinds = "MaskedLM(), CausalLM() or PermutationLM()"
        raise TypeError(f"objective must be None, {kinds}, got {value!r} ({type(value).__name__})")
    return value
