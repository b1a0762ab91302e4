"""`TextRegressor`: real numbers of texts, learnt in their own units whatever those are."""

import json
import pickle

import numpy as np
import pytest
import warmstart as ws
from conftest import BAD, FAST, FILL, GOOD
from saved_for_transformers import keep
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_pinball_loss, r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from test_checkpoints import stop_at
from test_families import FAMILIES, tiny
from warmstart.numbers import Numbers
from warmstart.regression import Regression
from warmstart.ridge import solve_ridge

RUN = FAST | {"epochs": 20, "precision": "f32"}
PROBING = {"strategy": ws.LinearProbing(), "learning_rate": None, "epochs": None}


def praised(n, seed=0):
    """Return texts of up to four words of praise or blame, and praise less blame."""
    rng = np.random.default_rng(seed)
    texts, numbers = [], []
    for _ in range(n):
        good, bad = rng.integers(0, 3, 2)
        words = [*rng.choice(GOOD, good), *rng.choice(BAD, bad), *rng.choice(FILL, 3)]
        rng.shuffle(words)
        texts.append(" ".join(words))
        numbers.append(float(good - bad))
    return texts, numbers


@pytest.fixture
def make(backbone):
    return lambda **params: ws.TextRegressor(backbone, **RUN | params)


def test_numbers_are_learnt_saved_and_read_to_the_byte(make, tmp_path):
    texts, y = praised(64)
    model = make().fit(texts, y, eval_set=praised(40, 1))
    assert model.score(*praised(40, 1)) > 0.7
    predicted = model.predict(texts)
    assert (predicted.shape, predicted.dtype) == ((64,), np.float64)
    assert make().fit(texts, y, eval_set=praised(40, 1)).predict(texts).tobytes() == predicted.tobytes()
    model.save(tmp_path / "model")
    again = ws.load(tmp_path / "model")
    assert again.predict(texts).tobytes() == predicted.tobytes()
    assert pickle.loads(pickle.dumps(model)).predict(texts).tobytes() == predicted.tobytes()
    assert again.report_.to_dict() == model.report_.to_dict()
    assert again.evaluate(texts, y).r2 == pytest.approx(model.score(texts, y), abs=1e-6)
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert (config["problem_type"], config["id2label"]) == ("regression", {"0": "LABEL_0"})


@pytest.mark.parametrize("family", FAMILIES)
def test_regressor_of_any_family_reads_what_it_wrote_and_is_opened_as_published(family, tokenizer_dir, tmp_path):
    """Those without a bias too, whose outputs cannot be moved."""
    texts, y = praised(32)
    model = ws.TextRegressor(tiny(family, tokenizer_dir), **RUN).fit(texts, np.array(y) + 0.5)
    predicted = model.predict(texts)
    assert model.score(texts, np.array(y) + 0.5) > 0.3
    path = tmp_path / "model"
    model.save(path)
    assert ws.load(path).predict(texts).tobytes() == predicted.tobytes()
    some = texts[:8]
    keep(f"{family}/regressor", model.save, lambda: {"texts": some, "logits": model.predict(some)[:, None].tolist()})
    (path / "warmstart.json").unlink()
    opened = ws.TextRegressor.from_pretrained(path, precision="f32", verbose=False)
    np.testing.assert_array_equal(opened.predict(texts), predicted)
    # It goes on from there: a step of next to nothing leaves it where it is.
    opened.set_params(max_steps=1, learning_rate=1e-6).fit(texts, np.array(y) + 0.5)
    np.testing.assert_allclose(opened.predict(texts), predicted, atol=1e-3)
    assert "published" in opened.explain(texts, y).choices["head"].why
    with pytest.raises(ValueError, match=r"regression.*: open it with TextRegressor.from_pretrained"):
        ws.TextClassifier.from_pretrained(path)


def test_a_classifier_is_not_opened_as_a_regressor(backbone, texts, labels, tmp_path):
    ws.TextClassifier(backbone, **FAST).fit(texts, labels).save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"single_label_classification.*: open it with TextClassifier.from_pretrained"):
        ws.TextRegressor.from_pretrained(tmp_path / "model")


