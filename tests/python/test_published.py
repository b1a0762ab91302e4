"""Published classifiers: opened with their heads, they predict as they are and are trained on."""

import json
import pickle
import shutil

import numpy as np
import pytest
import warmstart as ws
from conftest import BAD, FAST, GOOD
from sklearn.base import clone
from sklearn.metrics import get_scorer
from test_families import FAMILIES, tiny


@pytest.fixture
def published(tokenizer_dir, texts, tmp_path):
    """A function that saves a classifier as transformers would: without what only this package reads."""

    def make(family="bert", *, tags=False, config=None, **params):
        if tags:
            words = [text.split() for text in texts]
            y = [["B-praise" if word in GOOD else "B-blame" if word in BAD else "O" for word in row] for row in words]
            estimator = ws.TokenClassifier(tiny(family, tokenizer_dir), **FAST | {"epochs": 20} | params).fit(words, y)
        else:
            y = params.pop("y", ["good" if any(word in GOOD for word in text.split()) else "bad" for text in texts])
            estimator = ws.TextClassifier(tiny(family, tokenizer_dir), **FAST | {"epochs": 20} | params).fit(texts, y)
        path = tmp_path / "published"
        shutil.rmtree(path, ignore_errors=True)
        estimator.save(path)
        (path / "warmstart.json").unlink()
        if config is not None:
            fields = json.loads((path / "config.json").read_text()) | config
            (path / "config.json").write_text(json.dumps({k: v for k, v in fields.items() if v is not None}))
        return estimator, path

    return make


@pytest.mark.parametrize("family", FAMILIES)
def test_classifier_of_any_family_predicts_as_it_was_published(family, published, texts):
    estimator, path = published(family)
    opened = ws.TextClassifier.from_pretrained(path, verbose=False)
    assert opened.classes_.tolist() == ["bad", "good"]
    np.testing.assert_array_equal(opened.decision_function(texts), estimator.decision_function(texts))
    assert (opened.predict(texts) == estimator.predict(texts)).all()
    assert (opened.n_iter_, opened.random_state_, len(opened.history_)) == (0, None, 0)


@pytest.mark.parametrize("family", ["bert", "gpt2", "xlnet", "mpnet", "deberta-v2"])
def test_tagger_predicts_as_it_was_published(family, published, texts):
    estimator, path = published(family, tags=True)
    opened = ws.TokenClassifier.from_pretrained(path, verbose=False)
    assert opened.classes_.tolist() == estimator.classes_.tolist()
    assert opened.predict(texts) == estimator.predict(texts)


@pytest.mark.parametrize(("family", "names"), [("bert", ["z", "a"]), ("gpt2", ["z", "a"]), ("xlnet", [10, 9])])
def test_labels_in_any_order_keep_their_outputs(family, names, published, texts):
    id2label = dict(zip("01", names, strict=True))
    estimator, path = published(family, config={"id2label": id2label, "label2id": None})
    opened = ws.TextClassifier.from_pretrained(path, verbose=False)
    # Sorted: scorers of scikit-learn take the columns of probabilities so.
    assert opened.classes_.tolist() == sorted(names)
    expected = [dict(zip(["bad", "good"], names, strict=True))[label] for label in estimator.predict(texts)]
    assert opened.predict(texts).tolist() == expected
    np.testing.assert_array_equal(opened.predict_proba(texts), estimator.predict_proba(texts)[:, ::-1])
    assert get_scorer("roc_auc")(opened, texts, expected) == 1.0
    # Labels that are numbers are the head's, too.
    opened.set_params(max_steps=1, learning_rate=1e-6).fit(texts, expected)
    np.testing.assert_allclose(opened.predict_proba(texts), estimator.predict_proba(texts)[:, ::-1], atol=1e-3)


def test_labels_that_nobody_named_are_counted_and_a_mapping_that_stands_alone_is_told(published, texts):
    _, path = published(config={"id2label": None, "label2id": None})
    assert ws.TextClassifier.from_pretrained(path, verbose=False).classes_.tolist() == ["LABEL_0", "LABEL_1"]
    _, path = published(config={"id2label": None, "label2id": {"no": 0, "yes": 1}})
    with pytest.warns(UserWarning, match="label2id and no id2label: the outputs are called no, yes here"):
        opened = ws.TextClassifier.from_pretrained(path, verbose=False)
    assert opened.classes_.tolist() == ["no", "yes"]


