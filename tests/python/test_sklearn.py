"""Citizenship in scikit-learn."""

import functools
import pickle

import joblib
import numpy as np
import pytest
import warmstart as ws
from conftest import BAD, GOOD, PLAIN, make_texts
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score, get_scorer
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.validation import check_is_fitted


def test_clone_copies_parameters_and_shares_the_backbone(fitted):
    copy = clone(fitted)
    assert copy.backbone is fitted.backbone
    assert copy.get_params(deep=False).keys() == fitted.get_params(deep=False).keys()
    with pytest.raises(NotFittedError):
        check_is_fitted(copy)


def test_constructor_stores_its_arguments_untouched(backbone):
    values = {name: object() for name in ws.TextClassifier(backbone).get_params(deep=False)}
    clf = ws.TextClassifier(**values)
    assert all(getattr(clf, name) is value for name, value in values.items())


def test_clone_copies_strategy_and_optimiser(make):
    clf = make(strategy=ws.FullFineTuning(layer_decay=0.5), optimizer=ws.AdamW(beta1=0.8))
    copy = clone(clf)
    assert (copy.strategy, copy.optimizer) == (clf.strategy, clf.optimizer)
    assert copy.strategy is not clf.strategy
    assert copy.optimizer is not clf.optimizer


def test_parameters_can_be_read_and_set_whatever_they_are(make):
    clf = make(strategy="full", optimizer=None)
    assert clf.get_params()["strategy"] == "full"
    assert clf.set_params(strategy=ws.LinearProbing()).get_params()["optimizer__warmup_ratio"] == 0.0


def test_nested_parameters_are_read_and_set(make):
    clf = make(strategy=ws.FullFineTuning(), optimizer=ws.AdamW())
    assert clf.get_params()["strategy__layer_decay"] == 1.0
    assert clf.get_params()["optimizer__weight_decay"] == 0.01
    clf.set_params(strategy__layer_decay=0.25, optimizer__beta1=0.5, epochs=9)
    assert (clf.strategy.layer_decay, clf.optimizer.beta1, clf.epochs) == (0.25, 0.5, 9)
    clf.set_params(optimizer=ws.AdamW(schedule="cosine"), optimizer__weight_decay=0.5)
    assert clf.optimizer == ws.AdamW(schedule="cosine", weight_decay=0.5)


def test_parameters_of_a_default_optimiser_are_those_of_the_strategy(make):
    clf = make(strategy=None)
    assert clf.get_params()["optimizer__weight_decay"] == 0.01
    assert clf.set_params(strategy=ws.LinearProbing()).get_params()["optimizer__weight_decay"] == 0.0
    assert clone(clf).set_params(optimizer__beta1=0.5).optimizer == ws.AdamW(
        weight_decay=0.0, warmup_ratio=0.0, beta1=0.5
    )
    both = make(strategy=None).set_params(strategy=ws.LinearProbing(), optimizer__beta1=0.5)
    assert both.optimizer.weight_decay == 0.0


def test_nested_parameters_are_searchable_while_the_strategy_is_the_default(make):
    clf = make(strategy=None)
    assert clf.get_params()["strategy__layer_decay"] == 1.0
    assert clone(clf).set_params(strategy__layer_decay=0.5).strategy == ws.FullFineTuning(layer_decay=0.5)
    with pytest.raises(ValueError, match="no parameter 'depth'; it has layer_decay"):
        make(strategy=None).set_params(strategy__depth=1.0)


@pytest.mark.parametrize(
    ("keyword", "hint"),
    [
        ("lr", "no parameter 'lr'; learning_rate is meant"),
        ("num_train_epochs", "epochs is meant"),
        ("weight_decay", r"give optimizer=AdamW\(weight_decay=...\)"),
        ("layer_decay", r"give strategy=FullFineTuning\(layer_decay=...\)"),
        ("eps", r"give optimizer=AdamW\(epsilon=...\)"),
        ("presicion", "precision may be meant"),
        ("strategy__layer_deacy", r"strategy=FullFineTuning\(layer_decay=...\) may be meant"),
        ("strategy__lr", "learning_rate is meant"),
        ("zzz", "it has backbone, strategy"),
        ("sample_weight", r"give fit\(X, y, sample_weight=...\)"),
        ("eval_set", r"give fit\(X, y, eval_set=...\)"),
    ],
)
def test_an_unexpected_keyword_names_the_one_meant(backbone, keyword, hint):
    for kind in (ws.TextClassifier, ws.TokenClassifier):
        with pytest.raises(TypeError, match=hint):
            kind(backbone, **{keyword: 1})


