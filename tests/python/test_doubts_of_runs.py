"""What a run says of itself when nothing, or not all, was learnt; and texts that cannot be learnt from."""

import pickle
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import warmstart as ws
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import cross_val_score
from warmstart.classification import Classification
from warmstart.doubts import of_run
from warmstart.labels import Classes
from warmstart.prepared import Labelled
from warmstart.strategy import UpdateRule
from warmstart.texts import encode

GOOD = ["the good film", "a good movie", "the good old film", "good film"]
BAD = ["the bad film", "a bad movie", "the bad old film", "bad film"]


def few(backbone, **params):
    return ws.TextClassifier(backbone, random_state=0, verbose=False, **params)


def at_random():
    """Texts with labels that have nothing to do with them."""
    return (GOOD + BAD) * 8, np.random.default_rng(0).permutation(["good", "bad"] * 32)


def test_a_run_of_too_few_steps_is_told(backbone):
    with pytest.warns(ConvergenceWarning, match=r"after 2 steps the model is worse than guessing.*max_steps=60"):
        few(backbone, max_steps=2).fit(*at_random())


def test_labels_that_do_not_belong_to_their_texts_are_told(backbone):
    with pytest.warns(ConvergenceWarning, match="are texts and labels in the same order"):
        few(backbone, strategy=ws.LinearProbing()).fit(*at_random())


def test_a_class_that_is_never_predicted_is_told(backbone):
    texts = (GOOD + BAD) * 8
    labels = (["good"] * 4 + ["bad"] * 4) * 8
    labels[:4] = ["rare"] * 4  # of the same texts as the many
    with pytest.warns(ConvergenceWarning, match="never predicts class 'rare', asked for texts of theirs"):
        few(backbone, learning_rate=1e-3, epochs=10).fit(texts, labels)


def test_a_label_of_many_that_is_never_predicted_is_told(backbone):
    texts = (GOOD + BAD) * 8
    targets = np.array([[i % 8 < 4, i in (0, 5, 8, 13)] for i in range(64)]).astype(int)
    with pytest.warns(ConvergenceWarning, match="never predicts class 1, asked"):
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


@pytest.mark.parametrize(("text", "said"), [("", "all 6 texts are empty"), ("the film", "all 6 texts are alike, or")])
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
    with pytest.warns(UserWarning, match="1 of 1 texts is mostly words"):
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
    model = ws.LanguageModel(backbone, learning_rate=1e-2, max_steps=40, random_state=0, verbose=False).fit(GOOD * 20)
    model.save(tmp_path / "model")
    for known in (model, ws.load(tmp_path / "model"), ws.LanguageModel.from_pretrained(tmp_path / "model")):
        assert known.perplexity(GOOD) > 1


def test_one_step_trains(backbone):
    """The first rate of a warm-up is 0: a run of one step has none."""
    before = ws.LanguageModel(backbone, max_steps=1, random_state=0, verbose=False)
    scores = before.token_log_probs(GOOD)
    assert not np.array_equal(
        np.concatenate(before.fit(GOOD).token_log_probs(GOOD)), np.concatenate(scores), equal_nan=True
    )


def test_texts_in_turns_are_no_reason_for_doubt(backbone):
    """What is asked is drawn by chance: every second text would be of one class."""
    texts, labels = ["the good film", "the bad movie"] * 255, ["good", "bad"] * 255
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        few(backbone, strategy=ws.LinearProbing()).fit(texts, labels)


def test_weighted_classes_are_held_against_weighted_guessing(backbone):
    texts, labels = at_random()
    with pytest.warns(ConvergenceWarning, match="hardly better than guessing"):
        few(backbone, strategy=ws.LinearProbing(), class_weight="balanced").fit(texts, labels)


@pytest.mark.parametrize(
    ("params", "remedy"),
    [
        ({"max_steps": 2}, "max_steps=60"),
        ({"epochs": 1, "batch_size": 64}, "epochs=5"),
        ({"max_steps": 2, "learning_rate": 5e-3}, "learning_rate=0.005 is high, usual are 1e-05 to 0.0005"),
        ({"max_steps": 2, "learning_rate": 1e-7}, "learning_rate=1e-07 is low"),
        ({"strategy": ws.LinearProbing()}, r"FullFineTuning\(\) changes the features too"),
    ],
)
def test_the_remedy_is_one_that_helps(backbone, params, remedy):
    with pytest.warns(ConvergenceWarning, match=remedy):
        few(backbone, **params).fit(*at_random())


