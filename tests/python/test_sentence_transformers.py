"""Directories of sentence-transformers: vectors as `encode` of 6.2.0 gives them, settings obeyed or refused."""

import json
import pickle
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import warmstart as ws
from weight_files import weights_in, write_weights

SENTENCE = Path(__file__).parents[1] / "reference" / "sentence"
TEXTS = json.loads((SENTENCE / "expected.json").read_text(encoding="utf-8"))["texts"]
NAMES = ["dense", "dense_twice", "max_norm", "prompt", "turned", "v2_lower", "v2_nested"]
NORMALIZED = ["dense", "max_norm", "v2_lower"]
LABELS = ["yes", "no"] * 3


def embed(backbone, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return backbone.embed(TEXTS, precision="f32", **options)


def opened(name):
    return ws.Backbone.from_pretrained(SENTENCE / name)


def changed(name, file, change, directory):
    """Copy a directory with a file changed: `change` gets its JSON."""
    shutil.copytree(SENTENCE / name, directory)
    content = json.loads((directory / file).read_text(encoding="utf-8"))
    (directory / file).write_text(json.dumps(change(content)), encoding="utf-8")
    return directory


@pytest.mark.parametrize("name", NAMES)
def test_vectors_are_those_of_sentence_transformers(name):
    with np.load(SENTENCE / "expected.npz") as expected:
        np.testing.assert_allclose(embed(opened(name)), expected[name], atol=2e-6)


@pytest.mark.parametrize("name", NAMES)
def test_features_are_the_same_vectors_with_names(name):
    backbone = opened(name)
    features = ws.FeatureExtractor(backbone, precision="f32")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        vectors = features.transform(TEXTS)
    np.testing.assert_array_equal(vectors, embed(backbone))
    names = features.get_feature_names_out()
    assert len(set(names)) == len(names) == vectors.shape[1]
    assert backbone.embed([]).shape == (0, vectors.shape[1])


@pytest.mark.parametrize("name", NAMES)
def test_a_directory_saved_again_gives_the_same_bytes(name, tmp_path):
    backbone = opened(name)
    backbone.save_pretrained(tmp_path)
    again = ws.Backbone.from_pretrained(tmp_path)
    np.testing.assert_array_equal(embed(again), embed(backbone))
    assert (again.max_length, again.max_length_source) == (backbone.max_length, backbone.max_length_source)
    modules = json.loads((tmp_path / "modules.json").read_text(encoding="utf-8"))
    assert {module["type"].rsplit(".", 1)[0] for module in modules} == {"sentence_transformers.models"}
    # sentence-transformers 5.1.2 takes these fields alone, and poolings only in the order of its flags.
    limit = json.loads((tmp_path / "sentence_bert_config.json").read_text(encoding="utf-8"))
    assert set(limit) == {"max_seq_length", "do_lower_case"}
    pooling = json.loads((tmp_path / "1_Pooling" / "config.json").read_text(encoding="utf-8"))
    assert ("pooling_mode" in pooling) == (name == "turned")


def test_limits_say_where_they_come_from(tmp_path):
    lower, plain = opened("v2_lower"), opened("turned")
    assert (lower.max_length, lower.max_length_source) == (12, "max_seq_length of sentence_bert_config.json")
    assert (plain.max_length, plain.max_length_source) == (20, "model_max_length of tokenizer_config.json")
    directory = changed("turned", "tokenizer_config.json", lambda c: c | {"model_max_length": 10**30}, tmp_path / "a")
    bare = ws.Backbone.from_pretrained(directory)
    assert (bare.max_length, bare.max_length_source) == (24, "the positions that config.json has")
    assert "up to 12 tokens (max_seq_length of sentence_bert_config.json)" in repr(lower)
    with pytest.warns(
        UserWarning, match="1 of 6 texts is longer than 12 tokens .* limit is max_seq_length of sentence_be"
    ):
        lower.embed(TEXTS)
    with pytest.warns(UserWarning, match=r"longer than 8 tokens and was cut$"):
        lower.embed(TEXTS, max_length=8)


def test_other_layers_and_poolings_are_raw():
    for name in NORMALIZED:
        backbone = opened(name)
        assert np.abs(np.linalg.norm(embed(backbone), axis=1) - 1).max() < 1e-6
        for raw in (embed(backbone, layers=-2), embed(backbone, pooling="mean"), embed(backbone, layers=[-1])):
            assert raw.shape[1] % 8 == 0
            assert np.abs(np.linalg.norm(raw, axis=1) - 1).max() > 0.1


def test_normalize_is_to_be_chosen():
    backbone = opened("dense")
    free = embed(backbone, normalize=False)
    np.testing.assert_allclose(free / np.linalg.norm(free, axis=1, keepdims=True), embed(backbone), atol=1e-6)
    turned = embed(opened("turned"), normalize=True)
    np.testing.assert_allclose(np.linalg.norm(turned, axis=1), 1.0, atol=1e-6)
    with pytest.raises(TypeError, match="normalize must be True or False"):
        backbone.embed(TEXTS, normalize="l2")


def test_poolings_in_a_list_stand_side_by_side():
    backbone = opened("turned")
    names = ["mean_sqrt_len", "weighted_mean", "last", "cls"]
    several = embed(backbone, pooling=names)
    np.testing.assert_array_equal(several, embed(backbone))
    np.testing.assert_array_equal(several, np.hstack([embed(backbone, pooling=name) for name in names]))
    both = embed(backbone, layers=[1, 2], pooling=["max", "mean"])
    each = [embed(backbone, layers=layer, pooling=pooling) for layer in (1, 2) for pooling in ("max", "mean")]
    np.testing.assert_array_equal(both, np.hstack(each))
    np.testing.assert_array_equal(embed(backbone, pooling=np.array(["max", "mean"])), both[:, 16:])
    with pytest.raises(ValueError, match="pooling is empty"):
        backbone.embed(TEXTS, pooling=[])
    with pytest.raises(ValueError, match='"auto", which stands alone'):
        backbone.embed(TEXTS, pooling=["auto", "mean"])


@pytest.mark.parametrize("strategy", [ws.FullFineTuning(), ws.LinearProbing()])
def test_a_classifier_stands_on_dense_layers_and_trains_them(strategy, tmp_path):
    backbone = opened("dense_twice")
    fast = {"learning_rate": 1e-2, "epochs": 3, "precision": "f32", "random_state": 0, "verbose": False}
    clf = ws.TextClassifier(backbone, strategy=strategy, **fast)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        clf.fit(TEXTS, LABELS, eval_set=(TEXTS, LABELS))
        # Of a head alone the vectors are those of the backbone, whatever has been learnt.
        frozen = isinstance(strategy, ws.LinearProbing)
        assert np.array_equal(embed(clf.backbone_), embed(backbone)) == frozen
        clf.save(tmp_path / "clf")
        again = ws.load(tmp_path / "clf")
        np.testing.assert_array_equal(again.predict_proba(TEXTS), clf.predict_proba(TEXTS))
    np.testing.assert_array_equal(embed(again.backbone_), embed(clf.backbone_))
    rows = {row["name"]: row["trainable"] for row in strategy.explain(backbone).rows}
    assert rows["2_Dense.linear.weight"] == rows["3_Dense.linear.weight"] == (not frozen)
    assert rows["sentence_classifier.weight"]
    # No class of transformers has such a head, so none is named that would read the directory and predict otherwise.
    config = json.loads((tmp_path / "clf" / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["BertModel"]
    metadata = json.loads((tmp_path / "clf" / "warmstart.json").read_text(encoding="utf-8"))
    resolved = [metadata[key] for key in ("format_version", "max_length", "pooling", "normalize")]
    assert resolved == [3, 20, ["cls", "mean"], False]


def test_words_and_language_models_pass_dense_layers_by(tmp_path, monkeypatch):
    monkeypatch.setenv("WARMSTART_CACHE", str(tmp_path))
    backbone = opened("dense")
    tagger = ws.TokenClassifier(backbone, epochs=1, random_state=0, verbose=False)
    tagger.fit(TEXTS[:2], [[(4, 8, "thing")], [(4, 8, "thing")]])
    model = ws.LanguageModel(backbone, max_steps=2, random_state=0, verbose=False).fit(TEXTS)
    weight = opened("dense")._inner.parameters()
    for trained in (tagger.backbone_, model.backbone_):
        assert [row["name"] for row in trained._inner.parameters()] == [row["name"] for row in weight]
        trained.save_pretrained(tmp_path / "saved")
        saved = (tmp_path / "saved" / "2_Dense" / "model.safetensors").read_bytes()
        assert len(saved) > 8 * 5 * 4
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(embed(ws.load(tmp_path / "model").backbone), embed(model.backbone_))


def test_a_backbone_with_another_vocabulary_keeps_its_modules(tmp_path):
    backbone = opened("dense").extend_vocabulary(["cinema"])
    assert embed(backbone).shape == (6, 5)
    backbone.save_pretrained(tmp_path)
    np.testing.assert_array_equal(embed(ws.Backbone.from_pretrained(tmp_path)), embed(backbone))


def test_a_new_model_takes_the_tokenizer_alone():
    small = {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    made = ws.Backbone.from_config("bert", SENTENCE / "dense", random_state=0, **small)
    assert made.embed(["a film"]).shape == (1, 12)
    assert made.max_length == 20
    lower = ws.Backbone.from_config("bert", opened("v2_lower").tokenizer, random_state=0, **small)
    assert (lower.max_length, lower.max_length_source) == (12, "model_max_length of tokenizer_config.json")
    again = pickle.loads(pickle.dumps(opened("v2_lower").tokenizer))
    expected = opened("v2_lower").tokenizer.encode(TEXTS)
    assert lower.tokenizer.encode(TEXTS) == again.encode(TEXTS) == expected != opened("turned").tokenizer.encode(TEXTS)


def test_a_directory_saved_over_another_has_nothing_of_it(tmp_path):
    opened("dense_twice").save_pretrained(tmp_path)
    opened("turned").save_pretrained(tmp_path)
    np.testing.assert_array_equal(embed(ws.Backbone.from_pretrained(tmp_path)), embed(opened("turned")))
    assert not (tmp_path / "2_Dense" / "model.safetensors").exists()


def retyped(kind):
    return lambda modules: [*modules[:-1], {**modules[-1], "type": f"sentence_transformers.models.{kind}"}]


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("modules.json", retyped("LSTM"), 'module 3 is "LSTM"; supported: Transformer, Pooling'),
        ("modules.json", lambda m: [m[0], m[2], m[1]], 'module 1 is "Dense"'),
        ("modules.json", lambda m: m[:1], "has no Pooling"),
        ("modules.json", lambda m: [*m[:3], {**m[3], "path": "../x"}], "leads out of the directory"),
        ("modules.json", lambda m: {}, "expected a list"),
        ("2_Dense/config.json", lambda c: c | {"use_residual": True}, "2_Dense/config.json: use_residual"),
        ("2_Dense/config.json", lambda c: c | {"in_features": 9}, "in_features is 9, but the vectors have 8 values"),
        ("2_Dense/config.json", lambda c: c | {"activation_function": "torch.nn.ELU"}, 'is "torch.nn.ELU"; supported'),
        ("2_Dense/config.json", lambda c: c | {"module_input_name": "token_embeddings"}, "module_input_name is"),
        ("1_Pooling/config.json", lambda c: c | {"embedding_dimension": 9}, "vectors of 9 values, the model has 8"),
        ("2_Dense/config.json", lambda c: c | {"bias": 0}, "bias is 0; expected true or false"),
        (
            "1_Pooling/config.json",
            lambda c: {"pooling_mode_cls_token": 1},
            "pooling_mode_cls_token is 1; expected true",
        ),
        ("1_Pooling/config.json", lambda c: {"pooling_mode": []}, "pooling_mode is an empty list"),
        ("1_Pooling/config.json", lambda c: c | {"pooling_mode": "min"}, 'pooling_mode is "min"; supported: cls, max'),
        ("sentence_bert_config.json", lambda c: c | {"query_expansion": {"n": 1}}, "query_expansion is"),
        ("sentence_bert_config.json", lambda c: c | {"transformer_task": "fill-mask"}, "transformer_task is"),
        ("sentence_bert_config.json", lambda c: c | {"modality_config": {"message": {}}}, "modality_config is"),
        (
            "config_sentence_transformers.json",
            lambda c: c | {"default_prompt_name": "nothing"},
            'default_prompt_name is "nothing"',
        ),
    ],
)
def test_settings_that_would_change_the_vectors_are_refused_by_name(file, change, message, tmp_path):
    directory = changed("dense", file, change, tmp_path / "model")
    with pytest.raises(ValueError, match=message):
        ws.Backbone.from_pretrained(directory)


# The module's tanh makes a finite number of it, also where the last hidden states are infinite.
@pytest.mark.parametrize(
    ("folder", "tensor", "name"),
    [
        ("2_Dense", "linear.weight", "2_Dense.linear.weight"),
        ("", "encoder.layer.1.output.LayerNorm.bias", "encoder.layer.1.output.LayerNorm.bias"),
    ],
)
def test_an_infinite_value_before_the_activation_of_a_module_is_named(tmp_path, folder, tensor, name):
    shutil.copytree(SENTENCE / "dense", tmp_path / "dense")
    file = tmp_path / "dense" / folder / "model.safetensors"
    weights = weights_in(file)
    values = weights[tensor].copy()
    values.flat[0] = np.inf
    write_weights(file, weights | {tensor: values})
    with pytest.warns(UserWarning, match=name):
        backbone = ws.Backbone.from_pretrained(tmp_path / "dense")
    with pytest.raises(ws.WeightsError, match=rf"1 of the model's tensors: {name}\."):
        embed(backbone)
    with pytest.raises(ws.WeightsError, match=name):
        ws.TextClassifier(backbone, strategy=ws.LinearProbing(), verbose=False).fit(["a", "b"] * 3, LABELS)
    assert np.isfinite(embed(backbone, layers=0)).all()


def test_a_cross_encoder_is_a_plain_model(tmp_path):
    # As CrossEncoder of sentence-transformers 6.2.0 saves it.
    shutil.copytree(SENTENCE / "turned", tmp_path / "model")
    for name, content in {
        "modules.json": [{"type": "sentence_transformers.base.modules.transformer.Transformer", "path": ""}],
        "sentence_bert_config.json": {"transformer_task": "sequence-classification", "module_output_name": "scores"},
        "config_sentence_transformers.json": {"model_type": "CrossEncoder", "prompts": {}},
    }.items():
        (tmp_path / "model" / name).write_text(json.dumps(content), encoding="utf-8")
    shutil.rmtree(tmp_path / "model" / "1_Pooling")
    backbone = ws.Backbone.from_pretrained(tmp_path / "model")
    np.testing.assert_array_equal(embed(backbone), embed(opened("turned"), pooling="mean"))
    backbone.save_pretrained(tmp_path / "saved")
    assert not (tmp_path / "saved" / "modules.json").exists()


def test_a_prompt_that_is_not_to_be_pooled_is_refused(tmp_path):
    directory = changed("prompt", "1_Pooling/config.json", lambda c: c | {"include_prompt": False}, tmp_path / "model")
    with pytest.raises(ValueError, match="include_prompt is false"):
        ws.Backbone.from_pretrained(directory)


def test_a_pooling_without_its_file_is_refused(tmp_path):
    shutil.copytree(SENTENCE / "dense", tmp_path / "model")
    (tmp_path / "model" / "1_Pooling" / "config.json").unlink()
    with pytest.raises(ValueError, match=r"modules.json: names 1_Pooling/config.json, which is not there"):
        ws.Backbone.from_pretrained(tmp_path / "model")


@pytest.mark.parametrize(
    ("name", "message"), [("2_Dense/model.safetensors", "2_Dense"), ("config.json", "config.json")]
)
def test_files_that_are_missing_are_named(name, message, tmp_path):
    shutil.copytree(SENTENCE / "dense", tmp_path / "model")
    (tmp_path / "model" / name).unlink()
    with pytest.raises(FileNotFoundError, match=message):
        ws.Backbone.from_pretrained(tmp_path / "model")


def test_a_list_of_modules_that_version_1_left_beside_its_files_counts_for_nothing(tmp_path):
    old = Path(__file__).parents[1] / "reference" / "saved_v1" / "sentences"
    shutil.copytree(old, tmp_path / "old")
    for name in ("modules.json", "sentence_bert_config.json"):
        shutil.copy(SENTENCE / "max_norm" / name, tmp_path / "old" / name)
    before, after = ws.load(old), ws.load(tmp_path / "old")
    texts = TEXTS[:4]
    assert after.backbone_.max_length == before.backbone_.max_length == 20
    assert after.predict_proba(texts).tolist() == before.predict_proba(texts).tolist()


def test_what_was_resolved_at_saving_counts_or_is_refused(tmp_path):
    model = ws.LanguageModel(opened("v2_lower"), random_state=0, verbose=False, precision="f32")
    model.save(tmp_path / "model")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        scores = model.token_log_probs(TEXTS)
    limit = tmp_path / "model" / "sentence_bert_config.json"
    limit.write_text('{"max_seq_length": 5, "do_lower_case": true}', encoding="utf-8")
    again = ws.load(tmp_path / "model")
    again.precision = "f32"
    assert again.backbone.max_length == 5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for own, other in zip(again.token_log_probs(TEXTS), scores, strict=True):
            np.testing.assert_array_equal(own, other)
    modules = json.loads((tmp_path / "model" / "modules.json").read_text(encoding="utf-8"))
    (tmp_path / "model" / "modules.json").write_text(json.dumps(modules[:-1]), encoding="utf-8")
    with pytest.raises(ws.WarmstartError, match=r"'normalize': True}, but the files beside it make .* normalize False"):
        ws.load(tmp_path / "model")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"normalize": "banana"}, "'normalize': 'banana'"),
        ({"max_length": 1000000}, "max_length is 1000000, the model has 24 positions"),
        ({"max_length": "5"}, "TypeError: max_length must be a positive integer"),
        ({"format_version": 0}, "its format_version is 0"),
        ({"format_version": True}, "its format_version is True"),
        ("pooling", "KeyError: 'pooling'"),
    ],
)
def test_damaged_facts_are_refused_by_name(changes, message, tmp_path):
    clf = ws.TextClassifier(opened("turned"), max_steps=1, random_state=0, verbose=False).fit(TEXTS[:4], LABELS[:4])
    clf.save(tmp_path / "clf")
    file = tmp_path / "clf" / "warmstart.json"
    metadata = json.loads(file.read_text(encoding="utf-8"))
    if isinstance(changes, str):
        del metadata[changes]
    else:
        metadata |= changes
    file.write_text(json.dumps(metadata), encoding="utf-8")
    with pytest.raises(ws.WarmstartError, match=message):
        ws.load(tmp_path / "clf")


def test_a_backbone_of_an_estimator_of_version_1_is_opened_as_it_was(tmp_path):
    # Version 1 took a tokenizer.json as it stands; in other directories the file beside it counts.
    shutil.copytree(Path(__file__).parents[1] / "reference" / "saved_v1" / "full", tmp_path / "old")
    contradicting = '{"tokenizer_class": "BertTokenizer", "do_lower_case": false}'
    (tmp_path / "old" / "tokenizer_config.json").write_text(contradicting, encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        backbone = ws.Backbone.from_pretrained(tmp_path / "old")
    loaded = ws.load(tmp_path / "old").backbone_
    assert backbone.tokenizer.encode(["the FILM"]) == loaded.tokenizer.encode(["the FILM"]) == [[2, 5, 7, 3]]