@pytest.mark.parametrize("kind", ["mse", "huber", "pinball"])
def test_losses_are_those_of_other_libraries_and_of_the_core(kind, make):
    torch_like = {
        "mse": lambda r: r**2,
        "huber": lambda r: np.where(abs(r) <= 0.5, r**2 / 2, 0.5 * (abs(r) - 0.25)),
        "pinball": lambda r: np.where(r < 0, -0.7 * r, 0.3 * r),
    }
    given = {"huber": {"huber_delta": 1.0}, "pinball": {"quantile": 0.7}}.get(kind, {})
    rng = np.random.default_rng(0)
    true, found = rng.normal(size=(2, 41, 2))
    # Of a standard deviation of 2: a delta of 1 is half of it.
    numbers = Numbers(["a", "b"], True, np.zeros(2), np.full(2, 2.0))
    task = Regression(numbers, kind, given.get("huber_delta"), given.get("quantile", 0.5))
    assert task.loss(found, true) == pytest.approx(torch_like[kind](found - true).mean())
    weights = rng.random(41)
    expected = np.average(torch_like[kind](found - true).mean(axis=1), weights=weights)
    assert task.loss(found, true, weights) == pytest.approx(expected)
    if kind == "pinball":
        assert task.loss(found, true) == pytest.approx(mean_pinball_loss(true, found, alpha=0.7))
    texts, y = praised(40)
    model = make(loss=kind, **given, epochs=2).fit(texts, y, eval_set=(texts, y))
    # What the core says of the loss of the weights that were kept, and what is computed of their predictions.
    best = min(row["eval_loss"] for row in model.history_.rows)
    assert model.evaluate(texts, y).loss == pytest.approx(best, rel=1e-4)


def test_a_quantile_is_what_its_share_of_numbers_lies_below(make):
    texts = [" ".join(FILL[i % 7 : i % 7 + 3]) for i in range(300)]  # that tell nothing
    y = np.random.default_rng(0).exponential(size=300)
    for quantile in (0.2, 0.9):
        model = make(loss="pinball", quantile=quantile, learning_rate=3e-3, epochs=8).fit(texts, y)
        assert (y < model.predict(texts)).mean() == pytest.approx(quantile, abs=0.06)


def test_outliers_pull_less_by_huber(make):
    texts, y = praised(60)
    spoilt = np.array(y)
    spoilt[::10] = 200.0
    probing = PROBING | {"learning_rate": 1e-2, "epochs": 60}
    squared, huber = (make(**probing, **how).fit(texts, spoilt) for how in ({}, {"loss": "huber", "huber_delta": 1.0}))
    kept = np.arange(60) % 10 > 0
    off = [abs(model.predict(texts)[kept] - np.array(y)[kept]).mean() for model in (squared, huber)]
    assert off[1] < off[0] / 3, off


@pytest.mark.parametrize("has_bias", [True, False])
def test_the_solved_map_is_that_of_ridge_regression(has_bias):
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=(57, 9)).astype(np.float32) + 2, rng.random(57) + 0.1
    y = (x @ rng.normal(size=(9, 2)) + rng.normal(size=(57, 2))).astype(np.float32)
    found = solve_ridge(x, y, 3.0, has_bias, weights)
    scale = np.sqrt(((x - x.mean(axis=0)) ** 2).sum(axis=1).mean())
    # The same objective written for features as they are.
    ridge = Ridge(3.0 * scale**2, fit_intercept=has_bias).fit(x, y, sample_weight=weights / weights.mean())
    np.testing.assert_allclose(found.weight, ridge.coef_, atol=1e-4)
    np.testing.assert_allclose(found.bias, ridge.intercept_ if has_bias else [0, 0], atol=1e-4)
    assert solve_ridge(x, y, None, has_bias, None).path[0][0] < 1  # little noise asks for little


