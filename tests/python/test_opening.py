"""What is said when a model is opened: weights that are not finite, heads, names, tokens, paths that are no model's."""

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import warmstart as ws
from conftest import FAST, WORDS
from weight_files import Weights, weights_in, write_weights

REFERENCE = Path(__file__).parents[1] / "reference"
DENSE = "encoder.layer.0.output.dense.weight"


@pytest.fixture
def changed(backbone, tmp_path) -> Callable[[Callable[[Weights], Weights]], Path]:
    """Write the model with other weights."""

    def write(change: Callable[[Weights], Weights]) -> Path:
        directory = tmp_path / "changed"
        backbone.save_pretrained(directory)
        file = directory / "model.safetensors"
        write_weights(file, change(weights_in(file)))
        return directory

    return write


def with_one(name: str, value: float) -> Callable[[Weights], Weights]:
    """Put a value into a tensor."""

    def change(weights: Weights) -> Weights:
        values = weights[name].copy()
        values.flat[-1] = value
        return weights | {name: values}

    return change


def opened_with_warning(open_: Callable[[Path], ws.Backbone], path: Path, match: str) -> ws.Backbone:
    """Open a model that warns once, of this line."""
    with pytest.warns(UserWarning, match=match) as caught:
        model = open_(path)
    assert [warning.filename for warning in caught] == [__file__]
    return model


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_named_and_nothing_is_computed_from_them(changed, texts, labels, value):
    directory = changed(with_one(DENSE, value))
    backbone = opened_with_warning(ws.Backbone.from_pretrained, directory, rf"1 of 39 tensors: {DENSE}\.")
    assert backbone.load_report["not_finite"] == [DENSE]
    assert np.isfinite(backbone.embed(texts, layers=0)).all()  # they have no part in these
    for pooling in ("mean", "max", "cls"):
        for precision in ("f32", "int8"):
            with pytest.raises(ws.WeightsError, match=DENSE):
                backbone.embed(texts, pooling=pooling, precision=precision)
    with pytest.raises(ws.WeightsError, match=DENSE):
        ws.FeatureExtractor(backbone).fit_transform(texts)
    for strategy, rate in ((ws.FullFineTuning(), 1e-2), (ws.LinearProbing(), None)):
        with pytest.raises(ws.WeightsError, match=DENSE):
            ws.TextClassifier(backbone, **{**FAST, "strategy": strategy, "learning_rate": rate}).fit(texts, labels)
    model = ws.LanguageModel(backbone, verbose=False, random_state=0)
    for ask in (model.score, model.perplexity, lambda texts: model.fill_mask(f"[MASK] {texts[0]}"), model.fit):
        with pytest.raises(ws.WeightsError, match=DENSE):
            ask(texts)


