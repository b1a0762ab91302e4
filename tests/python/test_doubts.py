"""What is asked and has no effect is told; what is of another kind than what was trained on is refused."""

import pickle
import warnings

import numpy as np
import pytest
import warmstart as ws
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from warmstart.texts import normalise
from warmstart.warn import warn

TEXTS = ["the good film", "a bad film", "it was good", "it was bad", "good story", "bad story"]
LABELS = ["good", "bad"] * 3
PAIRS = [(text, "the plot") for text in TEXTS]


class Frame:
    """As pandas has it: columns, a shape, values."""

    def __init__(self, *columns):
        self._values = np.array(list(zip(*columns, strict=True)), dtype=object)
        self.columns, self.shape = list(range(len(columns))), self._values.shape

    def to_numpy(self):
        return self._values

    def __len__(self):
        return len(self._values)


def quick(backbone, **params):
    return ws.TextClassifier(backbone, max_steps=1, random_state=0, verbose=False).set_params(**params)


@pytest.mark.parametrize("column", [np.array(TEXTS)[:, None], Frame(TEXTS)])
def test_one_column_is_a_column_of_texts(backbone, column):
    of_list, of_column = quick(backbone).fit(TEXTS, LABELS), quick(backbone).fit(column, LABELS)
    np.testing.assert_array_equal(of_column.predict_proba(column), of_list.predict_proba(TEXTS))
    np.testing.assert_array_equal(ws.FeatureExtractor(backbone).transform(column), backbone.embed(TEXTS))


def test_a_model_of_single_texts_refuses_pairs_and_the_reverse(backbone, tmp_path):
    single, paired = quick(backbone).fit(TEXTS, LABELS), quick(backbone).fit(PAIRS, LABELS)
    single.save(tmp_path)
    for clf in (single, ws.load(tmp_path), pickle.loads(pickle.dumps(single))):
        for ask in (clf.predict, clf.predict_proba, clf.decision_function):
            with pytest.raises(ValueError, match=r"holds pairs, but single texts were trained on; pass the column"):
                ask(Frame(TEXTS, LABELS))
        with pytest.raises(ValueError, match="holds pairs"):
            clf.score(PAIRS, LABELS)
    with pytest.raises(ValueError, match="texts holds single texts, but pairs were trained on"):
        paired.evaluate(TEXTS, LABELS)
    with pytest.raises(ValueError, match="eval_set texts holds pairs"):
        quick(backbone).fit(TEXTS, LABELS, eval_set=(PAIRS, LABELS))


@pytest.mark.parametrize("labels", [LABELS, [1, 0] * 3, [True, False] * 3])
def test_labels_among_the_texts_are_refused(backbone, labels):
    with pytest.raises(ValueError, match=r"labels as its second column; .* data\['text'\]"):
        quick(backbone).fit(Frame(TEXTS, list(map(str, labels))), labels)


def test_labels_among_the_texts_are_refused_before_features_are_made_of_them(backbone):
    model = make_pipeline(ws.FeatureExtractor(backbone), LogisticRegression())
    with pytest.raises(ValueError, match=r"X has the labels as its second column; .* data\['text'\]"):
        model.fit(Frame(TEXTS, LABELS), LABELS)
    model.fit(PAIRS, LABELS).predict(PAIRS)


@pytest.mark.parametrize(
    "frame",
    [
        Frame(LABELS, TEXTS),
        Frame(TEXTS, [label.upper() for label in LABELS]),
        Frame(TEXTS, [f"#{i % 2}" for i in range(6)]),
    ],
)
def test_columns_that_tell_the_label_by_any_name_are_refused(backbone, frame):
    with pytest.raises(ValueError, match=r"texts has the labels as its (first|second) column"):
        quick(backbone).fit(frame, LABELS)


def test_columns_that_may_tell_the_label_by_chance_are_texts(backbone):
    quick(backbone).fit(Frame(TEXTS, ["plot", "plot", "plot", "hero", "hero", "hero"]), LABELS)
    quick(backbone).fit(
        [("good film", "plot"), ("good film", "hero"), ("bad film", "plot"), ("bad film", "hero")], [1, 1, 0, 0]
    )
    model = make_pipeline(ws.FeatureExtractor(backbone), OneVsRestClassifier(LogisticRegression()))
    model.fit(PAIRS, np.array([[i % 2, 1 - i % 2] for i in range(6)]))


def test_texts_and_labels_that_are_each_others_are_refused(backbone):
    with pytest.raises(ValueError, match=r"there are 6 different labels for 2 different texts: .* swapped"):
        quick(backbone).fit(LABELS, TEXTS)


def test_texts_that_are_mostly_empty_are_told(backbone):
    with pytest.warns(UserWarning, match="2 of 6 texts are empty: all such look alike"):
        quick(backbone).fit(["", *TEXTS[1:5], " "], LABELS)
    quick(backbone).fit(["", *TEXTS[1:]], LABELS)


def test_a_kind_of_entity_that_occurs_once_is_told(backbone):
    tagger = ws.TokenClassifier(backbone, max_steps=1, random_state=0, verbose=False)
    texts, tags = [["good", "film"], ["the", "story"], ["a", "film"]], [["O", "B-X"], ["B-Y", "I-Y"], ["O", "B-X"]]
    with pytest.warns(UserWarning, match="of 'Y' there is one entity each: too few to be learnt from"):
        tagger.fit(texts, tags)