@pytest.mark.parametrize(
    ("call", "hint"),
    [
        (lambda _: ws.FullFineTuning(lr=1e-3), "has no parameter 'lr'; give the estimator learning_rate=..."),
        (
            lambda _: ws.FullFineTuning(learning_rate=2e-5),
            "FullFineTuning has no .*; give the estimator learning_rate=",
        ),
        (
            lambda _: ws.LinearProbing(weight_decay=0.1),
            r"LinearProbing has no .*; give the estimator optimizer=AdamW\(weight_decay=...\)",
        ),
        (lambda _: ws.FullFineTuning(label_smoothing=0.1), "give the estimator label_smoothing=..."),
        (lambda _: ws.AdamW(learning_rate=2e-5), "AdamW has no .*; give the estimator learning_rate=..."),
        (lambda _: ws.AdamW(eps=1e-6), "AdamW has no parameter 'eps'; epsilon is meant"),
        (lambda _: ws.AdamW(warm_up_ratio=0.1), "warmup_ratio may be meant"),
        (lambda _: ws.FullFineTuning(num_epochs=2), "give the estimator epochs=..."),
        (lambda b: ws.FeatureExtractor(ws.LanguageModel(b)).transform(GOOD), "got LanguageModel; pass its backbone_"),
        (
            lambda _: ws.LinearProbing(layer_decay=0.9),
            r"no parameter 'layer_decay'; the estimator optimizer=AdamW\(weight_decay=...\) may be meant",
        ),
        (lambda b: ws.FeatureExtractor(b, layer=-2), "FeatureExtractor has no parameter 'layer'; layers may be meant"),
        (lambda b: ws.LanguageModel(b, weight_decay=0.1), r"give optimizer=AdamW\(weight_decay=...\)"),
        (lambda b: ws.LanguageModel(b, lr=1e-3), "learning_rate is meant"),
        (lambda b: ws.LanguageModel(b).fit(["a"], max_steps=1), r"fit has no .*; give LanguageModel\(max_steps=...\)"),
        (
            lambda b: ws.TextClassifier(b).fit(GOOD, [0], num_epochs=3),
            r"fit has no .*; give TextClassifier\(epochs=...\)",
        ),
        (lambda b: ws.TokenClassifier(b).fit(texts=GOOD, y=[]), "TokenClassifier.fit has no .* 'texts'; X is meant"),
        (lambda b: ws.TextClassifier(b).fit(GOOD, labels=[]), "TextClassifier.fit has no .* 'labels'; y is meant"),
        (lambda b: ws.TextClassifier(b).score(texts=GOOD, y=[]), "TextClassifier.score has no .* 'texts'; X is meant"),
        (lambda b: ws.TextClassifier(b).predict(texts=GOOD), "TextClassifier.predict has no .* 'texts'; X is meant"),
        (lambda b: ws.TextClassifier(b).explain(GOOD, labels=[]), "explain has no .* 'labels'; y is meant"),
        (
            lambda b: ws.TextClassifier(b).explain(GOOD, [], lr=1),
            r"explain has no .*; give TextClassifier\(learning_rate=",
        ),
        (
            lambda b: ws.LanguageModel(b).perplexity(texts=GOOD),
            "perplexity has no .* 'texts'; X is meant",
        ),
        (
            lambda b: ws.LanguageModel(b).token_log_probs(texts=GOOD),
            "LanguageModel.token_log_probs has no .* 'texts'; X is meant",
        ),
        (lambda b: ws.TokenClassifier(b).evaluate(GOOD, tags=[]), "evaluate has no .* 'tags'; y is meant"),
        (lambda b: ws.FeatureExtractor(b).fit(texts=GOOD), "fit has no .* 'texts'; X is meant"),
        (lambda b: ws.LanguageModel(b).fit(corpus=GOOD), "LanguageModel.fit has no .* 'corpus'; X is meant"),
        (
            lambda b: ws.TextClassifier(b).fit(GOOD, [0], (GOOD, [0])),
            "TextClassifier.fit takes X and y by place, got 3 arguments; the others are .* by name, as in .*eval_set=",
        ),
    ],
)
def test_an_unexpected_keyword_of_any_other_call_names_the_one_meant(backbone, call, hint):
    with pytest.raises(TypeError, match=hint):
        call(backbone)


def test_a_class_of_ones_own_may_take_any_keyword(backbone):
    class Own(ws.TextClassifier):
        def __init__(self, backbone, **kwargs):
            super().__init__(backbone, **kwargs)

    assert Own(backbone, epochs=2).epochs == 2


def test_tags_tell_a_classifier_of_texts(make):
    clf = make()
    assert is_classifier(clf)
    tags = clf.__sklearn_tags__()
    assert tags.input_tags.string
    assert not tags.input_tags.two_d_array
    assert not tags.classifier_tags.multi_label
    assert make(multi_label=True).__sklearn_tags__().classifier_tags.multi_label