def test_multi_label_follows_from_the_model(published, texts):
    y = np.array([[len(text) % 2, len(text) % 3 == 0] for text in texts], dtype=int)
    estimator, path = published(y=y, multi_label=True)
    opened = ws.TextClassifier.from_pretrained(path, verbose=False)
    assert opened.multi_label
    np.testing.assert_array_equal(opened.predict_proba(texts), estimator.predict_proba(texts))
    with pytest.raises(ValueError, match="multi_label=False: the model gives each text any number of labels"):
        ws.TextClassifier.from_pretrained(path, multi_label=False)
    # A matrix without names has the columns of the head.
    again = opened.set_params(max_steps=1, learning_rate=1e-6).fit(texts, y)
    assert again.classes_.tolist() == ["0", "1"]
    assert np.abs(again.predict_proba(texts) - estimator.predict_proba(texts)).max() < 0.01
    # Numbers are names where they are listed: not those of the head.
    with pytest.warns(UserWarning, match="own head is left out"):
        clone(again).fit(texts, [[int(i) for i in np.flatnonzero(row)] for row in y])


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2"])
def test_fit_goes_on_from_the_head(family, published, texts):
    estimator, path = published(family)
    opened = ws.TextClassifier.from_pretrained(path, max_steps=2, learning_rate=1e-6, random_state=0, verbose=False)
    before, y = estimator.predict_proba(texts), estimator.predict(texts)
    assert "published" in opened.explain(texts, y).choices["head"].why
    # Two steps at such a rate leave it where it is; a new head would be elsewhere.
    assert np.abs(clone(opened).fit(texts, y).predict_proba(texts) - before).max() < 1e-3
    with pytest.warns(UserWarning, match=r"own head is left out and a new one begins.*'dull'"):
        other = clone(opened).fit(texts, ["dull" if label == "bad" else "good" for label in y])
    assert other.classes_.tolist() == ["dull", "good"]
    probe = clone(opened).set_params(strategy=ws.LinearProbing()).fit(texts, y)
    assert np.abs(probe.predict_proba(texts) - before).max() < 1e-3
    with pytest.warns(UserWarning, match="own head is left out and a new one begins, as pooling='mean' asked"):
        clone(opened).set_params(pooling="mean").fit(texts, y)
    with pytest.raises(ValueError, match="pooling='mean': the head of a published model"):
        ws.TextClassifier.from_pretrained(path, pooling="mean")
    one = clone(opened).fit(texts, y)
    assert one.classes_.tolist() == ["bad", "good"]
    assert pickle.loads(pickle.dumps(opened)).fit(texts, y).predict_proba(texts).tobytes() == (
        one.predict_proba(texts).tobytes()
    )