def test_probing_solves_and_leaves_the_backbone(make, backbone):
    texts, y = praised(64)
    model = make(**PROBING).fit(texts, y)
    assert model.report_.training["l2"] > 0 and model.n_iter_ == 1
    features = backbone.embed(texts, precision="f32")
    own = model.backbone_.embed(texts, precision="f32")
    assert own.tobytes() == features.tobytes()
    told = make(**PROBING, loss="huber").explain(texts, y).choices["head"]
    assert told.value == "trained in steps" and "loss" in told.why


def test_a_text_of_weight_zero_is_left_out_and_others_count_as_often(make):
    texts, y = praised(40)
    spoilt, weights = np.array(y), np.ones(40)
    spoilt[::4], weights[::4] = 77.0, 0.0
    kept = np.flatnonzero(weights).tolist()
    found = make(**PROBING).fit(texts, spoilt, sample_weight=weights)
    other = make(**PROBING).fit([texts[i] for i in kept], [y[i] for i in kept])
    np.testing.assert_allclose(found.predict(texts), other.predict(texts), atol=1e-5)
    report = found.evaluate(texts, spoilt, sample_weight=weights)
    assert (report.n_texts, report.pearson) == (30, None)
    assert report.rmse == pytest.approx(other.evaluate([texts[i] for i in kept], [y[i] for i in kept]).rmse, abs=1e-4)


def test_scikit_learn_takes_it_for_a_regressor(make):
    texts, y = praised(48)
    scores = cross_val_score(make(epochs=3), texts, y, cv=3)
    assert scores.shape == (3,) and np.isfinite(scores).all()
    search = GridSearchCV(make(max_steps=2), {"loss": ["mse", "huber"], "strategy__layer_decay": [0.8]}, cv=2)
    search.set_params(estimator__strategy=ws.FullFineTuning()).fit(texts, y)
    assert search.best_params_["strategy__layer_decay"] == 0.8
    assert clone(make(loss="pinball", quantile=0.3)).quantile == 0.3
    assert make().__sklearn_tags__().estimator_type == "regressor"


def test_metrics_choose_weights_and_callables_get_the_units_of_the_targets(make):
    texts, y = praised(32)
    big = 1000 * np.array(y)
    seen = []

    def metric(true, predicted):
        seen.append((true, predicted))
        return r2_score(true, predicted)

    model = make(metric=metric, epochs=2).fit(texts, big, eval_set=(texts, big))
    np.testing.assert_allclose(seen[0][0], big, rtol=1e-6)
    assert seen[0][1].shape == (32,) and abs(seen[-1][1]).max() > 100
    for name in ("r2", "pearson", "spearman"):
        history = make(metric=name, epochs=2).fit(texts, big, eval_set=(texts, big)).history_
        assert all(-10 < row[name] <= 1 for row in history.rows)
    assert model.history_.metric == "metric"


def test_a_run_goes_on_from_its_checkpoint(make, tmp_path, monkeypatch):
    texts, y = praised(40)
    whole = make(epochs=4).fit(texts, y)
    place = {"checkpoint_dir": tmp_path / "run", "checkpoint_every": 1}
    with monkeypatch.context() as patch:
        stop_at(patch, whole.n_iter_ // 2)
        with pytest.raises(KeyboardInterrupt):
            make(epochs=4, **place).fit(texts, y)
    assert make(epochs=4, **place).fit(texts, y).predict(texts).tobytes() == whole.predict(texts).tobytes()
    with pytest.raises(ws.TrainingError, match="another loss"):
        make(epochs=4, loss="pinball", **place).fit(texts, y)


def test_report_shows_and_draws_itself(make):
    texts, y = praised(30)
    model = make(max_steps=1).fit(texts, np.stack([y, y], axis=1))
    report = model.evaluate(texts, np.stack([y, -np.array(y)], axis=1))
    assert "spearman" in repr(report) and "LABEL_1" in repr(report) and "<table" in report._repr_html_()
    assert report.plot().get_title().startswith("LABEL_0: 30 texts")
    with pytest.raises(ValueError, match="nothing to plot"):
        model.report_.plot()
    alike = model.evaluate(texts, np.ones((30, 2)))
    assert (alike.r2, alike.pearson, alike.per_target[0]["spearman"]) == (None, None, None) and "none" in repr(alike)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"loss": "mae"}, "loss must be one of 'mse', 'huber', 'pinball'"),
        ({"huber_delta": 1.0}, "huber_delta=1.0 has no effect with loss='mse'"),
        ({"loss": "huber", "quantile": 0.5}, "quantile=0.5 has no effect with loss='huber'"),
        ({"loss": "huber", "huber_delta": 0.0}, "huber_delta must be above 0"),
        ({"loss": "pinball", "quantile": 1.0}, "quantile must lie between 0 and 1"),
        ({"metric": "accuracy"}, "metric must be one of 'loss', 'r2', 'pearson', 'spearman'"),
    ],
)
def test_settings_of_the_loss_that_do_not_fit_are_refused(params, message, make):
    with pytest.raises(ValueError, match=message):
        make(**params).fit(*praised(8))


