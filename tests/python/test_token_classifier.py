"""`TokenClassifier`: words and entities in, entities out; windows, scores, saving."""

import json
import pickle
import random
import warnings
from enum import Enum

import numpy as np
import pytest
import warmstart as ws
from conftest import BAD, FAST, FILL, GOOD, MAX_LENGTH, PLAIN
from seqeval import metrics
from sklearn.base import clone
from warmstart.entities import count, f1, to_spans, to_tags
from warmstart.tagged import Windows

SETTINGS = FAST | {"epochs": 15}


def sentences(n, length, seed=0):
    """Word lists and tags: good words, and plain ones after them, are praise; bad words are blame."""
    source = random.Random(seed)
    words, tags = [], []
    for _ in range(n):
        row, own = [], []
        while len(row) < length:
            word = source.choice(FILL * 2 + GOOD + BAD)
            row.append(word)
            own.append("B-praise" if word in GOOD else "B-blame" if word in BAD else "O")
            if word in GOOD and len(row) < length and source.random() < 0.5:
                row.append(source.choice(PLAIN))
                own.append("I-praise")
        words.append(row)
        tags.append(own)
    return words, tags


def entities_of(words, tags):
    """The same as texts and (start, end, label)."""
    found = []
    for row, own in zip(words, tags, strict=True):
        starts = np.cumsum([0] + [len(word) + 1 for word in row])
        found.append([(int(starts[a]), int(starts[b]) - 1, label) for a, b, label in to_spans(own)])
    return [" ".join(row) for row in words], found


@pytest.fixture(scope="module")
def data():
    return sentences(48, 9)


@pytest.fixture(scope="module")
def tagger(backbone, data):
    return ws.TokenClassifier(backbone, **SETTINGS).fit(*data, eval_set=sentences(16, 7, seed=1))


def test_fit_on_words_learns_their_tags(tagger):
    words, tags = sentences(20, 8, seed=2)
    assert tagger.score(words, tags) == 1
    assert tagger.predict_tags(words) == tags
    assert tagger.classes_.tolist() == ["O", "B-blame", "I-blame", "B-praise", "I-praise"]
    assert tagger.report_.entity_f1 == 1
    assert tagger.history_.metric == "f1"


def test_predict_gives_the_characters_of_entities(tagger):
    (entity,) = tagger.predict(["the  film was lovely OLD, very"])[0]
    assert (entity.start, entity.end, entity.label, entity.text) == (14, 24, "praise", "lovely OLD")
    assert 0.5 < entity.score <= 1
    words, tags = sentences(5, 8, seed=3)
    texts, entities = entities_of(words, tags)
    assert [[(e.start, e.end, e.label) for e in found] for found in tagger.predict(words)] == entities
    assert tagger.predict(words) == tagger.predict(texts)


def test_fit_on_entities_equals_fit_on_tags(backbone, data):
    short = SETTINGS | {"epochs": 2}
    texts, entities = entities_of(*data)
    as_dicts = [[{"start": a, "end": b, "label": label} for a, b, label in own] for own in entities]
    fitted = [
        ws.TokenClassifier(backbone, **short).fit(*given)
        for given in (data, (texts, entities), (data[0], entities), (texts, as_dicts))
    ]
    first = fitted[0]._trained.model
    windows = Windows.of(first.backbone, texts, None)
    for other in fitted[1:]:
        found = [model.outputs(windows.encodings, 4096, "f32", None) for model in (first, other._trained.model)]
        assert np.array_equal(*found)


def test_long_texts_are_read_in_windows(backbone, data):
    words, tags = sentences(6, 200, seed=4)
    tagger = ws.TokenClassifier(backbone, **SETTINGS).fit(words, tags)
    assert tagger.score(words, tags) > 0.95
    windows = Windows.of(backbone._inner, words, None)
    assert windows.encodings.lengths().max() <= MAX_LENGTH
    assert len(windows.encodings) > 6 * 200 / MAX_LENGTH
    assert len(windows.spans) == 6 * 200
    joined = " ".join(words[3])
    assert [joined[a:b] for a, b in windows.spans[windows.owners == 3]] == words[3]


def test_words_without_tokens_or_of_several_keep_their_place(backbone, tagger):
    words = [["good", "\u200d", "it-was", "bad", ""], [], ["\u200d"]]
    tags = tagger.predict_tags(words)
    assert [len(own) for own in tags] == [5, 0, 1]
    assert tags[0][:2] == ["B-praise", "O"]
    assert tags[0][3:] == ["B-blame", "O"]
    assert tags[2] == ["O"]
    assert tagger.predict([]) == []
    assert tagger.predict([""]) == [[]]
    windows = Windows.of(backbone._inner, words, None)
    rows = windows.row_tags([["O", "O", "B-x", "B-x", "O"], [], ["O"]])
    assert rows == ["O", "B-x", "I-x", "I-x", "B-x"]
    assert windows.unit_tags(rows) == [["O", "O", "B-x", "B-x", "O"], [], ["O"]]


