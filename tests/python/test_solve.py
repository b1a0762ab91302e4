"""The optimum of a linear map, beside scikit-learn's and brute force."""

import numpy as np
import pytest
from scipy.optimize import check_grad, minimize
from sklearn.linear_model import LogisticRegression
from warmstart.solve import BIAS_L2, Problem, solve


def made(n, d, c, seed=0, noise=1.0):
    """Return features ``[n, d]`` of c classes, each around a point of its own, and the classes."""
    rng = np.random.default_rng(seed)
    classes = np.arange(n) % c
    points = rng.normal(size=(c, d))
    return (points[classes] + noise * rng.normal(size=(n, d)) + 3).astype(np.float32), classes.astype(np.int64)


def scaled(x):
    centred = x - x.mean(axis=0, dtype=np.float64)
    return centred / np.sqrt((centred**2).sum(axis=1).mean())


def softmax(logits):
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("n", "d", "c"), [(37, 11, 5), (41, 7, 2), (23, 60, 3), (19, 40, 2)])
@pytest.mark.parametrize("weights", [None, (3.0, 1.0, 0.5, 2.0, 1.0)])
def test_optimum_is_that_of_scikit_learn(n, d, c, weights):
    x, y = made(n, d, c)
    weights = None if weights is None else list(weights[:c])
    found = solve(x, y, c, False, weights)
    each = np.ones(n) if weights is None else np.array(weights)[y]
    peer = LogisticRegression(C=1 / found.l2, tol=1e-12, max_iter=100_000)
    peer.fit(scaled(x), y, sample_weight=each / each.mean())
    assert found.weight.shape == (c, d)
    np.testing.assert_allclose(softmax(x @ found.weight.T + found.bias), peer.predict_proba(scaled(x)), atol=2e-4)
    if c == 2:
        np.testing.assert_allclose(found.weight.sum(axis=0), 0, atol=1e-6)


def test_labels_of_many_are_solved_one_by_one():
    x, y = made(43, 9, 3)
    targets = np.stack([y == 0, y > 0, y == 2], axis=1).astype(np.float32)
    found = solve(x, targets, 3, True)
    for k in range(3):
        peer = LogisticRegression(C=1 / found.l2, tol=1e-12, max_iter=100_000).fit(scaled(x), targets[:, k])
        logits = x @ found.weight[k] + found.bias[k]
        np.testing.assert_allclose(1 / (1 + np.exp(-logits)), peer.predict_proba(scaled(x))[:, 1], atol=2e-4)


@pytest.mark.parametrize(("c", "multi_label"), [(2, False), (4, False), (3, True)])
def test_gradient_is_that_of_finite_differences(c, multi_label):
    x, y = made(13, 5, c)
    targets = np.eye(c, dtype=np.float32)[y] if multi_label else y
    problem = Problem.of(scaled(x), targets, c, multi_label, [0.5 + k for k in range(c)], 0.1)
    theta = np.random.default_rng(1).normal(size=problem.start().size)
    error = check_grad(lambda t: problem.objective(t, 0.3)[0], lambda t: problem.objective(t, 0.3)[1], theta)
    assert error < 1e-4


def test_label_smoothing_is_that_of_the_loss_written_out():
    x, y = made(29, 4, 3)
    found = solve(x, y, 3, False, None, 0.2)
    z, q = scaled(x), np.full((29, 3), 0.2 / 3)
    q[np.arange(29), y] += 0.8

    def loss(theta):
        w, b = theta[:12].reshape(3, 4), theta[12:]
        return -(q * np.log(softmax(z @ w.T + b))).sum() + found.l2 / 2 * (w**2).sum() + BIAS_L2 / 2 * (b**2).sum()

    best = minimize(loss, np.zeros(15), options={"gtol": 1e-9}).x
    expected = softmax(z @ best[:12].reshape(3, 4).T + best[12:])
    np.testing.assert_allclose(softmax(x @ found.weight.T + found.bias), expected, atol=2e-4)


def test_the_gain_over_guessing_tells_features_that_say_something_from_chance():
    x, y = made(120, 9, 3)
    gain = solve(x, y, 3, False, with_gain=True).gain
    assert gain.errors > 5
    assert gain.loss < 0.5 * gain.guessing
    rare = (np.arange(120) % 5 == 0).astype(np.int64)
    by_chance = [
        solve(x, np.random.default_rng(i).permutation(rare), 2, False, with_gain=True).gain.errors for i in range(20)
    ]
    assert np.mean(np.array(by_chance) > 2) <= 0.1
    others = 23 / 119, 24 / 119
    guessing = -(24 * np.log(others[0]) + 96 * np.log(1 - others[1])) / 120
    assert solve(x, rare, 2, False, with_gain=True).gain.guessing == pytest.approx(guessing, rel=1e-3)
    assert solve(x, y, 3, False).gain is None


