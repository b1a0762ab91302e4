"""`TextClassifier`: learning, predicting, choosing the best weights, repeating itself."""

import warnings

import numpy as np
import pytest
import warmstart as ws
from conftest import BAD, GOOD, MAX_LENGTH, PLAIN, make_texts
from sklearn.exceptions import NotFittedError


def test_fit_returns_itself_and_sets_the_fitted_attributes(make, texts, labels):
    clf = make()
    assert clf.fit(texts, labels) is clf
    assert clf.classes_.tolist() == ["neg", "pos"]
    assert clf.random_state_ == 0
    assert clf.n_iter_ == clf.report_.training["steps"] >= 2
    assert isinstance(clf.history_, ws.History)
    assert isinstance(clf.report_, ws.Report)
    assert isinstance(clf.backbone_, ws.Backbone)


def test_nothing_is_warned_about(make, texts, labels):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf = make().fit(texts, labels, eval_set=(texts, labels))
        clf.predict(texts)
        clf.evaluate(texts, labels)


@pytest.mark.parametrize("method", ["predict", "predict_proba", "decision_function", "save", "backbone_"])
def test_before_fit_everything_is_not_fitted(make, tmp_path, method):
    clf = make()
    with pytest.raises(NotFittedError):
        if method == "backbone_":
            _ = clf.backbone_
        else:
            getattr(clf, method)(tmp_path if method == "save" else ["a"])


def test_eight_examples_are_learnt_to_near_zero_loss(make):
    texts, labels = make_texts(8, [BAD, GOOD])
    clf = make(epochs=60).fit(texts, labels)
    report = clf.evaluate(texts, labels)
    assert report.accuracy == 1.0
    assert report.loss < 0.05


def test_what_was_learnt_holds_for_other_texts(make):
    clf = make(epochs=12).fit(*make_texts(90, [BAD, GOOD, PLAIN]))
    assert clf.score(*make_texts(45, [BAD, GOOD, PLAIN], seed=1)) > 0.8


def test_shuffled_labels_cannot_be_learnt_for_other_texts(make):
    texts, labels = make_texts(90, [BAD, GOOD, PLAIN])
    shuffled = np.random.default_rng(0).permutation(labels)
    clf = make(epochs=4).fit(texts, shuffled)
    assert clf.score(*make_texts(90, [BAD, GOOD, PLAIN], seed=1)) < 0.6


def test_probing_learns_with_the_backbone_unchanged(make, texts, labels):
    clf = make(strategy=ws.LinearProbing(), learning_rate=0.1, epochs=30).fit(texts, labels)
    assert clf.score(texts, labels) > 0.8
    assert clf.report_.trainable_parameters < clf.report_.parameters / 4
    np.testing.assert_array_equal(clf.backbone_.embed(texts), clf.backbone.embed(texts))


def test_training_leaves_the_given_backbone_alone(make, backbone, texts, labels):
    before = backbone.embed(texts)
    make(epochs=4).fit(texts, labels)
    np.testing.assert_array_equal(backbone.embed(texts), before)


def test_the_default_strategy_is_full_fine_tuning(make, texts, labels):
    a = make(strategy=None).fit(texts, labels).predict_proba(texts)
    b = make(strategy=ws.FullFineTuning()).fit(texts, labels).predict_proba(texts)
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("strategy", [ws.FullFineTuning(), ws.LinearProbing()])
def test_same_random_state_gives_the_same_bytes(make, texts, labels, strategy):
    a, b = (make(strategy=strategy, random_state=7).fit(texts, labels).predict_proba(texts) for _ in range(2))
    assert a.tobytes() == b.tobytes()
    c = make(strategy=strategy, random_state=8).fit(texts, labels).predict_proba(texts)
    assert a.tobytes() != c.tobytes()


def test_the_number_of_threads_does_not_change_a_byte(make, texts, labels):
    found = []
    try:
        for n in (1, 2, 3):
            ws.set_num_threads(n)
            found.append(make().fit(texts, labels).predict_proba(texts).tobytes())
    finally:
        ws.set_num_threads(0)
    assert found[0] == found[1] == found[2]


def test_a_drawn_seed_is_recorded_and_repeats_the_run(make, texts, labels):
    drawn = make(random_state=None).fit(texts, labels)
    again = make(random_state=drawn.random_state_).fit(texts, labels)
    np.testing.assert_array_equal(drawn.predict_proba(texts), again.predict_proba(texts))
    assert drawn.random_state is None


def test_numpy_generators_are_taken_as_random_state(make, texts, labels):
    seeds = [make(random_state=np.random.RandomState(s)).fit(texts, labels).random_state_ for s in (0, 0, 1)]
    assert seeds[0] == seeds[1] != seeds[2]


