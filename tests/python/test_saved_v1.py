"""What version 1 wrote (`tests/reference/saved_v1/`) loads and predicts the same bytes."""

import json
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import warmstart as ws
from sklearn.base import clone
from warmstart import _core

V2 = Path(__file__).parents[1] / "reference" / "saved_v2"
V1 = Path(__file__).parents[1] / "reference" / "saved_v1"
EXPECTED = json.loads((V1 / "expected.json").read_text(encoding="utf-8"))
CLASSIFIERS = ["full", "probing", "default", "multi_label", "decoder", "permuting", "sentences"]

# Everything asked in one process, whose products are those that every processor computes alike.
ASK = f"""
import json, pickle, sys, warnings
from pathlib import Path
import numpy as np
import warmstart as ws
from warmstart.texts import encode
warnings.simplefilter("ignore")
v1 = Path({str(V1)!r})
texts = json.loads((v1 / "expected.json").read_text(encoding="utf-8"))["texts"]
arrays, said = {{}}, {{}}
def ask(name, clf):
    arrays[f"{{name}}.logits"] = clf._outputs(texts)
    arrays[f"{{name}}.embed"] = clf.backbone_.embed(texts, precision="f32")
    said[name] = {{"predict": clf.predict(texts).tolist(), "best_step": clf.history_.best_step}}
for name in {CLASSIFIERS!r}:
    ask(name, ws.load(v1 / name))
def unpickled(name):
    return pickle.loads((v1 / f"{{name}}.pickle").read_bytes())
ask("probing_pickle", unpickled("classifier"))
for name, tagger in (("tagger", ws.load(v1 / "tagger")), ("tagger_pickle", unpickled("tagger"))):
    arrays[f"{{name}}.logits"] = tagger._outputs(texts)[1]
    said[name] = {{"predict_tags": tagger.predict_tags(texts)}}
for name in ("masked", "causal", "permutation"):
    model = ws.load(v1 / name)
    arrays[f"{{name}}.score"] = np.concatenate(model.token_log_probs(texts))
    encodings = encode(model.backbone_._inner, texts, model._limit)
    ids = np.concatenate([encodings.ids(i) for i in range(len(texts))])
    framed, frame = model.backbone_.tokenizer.encode(["\U0010ffff", ""])
    arrays[f"{{name}}.is_unknown"] = np.isin(ids, sorted(set(framed) - set(frame)))
    said[name] = {{"rows": len(model.history_.rows)}}
    said[f"of_{{name}}"] = [model.history_.best_step, hasattr(model, "n_iter_")]
arrays["masked_pickle.score"] = np.concatenate(unpickled("masked").token_log_probs(texts))
said["detector"] = {{"rows": len(ws.load(v1 / "detector").history_.rows)}}
unpickled("detector").generator.token_log_probs(texts)
arrays["features"] = unpickled("features").transform(texts)
arrays["backbone"] = unpickled("backbone").embed(texts, precision="f32")
said["strategy"] = repr(unpickled("strategy"))
said["tokenizer"] = unpickled("tokenizer").encode(texts[:1])
np.savez(sys.argv[1], **arrays)
print(json.dumps(said, default=str))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    file = tmp_path_factory.mktemp("v1") / "now.npz"
    environment = {**os.environ, "WARMSTART_INSTRUCTIONS": "baseline"}
    asked = subprocess.run([sys.executable, "-c", ASK, str(file)], capture_output=True, text=True, env=environment)
    assert asked.returncode == 0, asked.stderr
    with np.load(file) as now, np.load(V1 / "expected.npz") as then:
        return json.loads(asked.stdout), dict(now), dict(then)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_of_version_1_predicts_the_same_bytes(answers, name):
    said, now, then = answers
    assert said[name] == EXPECTED[name]
    np.testing.assert_array_equal(now[f"{name}.logits"], then[f"{name}.logits"], strict=True)
    np.testing.assert_array_equal(now[f"{name}.embed"], then[f"{name}.embed"], strict=True)


def test_a_tagger_of_version_1_predicts_the_same_bytes(answers):
    said, now, then = answers
    for name in ("tagger", "tagger_pickle"):
        assert said[name] == EXPECTED["tagger"]
        np.testing.assert_array_equal(now[f"{name}.logits"], then["tagger.logits"], strict=True)


@pytest.mark.parametrize("name", ["masked", "causal", "permutation"])
def test_a_language_model_of_version_1_scores_the_same_bytes(answers, name):
    said, now, then = answers
    assert said[name] == EXPECTED[name]
    assert now[f"{name}.is_unknown"].any()
    np.testing.assert_array_equal(now[f"{name}.score"], without_unknown(name, now, then), strict=True)


def without_unknown(name, now, then):
    """Return the scores of version 1, which asked for unknown words too."""
    return np.where(now[f"{name}.is_unknown"], np.float32(np.nan), then[f"{name}.score"])


def test_pickles_of_version_1_are_read(answers):
    said, now, then = answers
    np.testing.assert_array_equal(now["probing_pickle.logits"], then["probing.logits"], strict=True)
    np.testing.assert_array_equal(now["masked_pickle.score"], without_unknown("masked", now, then), strict=True)
    for name in ("features", "backbone"):
        np.testing.assert_array_equal(now[name], then["backbone"], strict=True)
    assert said["detector"] == EXPECTED["detector"]
    # Version 1 wrote neither of a language model.
    assert said["of_masked"] == [None, False]
    # A strategy had the rate and the optimiser too; alone it keeps what it still has, and is refused by `fit`.
    assert said["strategy"] == "FullFineTuning(layer_decay=0.9)"


def test_what_a_strategy_had_goes_to_the_estimator():
    """Of directories and pickles of versions 1 and 2."""
    full = ws.load(V1 / "full")
    assert full.strategy == ws.FullFineTuning(layer_decay=0.9)
    assert full.optimizer == ws.AdamW(schedule="cosine")
    assert (full.learning_rate, full.label_smoothing) == (0.01, 0.1)
    for probing in (ws.load(V1 / "probing"), pickle.loads((V1 / "classifier.pickle").read_bytes())):
        assert (probing.strategy, probing.optimizer) == (ws.LinearProbing(), None)
        assert (probing.learning_rate, probing.label_smoothing) == (0.1, 0.0)
    default = ws.load(V1 / "default")
    assert (default.strategy, default.optimizer, default.learning_rate) == (None, None, None)
    for second in (ws.load(V2 / "max_norm"), pickle.loads((V2 / "max_norm.pickle").read_bytes())):
        assert (second.strategy, second.optimizer) == (ws.FullFineTuning(), None)
        assert (second.learning_rate, second.label_smoothing) == (0.001, 0.0)


@pytest.mark.usefixtures("corpora")
def test_a_pickled_language_model_is_an_estimator_that_goes_on():
    """It was none: what it had learnt is what it begins from now, as a loaded one does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = pickle.loads((V1 / "masked.pickle").read_bytes())
    assert model.get_params(deep=False).keys() == ws.LanguageModel(model.backbone).get_params(deep=False).keys()
    assert isinstance(model.objective_, ws.MaskedLM)
    assert (model.learning_rate, model.strategy) == (0.01, ws.FullFineTuning(layer_decay=0.9))
    assert not hasattr(model, "label_smoothing")
    before = np.concatenate(model.token_log_probs(["the film was good"]))
    again = clone(model).set_params(max_steps=1, verbose=False, checkpoint_dir=None)
    np.testing.assert_array_equal(np.concatenate(again.token_log_probs(["the film was good"])), before)
    again.fit(["the film was good", "a bad plot and a good film"] * 4)
    assert (np.concatenate(again.token_log_probs(["the film was good"])) != before).any()


