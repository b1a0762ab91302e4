"""The numbers that `TextRegressor` learns: any container, in any unit, or refused by place."""

import json

import numpy as np
import pandas as pd
import pytest
import warmstart as ws
from sklearn.base import clone
from sklearn.metrics import r2_score
from test_families import tiny
from test_regressor import RUN, praised
from warmstart.numbers import Numbers
from warmstart.regression import Regression


@pytest.fixture
def make(backbone):
    return lambda **params: ws.TextRegressor(backbone, **RUN | params)


def test_numbers_in_other_units_are_learnt_alike(make):
    texts, y = praised(48)
    plain, moved = make().fit(texts, y), make().fit(texts, 1e4 * np.array(y) - 3e5)
    np.testing.assert_allclose(moved.predict(texts), 1e4 * plain.predict(texts) - 3e5, atol=50)
    # Of numbers that lie far from zero the last map keeps what float32 can tell apart.
    assert plain.score(texts, y) == pytest.approx(moved.score(texts, 1e4 * np.array(y) - 3e5), abs=1e-3)


def test_several_targets_keep_their_names_and_their_order(make, tmp_path):
    texts, y = praised(48)
    table = pd.DataFrame({"rising": y, "falling": -100 * np.array(y)})
    model = make(epochs=60).fit(texts, table)
    assert model.target_names_ == ["rising", "falling"]
    predicted = model.predict(texts)
    assert predicted.shape == (48, 2)
    assert [r2_score(table[name], predicted[:, i]) > 0.8 for i, name in enumerate(table)] == [True, True]
    report = model.evaluate(texts, table)
    assert [row["target"] for row in report.per_target] == ["rising", "falling"]
    assert report.rmse == pytest.approx(np.mean([row["rmse"] for row in report.per_target]))
    model.save(tmp_path / "model")
    assert json.loads((tmp_path / "model" / "config.json").read_text())["label2id"] == {"rising": 0, "falling": 1}
    with pytest.raises(ValueError, match="labels has 1 columns, and the model 2 targets"):
        model.evaluate(texts, y)
    # By their names, whatever their order; without names by their order.
    turned = table[["falling", "rising"]]
    assert model.score(texts, turned) == model.score(texts, table) == model.score(texts, table.to_numpy())
    assert model.evaluate(texts, turned).r2 == model.evaluate(texts, table).r2
    with pytest.raises(ws.DataError, match=r"columns \['x', 'rising'\], and the targets are \['rising', 'falling'\]"):
        model.score(texts, turned.rename(columns={"falling": "x"}))
    (tmp_path / "model" / "warmstart.json").unlink()
    opened = ws.TextRegressor.from_pretrained(tmp_path / "model", max_steps=1, learning_rate=1e-6, verbose=False)
    opened.set_params(precision="f32").fit(texts, turned)
    assert opened.target_names_ == ["rising", "falling"]
    np.testing.assert_allclose(opened.predict(texts), predicted, atol=0.1)
    with pytest.warns(UserWarning, match="own head is left out and a new one begins: its targets are"):
        clone(opened).fit(texts, turned.rename(columns={"falling": "x"}))
    assert make(max_steps=1).fit(texts, [[number] for number in y]).predict(texts).shape == (48, 1)
    assert make(max_steps=1).fit(texts, np.array(y)[:, None]).predict(texts).shape == (48, 1)
    assert make(max_steps=1).fit(texts, pd.DataFrame({"one": y})).predict(texts).shape == (48,)


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        ([1.0, 2.0, None, 4.0], ValueError, r"labels\[2\] is missing"),
        ([1.0, float("nan"), 3.0, 4.0], ValueError, r"labels\[1\] is missing"),
        ([1.0, float("inf"), 3.0, 4.0], ValueError, r"labels\[1\] is inf; expected a finite number"),
        ([1.0, 2.0, 3.0], ValueError, "labels has 3 entries for 4 texts"),
        (["1", "2", "3", "4"], TypeError, r"labels\[0\] is '1' \(str\); .*TextClassifier learns labels"),
        ([True, False, True, False], TypeError, r"labels\[0\] is True \(bool\); .*TextClassifier"),
        ([[1, 2], [3], [4, 5], [6, 7]], ValueError, r"labels\[1\] has 1 numbers, labels\[0\] has 2"),
        ([2.5] * 4, ValueError, "labels is 2.5 for every text; there is nothing to learn"),
        (np.array([[1, 2], [3, 2], [4, 2], [5, 2.0]]), ValueError, "column 1 of labels is 2 for every text"),
        (np.empty((4, 0)), ValueError, "labels has no columns"),
        ([1e31, 2e31, 3e31, -4e31], ValueError, "float32 holds neither such outputs nor their map"),
        ([1j, 2, 3, 4], TypeError, r"labels\[0\] is 1j \(complex\); expected a number"),
    ],
)
def test_what_is_no_number_is_refused_by_place(y, error, message, make):
    model = make()
    with pytest.raises(error, match=message):
        model.fit(["a good film", "the plot", "it was bad", "a story"], y)
    assert not hasattr(model, "history_")