def test_entities_that_begin_with_i_are_counted(backbone):
    tagger = ws.TokenClassifier(backbone, max_steps=1, random_state=0, verbose=False)
    texts, tags = [["good", "film"], ["bad", "film", "it"]], [["I-X", "O"], ["I-X", "B-X", "O"]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)
        tagger.fit(texts, tags)


def test_an_eval_set_of_which_no_entity_is_found_is_told(backbone):
    tagger = ws.TokenClassifier(backbone, max_steps=1, learning_rate=1e-6, random_state=0, verbose=False)
    texts, tags = [["good", "film"], ["bad", "film"]] * 20, [["O", "B-X"], ["O", "O"]] * 20
    with pytest.warns(ConvergenceWarning, match="no entity of eval_set is found"):
        tagger.fit(texts, tags, eval_set=([["the", "story"]] * 20, [["O", "B-X"]] * 20))


def test_an_eval_set_of_one_class_that_is_all_right_is_not_doubted(backbone):
    clf = ws.TextClassifier(backbone, learning_rate=1e-3, epochs=30, random_state=0, verbose=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        clf.fit(TEXTS * 4, LABELS * 4, eval_set=([TEXTS[0]] * 20, [LABELS[0]] * 20))
    assert clf.report_.accuracy == 1


def test_a_label_that_every_text_has_is_told(backbone):
    with pytest.warns(UserWarning, match="class 1 has every text: what it is not cannot be learnt"):
        quick(backbone, multi_label=True).fit(TEXTS, np.array([[i % 2, 1] for i in range(6)]))


def test_weights_that_leave_one_class_are_refused(backbone):
    with pytest.raises(ValueError, match="class_weight leaves one class with a weight above 0"):
        quick(backbone, class_weight={"bad": 0}).fit(TEXTS, LABELS)


def test_a_rate_of_a_language_model_beyond_reason_is_told(backbone):
    model = ws.LanguageModel(backbone, learning_rate=0.5, max_steps=1, verbose=False)
    with pytest.warns(UserWarning, match="learning_rate=0.5 is beyond reason .* usual are 1e-05 to 0.001"):
        model.fit(TEXTS)


def test_a_process_of_a_search_tells_of_each_search():
    """A worker's own frames outlive the searches that it works for."""

    def module(name, source, **names):
        exec(source, scope := {"__name__": name, **names})
        return scope

    fit = module("sklearn.model_selection._validation", "def fit(): warn('told')", warn=warn)["fit"]
    loop = module("joblib.loop", "def loop():\n    for _ in range(2): fit()", fit=fit)["loop"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        module("multiprocessing.process", "loop()", loop=loop)
    assert len(caught) == 2


def test_numbers_that_pandas_made_floats_are_refused_with_what_to_do(backbone):
    with pytest.raises(TypeError, match=r"labels\[0\] is 1.0 \(float\).*numpy.asarray\(labels, int\)"):
        quick(backbone).fit(TEXTS, [1.0, 0.0] * 3)
    with pytest.raises(TypeError, match=r"labels\[1\] is 1.5 \(float\).* kinds, not amounts"):
        quick(backbone).fit(TEXTS, [1.0, 1.5] * 3)


def test_an_arrow_table_of_one_column_is_a_column_of_texts():
    rows = [{"text": text} for text in TEXTS]  # as `to_pylist` gives them

    class Table:
        shape = (len(rows), 1)

        def to_pylist(self):
            return rows

    assert normalise(Table()) == (TEXTS, None)


def test_a_warning_in_a_grid_search_is_about_the_line_that_began_it(backbone):
    search = GridSearchCV(quick(backbone, batch_tokens=4), {"max_steps": [1, 2]}, cv=2, refit=False)
    with pytest.warns(UserWarning, match="batch_tokens=4") as caught:
        search.fit(TEXTS * 3, LABELS * 3)
    told = [str(warning.message) for warning in caught if warning.category is UserWarning]
    assert len(told) == 1  # of four fits
    assert {warning.filename for warning in caught} == {__file__}


def test_a_metric_without_texts_to_evaluate_on_is_told(backbone):
    with pytest.warns(UserWarning, match="metric='macro_f1' has no effect without fit"):
        quick(backbone, metric="macro_f1").fit(TEXTS, LABELS)
    quick(backbone, metric="macro_f1").fit(TEXTS, LABELS, eval_set=(TEXTS, LABELS))
    tagger = ws.TokenClassifier(backbone, metric="accuracy", max_steps=1, random_state=0, verbose=False)
    with pytest.warns(UserWarning, match="metric='accuracy' has no effect without fit"):
        tagger.fit([["good", "film"]], [["B-X", "O"]])


def test_a_batch_smaller_than_a_text_is_told(backbone):
    with pytest.warns(UserWarning, match="batch_tokens=4 is less than the longest text, which has 5 tokens"):
        quick(backbone, batch_tokens=4).fit(TEXTS, LABELS)


@pytest.mark.parametrize(("strategy", "rate"), [(None, 0.02), (ws.LinearProbing(), 1.0), (None, 1e-9)])
def test_a_learning_rate_beyond_reason_is_told(backbone, strategy, rate):
    with pytest.warns(UserWarning, match=f"learning_rate={rate:g} is beyond reason .* usual are"):
        quick(backbone, strategy=strategy, learning_rate=rate).fit(TEXTS, LABELS)


def test_what_is_unread_is_told_before_a_run_too(backbone):
    clf = quick(backbone, max_length=3)
    for before in (clf.explain, clf.estimate_memory):
        with pytest.warns(UserWarning, match="6 of 6 texts are longer than 3 tokens"):
            before(TEXTS, LABELS)