def test_an_estimator_of_an_older_version_trains_by_its_rule(tmp_path):
    """Loaded, fitted again and saved, it is the run that its parameters name."""
    full = ws.load(V1 / "full").set_params(verbose=False)
    plan = full.explain(["a good film", "a bad film", "the plot"] * 2, full.classes_.tolist() * 2)
    assert max(row["learning_rate"] for row in plan.rows) == pytest.approx(0.01)
    full.save(tmp_path / "again")
    again = ws.load(tmp_path / "again")
    assert repr(again.get_params()) == repr(full.get_params() | {"backbone": again.backbone})


def test_pickles_of_version_1_read_their_tokenizer_as_version_1_did():
    # Version 1 took a tokenizer.json as it stands; today the file beside it counts.
    restore, (state,) = pickle.loads((V1 / "backbone.pickle").read_bytes())._inner.__reduce__()
    contradicting = json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": False}).encode()
    files = {**state["files"], "tokenizer_config.json": contradicting}
    of_version_1 = {key: value for key, value in state.items() if key != "format_version"} | {"files": files}
    lower, cased = [[2, 5, 7, 3]], [[2, 5, 1, 3]]
    for opened, ids in ((of_version_1, lower), (of_version_1 | {"format_version": 2}, cased)):
        encodings = restore(opened).encode(["the FILM"], None, None)
        assert [encodings.ids(0).tolist()] == ids
    for version, ids in (((), lower), ((2,), cased)):
        encodings = _core._tokenizer_from_files(files, *version).encode(["the FILM"], None, None)
        assert [encodings.ids(0).tolist()] == ids