@pytest.mark.parametrize("mark", ["\u0301", "\u0301\u0327", "\ufe0f", "\u200d", "\u0301\u200c"])
def test_marks_that_have_no_token_belong_to_the_word_before_them(backbone, mark):
    # "film" + U+0301 is the token "film": an uncased BERT strips marks and drops joiners.
    text = f"the film{mark}, very{mark}.film {mark} plot\u200b old{mark}\u200b"
    windows = Windows.of(backbone._inner, [text], None)
    words = ["the", f"film{mark}", ",", f"very{mark}", ".", "film", "plot", f"old{mark}"]
    assert [text[a:b] for a, b in windows.spans] == words
    start, end = 4, 8 + len(mark)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert windows.read([[(start, end, "x")]])[0][:3] == ["O", "B-x", "O"]
    with pytest.warns(UserWarning, match="1 entities do not begin and end with a word"):
        assert windows.read([[(start, 8, "x")]])[0][:3] == ["O", "B-x", "O"]
    found = windows.entities(["O", "B-x", *["O"] * 5, "B-y"], np.ones(8))[0]
    assert [(entity.start, entity.text) for entity in found] == [(4, f"film{mark}"), (text.index("old"), f"old{mark}")]


def test_labels_may_be_members_of_an_enumeration(backbone):
    class Kind(str, Enum):
        PRAISE = "praise"

    class Tag(str, Enum):
        BEGIN = "B-praise"
        INSIDE = "I-praise"

    for texts, labels in (["good old film"], [[(0, 8, Kind.PRAISE)]]), ([["good", "old"]], [[Tag.BEGIN, Tag.INSIDE]]):
        tagger = ws.TokenClassifier(backbone, **FAST).fit(texts, labels)
        assert tagger.classes_.tolist() == ["O", "B-praise", "I-praise"]


def test_entities_that_cut_words_are_moved_and_told(backbone):
    windows = Windows.of(backbone._inner, ["the lovely film", "it was"], None)
    with pytest.warns(UserWarning, match="1 entities do not begin and end with a word"):
        tags = windows.read([[(5, 8, "x")], [(0, 2, "y")]])
    assert tags == [["O", "B-x", "O"], ["B-y", "O"]]
    # A mark that the tokenizer strips belongs to no word at the beginning of a text: the entity loses it.
    windows = Windows.of(backbone._inner, ["\u0301film"], None)
    assert windows.spans.tolist() == [[1, 5]]
    with pytest.warns(UserWarning, match="1 entities do not begin and end with a word; they are moved to whole words"):
        assert windows.read([[(0, 5, "x")]]) == [["B-x"]]


def test_entities_without_a_word_of_their_own_are_left_out_and_told(backbone):
    windows = Windows.of(backbone._inner, ["the lovely film", "it was"], None)
    with pytest.warns(UserWarning) as caught:
        tags = windows.read([[(4, 6, "x"), (6, 15, "y")], [(2, 3, "z"), (3, 6, "z")]])
    assert tags == [["O", "B-x", "B-y"], ["O", "B-z"]]
    assert sorted(str(warning.message)[:32] for warning in caught) == [
        "1 entities have no word of their",
        "2 entities do not begin and end ",
    ]


@pytest.mark.parametrize(
    ("texts", "labels", "error", "message"),
    [
        ([["good", "bad"]], [["B-x"]], ValueError, r"labels\[0\] has 1 tags for 2 words"),
        ([["good"]], [["x"]], ValueError, r"labels\[0\]\[0\] is 'x'; expected 'O'"),
        (["good"], [["B-x"]], TypeError, r"pass it as a list of words"),
        (["good"], [[(0, 9, "x")]], ValueError, "characters 0 to 9 are no part of a text of 4"),
        (["good bad"], [[(0, 4, "x"), (2, 8, "y")]], ValueError, "overlaps"),
        (["good"], [[(0, 4)]], TypeError, r"labels\[0\]\[0\]"),
        (["good"], [[{"start": 0, "label": "x"}]], ValueError, "'end'"),
        (["good"], [], ValueError, "0 entries for 1 texts"),
        (["good", "bad"], [[], []], ValueError, "no entity"),
        ([["good", 3]], [["O", "B-x"]], TypeError, r"texts\[0\]\[1\] is 3"),
        ([["good", "bad"]], [[1, 0]], TypeError, r"labels\[0\]\[0\] is 1; tags are str.*names\[tag\] for tag in tags"),
        ([["good", "bad"]], [np.array([1, 0])], TypeError, r"labels\[0\]\[0\] is 1; tags are str"),
        ([["good", "bad"]], [["O", 0]], TypeError, r"labels\[0\]\[1\] is 0; tags are str.*feature.names"),
        ([["good", "bad"]], [[None, "O"]], TypeError, r"labels\[0\]\[0\] is None \(NoneType\); tags are str"),
        ([["good", "bad"]], [[1.0, 0.0]], TypeError, r"labels\[0\]\[0\] is 1.0 \(float\); tags are str"),
        ([["good", "bad"]], [np.array([1.0, 0.0])], TypeError, r"labels\[0\]\[0\] is 1.0 \(float\); tags are str"),
        (
            [["good", "bad"]],
            [[None, (0, 4, "x")]],
            TypeError,
            r"labels\[0\]\[0\] is None; expected \(start, end, label",
        ),
        (["good"], [[None]], TypeError, r"labels\[0\]\[0\] is None; expected \(start, end, label"),
        ([""], [[]], ValueError, "no words"),
    ],
)
def test_bad_input_is_named(backbone, texts, labels, error, message):
    with pytest.raises(error, match=message):
        ws.TokenClassifier(backbone, **FAST).fit(texts, labels)


