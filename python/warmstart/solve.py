"""Logistic regression on frozen features: linear map fitted by L-BFGS, its penalty chosen by leave-one-out.

The objective is the sum over texts of the cross entropy, weighted by class and text, plus ``l2 / 2`` times the squared
weights; the bias is not penalised. Features are centred and divided by a single number, their root mean square length;
the returned map takes the original features. The loss is a sum, not a mean, so that an `l2` chosen on a sample of the
texts suits all of them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from warmstart.defaults import HARDLY, SURE
from warmstart.samples import drawn, some_of_each
from warmstart.warn import warn_unlearnt

Array = NDArray[np.float64]

DECADES = (10.0, 1.0, 0.1, 0.01, 1e-3)
"""Penalties that are tried first, from strong to weak; then the half decades on both sides of the best one."""

MOST_TEXTS, FEW = 1000, 8
"""Number of texts, sampled from more, on which the penalty is chosen: more hardly change it; minimum of each class."""

LEFT_OUT, MOST_LEFT_OUT = 200, 20_000
"""Number of texts left out in turn: at least the first, and as many as have no more logits than the second."""

NO_WEIGHTS = 1e6
"""Penalty so strong that only the biases remain: it predicts the share of each class."""

MOST_ITERATIONS = 1000
"""Maximum number of L-BFGS iterations; most problems take less than a hundred."""

CORRECTIONS = 20
"""Number of pairs of steps and gradients that L-BFGS keeps."""

VECTORS = 2 * CORRECTIONS + 5
"""Number of vectors of the map's size that L-BFGS needs: the pairs, the map, its gradient, and a few more."""

BIAS_L2 = 1e-6
"""Penalty of the biases, which keeps the bias of a class finite if it has no text, or all."""


@dataclass(frozen=True)
class Gain:
    """Leave-one-out gain of features over guessing.

    Attributes
    ----------
    loss, guessing : float
        Mean leave-one-out loss of the linear map, and of predicting the share of each class.
    errors : float
        The difference, in standard errors of its mean.
    """

    loss: float
    guessing: float
    errors: float

    @property
    def is_little(self) -> bool:
        """Whether the loss is hardly below that of guessing."""
        return self.loss > HARDLY * self.guessing

    @property
    def is_sure(self) -> bool:
        """Whether the gain is statistically certain."""
        return self.errors >= SURE


@dataclass(frozen=True, eq=False)
class Solution:
    """The linear map ``weight @ x + bias`` from features to logits.

    Attributes
    ----------
    weight : ndarray of float32, shape (C, D)
    bias : ndarray of float32, shape (C,)
    l2 : float
        Strength of the L2 penalty, for features with a mean square length of 1.
    loss : float
        Mean loss over the texts, without the penalty.
    path : list of (float, float)
        Each penalty tried, with its mean leave-one-out loss; empty if the penalty was given.
    n_iter : int
        Total number of L-BFGS iterations.
    gain : Gain or None
        Gain of the features over guessing, if it was asked for.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    l2: float
    loss: float
    path: list[tuple[float, float]]
    n_iter: int
    gain: Gain | None = None

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return logits ``[N, C]`` from features ``[N, D]``."""
        return np.asarray(features @ self.weight.T + self.bias)