def test_a_long_tail_is_asked_for_texts_of_its_own_before_it_is_doubted(backbone):
    """Each of 18 rare labels is found in some of its texts, which a draw of all texts hardly meets."""
    rng = np.random.default_rng(1)
    n, n_rare = 5000, 18
    targets = (rng.random((n, n_rare + 2)) < [0.5, 0.5, *[0.015] * n_rare]).astype(np.float32)
    encodings = encode(backbone._inner, [f"{'good' if i % 2 else 'bad'} film" for i in range(n)], None)
    run = SimpleNamespace(
        data=Labelled(encodings, targets),
        task=Classification(Classes(np.arange(n_rare + 2), True)),
        options={
            "max_steps": None,
            "epochs": 3,
            "rule": UpdateRule.of(ws.FullFineTuning(), None, 1e-4),
        },
        head="trained in steps",
        of_words=False,
        is_default=False,
    )
    found = np.where(rng.random(targets.shape) < 0.4, targets, 0)  # right in four of ten
    sure = np.where(targets == 1, 1.0, -5.0) * np.where((targets == 1) & (found == 0), -0.1, 1)
    assert of_run(run, 500, lambda texts: sure[texts].astype(np.float32)) == []
    sure[:, 7] = -5.0
    (doubt,) = of_run(run, 500, lambda texts: sure[texts].astype(np.float32))
    assert "never predicts class 7" in doubt


def test_all_alike_after_a_cut_says_so(backbone):
    texts = [f"the good old film was {word}" for word in ("good", "bad", "old", "the")]
    with pytest.raises(ValueError, match="alike in their first 4 tokens, where they are cut; give a larger max_length"):
        few(backbone, max_length=4).fit(texts, ["a", "b"] * 2)


def test_labels_that_are_all_alike_or_missing_are_told(backbone):
    with pytest.raises(ValueError, match="all 8 texts have the same labels"):
        few(backbone, multi_label=True).fit(GOOD + BAD, np.tile([1, 0], (8, 1)))
    targets = np.array([[i % 2, 0] for i in range(8)])
    with pytest.warns(UserWarning, match="class 1 has no text"):
        few(backbone, multi_label=True, max_steps=1).fit(GOOD + BAD, targets)


def test_tags_and_corpora_of_unknown_words_are_told(backbone):
    tagger = ws.TokenClassifier(backbone, max_steps=1, random_state=0, verbose=False)
    with pytest.warns(UserWarning, match="2 of 3 texts are mostly words"):
        tagger.fit([["好", "电影"], ["电影"], ["good", "film"]], [["B-X", "O"], ["O"], ["O", "B-X"]])
    model = ws.LanguageModel(backbone, max_steps=1, random_state=0, verbose=False)
    with pytest.warns(UserWarning, match="6 of 9 texts are mostly words"):
        model.fit(["好 电影 电影 好", "电影 电影 film 好", "the good film"] * 3)


def test_a_search_tells_once_each_time_and_in_every_fit_where_warnings_are_errors(backbone):
    clf = few(backbone, metric="macro_f1", max_steps=1)
    for _ in range(2):
        with pytest.warns(UserWarning, match="metric='macro_f1'") as caught:
            cross_val_score(clf, GOOD + BAD, ["good"] * 4 + ["bad"] * 4, cv=3)
        assert sum("macro_f1" in str(warning.message) for warning in caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="macro_f1"):
            cross_val_score(clf, GOOD + BAD, ["good"] * 4 + ["bad"] * 4, cv=3, error_score="raise")


def test_what_is_untrained_stays_so(backbone):
    gpt2 = ws.Backbone.from_config("gpt2", backbone.tokenizer, n_embd=24, n_layer=1, n_head=3)
    fresh = ws.LanguageModel(gpt2, verbose=False)
    for again in (pickle.loads(pickle.dumps(gpt2)), fresh.backbone_):
        with pytest.warns(UserWarning, match="this language model is untrained"):
            ws.LanguageModel(again, verbose=False).perplexity(GOOD)
    detector = ws.LanguageModel(backbone, ws.ReplacedTokenDetection(), verbose=False)
    with pytest.warns(UserWarning, match="this language model is untrained"):
        detector.generator.perplexity(GOOD)


def test_a_strong_penalty_is_no_reason_for_doubt(backbone):
    """The loss of few texts stays near that of guessing where leave-one-out chooses it; all of them are right."""
    rng = np.random.default_rng(0)
    words = [text.split() for text in GOOD + BAD]
    texts = [" ".join(rng.permutation(words[i % 8]).tolist()) for i in range(16)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        few(backbone, strategy=ws.LinearProbing()).fit(texts, ["good" if i % 8 < 4 else "bad" for i in range(16)])


def test_what_does_not_carry_over_is_told(backbone):
    texts, labels = (GOOD + BAD) * 8, (["good"] * 4 + ["bad"] * 4) * 8
    turned = ["bad" if label == "good" else "good" for label in labels]
    with pytest.warns(ConvergenceWarning, match="of eval_set 0 is right, no more than .* commonest class .*0.5"):
        few(backbone, strategy=ws.LinearProbing()).fit(texts, labels, eval_set=(texts, turned))