def test_metadata_routing_takes_texts_and_labels_for_data(make):
    routing = make().get_metadata_routing()
    assert set(routing.fit.requests) == {"eval_set", "sample_weight"}
    assert set(routing.predict.requests) == set()
    assert set(routing.score.requests) == {"sample_weight"}


def test_texts_and_labels_have_the_names_of_sklearn(make, texts, labels):
    clf = make(epochs=1).fit(X=texts, y=labels)
    assert clf.score(X=texts, y=labels) == clf.score(texts, labels)
    assert clf.evaluate(X=texts, y=labels).n_texts == len(texts)
    assert (clf.predict(X=texts) == clf.predict(texts)).all()


def test_pipeline_ends_in_the_classifier(make, texts, labels):
    lower = FunctionTransformer(lambda items: [t.lower() for t in items])
    model = make_pipeline(lower, make(epochs=20)).fit([t.upper() for t in texts], labels)
    assert model.score(texts, labels) == 1.0
    assert model.classes_.tolist() == ["neg", "pos"]


@pytest.mark.filterwarnings("ignore:learning_rate=1 is beyond reason")
def test_grid_search_over_rate_and_optimiser(make):
    texts, labels = make_texts(24, [BAD, GOOD])
    grid = {"learning_rate": np.array([1.0, 1e-2], dtype=np.float32), "optimizer__weight_decay": [0.0, 0.1]}
    search = GridSearchCV(make(epochs=15), grid, cv=2).fit(texts, labels)
    assert search.best_params_["learning_rate"] == pytest.approx(1e-2)
    assert search.best_estimator_.optimizer.weight_decay in (0.0, 0.1)
    assert search.best_score_ > 0.6
    assert search.predict(texts).shape == (24,)


def test_cross_val_score_of_numpy_and_pandas(make):
    pd = pytest.importorskip("pandas")
    texts, labels = make_texts(18, [BAD, GOOD, PLAIN])
    for x, y in ((np.array(texts), np.array(labels)), (pd.Series(texts), pd.Series(labels))):
        scores = cross_val_score(make(epochs=1), x, y, cv=3)
        assert scores.shape == (3,)
        assert ((scores >= 0) & (scores <= 1)).all()


@pytest.mark.parametrize("name", ["accuracy", "roc_auc", "neg_log_loss", "f1_macro", "average_precision"])
def test_scorers_understand_the_outputs(make, texts, name):
    labels = [i % 2 for i in range(len(texts))]
    clf = make(epochs=20).fit(texts, labels)
    assert get_scorer(name)(clf, texts, labels) == pytest.approx(0.0 if name == "neg_log_loss" else 1.0, abs=0.2)


def test_pickle_keeps_everything(fitted, texts):
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict_proba(texts), fitted.predict_proba(texts))
    assert again.history_.rows == fitted.history_.rows
    assert repr(again.report_) == repr(fitted.report_)
    unfitted = pickle.loads(pickle.dumps(clone(fitted)))
    assert not hasattr(unfitted, "classes_")