def test_unknown_labels_and_metrics_are_refused(backbone, data, tagger):
    with pytest.raises(ws.DataError, match="B-other"):
        tagger.evaluate([["good"]], [["B-other"]])
    with pytest.raises(ValueError, match="metric must be one of"):
        ws.TokenClassifier(backbone, **FAST, metric="macro_f1").fit(*data)


def test_spans_and_tags_undo_each_other():
    source = random.Random(0)
    tags = ["O", "B-a", "I-a", "B-b", "I-b"]
    for _ in range(200):
        spans = to_spans(source.choices(tags, k=12))
        assert to_spans(to_tags(spans, 12)) == spans


def test_f1_equals_seqeval():
    source = random.Random(0)
    for n in range(1, 60):
        true, predicted = ([source.choices(["O", "B-a", "I-a", "B-b", "I-b"], k=n) for _ in range(3)] for _ in range(2))
        assert f1(true, predicted) == pytest.approx(metrics.f1_score(true, predicted, zero_division=0), abs=1e-12)
        report = metrics.classification_report(true, predicted, output_dict=True, zero_division=0)
        for row in count(true, predicted):
            expected = report[row["label"]]
            for ours, theirs in [("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")]:
                assert row[ours] == pytest.approx(expected[theirs], abs=1e-12)


def test_save_and_load_keep_predictions(tagger, data, tmp_path):
    tagger.save(tmp_path / "tagger")
    config = json.loads((tmp_path / "tagger" / "config.json").read_text())
    assert config["architectures"] == ["BertForTokenClassification"]
    assert config["id2label"]["1"] == "B-blame"
    loaded = ws.load(tmp_path / "tagger")
    assert isinstance(loaded, ws.TokenClassifier)
    assert loaded.predict(data[0]) == tagger.predict(data[0]) == pickle.loads(pickle.dumps(tagger)).predict(data[0])
    assert loaded.report_.entity_f1 == tagger.report_.entity_f1


def test_the_estimator_is_one_of_scikit_learn(tagger, data):
    again = clone(tagger).set_params(epochs=1, strategy__layer_decay=0.5)
    assert not hasattr(again, "classes_")
    assert again.epochs == 1
    report = tagger.evaluate(*data)
    assert [row["label"] for row in report.per_class] == ["blame", "praise"]
    assert "f1 of entities" in repr(report)
    assert tagger.estimate_memory(*data).total > 0


def test_its_backbone_goes_on(tagger, texts, labels):
    classifier = ws.TextClassifier(tagger.backbone_, **(FAST | {"epochs": 8})).fit(texts, labels)
    assert classifier.score(texts, labels) > 0.9


def test_linear_probing_leaves_the_backbone(backbone, data):
    tagger = ws.TokenClassifier(backbone, **(SETTINGS | {"strategy": ws.LinearProbing(), "learning_rate": 1e-1})).fit(
        *data
    )
    ids = ws.FeatureExtractor(backbone).fit_transform(["good film"])
    assert np.array_equal(ids, ws.FeatureExtractor(tagger.backbone_).fit_transform(["good film"]))
    assert tagger.score(*data) > 0.5


def test_explain_shows_the_head_of_words_and_what_is_chosen(backbone):
    tagger = ws.TokenClassifier(backbone, verbose=False)
    texts, tags = [["good", "film"], ["bad", "movie"]], [["B-X", "O"], ["O", "O"]]
    plan = tagger.explain(texts, tags)
    assert sorted(plan.choices) == ["epochs", "head", "learning_rate"]
    above = [row for row in plan.rows if not row["name"].startswith(("embeddings", "encoder"))]
    learning = {row["name"]: list(row["shape"]) for row in above if row["trainable"]}
    assert learning == {"classifier.weight": [3, backbone.hidden_size], "classifier.bias": [3]}  # and no pooler
