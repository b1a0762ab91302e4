"""The head of a classifier of texts stands on the pooling that the directory asks for, or that `pooling=` chooses."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import warmstart as ws
from weight_files import weights_in

REFERENCE = Path(__file__).parents[1] / "reference"
SENTENCE, V2 = REFERENCE / "sentence", REFERENCE / "saved_v2"
TEXTS = json.loads((SENTENCE / "expected.json").read_text(encoding="utf-8"))["texts"]
LABELS = [("yes", "no", "maybe")[i % 3] for i in range(len(TEXTS))]

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def fitted(backbone, **params):
    clf = ws.TextClassifier(backbone, learning_rate=1e-3, max_steps=3, precision="f32", random_state=0, verbose=False)
    return clf.set_params(**params).fit(TEXTS, LABELS)


def check_is_linear(clf, pooling, directory):
    """The logits are an affine map of the vectors that this pooling makes of the trained backbone's last layer."""
    clf.save(directory)
    weights = weights_in(directory / "model.safetensors")
    vectors = clf.backbone_.embed(TEXTS, layers=-1, pooling=pooling, normalize=False, precision="f32")
    logits = vectors @ weights["sentence_classifier.weight"].T + weights["sentence_classifier.bias"]
    np.testing.assert_allclose(clf._outputs(TEXTS), logits, atol=1e-5)
    for again in (ws.load(directory), pickle.loads(pickle.dumps(clf))):
        np.testing.assert_array_equal(again._outputs(TEXTS), clf._outputs(TEXTS))


@pytest.mark.parametrize(("name", "pooling"), [("max_norm", ["max"]), ("prompt", None), ("turned", None)])
def test_head_of_a_sentence_encoder_takes_its_vectors(name, pooling, tmp_path):
    backbone = ws.Backbone.from_pretrained(SENTENCE / name)
    check_is_linear(fitted(backbone), pooling or backbone.resolve_pooling("auto"), tmp_path / "saved")


@pytest.mark.parametrize("pooling", ["mean", "cls", ["mean", "max"]])
def test_pooling_chooses_what_the_head_takes(backbone, pooling, tmp_path):
    check_is_linear(fitted(backbone, pooling=pooling), pooling, tmp_path / "saved")


def test_a_chosen_pooling_stays_where_the_directory_says_another(tmp_path):
    backbone = ws.Backbone.from_pretrained(SENTENCE / "max_norm")
    clf = fitted(backbone, pooling="mean")
    check_is_linear(clf, "mean", tmp_path / "saved")
    again = ws.TextClassifier(
        ws.Backbone.from_pretrained(tmp_path / "saved"), max_steps=2, random_state=0, verbose=False
    )
    assert again.fit(TEXTS, LABELS)._trained.model.pooling == ["mean"]
    assert ws.load(tmp_path / "saved").pooling == "mean"


def test_without_modules_the_head_is_that_of_the_class_in_transformers(backbone, tmp_path):
    fitted(backbone).save(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["BertForSequenceClassification"]
    assert "classifier.weight" in weights_in(tmp_path / "model.safetensors")


def test_dense_layers_take_their_own_pooling():
    backbone = ws.Backbone.from_pretrained(SENTENCE / "dense")
    with pytest.raises(ValueError, match="pooling=cls: the dense layers of this directory take mean"):
        fitted(backbone, pooling="cls")


def test_a_pooling_that_does_not_exist_is_named(backbone):
    with pytest.raises(ValueError, match=r"pooling must be one of 'auto', .* got 'middle'"):
        fitted(backbone, pooling="middle")


# In one process, whose products are those that every processor computes alike.
ASK_V2 = f"""
import json, pickle, sys, warnings
import numpy as np
import warmstart as ws
warnings.simplefilter("ignore")
v2 = {str(V2)!r}
texts = json.loads(open({str(SENTENCE / "expected.json")!r}, encoding="utf-8").read())["texts"]
loaded = ws.load(v2 + "/max_norm")
loaded.save(sys.argv[1] + "/again")
with open(v2 + "/max_norm.pickle", "rb") as file:
    unpickled = pickle.load(file)
found = [clf._outputs(texts) for clf in (loaded, unpickled, ws.load(sys.argv[1] + "/again"))]
with open(v2 + "/roberta.pickle", "rb") as file:
    roberta = pickle.load(file)._outputs(["the good film", "a bad plot", "it was very good", "the story was bad"])
np.savez(sys.argv[1] + "/now.npz", *found, roberta=roberta)
"""


def test_what_version_0_2_saved_of_a_sentence_encoder_predicts_the_same_bytes(tmp_path):
    """Its head took the pooler of the class; written by 0.2.0, as directory and as pickle."""
    environment = {**os.environ, "WARMSTART_INSTRUCTIONS": "baseline"}
    subprocess.run([sys.executable, "-c", ASK_V2, str(tmp_path)], env=environment, check=True)
    with np.load(V2 / "expected.npz") as expected, np.load(tmp_path / "now.npz") as now:
        assert len(now.files) == 4
        for name in now.files:
            np.testing.assert_array_equal(now[name], expected["roberta" if name == "roberta" else "logits"])
