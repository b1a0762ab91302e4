"""`LanguageModel` among scikit-learn's estimators: scores, searches, what is asked before `fit`."""

import copy
import pickle

import numpy as np
import pytest
import warmstart as ws
from sklearn.model_selection import GridSearchCV, cross_val_score
from test_families import tiny
from test_language_model import model_of

pytestmark = pytest.mark.usefixtures("corpora")


def test_searches_and_pipelines_score_a_language_model(tokenizer_dir, corpus):
    model = model_of("gpt2", tokenizer_dir, max_steps=2)
    scores = cross_val_score(model, corpus, cv=2)
    assert scores.shape == (2,) and np.isfinite(scores).all() and (scores < 0).all()
    search = GridSearchCV(model, {"learning_rate": [1e-5, 5e-3]}, cv=2).fit(corpus)
    assert search.best_params_ == {"learning_rate": 5e-3}
    fitted = search.best_estimator_
    assert fitted.score(corpus) == pytest.approx(-np.log(fitted.perplexity(corpus)))


@pytest.mark.parametrize("dev", [0.2, ["the film"], "corpus.txt"])
def test_what_stands_in_the_place_of_labels_is_refused(tokenizer_dir, corpus, dev):
    model = model_of("gpt2", tokenizer_dir)
    for ask in (model.fit, model.estimate_memory):
        with pytest.raises(TypeError, match=r"learns from texts alone.*eval_set="):
            ask(corpus, dev)


def test_what_is_asked_before_fit_is_what_fit_begins_from(tokenizer_dir, corpus):
    model = model_of("bert", tokenizer_dir, random_state=None, max_steps=1, learning_rate=1e-12)
    with pytest.warns(UserWarning, match="untrained"):
        before = model.perplexity(corpus[:3])
    with pytest.warns(UserWarning, match="hardly moves"):
        model.fit(corpus)
    assert model.perplexity(corpus[:3]) == pytest.approx(before, rel=1e-5)
    drawn = np.random.RandomState(3)
    asked = model_of("bert", tokenizer_dir, random_state=drawn, max_steps=1)
    assert asked.n_parameters > 0
    plain = model_of("bert", tokenizer_dir, random_state=np.random.RandomState(3), max_steps=1)
    assert asked.fit(corpus).random_state_ == plain.fit(corpus).random_state_


def test_pickle_before_fit_does_not_grow_when_it_is_asked(tokenizer_dir):
    model = model_of("gpt2", tokenizer_dir)
    size = len(pickle.dumps(model))
    assert model.n_parameters > 0
    assert len(pickle.dumps(model)) < size + 500


def test_copies_that_were_made_before_fit_begin_with_the_same_head(tokenizer_dir, corpus):
    model = model_of("bert", tokenizer_dir, random_state=None)
    before = model.perplexity(corpus)
    for again in (pickle.loads(pickle.dumps(model)), copy.copy(model)):
        assert again.perplexity(corpus) == before


def test_fit_begins_from_what_lies_at_a_path_when_it_is_called(tokenizer_dir, corpus, tmp_path):
    ws.LanguageModel(tiny("gpt2", tokenizer_dir), random_state=1, verbose=False).save(tmp_path)
    params = {"max_steps": 1, "batch_tokens": 96, "random_state": 0, "verbose": False}
    model = ws.LanguageModel(tmp_path, **params)
    first = model.perplexity(corpus)
    other = model_of("gpt2", tokenizer_dir, max_steps=20, learning_rate=1e-2).fit(corpus)
    other.save(tmp_path)
    assert model.fit(corpus).perplexity(corpus) < 0.95 * first
