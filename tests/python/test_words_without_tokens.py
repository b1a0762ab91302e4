"""Words that the tokenizer makes no token of, in texts given as lists of words."""

import re
import warnings

import numpy as np
import pytest
import warmstart as ws
from conftest import FAST, FILL
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval import metrics
from warmstart.entities import OUTSIDE, to_spans
from warmstart.tagged import Windows

NOTHING = ["\u200b", "\u200d", "", "\u0301", "\ufe0f"]
WORDS = ["new", "was", "it-was", "very"]
TAGS = ["O", "B-a", "I-a", "B-b", "I-b"]

PAIRS = st.lists(st.tuples(st.sampled_from(NOTHING * 2 + WORDS), st.sampled_from(TAGS)), max_size=9)
TEXTS = st.lists(PAIRS, min_size=1, max_size=3)

IN_PARTS = [["the", "new", "\u200b", "film", "was"]]


def split(texts):
    return [[word for word, _ in pairs] for pairs in texts], [[tag for _, tag in pairs] for pairs in texts]


def kept(words, tags):
    """The entities of tags, less the words without tokens at their ends; and less those that have no other."""
    found = []
    for start, end, label in to_spans(tags):
        own = [i for i in range(start, end) if words[i] not in NOTHING]
        if own:
            found.append((own[0], own[-1] + 1, label))
    return found


@settings(deadline=None)
@given(TEXTS)
def test_entities_are_taught_and_given_back_whole(backbone, texts):
    words, tags = split(texts)
    windows = Windows.of(backbone._inner, words, None)
    rows = windows.row_tags(tags)
    assert len(rows) == len(windows.spans)
    back = windows.unit_tags(rows)
    assert [to_spans(own) for own in back] == [kept(*pair) for pair in zip(words, tags, strict=True)]
    assert windows.row_tags(back) == rows


@settings(deadline=None)
@given(TEXTS, st.randoms(use_true_random=False))
def test_no_entity_is_parted_begun_or_ended_by_a_word_without_tokens(backbone, texts, random):
    words, _ = split(texts)
    windows = Windows.of(backbone._inner, words, None)
    rows = random.choices(TAGS, k=len(windows.spans))
    said = windows.unit_tags(rows)
    scores = np.linspace(0.5, 1, len(rows))
    found = windows.entities(rows, scores)
    for own, tags, row_of, entities in zip(words, said, windows.rows, found, strict=True):
        firsts = [rows[row] for row in row_of.tolist() if row >= 0]
        assert len(tags) == len(own)
        assert [tag for word, tag in zip(own, tags, strict=True) if word not in NOTHING] == firsts
        assert len(to_spans(tags)) == len(to_spans(firsts)) == len(entities)
        for (start, end, label), entity in zip(to_spans(tags), entities, strict=True):
            assert own[start] not in NOTHING
            assert own[end - 1] not in NOTHING
            assert (entity.text, entity.label) == (" ".join(own[start:end]), label)
            assert 0.5 <= entity.score <= 1