def test_fitting_again_starts_anew(make, texts, labels):
    clf = make()
    first = clf.fit(texts, labels).predict_proba(texts)
    second = clf.fit(texts, labels).predict_proba(texts)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("names", [("no", "yes"), (0, 1), (-5, 3), (False, True)])
def test_predictions_are_of_the_kind_of_the_labels(make, texts, names):
    labels = [names[i % 2] for i in range(len(texts))]
    clf = make(epochs=1).fit(texts, labels)
    assert clf.classes_.tolist() == sorted(names)
    assert clf.predict(texts).dtype == clf.classes_.dtype
    assert set(clf.predict(texts).tolist()) <= set(names)


def test_probabilities_add_up_and_agree_with_predictions(make):
    texts, labels = make_texts(30, [BAD, GOOD, PLAIN])
    clf = make(epochs=4).fit(texts, labels)
    probabilities = clf.predict_proba(texts)
    assert probabilities.shape == (30, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_array_equal(clf.classes_[probabilities.argmax(axis=1)], clf.predict(texts))
    logits = clf.decision_function(texts)
    assert logits.shape == (30, 3)
    np.testing.assert_array_equal(logits.argmax(axis=1), probabilities.argmax(axis=1))


def test_the_decision_of_two_classes_is_one_number(fitted, texts):
    margin = fitted.decision_function(texts)
    assert margin.shape == (len(texts),)
    np.testing.assert_array_equal(margin > 0, fitted.predict(texts) == "pos")


def test_predictions_do_not_depend_on_order_or_company(fitted, texts):
    whole = fitted.predict_proba(texts)
    np.testing.assert_allclose(fitted.predict_proba(texts[::-1])[::-1], whole, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(fitted.predict_proba(texts[3:4]), whole[3:4], rtol=1e-4, atol=1e-5)


def test_no_texts_give_no_predictions(fitted):
    assert fitted.predict([]).shape == (0,)
    assert fitted.predict([]).dtype == fitted.classes_.dtype
    assert fitted.predict_proba([]).shape == (0, 2)


def test_an_empty_text_is_predicted(fitted):
    assert fitted.predict([""])[0] in fitted.classes_


def test_pairs_are_classified(make):
    pairs = [(a, b) for a, b in zip(*(make_texts(16, [BAD, GOOD], seed=s)[0] for s in (0, 1)), strict=True)]
    clf = make().fit(pairs, [i % 2 for i in range(16)])
    assert clf.predict(pairs).shape == (16,)


def test_score_is_the_accuracy_and_honours_weights(fitted, texts, labels):
    wrong = ["pos" if label == "neg" else "neg" for label in labels]
    assert fitted.score(texts, labels) == 1.0
    assert fitted.score(texts, wrong) == 0.0
    mixed = labels[:4] + wrong[4:]
    assert fitted.score(texts, mixed) == pytest.approx(4 / 16)
    assert fitted.score(texts, mixed, sample_weight=[1] * 4 + [0] * 12) == 1.0


def test_score_counts_unknown_labels_as_wrong_and_evaluate_refuses_them(fitted, texts, labels):
    odd = ["other", *labels[1:]]
    assert fitted.score(texts, odd) == pytest.approx(15 / 16)
    with pytest.raises(ws.DataError, match="'other'"):
        fitted.evaluate(texts, odd)


def test_texts_that_were_cut_are_counted_once_per_call(make, texts, labels):
    clf = make(epochs=1)
    long = ["the film " * 40, *texts[1:]]
    with pytest.warns(UserWarning, match=f"2 of 32 texts are longer than {MAX_LENGTH} tokens and were cut") as caught:
        clf.fit(long, labels, eval_set=(long, labels))
    assert len([w for w in caught if "longer than" in str(w.message)]) == 1
    for call in (clf.predict, clf.predict_proba, clf.decision_function):
        with pytest.warns(UserWarning, match="1 of 16 texts is longer") as caught:
            call(long)
        assert len(caught) == 1
        assert caught[0].filename == __file__


def test_max_length_cuts(make, texts, labels):
    with pytest.warns(UserWarning, match="16 of 16 texts are longer than 4 tokens"):
        make(max_length=4, epochs=1).fit(texts, labels)


def test_max_steps_take_the_place_of_epochs(make, texts, labels):
    assert make(max_steps=3, epochs=50).fit(texts, labels).n_iter_ == 3
    assert make(max_steps=5, epochs=1, batch_tokens=4096).fit(texts, labels).n_iter_ == 5


def test_accumulation_takes_fewer_steps(make, texts, labels):
    assert make(batch_tokens=32, epochs=1).fit(texts, labels).n_iter_ > 1
    assert make(batch_tokens=32, epochs=1, accumulation_steps=10**6).fit(texts, labels).n_iter_ == 1


def test_auto_batches_hold_16_average_texts(make, texts, labels):
    clf = make(epochs=1).fit(texts * 10, labels * 10)
    lengths = clf.backbone._inner.encode(texts, None, None).lengths()
    assert clf.report_.training["batch_tokens"] == pytest.approx(16 * lengths.mean(), abs=1)


def test_the_best_weights_are_kept(make, texts, labels):
    scores = iter([0.1, 0.9, 0.5, 0.4, 0.3])
    seen = []

    def metric(truth, predicted):
        seen.append(predicted)
        return next(scores)

    clf = make(epochs=5, batch_tokens=4096, metric=metric).fit(texts, labels, eval_set=(texts, labels))
    assert clf.history_.best_step == clf.history_.rows[1]["step"]
    assert [row["metric"] for row in clf.history_.rows] == [0.1, 0.9, 0.5, 0.4, 0.3]
    np.testing.assert_array_equal(clf.predict(texts), seen[1])


def test_patience_stops_early(make, texts, labels):
    scores = iter([0.5, 0.9, 0.8, 0.7, 0.6, 0.5])
    clf = make(epochs=6, metric=lambda truth, predicted: next(scores), patience=2)
    clf.fit(texts, labels, eval_set=(texts, labels))
    assert len(clf.history_) == 4
    assert clf.report_.training["stopped_early"] is True


def test_eval_every_counts_optimiser_steps(make, texts, labels):
    clf = make(epochs=2, batch_tokens=32, eval_every=2).fit(texts, labels, eval_set=(texts, labels))
    steps = [row["step"] for row in clf.history_.rows]
    assert steps[:2] == [2, 4]


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "loss"])
def test_metrics_by_name(make, texts, labels, metric):
    clf = make(metric=metric, epochs=3).fit(texts, labels, eval_set=(texts, labels))
    rows = clf.history_.rows
    pick = min if metric == "loss" else max
    best = pick(row["eval_loss" if metric == "loss" else metric] for row in rows)
    kept = next(row for row in rows if row["step"] == clf.history_.best_step)
    assert kept["eval_loss" if metric == "loss" else metric] == best
    found = clf.report_.loss if metric == "loss" else getattr(clf.report_, metric)
    assert found == pytest.approx(best, rel=1e-4)