def solve(
    features: NDArray[np.float32],
    targets: NDArray[Any],
    n_outputs: int,
    multi_label: bool,
    class_weight: list[float] | None = None,
    label_smoothing: float = 0.0,
    l2: float | None = None,
    has_bias: bool = True,
    with_gain: bool = False,
    sample_weight: Array | None = None,
) -> Solution:
    """Solve for the linear map.

    Parameters
    ----------
    features : ndarray of float32, shape (N, D)
        Inputs of the map.
    targets : ndarray
        Class indices int64 ``[N]``, or for multi-label 0/1 float32 ``[N, C]``.
    n_outputs : int
        Number of outputs C. With two classes the logits add up to 0, and their difference is penalised.
    multi_label : bool
        A sigmoid for each output instead of a softmax.
    class_weight : list of float, optional
        Weight of each class in the loss; scaled so that the mean weight of a text is 1.
    label_smoothing : float
        Share of probability given to all classes alike.
    l2 : float, optional
        Strength of the penalty; None chooses it by leave-one-out.
    has_bias : bool
        False for a map without bias: the bias of the solution is 0.
    with_gain : bool
        Whether to compute the gain of the features over guessing; only if `l2` is None.
    sample_weight : ndarray, optional
        Weight of each text in the loss, above 0, ``[N]``; scaled like `class_weight`.

    Raises
    ------
    ValueError
        A feature is not finite, or all weights of the texts are 0.

    Warns
    -----
    ConvergenceWarning
        The optimum was not reached in `MOST_ITERATIONS`.
    """
    from threadpoolctl import threadpool_limits

    # The products are small: two threads of OpenBLAS take up to seven times as long as one, waiting for each other.
    with threadpool_limits(limits=1, user_api="blas"):
        return _solve(
            features,
            targets,
            n_outputs,
            multi_label,
            class_weight,
            label_smoothing,
            l2,
            has_bias,
            with_gain,
            sample_weight,
        )


def _solve(
    features: NDArray[np.float32],
    targets: NDArray[Any],
    n_outputs: int,
    multi_label: bool,
    class_weight: list[float] | None,
    label_smoothing: float,
    l2: float | None,
    has_bias: bool,
    with_gain: bool,
    sample_weight: Array | None,
) -> Solution:
    if not np.isfinite(features).all():
        raise ValueError("features hold values that are not finite; the weights of the model may be damaged")
    mean = features.mean(axis=0, dtype=np.float64)
    x = features - mean
    scale = float(np.sqrt(np.einsum("nd,nd->", x, x) / len(x))) or 1.0
    if not has_bias:  # what is taken off could not be given back
        mean, x = np.zeros_like(mean), features.astype(np.float64)
    # The optimal weights lie in the span of the features, which is smaller if there are fewer texts than columns.
    basis = _basis(x) if len(x) < x.shape[1] else None
    if basis is not None:
        x = x @ basis
    x /= scale  # in place: of many texts it is the largest array there is
    problem = Problem.of(x, targets, n_outputs, multi_label, class_weight, label_smoothing, has_bias, sample_weight)

    theta = problem.start()
    if l2 is None:
        part = problem.part(targets)
        l2, path, theta, n_iter = _strength(part)
        gain = part.gain(theta, l2) if with_gain else None
    else:
        path, n_iter, gain = [], 0, None
    theta, further = problem.minimise(l2, theta)
    if further >= MOST_ITERATIONS:
        warn_unlearnt(
            f"the head is not at its optimum after {further} iterations; it can be trained in steps: epochs=30"
        )

    weight, bias = problem.split(theta)
    weight = (weight if basis is None else weight @ basis.T) / scale
    bias = bias - weight @ mean
    if problem.is_binary:
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return Solution(
        np.ascontiguousarray(weight, dtype=np.float32),
        np.ascontiguousarray(bias, dtype=np.float32),
        l2,
        float(problem.outcome(problem.logits(theta))[0].mean()),
        path,
        n_iter + further,
        gain,
    )


def _strength(part: "Problem") -> tuple[float, list[tuple[float, float]], Array, int]:
    """Choose the penalty by leave-one-out; also return the penalties tried, the optimum, and all iterations."""
    found: dict[float, tuple[float, Array, int]] = {}

    def attempt(l2: float, start: Array) -> Array:
        theta, n_iter = part.minimise(l2, start)
        found[l2] = (float(part.leave_one_out(theta, l2).mean()), theta, n_iter)
        return theta

    theta = part.start()
    for l2 in DECADES:
        theta = attempt(l2, theta)
        losses = [loss for loss, _, _ in found.values()]
        if len(losses) > 2 and losses[-1] > losses[-2] > losses[-3]:
            break
    best = min(found, key=lambda l2: found[l2][0])
    for l2 in (best * 10**0.5, best / 10**0.5):
        attempt(l2, found[best][1])
    best = min(found, key=lambda l2: found[l2][0])
    path = [(l2, found[l2][0]) for l2 in sorted(found, reverse=True)]
    return best, path, found[best][1], sum(iterations for _, _, iterations in found.values())