def test_numbers_that_float32_cannot_tell_apart_are_told_of(make):
    texts, y = praised(8)
    with pytest.warns(UserWarning, match="subtract a number from them"):
        make(max_steps=1).fit(texts, np.array(y) + 1e6)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_heads_without_a_bias_are_told_of_numbers_far_from_zero(family, tokenizer_dir):
    texts, y = praised(16)
    with pytest.warns(UserWarning, match="the head of this model has no bias"):
        ws.TextRegressor(tiny(family, tokenizer_dir), **RUN | {"max_steps": 1}).fit(texts, np.array(y) + 30)


def test_a_held_out_set_that_a_metric_says_nothing_of_is_refused_before_the_run(make):
    texts, y = praised(16)
    for metric in ("r2", "pearson", "spearman"):
        for held_out in ((texts, [3.0] * 16), (texts[:1], y[:1])):
            with pytest.raises(ValueError, match="says nothing of a held-out set"):
                make(metric=metric, max_steps=1).fit(texts, y, eval_set=held_out)


def test_numbers_too_far_from_those_trained_on_are_refused_by_place(make):
    texts, y = praised(16)
    far = [*y[:3], 1e30, *y[4:]]
    with pytest.raises(ValueError, match=r"eval_set labels\[3\] is 1e\+30; .*too far"):
        make(max_steps=1).fit(texts, y, eval_set=(texts, far))
    model = make(max_steps=1).fit(texts, y)
    with pytest.raises(ValueError, match=r"labels\[3\] is 1e\+30"):
        model.evaluate(texts, far)


def test_masked_numbers_and_names_that_are_none_are_refused(make):
    masked = np.ma.array([1.0, 2.0, 3.0, 4.0], mask=[0, 0, 1, 0])
    texts = ["a good film", "the plot", "it was bad", "a story"]
    for labels in (masked, masked[:, None]):
        with pytest.raises(ValueError, match=r"labels\[2\] is missing"):
            make().fit(texts, labels)
    for columns in ([1, "1"], ["", "b"]):
        with pytest.raises(ValueError, match="each needs a name of its own"):
            make().fit(texts, pd.DataFrame([[1, 2], [3, 4], [5, 6], [7, 9]], columns=columns))


@pytest.mark.parametrize("has_bias", [True, False])
def test_outliers_leave_the_robust_scale(has_bias):
    y = np.r_[np.linspace(-2, 2, 95), np.full(5, 1e5)]
    found = Numbers.learn(y, 100, has_bias=has_bias, is_robust=True)
    assert 1 < found.scale[0] < 3
    plain = Numbers.learn(y, 100, has_bias=False)
    np.testing.assert_allclose(plain.scale, np.sqrt((y**2).mean()))
    assert plain.shift[0] == 0


def test_columns_called_as_the_targets_without_names_are_told_by_their_names():
    numbers = Numbers.learn(np.array([[1.0, 10.0], [2.0, 30.0]]), 2)
    table = pd.DataFrame({"LABEL_1": [10.0], "LABEL_0": [1.0]})
    np.testing.assert_array_equal(numbers.read(table, 1), [[1.0, 10.0]])
    np.testing.assert_array_equal(numbers.read(table.set_axis(["a", "b"], axis=1), 1), [[10.0, 1.0]])


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_guess_of_pinball_loss_weighs_the_texts(share):
    y = np.array([[3.0], [0.5], [2.0], [-1.0], [0.7]], dtype=np.float32)
    weights = np.array([2.0, 1.0, 5.0, 3.0, 4.0])
    task = Regression(Numbers.as_they_are(["y"], False), "pinball", quantile=share)
    every = [task.loss(np.full_like(y, guess), y, weights) for guess in y[:, 0]]
    assert task.guessing_loss(y, weights) == pytest.approx(min(every))