@settings(deadline=None)
@given(TEXTS)
def test_tags_that_cannot_be_given_back_are_dropped_and_counted(backbone, texts):
    words, tags = split(texts)
    windows = Windows.of(backbone._inner, words, None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        back = windows.read(tags)
    assert [to_spans(own) for own in back] == [kept(*pair) for pair in zip(words, tags, strict=True)]
    assert windows.row_tags(back) == windows.row_tags(tags)
    lost = [
        (i, j)
        for i, own in enumerate(words)
        for j, word in enumerate(own)
        if word in NOTHING and tags[i][j] != back[i][j]
    ]
    assert len(caught) == bool(lost)
    if lost:
        i, j = lost[0]
        assert str(caught[0].message).startswith(f"{len(lost)} tags of labels are dropped, as their words give no")
        assert f"{tags[i][j]!r} on word {j} of text {i}, {words[i][j]!r};" in str(caught[0].message)


@settings(deadline=None)
@given(TEXTS)
def test_scores_are_those_of_the_tags_that_can_be_predicted(backbone, tagger, texts):
    words, tags = split(texts)
    said = tagger.predict_tags(words)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        readable = Windows.of(backbone._inner, words, None).read(tags)
        found = metrics.f1_score(readable, said, zero_division=0)
        assert tagger.score(words, tags) == pytest.approx(found, abs=1e-12)
        warnings.simplefilter("error")
        assert tagger.score(words, readable) == pytest.approx(found, abs=1e-12)
        assert tagger.score(words, said) == any(map(to_spans, said))


@pytest.fixture(scope="module")
def tagger(backbone):
    return ws.TokenClassifier(backbone, **FAST).fit(*split([[("new", "B-a"), ("film", "I-a"), ("was", "B-b")]] * 8))


@pytest.mark.parametrize(
    ("tags", "taught", "given_back"),
    [
        ("O B-a I-a I-a O", "O B-a I-a O", "O B-a I-a I-a O"),  # within
        ("O B-a B-a I-a O", "O B-a B-a O", "O B-a O B-a O"),  # it began the next one
        ("O B-a I-a B-a O", "O B-a B-a O", "O B-a O B-a O"),  # it ended the one before
        ("O O B-a I-a O", "O O B-a O", "O O O B-a O"),
        ("O B-a I-a O O", "O B-a O O", "O B-a O O O"),
        ("O O B-a O O", "O O O O", "O O O O O"),  # alone
        ("O I-a O I-a O", "O I-a B-a O", "O I-a O B-a O"),  # two, as seqeval reads them
    ],
)
def test_tags_of_a_word_without_tokens(backbone, tags, taught, given_back):
    windows = Windows.of(backbone._inner, IN_PARTS, None)
    rows = windows.row_tags([tags.split()])
    assert rows == taught.split()
    assert windows.unit_tags(rows) == [given_back.split()]


def test_an_entity_at_whose_end_is_a_word_without_tokens_can_score(backbone):
    words = [["\u200b", "good", "film"], ["bad", "plot", "\u200b"], ["the", "\u200b", "story"]]
    tags = [["B-a", "I-a", "O"], ["B-b", "I-b", "I-b"], ["O", "B-a", "O"]]
    given = words * 4, tags * 4
    settings = FAST | {"epochs": 20}
    with pytest.warns(UserWarning, match="12 tags of (eval_set )?labels are dropped"):
        tagger = ws.TokenClassifier(backbone, **settings).fit(*given, eval_set=given)
    assert tagger.predict_tags(words) == [["O", "B-a", "O"], ["B-b", "I-b", "O"], ["O", "O", "O"]]
    assert tagger.history_.rows[-1]["f1"] == tagger.report_.entity_f1 == tagger.report_.accuracy == 1
    with pytest.warns(UserWarning, match="3 tags of labels are dropped"):
        assert tagger.score(words, tags) == 1
    with pytest.warns(UserWarning, match="3 tags of labels are dropped"):
        report = tagger.evaluate(words, tags)
    assert [(row["label"], row["f1"], row["support"]) for row in report.per_class] == [("a", 1, 1), ("b", 1, 1)]


def test_fit_tells_of_tags_that_are_dropped(backbone):
    tags = [["O", "O", "B-a", "I-a", "O"]]
    message = (
        "1 tags of labels are dropped, as their words give no tokens: the first is 'B-a' on word 2 of text 0, "
        "'\\u200b'; entities are learnt and scored without those words"
    )
    with pytest.warns(UserWarning, match=re.escape(message)) as caught:
        fitted = ws.TokenClassifier(backbone, **FAST).fit(IN_PARTS, tags)
    assert caught[0].filename == __file__
    assert fitted.classes_.tolist() == [OUTSIDE, "B-a", "I-a"]
    with pytest.warns(UserWarning, match="1 tags of eval_set labels are dropped"):
        ws.TokenClassifier(backbone, **FAST).fit([FILL[:2]], [["B-a", "I-a"]], eval_set=(IN_PARTS, tags))


def test_fit_needs_an_entity_that_has_tokens(backbone):
    with (
        pytest.warns(UserWarning, match="1 tags of labels are dropped"),
        pytest.raises(ValueError, match="holds no entity"),
    ):
        ws.TokenClassifier(backbone, **FAST).fit(IN_PARTS, [["O", "O", "B-a", "O", "O"]])
