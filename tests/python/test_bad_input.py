"""Bad input: the right exception, a message that says what to do, and the estimator as it was before."""

import numpy as np
import pytest
import warmstart as ws
from warmstart.preparing import class_weights

TEXTS = ["good film", "bad film", "fine plot", "sad plot"]
LABELS = ["pos", "neg", "pos", "neg"]

PARAMS = [
    ({"epochs": 0}, ValueError, "epochs must be at least 1, got 0"),
    ({"epochs": 1.5}, TypeError, "epochs must be a positive integer, got 1.5"),
    ({"epochs": True}, TypeError, "epochs must be a positive integer"),
    ({"max_steps": 0}, ValueError, "max_steps must be at least 1"),
    ({"max_steps": "many"}, TypeError, "max_steps must be a positive integer or None"),
    ({"batch_tokens": 0}, ValueError, "batch_tokens must be at least 1"),
    ({"batch_tokens": "all"}, TypeError, "batch_tokens must be a positive integer or 'auto'"),
    ({"accumulation_steps": 0}, ValueError, "accumulation_steps"),
    ({"max_length": 0}, ValueError, "max_length must be at least 1"),
    ({"max_length": 100000}, ValueError, "100000"),
    ({"precision": "int8"}, ValueError, 'precision="int8" is for prediction'),
    ({"precision": "f8"}, ValueError, "precision must be one of"),
    ({"device": "cuda"}, ws.DeviceError, "device='cuda' is not available.*device='cpu'"),
    ({"device": "tpu"}, ValueError, "device must be one of"),
    ({"random_state": -1}, ValueError, "random_state must lie between 0"),
    ({"random_state": "seed"}, TypeError, "random_state must be None, an integer"),
    ({"metric": "f2"}, ValueError, "metric must be one of 'accuracy', 'macro_f1', 'loss'.*'f2'"),
    ({"patience": 2}, ValueError, "patience=2 needs texts to evaluate on"),
    ({"eval_every": 5}, ValueError, "eval_every=5 needs texts to evaluate on"),
    ({"strategy": "full"}, TypeError, "strategy must be None, FullFineTuning.*got 'full'"),
    ({"strategy": ws.FullFineTuning}, TypeError, "strategy must be None"),
    ({"learning_rate": -1.0}, ValueError, "learning_rate"),
    ({"learning_rate": "fast"}, TypeError, "learning_rate must be a number, got 'fast'"),
    ({"label_smoothing": -0.5}, ValueError, "label_smoothing"),
    ({"label_smoothing": None}, TypeError, "label_smoothing must be a number, got None"),
    ({"optimizer": ws.AdamW(schedule="zigzag")}, ValueError, "zigzag"),
    ({"optimizer": "adamw"}, TypeError, r"optimizer must be None or AdamW\(\), got 'adamw'"),
    ({"optimizer": ws.AdamW}, TypeError, "optimizer must be None or AdamW"),
    ({"class_weight": "even"}, ValueError, "class_weight must be None, 'balanced' or a dict"),
    ({"class_weight": {"positive": 2.0}}, ValueError, "class_weight names 'positive'"),
    ({"class_weight": {"pos": -1.0}}, ValueError, r"class_weight\['pos'\] must be finite and at least 0"),
    ({"backbone": "./no/dir"}, FileNotFoundError, "no/dir"),
    ({"backbone": 3}, TypeError, r"backbone must be a Backbone, got int; open one with Backbone.from_pretrained\(path"),
]

DATA = [
    ((["a", None, "b", "c"], LABELS), TypeError, r"texts\[1\] is None"),
    ((["a", "b", float("nan"), "c"], LABELS), TypeError, r"texts\[2\] is nan"),
    (([1, 2, 3, 4], LABELS), TypeError, r"texts\[0\] is 1 \(int\)"),
    (([b"a", "b", "c", "d"], LABELS), TypeError, r"texts\[0\] is b'a'"),
    (("a text", LABELS), TypeError, "texts is one str"),
    (([], []), ValueError, "texts is empty"),
    ((TEXTS, LABELS[:3]), ValueError, "labels has 3 entries for 4 texts"),
    ((TEXTS, ["pos"] * 4), ValueError, "all 4 labels are 'pos'"),
    ((TEXTS, ["pos", None, "neg", "neg"]), ValueError, r"labels\[1\] is missing"),
    ((TEXTS, [0.5, 0.1, 0.2, 0.3]), TypeError, r"labels\[0\] is 0.5"),
    ((TEXTS, None), TypeError, "labels is a NoneType"),
    ((TEXTS, LABELS, (TEXTS, ["pos", "neg", "new", "neg"])), ws.DataError, "eval_set labels holds 'new'"),
    ((TEXTS, LABELS, (TEXTS, LABELS[:2])), ValueError, "eval_set labels has 2 entries for 4 texts"),
    ((TEXTS, LABELS, (["a", None], ["pos", "neg"])), TypeError, r"eval_set texts\[1\] is None"),
    ((TEXTS, LABELS, ([], [])), ValueError, "eval_set holds no texts"),
    ((TEXTS, LABELS, TEXTS), TypeError, r"eval_set must be a tuple \(texts, labels\)"),
    ((TEXTS, LABELS, "dev"), TypeError, "eval_set must be a tuple"),
]