def test_a_callable_metric_gets_labels(make, texts, labels):
    def metric(truth, predicted):
        assert truth.tolist() == labels
        assert set(predicted.tolist()) <= {"neg", "pos"}
        return 1.0

    make(metric=metric).fit(texts, labels, eval_set=(texts, labels))


def test_an_error_in_the_metric_reaches_the_caller_with_a_usable_model(make, texts, labels):
    def metric(truth, predicted):
        raise ZeroDivisionError("in the metric")

    clf = make(metric=metric)
    with pytest.raises(ZeroDivisionError, match="in the metric"):
        clf.fit(texts, labels, eval_set=(texts, labels))
    assert clf.report_.training["stopped_by"] == "ZeroDivisionError"
    assert len(clf.predict(texts)) == len(texts)


def test_a_metric_that_is_nan_is_refused(make, texts, labels):
    with pytest.raises(ValueError, match="returned nan"):
        make(metric=lambda truth, predicted: float("nan")).fit(texts, labels, eval_set=(texts, labels))


def test_the_report_without_eval_set_is_about_training_only(make, texts, labels):
    report = make().fit(texts, labels).report_
    assert report.accuracy is None
    assert report.confusion is None
    assert "none: fit had no eval_set" in repr(report)
    assert report.tokens_per_s > 0
    assert report.peak_memory_bytes > 10**6


def test_class_weights_shift_the_predictions(make):
    texts = ["the film", "a film"] * 20  # which say nothing of the label
    labels = ["rare"] * 4 + ["usual"] * 36
    plain, balanced, heavy = (
        make(class_weight=weight, epochs=20).fit(texts, labels).predict_proba(["the film"])[0, 0]
        for weight in (None, "balanced", {"rare": 81.0})
    )
    assert plain < 0.3 < balanced < 0.7 < heavy


def test_label_smoothing_keeps_probabilities_from_one(make, texts, labels):
    sharp, smooth = (make(epochs=40, label_smoothing=s).fit(texts, labels) for s in (0.0, 0.4))
    assert sharp.predict_proba(texts).max() > 0.95 > smooth.predict_proba(texts).max()