def test_a_classifier_with_weights_that_are_not_finite_predicts_nothing(fitted, texts, labels, tmp_path):
    fitted.save(tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    write_weights(file, with_one("classifier.weight", np.nan)(weights_in(file)))
    clf = opened_with_warning(ws.load, tmp_path / "model", r"1 of 41 tensors: classifier\.weight\.")
    for ask in (clf.predict, clf.predict_proba, clf.decision_function):
        with pytest.raises(ws.WeightsError, match=r"classifier\.weight"):
            ask(texts)
    for ask in (clf.score, clf.evaluate):
        with pytest.raises(ws.WeightsError, match=r"classifier\.weight"):
            ask(texts, labels)


def test_a_tagger_and_a_writer_with_weights_that_are_not_finite_say_nothing(tokenizer_dir, tmp_path):
    tagger = ws.TokenClassifier(
        ws.Backbone.from_config("gpt2", tokenizer_dir, 0, n_embd=24, n_layer=1, n_head=3), **{**FAST, "epochs": 1}
    )
    tagger.fit([["the", "film"], ["a", "plot"]], [["O", "B-X"], ["O", "B-X"]]).save(tmp_path / "tagger")
    file = tmp_path / "tagger" / "model.safetensors"
    write_weights(file, with_one("transformer.ln_f.weight", np.inf)(weights_in(file)))
    broken = opened_with_warning(ws.load, tmp_path / "tagger", "ln_f.weight")
    with pytest.raises(ws.WeightsError, match=r"ln_f\.weight"):
        broken.predict([["the", "film"]])
    writer = ws.LanguageModel(broken.backbone, verbose=False)
    for ask in (lambda: writer.generate("the film", max_new_tokens=2), lambda: writer.token_log_probs(["the film"])):
        with pytest.raises(ws.WeightsError, match=r"ln_f\.weight"):
            ask()


# What hides an infinite value: a tanh, a softmax over classes, a logarithm of a softmax over the vocabulary.
@pytest.mark.parametrize(
    ("name", "value"),
    [("pooler.dense.bias", np.inf), ("classifier.bias", -np.inf), ("encoder.layer.1.output.LayerNorm.bias", np.inf)],
)
def test_infinite_values_that_a_classifier_would_hide_are_named(fitted, texts, labels, tmp_path, name, value):
    fitted.save(tmp_path)
    file = tmp_path / "model.safetensors"
    stored = next(stored for stored in weights_in(file) if stored.endswith(name))
    write_weights(file, with_one(stored, value)(weights_in(file)))
    clf = opened_with_warning(ws.load, tmp_path, rf"1 of 41 tensors: {name}\.")
    for ask in (clf.predict, clf.predict_proba, clf.decision_function):
        with pytest.raises(ws.WeightsError, match=rf"1 of the model's tensors: {name}\."):
            ask(texts)
    with pytest.raises(ws.WeightsError, match=name):
        clf.score(texts, labels)


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_a_frozen_pooler_that_is_not_finite_is_named_and_one_that_has_no_part_is_not(changed, texts, labels, value):
    name = "pooler.dense.weight"
    backbone = opened_with_warning(ws.Backbone.from_pretrained, changed(with_one(name, value)), name)
    with pytest.raises(ws.WeightsError, match=rf"cannot be trained.*: {name}\."):
        ws.TextClassifier(backbone, **{**FAST, "strategy": ws.LinearProbing(), "learning_rate": None}).fit(
            texts, labels
        )
    assert np.isfinite(backbone.embed(texts)).all()
    model = ws.LanguageModel(backbone, strategy=ws.LinearProbing(), max_steps=1, random_state=0, verbose=False)
    assert np.isfinite(model.fit(texts).perplexity(texts))


@pytest.mark.parametrize("name", ["cls.predictions.bias", "cls.predictions.transform.dense.weight"])
@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinite_values_that_a_language_model_would_hide_are_named(backbone, texts, tmp_path, name, value):
    ws.LanguageModel(backbone, verbose=False).save(tmp_path)
    file = tmp_path / "model.safetensors"
    write_weights(file, with_one(name, value)(weights_in(file)))
    model = opened_with_warning(ws.LanguageModel.from_pretrained, tmp_path, name)
    for ask in (model.score, model.perplexity, lambda texts: model.fill_mask(f"[MASK] {texts[0]}")):
        with pytest.raises(ws.WeightsError, match=rf"1 of the model's tensors: {name}\."):
            ask(texts)


def test_a_frozen_tensor_that_is_not_finite_is_named_before_a_language_model_learns(changed, texts):
    backbone = opened_with_warning(ws.Backbone.from_pretrained, changed(with_one(DENSE, np.nan)), DENSE)
    model = ws.LanguageModel(backbone, strategy=ws.LinearProbing(), max_steps=1, random_state=0, verbose=False)
    with pytest.raises(ws.WeightsError, match=rf"cannot be trained.*: {DENSE}\."):
        model.fit(texts)


def test_finite_weights_that_are_too_large_are_said_to_be_so(changed, texts):
    name = "embeddings.word_embeddings.weight"
    directory = changed(lambda weights: weights | {name: np.full_like(weights[name], 3e38)})
    model = ws.LanguageModel(ws.Backbone.from_pretrained(directory), verbose=False)
    with pytest.raises(ws.WeightsError, match="although every weight is"):
        model.token_log_probs(texts)


def test_relu_keeps_what_is_no_number(tokenizer_dir, tmp_path):
    fields = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    ws.Backbone.from_config("bert", tokenizer_dir, 0, hidden_act="relu", **fields).save_pretrained(tmp_path / "relu")
    file, name = tmp_path / "relu" / "model.safetensors", "encoder.layer.0.intermediate.dense.bias"
    write_weights(file, with_one(name, np.nan)(weights_in(file)))
    backbone = opened_with_warning(ws.Backbone.from_pretrained, tmp_path / "relu", name)
    with pytest.raises(ws.WeightsError, match=name):
        backbone.embed(["the film"])


def test_a_head_that_is_left_out_is_said_and_an_own_one_is_not(fitted, backbone, tmp_path):
    fitted.save(tmp_path / "classifier")
    said = r"the checkpoint's head classifier\.bias, classifier\.weight \(classes neg, pos\) is left out; an"
    opened_with_warning(ws.Backbone.from_pretrained, tmp_path / "classifier", said)
    model = ws.LanguageModel(backbone, verbose=False)
    model.save(tmp_path / "language")
    # Warnings are errors here.
    ws.load(tmp_path / "classifier")
    ws.load(tmp_path / "language")
    ws.LanguageModel.from_pretrained(tmp_path / "language")
    assert ws.Backbone.from_pretrained(tmp_path / "language").load_report["ignored"]


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module.", "model."])
@pytest.mark.parametrize("family", ["", "bert."])
def test_what_a_wrapper_put_before_every_name_is_taken_off(backbone, changed, texts, prefix, family):
    directory = changed(lambda weights: {f"{prefix}{family}{name}": values for name, values in weights.items()})
    opened = ws.Backbone.from_pretrained(directory)
    assert opened.load_report["prefix"] == prefix
    np.testing.assert_array_equal(opened.embed(texts), backbone.embed(texts))


def test_what_a_wrapper_put_before_all_names_but_one_is_named(changed):
    counter = {"n_averaged": np.ones(1, np.float32)}
    directory = changed(lambda weights: {f"module.{name}": values for name, values in weights.items()} | counter)
    with pytest.raises(ws.WeightsError, match=r'39 names begin with "module\.".*others: n_averaged\.'):
        ws.Backbone.from_pretrained(directory)


def test_a_file_of_weights_is_told_apart_from_a_model(backbone, tmp_path):
    backbone.save_pretrained(tmp_path / "model")
    for path in (tmp_path / "model" / "model.safetensors", tmp_path / "model" / "config.json"):
        with pytest.raises(ValueError, match=rf"is a file; give the directory that holds it, {path.parent},"):
            ws.Backbone.from_pretrained(path)
    with pytest.raises(FileNotFoundError, match=r"gone\.safetensors: no such file"):
        ws.Backbone.from_pretrained("gone.safetensors")  # not a name of the hub


@pytest.mark.parametrize("with_config", [False, True])
def test_an_adapter_without_its_model_names_it(backbone, tmp_path, with_config):
    (tmp_path / "adapter_config.json").write_text(
        '{"peft_type": "LORA", "base_model_name_or_path": "org/base"}', encoding="utf-8"
    )
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    if with_config:
        (tmp_path / "config.json").write_text(json.dumps(backbone.config), encoding="utf-8")
    with pytest.raises(FileNotFoundError, match=r'a PEFT adapter .*"org/base", and no model beside it'):
        ws.Backbone.from_pretrained(tmp_path)


# transformers 5.24.0 with peft 0.21.2 applies such an adapter: its vectors are others.
def test_an_adapter_beside_weights_is_refused_and_goes_when_a_model_is_saved_there(backbone, texts, tmp_path):
    backbone.save_pretrained(tmp_path)
    adapter = '{"peft_type": "LORA", "base_model_name_or_path": "org/base"}'
    (tmp_path / "adapter_config.json").write_text(adapter, encoding="utf-8")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    for open_ in (ws.Backbone.from_pretrained, ws.LanguageModel.from_pretrained):
        with pytest.raises(ValueError, match=r'also holds a PEFT adapter.*"org/base".*merge_and_unload'):
            open_(tmp_path)
    backbone.save_pretrained(tmp_path)
    np.testing.assert_array_equal(ws.Backbone.from_pretrained(tmp_path).embed(texts), backbone.embed(texts))
    assert not list(tmp_path.glob("adapter_*"))


@pytest.mark.parametrize(
    ("adapter", "said"),
    [
        (
            '{"peft_type": "LORA"}',
            r"a PEFT adapter .*LORA.*, whose base model is not named \(base_model_name_or_path\)",
        ),
        ("[1]", r"adapter_config\.json: expected a JSON object, got \[1\]"),
        ("{", r"adapter_config\.json: not valid JSON"),
    ],
)
@pytest.mark.parametrize("beside", [False, True])
def test_an_adapter_that_does_not_tell_its_base_says_so(backbone, tmp_path, adapter, said, beside):
    if beside:
        backbone.save_pretrained(tmp_path)
    (tmp_path / "adapter_config.json").write_text(adapter, encoding="utf-8")
    with pytest.raises(ValueError if beside else FileNotFoundError, match=said):
        ws.Backbone.from_pretrained(tmp_path)


def of_torch(file: str, directory: Path) -> Path:
    """Make a model directory with weights that torch wrote (tests/reference/make_torch_files.py)."""
    for name in ("config.json", "vocab.txt", "tokenizer_config.json"):
        shutil.copy(REFERENCE / "bert_b_legacy" / name, directory)
    shutil.copy(REFERENCE / file, directory / "pytorch_model.bin")
    return directory


@pytest.mark.parametrize(
    ("file", "found"),
    [
        ("training_state.bin", r'"epoch", "model_state_dict", "optimizer_state_dict".*\["model_state_dict"\] alone'),
        (
            "lightning.ckpt",
            r'"epoch", "global_step", "pytorch-lightning_version", "state_dict".*\["state_dict"\] alone',
        ),
    ],
)
def test_a_training_state_is_named_by_what_it_holds(tmp_path, file, found):
    with pytest.raises(ws.WeightsError, match=found):
        ws.Backbone.from_pretrained(of_torch(f"torch_files/{file}", tmp_path))


def test_expanded_tensors_are_read(tmp_path):
    (tmp_path / "model").mkdir()
    backbone = ws.Backbone.from_pretrained(of_torch("torch_files/expanded.bin", tmp_path / "model"))
    backbone.save_pretrained(tmp_path / "saved")
    weights = weights_in(tmp_path / "saved" / "model.safetensors")
    assert (weights["encoder.layer.0.output.dense.bias"] == 0.25).all()
    rows = weights["embeddings.token_type_embeddings.weight"]
    assert (rows == rows[0]).all()
    assert rows[0].std() > 0.1
    (tmp_path / "plain").mkdir()
    ws.Backbone.from_pretrained(of_torch("bert_b_bin/pytorch_model.bin", tmp_path / "plain")).save_pretrained(
        tmp_path / "whole"
    )
    whole = weights_in(tmp_path / "whole" / "model.safetensors")
    np.testing.assert_array_equal(rows[0], whole["embeddings.token_type_embeddings.weight"][0])


def test_an_added_token_without_a_row_is_said_and_its_texts_are_refused(backbone, tmp_path, corpora):
    directory = tmp_path / "model"
    backbone.save_pretrained(directory)
    settings = json.loads((directory / "tokenizer.json").read_text(encoding="utf-8"))
    token = {"id": len(WORDS), "content": "[NEW]", "special": False, "normalized": False}
    settings["added_tokens"].append(token | {"single_word": False, "lstrip": False, "rstrip": False})
    (directory / "tokenizer.json").write_text(json.dumps(settings), encoding="utf-8")
    said = rf'rows for {len(WORDS)} tokens .* beyond them: "\[NEW\]" \({len(WORDS)}\)'
    opened = opened_with_warning(ws.Backbone.from_pretrained, directory, said)
    np.testing.assert_array_equal(opened.embed(["the film"]), backbone.embed(["the film"]))
    with pytest.raises(ws.DataError, match=r'text 1 has the token id 30 \("\[NEW\]"\)'):
        opened.embed(["the film", "the [NEW] film"])
    tagger = ws.TokenClassifier(opened, **{**FAST, "epochs": 1})
    with pytest.raises(ws.DataError, match=r'text 1 has the token id 30 \("\[NEW\]"\)'):
        tagger.fit([["the", "film"], ["the", "[NEW]"]], [["O", "O"], ["O", "B-X"]])
    model = ws.LanguageModel(opened, ws.MaskedLM(rate=0.9), max_steps=5, random_state=0, verbose=False)
    assert np.isfinite(model.fit(["the film was good", "a plot"] * 8).perplexity(["the film"]))
    with pytest.raises(ws.DataError, match="document 1 of the corpus"):
        model.fit(["the film was good", "the [NEW] film"])
    assert np.isfinite(opened.extend_vocabulary(["zebra"]).embed(["a [NEW] zebra"])).all()


def test_a_prompt_with_a_token_without_a_row_is_refused(tokenizer_dir, tmp_path):
    directory = tmp_path / "model"
    backbone = ws.Backbone.from_config("gpt2", tokenizer_dir, 0, n_embd=24, n_layer=1, n_head=3)
    backbone.save_pretrained(directory)
    settings = json.loads((directory / "tokenizer.json").read_text(encoding="utf-8"))
    token = {"id": len(WORDS), "content": "[NEW]", "special": True, "normalized": False}
    settings["added_tokens"].append(token | {"single_word": False, "lstrip": False, "rstrip": False})
    (directory / "tokenizer.json").write_text(json.dumps(settings), encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        writer = ws.LanguageModel(ws.Backbone.from_pretrained(directory), verbose=False)
    with pytest.raises(ws.DataError, match=r'prompt 1 has the token id 30 \("\[NEW\]"\)'):
        writer.generate(["the film", "a [NEW]"], max_new_tokens=2)


def test_ids_of_the_vocabulary_itself_without_rows_are_of_another_model(backbone, tmp_path):
    backbone.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "tokenizer.json").unlink()
    (tmp_path / "model" / "vocab.txt").write_text("\n".join([*WORDS, "more"]) + "\n", encoding="utf-8")
    with pytest.raises(ws.DataError, match="they are of different models"):
        ws.Backbone.from_pretrained(tmp_path / "model")


def test_weights_that_were_not_fetched_whole_say_what_to_do(backbone, tmp_path):
    backbone.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ws.WeightsError, match="damaged or cut short: fetch it again"):
        ws.Backbone.from_pretrained(tmp_path)
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", encoding="utf-8")
    with pytest.raises(ws.WeightsError, match=r"a pointer of Git LFS, .* git lfs pull"):
        ws.Backbone.from_pretrained(tmp_path)
