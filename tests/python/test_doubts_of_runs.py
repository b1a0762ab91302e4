"""What a run says of itself when nothing, or not all, was learnt; and texts that cannot be learnt from."""

import numpy as np
import pytest
import warmstart as ws
from sklearn.exceptions import ConvergenceWarning

GOOD = ["the good film", "a good movie", "the good old film", "good film"]
BAD = ["the bad film", "a bad movie", "the bad old film", "bad film"]


def few(backbone, **params):
    return ws.TextClassifier(backbone, random_state=0, verbose=False, **params)


def at_random():
    """Texts with labels that have nothing to do with them."""
    return (GOOD + BAD) * 8, np.random.default_rng(0).permutation(["good", "bad"] * 32)


def test_a_run_of_too_few_steps_is_told(backbone):
    with pytest.warns(ConvergenceWarning, match=r"after 2 steps the model is hardly better than guessing.*epochs=30"):
        few(backbone, max_steps=2).fit(*at_random())


def test_labels_that_do_not_belong_to_their_texts_are_told(backbone):
    with pytest.warns(ConvergenceWarning, match="are texts and labels in the same order"):
        few(backbone, strategy=ws.LinearProbing()).fit(*at_random())


def test_a_class_that_is_never_predicted_is_told(backbone):
    texts = (GOOD + BAD) * 8
    labels = (["good"] * 4 + ["bad"] * 4) * 8
    labels[:4] = ["rare"] * 4  # of the same texts as the many
    with pytest.warns(ConvergenceWarning, match="never predicts class 'rare', not even for texts that it was trained"):
        few(backbone, learning_rate=1e-3, epochs=10).fit(texts, labels)


def test_a_label_of_many_that_is_never_predicted_is_told(backbone):
    texts = (GOOD + BAD) * 8
    targets = np.array([[i % 8 < 4, i in (0, 5, 8, 13)] for i in range(64)]).astype(int)
    with pytest.warns(ConvergenceWarning, match="never predicts class 1, not even"):
        few(backbone, multi_label=True, learning_rate=1e-3, epochs=10).fit(texts, targets)


def test_entities_that_are_never_found_are_told(backbone):
    texts = [["the", "good", "film"], ["a", "bad", "movie"]] * 8
    tags = [["O", "B-X", "O"], ["O", "O", "O"]] * 8
    tags[1] = tags[3] = tags[5] = ["O", "B-Y", "O"]
    tagger = ws.TokenClassifier(backbone, learning_rate=1e-3, epochs=10, random_state=0, verbose=False)
    with pytest.warns(ConvergenceWarning, match="never predicts class 'B-Y'"):
        tagger.fit(texts, tags)


@pytest.mark.filterwarnings("error")
def test_what_was_learnt_is_not_doubted(backbone):
    texts, labels = (GOOD + BAD) * 8, (["good"] * 4 + ["bad"] * 4) * 8
    few(backbone, learning_rate=1e-3, epochs=10).fit(texts, labels)
    few(backbone, strategy=ws.LinearProbing()).fit(texts, labels)


@pytest.mark.filterwarnings("error")
def test_a_doubt_that_is_an_error_leaves_the_trained_model(backbone):
    clf = few(backbone, max_steps=1)
    with pytest.raises(ConvergenceWarning):
        clf.fit(*at_random())
    assert clf.n_iter_ == 1 and len(clf.predict(GOOD)) == 4


def test_one_text_of_a_class_is_told(backbone):
    with pytest.warns(UserWarning, match="class 'slip' has one text"):
        few(backbone, max_steps=1).fit([*GOOD, *BAD, "old film"], ["good"] * 4 + ["bad"] * 4 + ["slip"])


@pytest.mark.parametrize(("text", "said"), [("", "all 6 texts are empty"), ("the film", "all 6 texts are alike")])
@pytest.mark.parametrize("strategy", [None, ws.LinearProbing()])
def test_texts_that_nothing_tells_apart_are_refused(backbone, strategy, text, said):
    with pytest.raises(ValueError, match=said):
        few(backbone, strategy=strategy).fit([text] * 6, ["a", "b"] * 3)


def test_texts_of_unknown_words_are_told(backbone):
    foreign = ["电影很好", "电影不好", "the good film"]
    with pytest.warns(UserWarning, match="2 of 3 texts are mostly words that the vocabulary lacks"):
        backbone.embed(foreign)
    with pytest.warns(UserWarning, match="2 of 3 texts are mostly words"):
        ws.LanguageModel(backbone, random_state=0, verbose=False).perplexity(foreign)
    with pytest.warns(UserWarning, match="1 of 1 texts are mostly words"):
        ws.FeatureExtractor(backbone, verbose=False).fit_transform(foreign[:1])


def test_a_language_model_that_is_untrained_is_told(backbone, tmp_path):
    model = ws.LanguageModel(backbone, max_steps=2, random_state=0, verbose=False)
    for ask in (model.perplexity, model.score, lambda _: model.fill_mask("the [MASK] film")):
        with pytest.warns(UserWarning, match="this language model is untrained"):
            ask(["the good film"])
    with pytest.warns(ConvergenceWarning, match="after 2 steps the loss is .* has learnt next to nothing"):
        model.fit(GOOD * 4)
    model.save(tmp_path / "model")
    gpt2 = ws.Backbone.from_config("gpt2", backbone.tokenizer, n_embd=24, n_layer=1, n_head=3)
    with pytest.warns(UserWarning, match="this language model is untrained"):
        ws.LanguageModel(gpt2, verbose=False).generate("the", max_new_tokens=2)


@pytest.mark.filterwarnings("error")
def test_a_language_model_that_was_trained_is_not_doubted(backbone, tmp_path):
    model = ws.LanguageModel(
        backbone, strategy=ws.FullFineTuning(learning_rate=1e-2), max_steps=40, random_state=0, verbose=False
    ).fit(GOOD * 20)
    model.save(tmp_path / "model")
    for known in (model, ws.load(tmp_path / "model"), ws.LanguageModel.from_pretrained(tmp_path / "model")):
        assert known.perplexity(GOOD) > 1


def test_one_step_trains(backbone):
    """The first rate of a warm-up is 0: a run of one step has none."""
    before = ws.LanguageModel(backbone, max_steps=1, random_state=0, verbose=False)
    scores = before.score(GOOD)
    assert not np.array_equal(np.concatenate(before.fit(GOOD).score(GOOD)), np.concatenate(scores), equal_nan=True)