def test_processes_predict_and_fit(make, fitted, texts, labels):
    with joblib.parallel_config("loky", n_jobs=2, inner_max_num_threads=1):
        halves = joblib.Parallel()(joblib.delayed(fitted.predict_proba)(part) for part in (texts[:8], texts[8:]))
        scores = cross_val_score(make(epochs=1), texts, labels, cv=2, n_jobs=2)
    np.testing.assert_allclose(np.vstack(halves), fitted.predict_proba(texts), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(scores, cross_val_score(make(epochs=1), texts, labels, cv=2))


def test_repr_and_html_show_what_was_set(make):
    clf = make(epochs=7)
    assert "epochs=7" in repr(clf)
    assert "TextClassifier" in clf._repr_html_()


def test_what_a_class_of_ones_own_wraps_its_methods_in_stays(backbone, texts, labels):
    calls = []

    def counted(method):
        @functools.wraps(method)
        def wrapped(self, *args, **kwargs):
            calls.append(method.__name__)
            return method(self, *args, **kwargs)

        return wrapped

    class Own(ws.TextClassifier):
        @counted
        def fit(self, X, y):
            return super().fit(X, y)

        @counted
        def predict(self, X):
            return super().predict(X)

    class OfOwn(Own):
        def __init__(self, backbone, verbose=False):
            super().__init__(backbone, strategy=ws.LinearProbing(), verbose=verbose)

    class Assigned(ws.TextClassifier):
        fit = counted(ws.TextClassifier.fit)
        predict = counted(ws.TextClassifier.predict)

        def __init__(self, backbone, verbose=False):
            super().__init__(backbone, strategy=ws.LinearProbing(), verbose=verbose)

    for kind, params in ((Own, {"strategy": ws.LinearProbing(), "verbose": False}), (OfOwn, {}), (Assigned, {})):
        calls.clear()
        kind(backbone, **params).fit(texts, labels).predict(texts)
        assert calls == ["fit", "predict"]
        with pytest.raises(TypeError, match="labels"):
            kind(backbone, **params).fit(texts, labels=labels)


def test_a_class_of_ones_own_needs_no_strategy_among_its_parameters(backbone, texts, labels, tmp_path):
    class Fixed(ws.TextClassifier):
        def __init__(self, backbone, verbose=False):
            super().__init__(backbone, strategy=ws.LinearProbing(), verbose=verbose)

    class Any_(ws.TextClassifier):
        def __init__(self, backbone, **kwargs):
            super().__init__(backbone, **kwargs)

    assert set(Fixed(backbone).get_params()) == {"backbone", "verbose"}
    assert clone(Fixed(backbone)).fit(texts, labels).predict(texts).shape == (len(texts),)
    assert make_pipeline(Fixed(backbone)).get_params()["fixed__verbose"] is False
    assert set(Any_(backbone, epochs=2).get_params()) == {"backbone"}
    assert "Any_" in repr(Any_(backbone))

    class Optimised(ws.TextClassifier):
        def __init__(self, backbone, optimizer=None):
            super().__init__(
                backbone, strategy=ws.LinearProbing(), optimizer=optimizer, metric=accuracy_score, verbose=False
            )

    own = Optimised(backbone)
    assert own.set_params(**own.get_params()).optimizer is None
    fitted = own.set_params(optimizer=ws.AdamW()).fit(texts, labels, eval_set=(texts, labels))
    with pytest.warns(UserWarning, match="metric=accuracy_score is a function, which is not saved"):
        fitted.save(tmp_path)
    # Pickled before there were these parameters.
    before = Optimised.__new__(Optimised)
    before.__setstate__({name: value for name, value in vars(fitted).items() if name not in ("optimizer", "keep")})
    assert (before.optimizer, before.keep) == (None, "best")

    class Any2(ws.TextClassifier):
        def __init__(self, *args):
            super().__init__(*args)

    with pytest.raises(RuntimeError, match="Any2 takes \\*args"):
        Any2(backbone).get_params()


def test_what_a_class_of_ones_own_saves_is_opened_as_the_class_it_is_made_from(backbone, texts, labels, tmp_path):
    class Fixed(ws.TextClassifier):
        def __init__(self, backbone, verbose=False):
            super().__init__(backbone, strategy=ws.LinearProbing(), verbose=verbose)

    class Language(ws.LanguageModel):
        pass

    fitted, model = Fixed(backbone).fit(texts, labels), Language(backbone, verbose=False)
    fitted.save(tmp_path / "classifier")
    model.save(tmp_path / "language")
    opened = ws.load(tmp_path / "classifier")
    assert (type(opened), repr(opened.strategy)) == (ws.TextClassifier, "LinearProbing()")
    assert opened.predict_proba(texts).tobytes() == fitted.predict_proba(texts).tobytes()
    assert type(ws.load(tmp_path / "language")) is ws.LanguageModel


@pytest.mark.parametrize("params", [{"optimizer": ws.AdamW}, {"strategy": ws.FullFineTuning}])
def test_parameters_that_are_classes_are_refused_by_fit_alone(backbone, texts, labels, params):
    clf = ws.TextClassifier(backbone, **params)
    assert clf.get_params().items() >= params.items()
    with pytest.raises(TypeError, match=next(iter(params))):
        clf.fit(texts, labels)


def test_parameters_set_as_they_are_change_nothing(backbone, tokenizer_dir):
    for strategy in (None, ws.LinearProbing()):
        clf = ws.TextClassifier(backbone, strategy=strategy)
        clf.set_params(**clf.get_params())
        assert clf.strategy is strategy and clf.optimizer is None
        with pytest.raises(ValueError, match="foo"):
            clf.set_params(strategy__foo=1)
        assert clf.strategy is strategy
        assert clf.set_params(optimizer__weight_decay=0.5).optimizer.weight_decay == 0.5
    # Of a grid: the default is as much given as another value.
    clf = ws.TextClassifier(backbone)
    assert repr(clf.set_params(strategy__layer_decay=1.0).strategy) == "FullFineTuning()"
    assert repr(clf.set_params(optimizer__weight_decay=0.01).optimizer) == "AdamW()"
    clf = ws.TextClassifier(backbone, optimizer=ws.AdamW)
    with pytest.raises(ValueError, match=r"optimizer__weight_decay: optimizer is .*AdamW.*, which has no parameters"):
        clf.set_params(optimizer__weight_decay=0.1)
    with pytest.raises(ValueError, match="objective__rate: objective is None, which has no parameters to set"):
        ws.LanguageModel(backbone).set_params(objective__rate=0.3)
    with pytest.raises(ValueError, match="learning_rate is meant"):
        clf.set_params(lr=1)