@pytest.mark.parametrize("how", [{"loss": "huber"}, {"loss": "pinball"}])
def test_a_few_wild_outliers_do_not_ruin_what_the_losses_promise(how, make):
    texts, y = praised(100)
    spoilt = np.array(y)
    spoilt[::20] = 1e5
    model = make(**PROBING | {"learning_rate": 1e-2, "epochs": 60}, **how).fit(texts, spoilt)
    plain = make(**PROBING, **how).explain(texts, y).choices["head"]
    assert (plain.value, plain.why) == ("trained in steps", "there is no solver for its loss")
    kept = np.arange(100) % 20 > 0
    assert abs(model.predict(texts)[kept] - np.array(y)[kept]).mean() < 1.0


def test_a_run_with_weights_that_learns_nothing_is_told_of(make):
    texts, y = praised(64)
    weights = np.linspace(0.5, 2, 64)
    with pytest.warns(ConvergenceWarning, match="than guessing"), pytest.warns(UserWarning, match="beyond reason"):
        make(learning_rate=0.3, epochs=2).fit(texts, y, sample_weight=weights)


def test_what_was_never_fitted_says_so(make):
    for ask in (lambda m: m.predict(["a"]), lambda m: m.score(["a"], [1]), lambda m: m.evaluate(["a"], [1])):
        with pytest.raises(NotFittedError):
            ask(make())


def test_a_function_that_sentence_transformers_puts_on_numbers_is_told_of(make, tmp_path):
    texts, y = praised(16)
    make(max_steps=1).fit(texts, y).save(tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    config["sentence_transformers"] = {"activation_fn": "torch.nn.modules.activation.Sigmoid", "version": "6.2.0"}
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    with pytest.warns(UserWarning, match=r"sentence-transformers applies torch\.\S+Sigmoid to the outputs"):
        opened = ws.TextRegressor.from_pretrained(tmp_path / "model", verbose=False)
    opened.save(tmp_path / "again")
    again = json.loads((tmp_path / "again" / "config.json").read_text())
    # Where none is named, CrossEncoder of sentence-transformers 6.2.0 takes a sigmoid for a single output.
    assert again["sentence_transformers"]["activation_fn"] == "torch.nn.modules.linear.Identity"


def test_a_published_head_of_other_targets_is_left_out_with_a_warning(make, tmp_path):
    texts, y = praised(24)
    make(max_steps=2).fit(texts, y).save(tmp_path / "model")
    opened = ws.TextRegressor.from_pretrained(tmp_path / "model", verbose=False)
    with pytest.warns(UserWarning, match=r"its targets are .'LABEL_0'., and labels has"):
        opened.set_params(max_steps=1).fit(texts, np.stack([y, y], axis=1))


def test_estimate_of_ridge_counts_what_it_takes_of_the_features(make):
    texts, y = praised(40)
    run = make(**PROBING)._settle(texts, y, None, None)
    # Of few texts: twice the features, and six times for the choice of the penalty.
    assert run.task.solver_bytes(40, 32) == 8 * 32 * 40 * 8
    in_steps = make(**PROBING | {"epochs": 1})._settle(texts, y, None, None).memory()
    # The bias is a column, too.
    assert run.memory().activations - in_steps.activations == run.task.solver_bytes(40, 33)