@dataclass(frozen=True, eq=False)
class Problem:
    """Features ``[N, D]``, targets ``[N, K]``, and weights in the loss, ``[N, K]`` or ``[N, 1]``.

    K is the number of outputs, or 1 for two classes.
    """

    x: Array
    y: Array
    weights: Array
    is_softmax: bool
    is_binary: bool
    has_bias: bool = True
    """Without a bias it stays 0, because its gradient is 0."""

    @classmethod
    def of(
        cls,
        x: Array,
        targets: NDArray[Any],
        n_outputs: int,
        multi_label: bool,
        class_weight: list[float] | None,
        label_smoothing: float,
        has_bias: bool = True,
        sample_weight: Array | None = None,
    ) -> "Problem":
        """Convert targets and weights to this form."""
        by_class = np.ones(n_outputs) if class_weight is None else np.array(class_weight, dtype=np.float64)
        if multi_label:
            y = targets.astype(np.float64) * (1 - label_smoothing) + label_smoothing / 2
            weights = np.broadcast_to(by_class, y.shape)
        else:
            y = np.full((len(x), n_outputs), label_smoothing / n_outputs)
            y[np.arange(len(x)), targets] += 1 - label_smoothing
            weights = by_class[targets][:, None]
        if sample_weight is not None:
            weights = weights * sample_weight[:, None]
        if not weights.sum() > 0:
            raise ValueError("class_weight is 0 for every text; there is nothing to learn")
        weights = weights / weights.mean()
        is_binary = n_outputs == 2 and not multi_label
        return cls(x, y[:, 1:] if is_binary else y, weights, not multi_label and not is_binary, is_binary, has_bias)

    def part(self, targets: NDArray[Any]) -> "Problem":
        """Return a sample of about `MOST_TEXTS` texts, with a few of each class."""
        if len(self.x) <= MOST_TEXTS:
            return self
        rows = np.union1d(drawn(len(self.x), MOST_TEXTS), some_of_each(targets, FEW))
        return Problem(self.x[rows], self.y[rows], self.weights[rows], self.is_softmax, self.is_binary, self.has_bias)

    def split(self, theta: Array) -> tuple[Array, Array]:
        """Split parameters into weight ``[K, D]`` and bias ``[K]``."""
        matrix = theta.reshape(self.y.shape[1], -1)
        return matrix[:, :-1], matrix[:, -1]

    def start(self) -> Array:
        """Return the start of the optimisation: weights 0, and biases that predict the share of each class."""
        share = np.clip((self.weights * self.y).mean(axis=0), 1e-3, None)
        bias = (
            np.log(share) if self.is_softmax else np.log(share / np.clip(self.weights.mean(axis=0) - share, 1e-3, None))
        )
        return np.column_stack([np.zeros((len(bias), self.x.shape[1])), bias * self.has_bias]).ravel()

    def outcome(self, logits: Array) -> tuple[Array, Array]:
        """Return the loss of each text ``[N]``, and the probabilities ``[N, K]``: softmax, or a sigmoid each."""
        if self.is_softmax:
            logits = logits - logits.max(axis=1, keepdims=True)
            p = np.exp(logits)
            total = p.sum(axis=1, keepdims=True)
            p /= total
            losses = self.weights[:, 0] * (np.log(total[:, 0]) - np.einsum("nk,nk->n", self.y, logits))
        else:
            log_sum = np.logaddexp(0, logits)
            p = np.exp(logits - log_sum)
            losses = (self.weights * (log_sum - self.y * logits)).sum(axis=1)
        return losses, p

    def objective(self, theta: Array, l2: float) -> tuple[float, Array]:
        """Return value and gradient of the objective."""
        weight, bias = self.split(theta)
        losses, p = self.outcome(self.logits(theta))
        gradient = self.weights * (p - self.y)
        value = losses.sum() + l2 / 2 * (weight**2).sum() + BIAS_L2 / 2 * (bias**2).sum()
        of_bias = gradient.sum(axis=0) * self.has_bias + BIAS_L2 * bias
        return float(value), np.column_stack([gradient.T @ self.x + l2 * weight, of_bias]).ravel()

    def logits(self, theta: Array) -> Array:
        """Return logits ``[N, K]``."""
        weight, bias = self.split(theta)
        return np.asarray(self.x @ weight.T + bias * self.has_bias)

    def minimise(self, l2: float, start: Array) -> tuple[Array, int]:
        """Return the optimum and the number of iterations."""
        from scipy.optimize import minimize

        options = {"maxiter": MOST_ITERATIONS, "maxcor": CORRECTIONS, "gtol": 1e-4, "ftol": 1e-12}
        found = minimize(self.objective, start, args=(l2,), jac=True, method="L-BFGS-B", options=options)
        return np.asarray(found.x), int(found.nit)

    def leave_one_out(self, theta: Array, l2: float) -> Array:
        """Return the leave-one-out loss of each text, approximated by one Newton step from the optimum.

        The step is exact to first order for one logit and for multi-label. For a softmax the curvature between classes
        is ignored, which makes the loss too large by up to an eighth if the penalty is weak. Source: Rad and Maleki
        (2020), A scalable estimate of the out-of-sample prediction error via approximate leave-one-out.
        """
        from scipy.linalg import cho_factor, solve_triangular

        logits = self.logits(theta)
        _, p = self.outcome(logits)
        gradient, curvature = self.weights * (p - self.y), self.weights * p * (1 - p)
        # float32 takes half the time of float64, and losses are only compared.
        x = np.column_stack([self.x, np.full(len(self.x), self.has_bias)]).astype(np.float32)
        ridge = np.append(np.full(self.x.shape[1], l2), BIAS_L2)
        left_out = drawn(len(x), max(LEFT_OUT, MOST_LEFT_OUT // logits.shape[1]))
        for k in range(logits.shape[1]):
            root = x * np.sqrt(curvature[:, k, None]).astype(np.float32)
            hessian = root.T @ root
            hessian[np.diag_indices_from(hessian)] += ridge
            try:
                factor, _ = cho_factor(hessian, lower=True, overwrite_a=True)
            except np.linalg.LinAlgError:  # the penalty is lost in rounding: too weak to be chosen
                return np.full(len(left_out), np.inf)
            leverage = (solve_triangular(factor, x[left_out].T, lower=True) ** 2).sum(axis=0)
            step = gradient[left_out, k] / np.maximum(1 - leverage * curvature[left_out, k], 1e-3)
            logits[left_out, k] += leverage * step
        return np.asarray(self.outcome(logits)[0][left_out])

    def gain(self, theta: Array, l2: float) -> Gain:
        """Return the leave-one-out gain over guessing of the optimum for a penalty."""
        guessing, _ = self.minimise(NO_WEIGHTS, self.start())
        losses, guessed = self.leave_one_out(theta, l2), self.leave_one_out(guessing, NO_WEIGHTS)
        gains = guessed - losses
        error = float(gains.std() / np.sqrt(len(gains)))
        return Gain(float(losses.mean()), float(guessed.mean()), float(gains.mean()) / error if error > 0 else 0.0)


def _basis(centred: Array) -> Array:
    """Return an orthonormal basis of the rows' span, ``[D, R]``; one column of zeros if all rows are zero."""
    _, lengths, rows = np.linalg.svd(centred, full_matrices=False)
    spanned = lengths > 1e-7 * max(float(lengths[0]), 1e-30)
    return np.asarray(rows[spanned].T if spanned.any() else np.zeros((centred.shape[1], 1)))
