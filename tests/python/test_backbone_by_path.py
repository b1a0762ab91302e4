"""A backbone that is named by its path: as a parameter it stays as given, and it is opened where it is needed."""

import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import warmstart as ws
from conftest import FAST
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC
from test_families import tiny

TAGGED = ([["the", "good", "film"], ["a", "bad", "plot"]], [["O", "B-X", "O"], ["O", "B-Y", "O"]])


@pytest.fixture
def path(backbone, tmp_path):
    backbone.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("kind", [str, Path])
def test_a_classifier_of_a_path_is_that_of_its_backbone(kind, path, texts, labels, tmp_path):
    given = kind(path)
    clf = ws.TextClassifier(given, **FAST)
    assert clf.estimate_memory(texts, labels).total > 0
    assert clf.explain(texts, labels).n_trainable > 0
    expected = ws.TextClassifier(ws.Backbone.from_pretrained(path), **FAST).fit(texts, labels).predict_proba(texts)
    np.testing.assert_array_equal(clf.fit(texts, labels).predict_proba(texts), expected)
    assert clf.backbone is given
    assert clone(clf).backbone == given
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(clf)).predict_proba(texts), expected)
    clf.save(tmp_path / "saved")
    np.testing.assert_array_equal(ws.load(tmp_path / "saved").predict_proba(texts), expected)
    assert cross_val_score(clf, texts, labels, cv=2).shape == (2,)


def test_a_tagger_of_a_path_is_that_of_its_backbone(path):
    expected = ws.TokenClassifier(ws.Backbone.from_pretrained(path), **FAST).fit(*TAGGED).predict_tags(TAGGED[0])
    assert ws.TokenClassifier(path, **FAST).fit(*TAGGED).predict_tags(TAGGED[0]) == expected


def test_features_of_a_path_are_those_of_its_backbone(path, backbone, texts, labels):
    extractor = ws.FeatureExtractor(path)
    np.testing.assert_array_equal(extractor.transform(texts), backbone.embed(texts))
    assert len(extractor.get_feature_names_out()) == backbone.hidden_size
    assert extractor._backbone() is extractor._backbone()
    weights = pickle.dumps(backbone)
    pickled = pickle.dumps(extractor)
    assert len(pickled) < len(weights) / 10
    np.testing.assert_array_equal(pickle.loads(pickled).transform(texts), backbone.embed(texts))
    expected = make_pipeline(ws.FeatureExtractor(backbone), SVC()).fit(texts, labels).predict(texts)
    found = make_pipeline(ws.FeatureExtractor(str(path)), SVC()).fit(texts, labels).predict(texts)
    np.testing.assert_array_equal(found, expected)


def test_features_follow_the_parameter(path, tokenizer_dir, texts):
    extractor = ws.FeatureExtractor(path)
    first = extractor.transform(texts)
    extractor.set_params(backbone=tiny("gpt2", tokenizer_dir))
    assert extractor.transform(texts).shape != first.shape


@pytest.mark.usefixtures("corpora")
def test_a_language_model_of_a_path_keeps_the_head_of_its_checkpoint(backbone, path, corpus, tmp_path):
    model = ws.LanguageModel(backbone, max_steps=3, random_state=0, precision="f32", verbose=False).fit(corpus)
    model.save(tmp_path / "headed")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # that it is untrained
        headed = ws.LanguageModel(tmp_path / "headed", precision="f32", verbose=False)
        assert headed.perplexity(corpus) == pytest.approx(model.perplexity(corpus))
    assert headed.backbone == tmp_path / "headed"
    assert headed.set_params(max_steps=1).fit(corpus).n_iter_ == 1
    bare = ws.LanguageModel(path, max_steps=1, random_state=0, precision="f32", verbose=False)
    with pytest.warns(UserWarning, match="has no whole head of a language model: a new one begins"):
        bare.fit(corpus)
    with pytest.raises(ws.WeightsError, match="missing"):
        ws.LanguageModel.from_pretrained(path)
    detector = ws.LanguageModel(path, ws.ReplacedTokenDetection(), max_steps=1, random_state=0, verbose=False)
    assert detector.fit(corpus).n_iter_ == 1


def test_a_path_that_is_not_there_is_told_by_fit(texts, labels, tmp_path):
    for estimator in (ws.TextClassifier(tmp_path / "no"), ws.FeatureExtractor(tmp_path / "no")):
        with pytest.raises(FileNotFoundError, match="no"):
            estimator.fit(texts, labels).transform(texts)