@pytest.mark.parametrize("c", [2, 4])
def test_leave_one_out_is_that_of_brute_force(c):
    x, y = made(32, 6, c, noise=1.5)
    problem = Problem.of(scaled(x), y, c, False, None, 0.0)
    approximate, exact = [], []
    for l2 in (3.0, 1.0, 0.3, 0.1):
        theta, _ = problem.minimise(l2, problem.start())
        approximate.append(problem.leave_one_out(theta, l2).mean())
        losses = []
        for i in range(32):
            others = np.delete(np.arange(32), i)
            part = Problem(problem.x[others], problem.y[others], problem.weights[others], c > 2, c == 2)
            weight, bias = problem.split(part.minimise(l2, theta)[0])
            losses.append(problem.outcome(problem.x @ weight.T + bias)[0][i])
        exact.append(np.mean(losses))
    np.testing.assert_allclose(approximate, exact, rtol=0.03 if c == 2 else 0.13)
    assert exact[np.argmin(approximate)] <= 1.02 * min(exact)


def test_strength_follows_the_data():
    """Of noise the strongest penalty is chosen; of what is easily told apart a weak one."""
    rng = np.random.default_rng(0)
    noise = solve(rng.normal(size=(60, 20)).astype(np.float32), np.arange(60) % 3, 3, False)
    clear = solve(*made(60, 20, 3, noise=0.3), 3, False)
    assert noise.l2 > 10 * clear.l2
    assert min(clear.path, key=lambda tried: tried[1])[0] == clear.l2


def test_of_more_texts_a_part_chooses_the_strength():
    x, y = made(1501, 5, 2, noise=2.0)
    found = solve(x, y, 2, False)
    peer = LogisticRegression(C=1 / found.l2, tol=1e-12, max_iter=100_000).fit(scaled(x), y)
    np.testing.assert_allclose(softmax(x @ found.weight.T + found.bias), peer.predict_proba(scaled(x)), atol=2e-4)


def test_features_that_are_all_alike_give_the_share_of_each_class():
    y = np.array([0] * 3 + [1] * 9 + [2] * 4)
    found = solve(np.full((16, 7), 2.5, dtype=np.float32), y, 3, False)
    p = softmax(np.full((1, 7), 2.5) @ found.weight.T + found.bias)
    np.testing.assert_allclose(p[0], [3 / 16, 9 / 16, 4 / 16], atol=1e-4)


def test_classes_without_texts_stay_finite():
    x, y = made(21, 5, 2)
    of_three = solve(x, y, 3, False)
    assert np.isfinite(of_three.bias).all()
    assert softmax(x @ of_three.weight.T + of_three.bias)[:, 2].max() < 0.01
    weightless = solve(x, y, 2, False, [1.0, 0.0])
    assert np.isfinite(weightless.bias).all()
    constant = solve(x, np.stack([y, np.ones(21), np.zeros(21)], axis=1).astype(np.float32), 3, True)
    assert np.isfinite(constant.bias).all()
    assert constant.bias[1] > 3 > -3 > constant.bias[2]


def test_what_cannot_be_solved_is_refused():
    x, y = made(9, 3, 2)
    with pytest.raises(ValueError, match="not finite"):
        solve(np.full_like(x, np.nan), y, 2, False)
    with pytest.raises(ValueError, match="class_weight is 0 for every text"):
        solve(x, y, 2, False, [0.0, 0.0])


@pytest.mark.parametrize("c", [2, 3])
def test_without_a_bias_the_optimum_is_that_of_scikit_learn_without_one(c):
    x, y = made(39, 6, c)
    found = solve(x, y, c, False, has_bias=False)
    np.testing.assert_array_equal(found.bias, np.zeros(c))
    scale = np.sqrt(((x - x.mean(axis=0, dtype=np.float64)) ** 2).sum(axis=1).mean())
    peer = LogisticRegression(C=1 / found.l2, fit_intercept=False, tol=1e-12, max_iter=100_000).fit(x / scale, y)
    np.testing.assert_allclose(softmax(x @ found.weight.T), peer.predict_proba(x / scale), atol=2e-4)


def test_an_optimum_that_is_not_reached_is_told(monkeypatch):
    monkeypatch.setattr("warmstart.solve.MOST_ITERATIONS", 2)
    with pytest.warns(UserWarning, match="not at its optimum after 2 iterations"):
        solve(*made(30, 5, 3), 3, False)


def test_the_same_features_give_the_same_bytes_and_a_constant_column_counts_for_nothing():
    x, y = made(31, 4, 3)
    one, again = solve(x, y, 3, False), solve(x, y, 3, False)
    np.testing.assert_array_equal(one.weight, again.weight)
    wider = solve(np.column_stack([x, np.full(31, 2.5, dtype=np.float32)]), y, 3, False, l2=one.l2)
    np.testing.assert_allclose(wider.weight[:, :4], one.weight, atol=1e-3)
    np.testing.assert_allclose(wider.weight[:, 4], 0, atol=1e-6)