@pytest.mark.filterwarnings("ignore")  # of classes with one text
def test_head_of_many_classes_goes_on_with_two_of_them(published, texts, labels):
    _, path = published(y=[f"class {i}" for i in range(len(texts))])
    opened = ws.TextClassifier.from_pretrained(path, max_steps=1, verbose=False)
    some = np.unique(texts, return_index=True)[1][: len(texts) // 4]
    opened.fit([texts[i] for i in some], [f"class {i % 2}" for i in range(len(some))])
    assert len(opened.classes_) == len(texts)


def test_tagger_goes_on_from_its_head(published, texts):
    estimator, path = published(tags=True)
    opened = ws.TokenClassifier.from_pretrained(path, max_steps=2, learning_rate=1e-6, random_state=0, verbose=False)
    words = [text.split() for text in texts]
    found = estimator.predict_tags(words)
    assert opened.fit(words, found).predict_tags(words) == found
    assert opened.classes_.tolist() == estimator.classes_.tolist()


def test_tags_of_another_kind_go_on_where_they_stand_again(published, texts):
    tags = {str(i): name for i, name in enumerate(["DET", "ADJ", "NOUN", "VERB", "X"])}
    estimator, path = published(tags=True, config={"id2label": tags, "label2id": None})
    opened = ws.TokenClassifier.from_pretrained(path, verbose=False)
    names = dict(zip(estimator.classes_.tolist(), tags.values(), strict=True))
    words = texts[0].split()
    (expected,) = estimator.predict_tags([words])
    assert opened.predict_tags([words]) == [[names[tag] for tag in expected]]
    (entities,) = opened.predict([words])
    assert {entity.label for entity in entities} <= set(tags.values())
    assert "".join(entity.text for entity in entities).replace(" ", "") == "".join(words)


def test_taggers_of_any_scheme_are_trained_on_and_scored_with_their_own_tags(published, texts):
    names = ["DET", "ADJ", "NOUN", "VERB", "X"]
    words = [text.split() for text in texts]
    _, path = published(tags=True, config={"id2label": dict(enumerate(names)), "label2id": None})
    opened = ws.TokenClassifier.from_pretrained(path, max_steps=2, learning_rate=1e-6, random_state=0, verbose=False)
    found = opened.predict_tags(words)
    assert {tag for own in found for tag in own} <= set(names)
    assert opened.score(words, found) == 1.0 and opened.evaluate(words, found).accuracy == 1.0
    again = clone(opened).fit(words, found, eval_set=(words, found))
    assert again.classes_.tolist() == names and again.predict_tags(words) == found
    assert again.report_.accuracy == 1.0
    with pytest.raises(ValueError, match=r"labels\[0\]\[1\] is 'PRON'; expected .* or a tag of the model"):
        opened.score([["the", "film"]], [["DET", "PRON"]])
    # IOB1: entities of a kind that stand beside each other are one.
    iob1 = ["O", "I-blame", "B-blame", "I-praise", "X"]
    _, path = published(tags=True, config={"id2label": dict(enumerate(iob1)), "label2id": None})
    opened = ws.TokenClassifier.from_pretrained(path, max_steps=2, learning_rate=1e-6, random_state=0, verbose=False)
    tags = [["B-praise" if word in GOOD else "O" for word in row] for row in words]
    with pytest.warns(UserWarning, match="no B-praise: they are learnt as 'I-', and neighbouring entities"):
        again = clone(opened).fit(words, tags)
    assert again.classes_.tolist() == iob1
    assert again.predict_tags(words) == opened.predict_tags(words)
    with pytest.warns(UserWarning, match="own head is left out and a new one begins"):
        clone(opened).fit(words, [["B-other" if word in GOOD else "O" for word in row] for row in words])


def test_saved_again_it_is_loaded(published, texts, tmp_path):
    _, path = published()
    opened = ws.TextClassifier.from_pretrained(path, verbose=False)
    opened.save(tmp_path / "again")
    loaded = ws.load(tmp_path / "again")
    assert loaded.predict_proba(texts).tobytes() == opened.predict_proba(texts).tobytes()
    assert loaded.random_state_ is None


def test_words_of_entities_count_as_right_in_the_tags_of_the_model(published, texts):
    """Gold of `B-` and `I-`, and a model of `I-` alone."""
    names = {"O": "O", "B-blame": "I-blame", "I-blame": "I-x", "B-praise": "I-praise", "I-praise": "I-y"}
    id2label = dict(zip("01234", names.values(), strict=True))
    estimator, path = published(tags=True, config={"id2label": id2label, "label2id": None})
    assert list(names) == estimator.classes_.tolist()
    opened = ws.TokenClassifier.from_pretrained(path, verbose=False)
    words = [text.split() for text in texts]
    gold = [["B-praise" if word in GOOD else "B-blame" if word in BAD else "O" for word in row] for row in words]
    report = opened.evaluate(words, gold)
    assert report.entity_f1 == report.accuracy == 1.0
    # Neighbours stay two entities, which such a model cannot tell apart.
    neighbours = opened.evaluate([["good", "good"]], [["B-praise", "B-praise"]])
    assert (neighbours.entity_f1, neighbours.accuracy) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        ({"architectures": ["BertForQuestionAnswering"]}, ValueError, "names BertForQuestionAnswering; expected Bert"),
        ({"architectures": ["BertForTokenClassification"]}, ValueError, "open it with TokenClassifier.from_pretrained"),
        ({"architectures": ["MyBertForSequenceClassification"]}, ValueError, "names MyBertFor.*; expected BertForSeq"),
        ({"architectures": None}, ValueError, r"published: config.json has no architectures; expected BertForSeq"),
        (
            {"num_labels": 10**12, "id2label": None, "label2id": None},
            ValueError,
            "num_labels is 1000000000000; e",
        ),
        ({"problem_type": "regression"}, ValueError, 'problem_type is "regression": open it with TextRegressor'),
        ({"id2label": {"0": "x"}, "problem_type": None}, ValueError, "make it a regression"),
        ({"id2label": {"0": "x", "1": "x"}}, ValueError, "outputs 0 and 1 are both called"),
        ({"num_labels": 3}, ValueError, "num_labels is 3, and 2 labels are named"),
        (
            {"id2label": {"0": "x", "1": "y", "2": "z"}},
            ws.WeightsError,
            r"\[3, 24\](.|\n)*3 labels: x, y, z",
        ),
    ],
)
def test_head_of_another_kind_or_of_other_labels_is_refused_by_name(config, error, message, published):
    _, path = published(config=config)
    with pytest.raises(error, match=message):
        ws.TextClassifier.from_pretrained(path)


def test_head_that_the_weights_lack_is_refused(published, tokenizer_dir, tmp_path):
    tiny("bert", tokenizer_dir).save_pretrained(tmp_path / "backbone")
    config = tmp_path / "backbone" / "config.json"
    fields = json.loads(config.read_text()) | {"architectures": ["BertForSequenceClassification"]}
    config.write_text(json.dumps(fields))
    with pytest.raises(ws.WeightsError, match=r"classifier.weight: missing"):
        ws.TextClassifier.from_pretrained(tmp_path / "backbone")
