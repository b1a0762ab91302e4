"""Adapters: trained, saved apart, put on, merged and taken off again. Files are held against peft in the Rust tests."""

import json
import pickle

import numpy as np
import pytest
import warmstart as ws
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV


@pytest.fixture(scope="module", params=[ws.LoRA(rank=3), ws.LoRA(rank=2, dora=True), ws.MiSS(rank=4)], ids=repr)
def adapted(request, backbone, texts, labels):
    """A classifier with a trained adapter; do not change it."""
    settings = {"learning_rate": 5e-3, "epochs": 6, "precision": "f32", "random_state": 0, "verbose": 0}
    return ws.TextClassifier(backbone, strategy=request.param, **settings).fit(texts, labels)


@pytest.fixture(scope="module")
def base(backbone, tmp_path_factory):
    """The directory of the backbone."""
    path = tmp_path_factory.mktemp("base")
    backbone.save_pretrained(path)
    return path


def test_the_backbone_stays_and_the_adapter_learns(adapted, backbone, texts):
    before, after = backbone.embed(texts), adapted.backbone_.embed(texts)
    assert adapted.backbone_.adapters == ["default"]
    assert backbone.adapters == []
    assert not np.allclose(before, after)
    assert np.array_equal(before, backbone.embed(texts))


def test_saved_apart_it_predicts_the_same_bytes_on_its_base(adapted, base, texts, tmp_path):
    adapted.save_adapter(tmp_path / "adapter")
    assert sorted(path.name for path in (tmp_path / "adapter").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    opened = ws.TextClassifier.from_pretrained(base, adapter=tmp_path / "adapter", precision="f32", verbose=0)
    assert opened.classes_.tolist() == adapted.classes_.tolist()
    assert np.array_equal(opened.predict_proba(texts), adapted.predict_proba(texts))
    opened.save_adapter(tmp_path / "again")
    first, second = (tmp_path / name / "adapter_model.safetensors" for name in ("adapter", "again"))
    assert first.read_bytes() == second.read_bytes()
    vectors = ws.Backbone.from_pretrained(base).with_adapter(tmp_path / "adapter").embed(texts)
    assert np.array_equal(vectors, adapted.backbone_.embed(texts))


def test_merged_it_predicts_the_same_and_unmerged_the_same_bytes(adapted, texts):
    before = adapted.predict_proba(texts)
    merged = pickle.loads(pickle.dumps(adapted)).merge_adapter()
    assert merged.backbone_.adapters == []
    assert np.allclose(merged.predict_proba(texts), before, atol=1e-5)
    assert not np.array_equal(merged.backbone_.embed(texts), adapted.backbone.embed(texts))
    with pytest.raises(ValueError, match="no adapter to merge"):
        merged.merge_adapter()
    assert np.array_equal(merged.unmerge_adapter().predict_proba(texts), before)
    with pytest.raises(ValueError, match="no adapter is merged"):
        merged.unmerge_adapter()


def test_saved_whole_it_is_merged(adapted, texts, tmp_path):
    adapted.save(tmp_path / "model")
    loaded = ws.load(tmp_path / "model")
    assert repr(loaded.strategy) == repr(adapted.strategy)
    assert loaded.backbone_.adapters == []
    assert np.allclose(loaded.predict_proba(texts), adapted.predict_proba(texts), atol=1e-5)
    adapted.backbone_.save_pretrained(tmp_path / "backbone")
    vectors = ws.Backbone.from_pretrained(tmp_path / "backbone").embed(texts)
    assert np.allclose(vectors, adapted.backbone_.embed(texts), atol=1e-2)  # products are in bf16


def test_pickled_it_is_the_same_bytes_and_can_still_be_saved_apart(adapted, texts, base, tmp_path):
    copy = pickle.loads(pickle.dumps(adapted))
    assert np.array_equal(copy.predict_proba(texts), adapted.predict_proba(texts))
    copy.save_adapter(tmp_path / "adapter")
    opened = ws.TextClassifier.from_pretrained(base, adapter=tmp_path / "adapter", precision="f32", verbose=0)
    assert np.array_equal(opened.predict_proba(texts), adapted.predict_proba(texts))


def test_what_else_was_trained_is_in_the_files_too(backbone, base, texts, labels, tmp_path):
    strategy = ws.LoRA(rank=2, targets="attention") + ws.NormTuning()
    clf = ws.TextClassifier(backbone, strategy=strategy, learning_rate=5e-3, epochs=4, random_state=0, verbose=0)
    clf.fit(texts, labels)
    for made, name in ((clf, "adapter"), (pickle.loads(pickle.dumps(clf)), "of_pickle")):
        made.save_adapter(tmp_path / name)
        opened = ws.TextClassifier.from_pretrained(base, adapter=tmp_path / name, verbose=0)
        assert np.array_equal(opened.predict_proba(texts), clf.predict_proba(texts))
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert any(name.endswith("LayerNorm") for name in config["modules_to_save"])
    with_biases = clone(clf).set_params(strategy=ws.LoRA(rank=2) + ws.BitFit()).fit(texts, labels)
    with pytest.raises(ValueError, match="was trained beside an adapter of"):
        with_biases.save_adapter(tmp_path / "biases")
    assert not (tmp_path / "biases").exists()


@pytest.mark.filterwarnings("ignore:.* texts are longer than 5 tokens and were cut")
@pytest.mark.parametrize("pooling", ["mean", "max", ["cls", "mean"]])
def test_pooling_limit_and_labels_come_back(backbone, base, texts, tmp_path, pooling):
    labels = [i % 3 == 0 for i in range(len(texts))]
    settings = {"pooling": pooling, "max_length": 5, "epochs": 2, "precision": "f32", "random_state": 0, "verbose": 0}
    clf = ws.TextClassifier(backbone, strategy=ws.LoRA(rank=2), **settings).fit(texts, labels)
    clf.save_adapter(tmp_path / "adapter")
    opened = ws.TextClassifier.from_pretrained(base, adapter=tmp_path / "adapter", precision="f32", verbose=0)
    assert np.array_equal(opened.predict_proba(texts), clf.predict_proba(texts))
    assert [str(label) for label in opened.classes_] == [str(label) for label in clf.classes_]


def test_an_adapter_of_another_backbone_is_refused(adapted, backbone, texts, labels, tmp_path):
    adapted.save_adapter(tmp_path / "adapter")
    full = ws.TextClassifier(backbone, epochs=1, random_state=0, verbose=0).fit(texts, labels)
    with pytest.raises(ValueError, match=r"made on another backbone .* allow_other_base=True"):
        full.backbone_.with_adapter(tmp_path / "adapter")
    assert full.backbone_.with_adapter(tmp_path / "adapter", allow_other_base=True).adapters == ["default"]
    with pytest.raises(FileNotFoundError, match=r"adapter_config.json"):
        backbone.with_adapter(tmp_path)
    with pytest.raises(ValueError, match="the model has 0 adapters"):
        full.save_adapter(tmp_path / "none")
    with pytest.raises(ValueError, match=r"cannot be trained further; merge it .*merge_adapter"):
        clone(adapted).set_params(backbone=adapted.backbone_).fit(texts, labels)
    merged = adapted.backbone_.merge_adapter()
    assert clone(adapted).set_params(backbone=merged).fit(texts, labels).backbone_.adapters == ["default"]


def test_regressors_taggers_and_language_models_train_adapters(backbone, base, texts, tmp_path):
    numbers = np.linspace(-1.0, 1.0, len(texts))
    regressor = ws.TextRegressor(backbone, strategy=ws.LoRA(rank=2), epochs=2, random_state=0, verbose=0)
    regressor.fit(texts, numbers).save_adapter(tmp_path / "numbers")
    opened = ws.TextRegressor.from_pretrained(base, adapter=tmp_path / "numbers", verbose=0)
    assert np.allclose(opened.predict(texts), regressor.predict(texts), atol=1e-6)
    with pytest.raises(ValueError, match=r"open it with TextRegressor.from_pretrained"):
        ws.TextClassifier.from_pretrained(base, adapter=tmp_path / "numbers")
    words = [text.split() for text in texts]
    tags = [["B-X" if i % 2 else "O" for i, _ in enumerate(sentence)] for sentence in words]
    tagger = ws.TokenClassifier(backbone, strategy=ws.LoRA(rank=2), epochs=2, random_state=0, verbose=0)
    tagger.fit(words, tags).save_adapter(tmp_path / "tags")
    opened = ws.TokenClassifier.from_pretrained(base, adapter=tmp_path / "tags", verbose=0)
    assert opened.predict(words) == tagger.predict(words)
    model = ws.LanguageModel(backbone, objective=ws.MaskedLM(), strategy=ws.LoRA(rank=2), max_steps=2, verbose=0)
    model.fit(texts).save(tmp_path / "model")
    assert ws.load(tmp_path / "model").perplexity(texts) == pytest.approx(model.perplexity(texts), rel=1e-3)


def test_searches_find_its_settings(backbone, texts, labels):
    clf = ws.TextClassifier(backbone, strategy=ws.LoRA(), learning_rate=5e-3, epochs=1, random_state=0, verbose=0)
    search = GridSearchCV(clf, {"strategy__rank": [1, 2], "strategy__targets": ["attention", None]}, cv=2)
    search.fit(texts, labels)
    n = [fitted.strategy.rank for fitted in (clone(clf).set_params(strategy__rank=3),)]
    assert (n, len(search.cv_results_["params"])) == ([3], 4)


@pytest.mark.parametrize(
    ("strategy", "error", "match"),
    [
        (ws.LoRA(targets="querry"), ValueError, r"no linear layer \"querry\".*attention.self.query"),
        (ws.LoRA(targets=["output.dense", "up.dense"]), ValueError, 'no linear layer "up.dense"'),
        (ws.LoRA(targets="("), ValueError, "is no regular expression"),
        (ws.LoRA(targets=[]), ValueError, r"targets=\[\]"),
        (ws.LoRA(targets=[3]), TypeError, "a list of str"),
        (ws.LoRA(rank=10**6), ValueError, "its rank is at most"),
        (ws.LoRA(rank=0), ValueError, "strategy.rank must be at least 1"),
        (ws.LoRA(alpha=0.0), ValueError, "alpha=0"),
        (ws.LoRA(alpha="big"), TypeError, "strategy.alpha must be a number"),
        (ws.LoRA(lora_plus=-1.0), ValueError, "lora_plus=-1"),
        (ws.MiSS(rank=10**6), ValueError, r"MiSS\(rank=1000000\)"),
        (ws.LoRA() + ws.MiSS(), ValueError, "two low-rank adapters"),
        (ws.LoRA() + ws.FullFineTuning(), ValueError, "goes with no other strategy"),
        (ws.BitFit() + ws.BitFit(), ValueError, "trains nothing that"),
        (ws.Combined([]), ValueError, "expected two or more"),
        (ws.Combined([3]), TypeError, "a list of strategies"),
        (ws.Combined(ws.LoRA()), TypeError, "a list of strategies"),
        (ws.TopLayers(99), ValueError, r"TopLayers\(n=99\): this backbone has"),
        (ws.TopLayers(0), ValueError, "strategy.n must be at least 1"),
        (ws.Layers([17]), ValueError, "no layer 17"),
        (ws.Layers("all"), TypeError, "a list of int"),
    ],
    ids=repr,
)
def test_strategies_that_do_not_fit_the_model_are_refused_before_training(backbone, strategy, error, match):
    with pytest.raises(error, match=match):
        strategy.explain(backbone)


def test_a_pattern_matches_whole_names(backbone):
    plan = ws.LoRA(targets=r".*layer\.0\..*\.(query|key)").explain(backbone)
    adapted = {row["name"] for row in plan.rows if ".lora_" in row["name"]}
    assert len(adapted) == 4
    assert all("layer.0.attention.self." in name for name in adapted)
    assert "frozen" in repr(plan)
