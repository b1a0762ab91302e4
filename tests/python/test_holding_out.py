"""`validation_fraction` and `early_stopping`: what is held out of the training set, and when a run stops."""

import json
from collections import Counter

import numpy as np
import pytest
import warmstart as ws
from conftest import FAST, make_texts
from test_families import tiny
from test_token_classifier import sentences
from warmstart.holding_out import hold_out

GENTLE = {"learning_rate": 1e-3, "random_state": 0, "verbose": False}


def test_each_class_gives_the_same_share():
    labels = ["a"] * 60 + ["b"] * 30 + ["c"] * 10
    train, held_out = hold_out([[label] for label in labels], 0.2, 0)
    assert sorted([*train, *held_out]) == list(range(100))
    assert Counter(labels[i] for i in held_out) == {"a": 12, "b": 6, "c": 2}


def test_each_label_has_a_text_left_to_be_learnt_from():
    labels = [["a"], ["b"], ["a", "c"], ["b"], ["d"], ["a"], ["b", "a"], []]
    for seed in range(30):
        train, held_out = hold_out(labels, 0.7, seed)
        assert {label for i in train for label in labels[i]} == {"a", "b", "c", "d"}
        assert 2 not in held_out
        assert 4 not in held_out
        assert len(held_out) > 1


def test_labels_of_a_single_text_do_not_come_first_or_last():
    """Where every text has other labels it is a matter of chance which is held out."""
    sets = [["x", str(i // 2)] if i < 40 else ["y"] for i in range(80)]
    shares = [np.mean(hold_out(sets, 0.25, seed)[1] < 40) for seed in range(40)]
    assert 0.35 < np.mean(shares) < 0.65


def test_the_seed_decides():
    labels = [[i % 2] for i in range(40)]
    first, again, other = (hold_out(labels, 0.25, seed)[1].tolist() for seed in (0, 0, 1))
    assert first == again != other


def test_where_nothing_can_be_held_out_it_is_said(make):
    with pytest.raises(ValueError, match=r"validation_fraction=0.5 of 2 texts cannot be held out.*eval_set="):
        make(validation_fraction=0.5).fit(["good film", "bad film"], ["a", "b"])


def test_a_fraction_is_evaluated_and_not_trained_on(backbone):
    texts, labels = make_texts(40, [["good"], ["bad"]])
    clf = ws.TextClassifier(backbone, epochs=2, validation_fraction=0.25, **GENTLE).fit(texts, labels)
    assert clf.report_.n_texts == 10
    assert [row["support"] for row in clf.report_.per_class] == [5, 5]
    assert clf.history_.best_step is not None
    # As if the two parts had been given.
    train, held_out = hold_out([[label] for label in labels], 0.25, 0)
    apart = ws.TextClassifier(backbone, epochs=2, **GENTLE).fit(
        [texts[i] for i in train],
        [labels[i] for i in train],
        eval_set=([texts[i] for i in held_out], [labels[i] for i in held_out]),
    )
    np.testing.assert_array_equal(apart.predict_proba(texts), clf.predict_proba(texts))
    value, why = clf.report_.training["choices"]["eval_set"]
    assert (value, "of 40 are held out" in why, "validation_fraction=0.25" in why) == ("10 texts", True, True)
    assert "eval_set chosen" in repr(clf.report_)
    assert clf.explain(texts, labels).choices["eval_set"].value == "10 texts"
    assert clf.estimate_memory(texts, labels).total > 0


def test_early_stopping_holds_out_a_tenth_and_stops(backbone):
    texts, labels = make_texts(40, [["good"], ["bad"]])
    params = GENTLE | {"learning_rate": 1e-2, "early_stopping": True, "epochs": 60}
    clf = ws.TextClassifier(backbone, **params).fit(texts, labels)
    assert clf.report_.n_texts == 4
    assert clf.report_.training["choices"]["patience"] == [3, "as early_stopping asked"]
    assert clf.report_.training["stopped_early"]
    steps = [row["step"] for row in clf.history_.rows]
    assert len(steps) == steps.index(clf.history_.best_step) + 1 + 3 < 60
    longer = ws.TextClassifier(backbone, patience=5, **params).fit(texts, labels)
    assert len(longer.history_.rows) == len(steps) + 2


def test_an_eval_set_wins_over_a_fraction(backbone):
    texts, labels = make_texts(40, [["good"], ["bad"]])
    clf = ws.TextClassifier(backbone, validation_fraction=0.5, early_stopping=True, epochs=2, **GENTLE)
    clf.fit(texts, labels, eval_set=(texts[:7], labels[:7]))
    assert clf.report_.n_texts == 7
    assert "eval_set" not in clf.report_.training["choices"]


def test_a_fraction_alone_leaves_a_probing_solved_and_early_stopping_does_not(backbone):
    texts, labels = make_texts(40, [["good"], ["bad"]])
    probe = ws.TextClassifier(backbone, strategy=ws.LinearProbing(), validation_fraction=0.2, verbose=False)
    assert probe.fit(texts, labels).report_.training["choices"]["head"][0] == "solved"
    assert probe.report_.n_texts == 8
    told = probe.set_params(early_stopping=True).explain(texts, labels).choices["head"]
    assert (told.value, "early_stopping" in told.why) == ("trained in steps", True)


def test_texts_with_several_labels_are_held_out_too(make):
    texts, kinds = make_texts(30, [["good"], ["bad"], ["old"]])
    labels = [[("a", "b", "c")[kind]] + ["d"] * (i % 2) for i, kind in enumerate(kinds)]
    clf = make(multi_label=True, validation_fraction=0.2).fit(texts, labels)
    assert clf.report_.n_texts == 6


def test_words_are_held_out_by_text(backbone):
    texts, tags = sentences(30, 7)
    tagger = ws.TokenClassifier(backbone, **FAST, validation_fraction=0.2).fit(texts, tags)
    assert tagger.report_.n_texts == 6
    train, held_out = hold_out([{tag[2:] for tag in own} for own in tags], 0.2, 0)
    apart = ws.TokenClassifier(backbone, **FAST).fit(
        [texts[i] for i in train],
        [tags[i] for i in train],
        eval_set=([texts[i] for i in held_out], [tags[i] for i in held_out]),
    )
    assert apart.predict_tags(texts) == tagger.predict_tags(texts)
    assert apart.report_.entity_f1 == tagger.report_.entity_f1


@pytest.mark.usefixtures("corpora")
def test_the_end_of_a_corpus_is_held_out(tokenizer_dir, corpus):
    def fitted(eval_set=None, **params):
        settings = {"learning_rate": 5e-3, "batch_tokens": 64, "max_length": 16, "random_state": 0, "verbose": False}
        model = ws.LanguageModel(tiny("gpt2", tokenizer_dir), **settings | params)
        return [row["eval_loss"] for row in model.fit(corpus, eval_set=eval_set).history_.rows]

    assert fitted(validation_fraction=0.25, epochs=2) == fitted(eval_set=0.25, epochs=2)
    assert fitted(early_stopping=True, epochs=2) == fitted(eval_set=0.1, epochs=2)
    assert fitted(eval_set=corpus[:5], validation_fraction=0.25, epochs=1) == fitted(eval_set=corpus[:5], epochs=1)
    assert len(fitted(early_stopping=True, epochs=200)) < 200


@pytest.mark.parametrize(
    ("params", "error", "match"),
    [
        ({"validation_fraction": 0}, ValueError, "validation_fraction must lie between 0 and 1, got 0"),
        ({"validation_fraction": 1.0}, ValueError, "validation_fraction must lie between 0 and 1"),
        ({"validation_fraction": "a tenth"}, TypeError, "validation_fraction must be a number"),
        ({"validation_fraction": True}, TypeError, "validation_fraction must be a number"),
        ({"early_stopping": 3}, TypeError, "early_stopping must be True or False, got 3"),
        ({"keep": "first"}, ValueError, "keep must be one of 'best', 'last', got 'first'"),
        ({"checkpoint_every": 3}, ValueError, "checkpoint_every=3 needs checkpoint_dir"),
        ({"checkpoint_every": 0, "checkpoint_dir": "run"}, ValueError, "checkpoint_every must be at least 1"),
        ({"patience": 2}, ValueError, "patience=2 needs .*validation_fraction=0.1"),
    ],
)
@pytest.mark.usefixtures("corpora")
def test_what_is_out_of_range_is_refused_by_every_estimator(backbone, params, error, match):
    texts, labels = make_texts(12, [["good"], ["bad"]])
    with pytest.raises(error, match=match):
        ws.TextClassifier(backbone, **FAST | params).fit(texts, labels)
    with pytest.raises(error, match=match):
        ws.TokenClassifier(backbone, **FAST | params).fit(*sentences(6, 5))
    with pytest.raises(error, match=match):
        ws.LanguageModel(backbone, **FAST | params).fit(texts)


def test_they_are_saved_but_for_places(make, texts, labels, tmp_path):
    given = {"validation_fraction": 0.25, "early_stopping": True, "patience": 7, "keep": "best"}
    make(**given).fit(texts, labels).save(tmp_path / "saved")
    again = ws.load(tmp_path / "saved")
    assert {name: getattr(again, name) for name in given} == given
    params = json.loads((tmp_path / "saved" / "warmstart.json").read_text(encoding="utf-8"))["params"]
    assert "checkpoint_dir" not in params
