"""The optimiser as plain data.

An optimiser has parameters in scikit-learn's sense, so ``optimizer__weight_decay`` is a name in a grid search.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from warmstart.keywords import naming_what_was_meant
from warmstart.options import finite
from warmstart.parameters import Parameters

OF_THE_ESTIMATOR = {
    "the estimator {}=...": [
        *("learning_rate", "label_smoothing", "epochs", "max_steps", "batch_size", "accumulation_steps"),
        *("class_weight", "patience", "eval_every"),
    ]
}
"""Training parameters that belong to the estimator, not to the optimiser, for `naming_what_was_meant`."""


@dataclass(kw_only=True, repr=False)
class AdamW(Parameters):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019), a schedule of its rate, and clipped gradients.

    The peak of the rate is the estimator's ``learning_rate``.

    Parameters
    ----------
    weight_decay : float
        Decoupled decay of weight matrices; biases and norms have none.
    beta1, beta2, epsilon : float
        Adam's parameters (Kingma and Ba, 2015).
    schedule : {"linear", "cosine", "constant"}
        Decay of the learning rate after warm-up: to zero, or not at all.
    warmup_ratio : float
        Share of the steps in which the rate rises from zero, in [0, 1].
    max_grad_norm : float or None
        Clip the global gradient norm; None does not clip.

    Examples
    --------
    >>> AdamW(weight_decay=0.1, schedule="cosine")
    AdamW(weight_decay=0.1, schedule='cosine')
    >>> import warmstart as ws
    >>> model = ws.TextClassifier(backbone, optimizer=AdamW(weight_decay=0.1), learning_rate=3e-5)
    >>> model.set_params(optimizer__weight_decay=0.0).optimizer
    AdamW(weight_decay=0.0)
    """

    kind: ClassVar[str] = "adamw"
    elsewhere: ClassVar = OF_THE_ESTIMATOR

    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    schedule: str = "linear"
    warmup_ratio: float = 0.1
    max_grad_norm: float | None = 1.0

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"kind": ..., **parameters}`` in plain Python values, as ``warmstart.json`` holds it.

        Raises
        ------
        TypeError
            A parameter is of another type than its default.
        ValueError
            A number is infinite or NaN.
        """
        return {"kind": self.kind, **{name: _plain(name, value) for name, value in self.get_params().items()}}


AdamW.__init__ = naming_what_was_meant(OF_THE_ESTIMATOR)(AdamW.__init__)  # type: ignore[method-assign]

OPTIMIZERS: dict[str, type[AdamW]] = {AdamW.kind: AdamW}

PART = {"optimizer=AdamW({}=...)": list(AdamW().get_params())}
"""Templates of the code that sets optimiser parameters, for `naming_what_was_meant`."""


def _plain(name: str, value: Any) -> Any:
    """Return a parameter as JSON can hold it."""
    if name == "schedule":
        if not isinstance(value, str):
            raise TypeError(f"optimizer.{name} must be a str, got {value!r} ({type(value).__name__})")
        return value
    return None if value is None and name == "max_grad_norm" else finite(f"optimizer.{name}", value)