def refuse(clf, arguments, error, match):
    """Check that `fit` raises and leaves every attribute the same object."""
    before = dict(vars(clf))
    X, y, *eval_set = arguments
    with pytest.raises(error, match=match):
        clf.fit(X, y, eval_set=eval_set[0] if eval_set else None)
    after = vars(clf)
    assert before.keys() == after.keys()
    assert all(after[name] is value for name, value in before.items())


@pytest.mark.parametrize(("params", "error", "match"), PARAMS)
def test_bad_parameters_are_refused_by_fit_and_not_before(make, params, error, match):
    refuse(make().set_params(**params), (TEXTS, LABELS), error, match)


@pytest.mark.parametrize(("arguments", "error", "match"), DATA)
def test_bad_data_is_refused(make, arguments, error, match):
    refuse(make(), arguments, error, match)


@pytest.mark.parametrize(("arguments", "error", "match"), [DATA[0], DATA[6], DATA[11]])
def test_a_fitted_estimator_still_predicts_the_same(make, arguments, error, match):
    clf = make().fit(TEXTS, LABELS)
    before = clf.predict_proba(TEXTS)
    refuse(clf, arguments, error, match)
    np.testing.assert_array_equal(clf.predict_proba(TEXTS), before)


@pytest.mark.parametrize("given", [["a", None], "a text", [b"a"]])
def test_predicting_refuses_what_fitting_does(fitted, given):
    for call in (fitted.predict, fitted.predict_proba, fitted.decision_function):
        with pytest.raises(TypeError, match="texts"):
            call(given)


def test_evaluating_nothing_is_refused(fitted):
    with pytest.raises(ValueError, match="texts is empty"):
        fitted.evaluate([], [])


@pytest.mark.filterwarnings("ignore:learning_rate=1e.30 is beyond reason")
@pytest.mark.parametrize("params", [{"max_steps": 1}, {"epochs": 3}, {"epochs": 3, "batch_tokens": 10_000}])
def test_a_rate_that_explodes_is_a_training_error_and_changes_nothing(make, params):
    clf = make(learning_rate=1e30, optimizer=ws.AdamW(warmup_ratio=0.0), **params)
    refuse(clf, (TEXTS, LABELS), ws.TrainingError, "step 1|step 2")


@pytest.mark.filterwarnings("ignore:learning_rate=.* is beyond reason")
def test_a_rate_that_explodes_after_an_evaluation_leaves_that_one(make):
    clf = make(learning_rate=1e30, optimizer=ws.AdamW(warmup_ratio=0.5), epochs=10, eval_every=1)
    with pytest.raises(ws.TrainingError, match="step"):
        clf.fit(TEXTS, LABELS, eval_set=(TEXTS, LABELS))
    assert np.isfinite(clf.predict_proba(TEXTS)).all()
    assert clf.report_.training["stopped_by"] == "TrainingError"


def test_counts_beyond_reason_are_refused(make):
    refuse(make(batch_tokens=2**64), (TEXTS, LABELS), ValueError, "batch_tokens must be at most")


def test_a_matrix_given_as_lists_is_not_taken_for_lists_of_labels(make):
    refuse(make(multi_label=True), (TEXTS, [[1, 0], [0, 1], [1, 0], [0, 1]]), ValueError, "np.asarray")


def test_balanced_weights_are_those_of_sklearn():
    from sklearn.utils.class_weight import compute_class_weight
    from warmstart.labels import Classes

    labels = ["a"] * 6 + ["b"] * 3 + ["c"]
    classes = Classes.learn(labels, 10, multi_label=False)
    expected = compute_class_weight("balanced", classes=np.unique(labels), y=labels)
    np.testing.assert_allclose(class_weights("balanced", classes, classes.encode(labels, 10)), expected)
