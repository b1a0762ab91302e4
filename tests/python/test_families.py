"""Every family of models: embed, extract features, fine-tune, save, load; what a configuration may not hold."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import warmstart as ws
from conftest import BAD, FAST, GOOD, WORDS
from saved_for_transformers import keep
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from weight_files import weights_in

BERT = {
    "vocab_size": len(WORDS),
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
}
ROTARY = BERT | {"pad_token_id": 0, "bos_token_id": None, "eos_token_id": None}
FAMILIES = {
    "bert": BERT,
    "roberta": BERT | {"type_vocab_size": 2, "pad_token_id": 1},
    "xlm-roberta": BERT | {"type_vocab_size": 2, "pad_token_id": 1},
    "camembert": BERT | {"type_vocab_size": 2, "pad_token_id": 1},
    "distilbert": {
        "vocab_size": len(WORDS),
        "dim": 24,
        "n_layers": 2,
        "n_heads": 3,
        "hidden_dim": 32,
        "max_position_embeddings": 40,
    },
    "electra": BERT | {"embedding_size": 12},
    "albert": BERT | {"embedding_size": 12, "num_hidden_layers": 3},
    "gpt2": {
        "vocab_size": len(WORDS),
        "n_embd": 24,
        "n_layer": 2,
        "n_head": 3,
        "n_positions": 40,
        "pad_token_id": 0,
        "bos_token_id": None,
        "eos_token_id": None,
    },
    "llama": ROTARY | {"num_key_value_heads": 1},
    "mistral": ROTARY | {"num_key_value_heads": 3, "sliding_window": 4},
    "qwen2": ROTARY | {"num_key_value_heads": 3},
    "qwen3": ROTARY | {"num_key_value_heads": 1, "head_dim": 10},
    "xlnet": {
        "vocab_size": len(WORDS),
        "d_model": 24,
        "n_layer": 2,
        "n_head": 3,
        "d_inner": 32,
        "pad_token_id": 0,
        "bos_token_id": None,
        "eos_token_id": None,
    },
    "mpnet": BERT | {"pad_token_id": 1},
    "deberta-v2": BERT
    | {
        "relative_attention": True,
        "pos_att_type": ["c2p", "p2c"],
        "position_buckets": 8,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "position_biased_input": False,
        "type_vocab_size": 0,
    },
    "modernbert": ROTARY | {"local_attention": 4, "cls_token_id": None, "sep_token_id": None},
}
DECODERS = ("gpt2", "llama", "mistral", "qwen2", "qwen3")


def tiny(family: str, tokenizer_dir: Path, **more: object) -> ws.Backbone:
    config = FAMILIES[family] | {"model_type": family, "initializer_range": 0.1} | more
    return ws.Backbone.from_config(config, tokenizer_dir, random_state=0)


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def test_family_embeds_learns_and_reads_what_it_wrote(family, tokenizer_dir, texts, labels, tmp_path):
    backbone = tiny(family, tokenizer_dir)
    expected = backbone.embed(texts)
    assert expected.shape == (len(texts), 24)
    backbone.save_pretrained(tmp_path / "backbone")
    np.testing.assert_array_equal(ws.Backbone.from_pretrained(tmp_path / "backbone").embed(texts), expected)

    classifier = ws.TextClassifier(backbone, **FAST | {"epochs": 20}).fit(texts, labels)
    assert classifier.score(texts, labels) > 0.8
    classifier.save(tmp_path / "classifier")
    np.testing.assert_array_equal(
        ws.load(tmp_path / "classifier").predict_proba(texts), classifier.predict_proba(texts)
    )
    some = texts[:8]
    classifier.set_params(precision="f32")
    keep(
        f"{family}/classifier",
        classifier.save,
        lambda: {"texts": some, "logits": classifier.decision_function(some).tolist()},
    )
    keep(
        f"{family}/backbone",
        backbone.save_pretrained,
        lambda: {"texts": some, "hidden": backbone.embed(some, pooling="mean", precision="f32").tolist()},
    )


def test_family_tags_words_and_reads_what_it_wrote(family, tokenizer_dir, texts, tmp_path):
    words = [text.split() for text in texts]
    tags = [["B-praise" if word in GOOD else "B-blame" if word in BAD else "O" for word in row] for row in words]
    settings = FAST | {"epochs": 20, "precision": "f32"}
    tagger = ws.TokenClassifier(tiny(family, tokenizer_dir), **settings).fit(words, tags)
    assert tagger.score(words, tags) > 0.8
    tagger.save(tmp_path / "tagger")
    assert ws.load(tmp_path / "tagger").predict(words) == tagger.predict(words)
    some = texts[:8]
    keep(
        f"{family}/tagger",
        tagger.save,
        lambda: {"texts": some, "tags": [tagger._outputs([text])[1].tolist() for text in some]},
    )


def test_family_has_a_language_model_and_reads_what_it_wrote(family, tokenizer_dir, texts, tmp_path):
    model = ws.LanguageModel(tiny(family, tokenizer_dir), precision="f32", random_state=0, verbose=False)
    scores = model.token_log_probs(texts)
    assert all(np.isfinite(own).sum() >= len(text.split()) - 1 for text, own in zip(texts, scores, strict=True))
    model.save(tmp_path / "model")
    for again in (ws.load(tmp_path / "model"), ws.LanguageModel.from_pretrained(tmp_path / "model", verbose=False)):
        again.precision = "f32"
        assert [own.tobytes() for own in again.token_log_probs(texts)] == [own.tobytes() for own in scores]
    said = [[None if np.isnan(p) else float(p) for p in own] for own in scores[:8]]
    keep(f"{family}/language_model", model.save, lambda: {"texts": texts[:8], "scores": said})


def test_family_makes_features_for_scikit_learn_and_can_be_probed(family, tokenizer_dir, texts, labels):
    backbone = tiny(family, tokenizer_dir)
    features = ws.FeatureExtractor(backbone, layers=[0, -1], verbose=False)
    assert make_pipeline(features, LogisticRegression()).fit(texts, labels).score(texts, labels) > 0.6
    probe = ws.TextClassifier(backbone, strategy=ws.LinearProbing(), epochs=1, random_state=0, verbose=False)
    before = backbone.embed(texts[:2])
    probe.fit(texts, labels)
    np.testing.assert_array_equal(backbone.embed(texts[:2]), before)


def test_family_tells_its_pooling_and_its_parameters(family, tokenizer_dir, texts):
    backbone = tiny(family, tokenizer_dir)
    assert backbone.resolve_pooling("auto") == ["last" if family in DECODERS else "mean"]
    last = backbone.embed(texts[:1], pooling="last")
    assert np.array_equal(backbone.embed(texts[:1]), last) == (family in DECODERS)
    assert backbone.summary().n_parameters == backbone.n_parameters
    trained = ws.TextClassifier(backbone).estimate_memory(texts, [i % 2 for i in range(len(texts))])
    assert trained.total > 0


BERT_LIKE = {"hidden_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 200}
SMALL = {
    "distilbert": {"dim": 96, "n_layers": 2, "n_heads": 4, "hidden_dim": 200},
    "gpt2": {"n_embd": 96, "n_layer": 2, "n_head": 4},
    "mistral": BERT_LIKE | {"num_key_value_heads": 2},
    "xlnet": {"d_model": 96, "n_layer": 2, "n_head": 4, "d_inner": 200},
}


def test_family_by_its_name_begins_as_its_authors_published(family, tokenizer_dir, tmp_path):
    def begun(seed: int) -> tuple[ws.Backbone, dict[str, np.ndarray]]:
        backbone = ws.Backbone.from_config(family, tokenizer_dir, seed, **SMALL.get(family, BERT_LIKE))
        backbone.save_pretrained(tmp_path / f"{family}-{seed}")
        return backbone, weights_in(tmp_path / f"{family}-{seed}" / "model.safetensors")

    backbone, weights = begun(0)
    assert (backbone.hidden_size, backbone.n_layers) == (96, 2)
    assert weights.keys() == begun(0)[1].keys()
    assert all(np.array_equal(value, begun(0)[1][name]) for name, value in weights.items())
    matrices = 0
    for name, value in weights.items():
        if value.ndim == 1:
            assert set(np.unique(value)) == ({0.0} if name.endswith("bias") else {1.0}), name
        elif value.size > 4000:
            matrices += 1
            ends_block = name.endswith(("c_proj.weight", "Wo.weight")) and family in ("gpt2", "modernbert")
            expected = 0.02 / np.sqrt(2 * 2) if ends_block else 0.02
            if family == "modernbert":
                expected *= 0.8796  # of a normal distribution cut at two standard deviations
            assert value.std() == pytest.approx(expected, rel=0.08), name
            assert abs(value.mean()) < 0.002, name
    assert matrices >= 8 or family == "albert"


def test_family_that_is_unknown_by_name_lists_those_that_are_known(tokenizer_dir):
    with pytest.raises(ValueError, match=r"'t5' is not supported; supported: 'bert', .*'xlnet'"):
        ws.Backbone.from_config("t5", tokenizer_dir)
    with pytest.raises(ValueError, match="n_layers"):
        ws.Backbone.from_config("gpt2", tokenizer_dir, n_layers=2)


@pytest.mark.parametrize("field", ["alibi", "rotary_pct", "n_shared_experts"])
def test_field_that_a_family_does_not_have_is_refused(family, field, tokenizer_dir):
    with pytest.raises(ValueError, match=f"does not: {field}"):
        tiny(family, tokenizer_dir, **{field: 2})


PUBLISHED = json.loads((Path(__file__).parent / "published_configs.json").read_text())
"""The fields of ``config.json`` of models on the hub."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_configuration_of_a_published_model_is_read(name, tokenizer_dir):
    config = PUBLISHED[name]
    heads = {key: 2 for key in ("num_attention_heads", "num_key_value_heads", "n_head", "n_heads")}
    layers = {key: 2 for key in ("num_hidden_layers", "n_layer", "n_layers")}
    sizes = {"hidden_size": 16, "n_embd": 16, "d_model": 16, "dim": 16, "d_head": 8, "head_dim": 8}
    inner = {"intermediate_size": 24, "d_inner": 24, "hidden_dim": 24}
    words = {"vocab_size": len(WORDS), "max_position_embeddings": 40, "n_positions": 40}
    small = {key: value for key, value in (heads | layers | sizes | inner | words).items() if key in config}
    backbone = ws.Backbone.from_config(config | small, tokenizer_dir, random_state=0)
    assert np.isfinite(backbone.embed(["the film was good"])).all()
    assert backbone.n_layers == 2


@pytest.mark.parametrize(
    "family, fields, message",
    [
        ("modernbert", {"rope_parameters": {"rope_type": "yarn", "factor": 4.0}}, "object of full_attention"),
        ("llama", {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1.0}}, "rope_theta is 1"),
        (
            "llama",
            {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 0}},
            "expected at least 1",
        ),
        ("qwen2", {"use_mrope": True}, "use_mrope is true; supported: false"),
        ("llama", {"rope_interleaved": True}, "rope_interleaved is true; supported: false"),
        ("roberta", {"pad_token_id": 2**64 - 1}, "positions begin at"),
        ("mpnet", {"relative_attention_num_buckets": 16}, "relative_attention_num_buckets is 16; expected 32 to 1024"),
        ("deberta-v2", {"conv_kernel_size": 3}, "conv_kernel_size is 3; supported: 0"),
        ("deberta-v2", {"relative_attention": False}, "relative_attention is false or missing"),
        ("deberta-v2", {"pos_att_type": "c2p|p2p"}, 'pos_att_type has "p2p"'),
        ("deberta-v2", {"pos_att_type": []}, "pos_att_type is empty"),
        ("deberta-v2", {"position_buckets": 8.5}, "position_buckets is 8.5; expected a whole number"),
        ("deberta-v2", {"pos_att_type": 3}, "pos_att_type is 3; expected"),
        ("deberta-v2", {"position_buckets": 3}, "position_buckets is 3"),
        ("deberta-v2", {"max_relative_positions": 5}, "8, for 5 relative positions of 40"),
        ("deberta-v2", {"norm_rel_ebd": "rms"}, 'norm_rel_ebd is "rms"'),
        ("deberta-v2", {"embedding_size": 12}, "embedding_size is 12; supported: 24"),
        ("deberta-v2", {"max_relative_positions": 1 << 30, "position_buckets": -1}, "vectors of 1073741824 distances"),
        ("bert", {"initializer_range": 1e300}, "initializer_range is 1e300; expected 0 to 1000"),
    ],
)
def test_values_that_mean_nothing_are_refused(family, fields, message, tokenizer_dir):
    with pytest.raises(ValueError, match=message):
        tiny(family, tokenizer_dir, **fields)


def test_nulls_mean_what_they_do_in_transformers(tokenizer_dir):
    texts = ["the film was good and the plot was dull", "a dull film"]
    for family, given, same in [
        ("mistral", {"num_key_value_heads": None}, {"num_key_value_heads": 3}),
        (
            "qwen2",
            {"use_sliding_window": True, "sliding_window": None, "max_window_layers": 0},
            {"use_sliding_window": False},
        ),
        # Of transformers' two names for one thing the older counts.
        (
            "llama",
            {"rope_parameters": {"rope_type": "default"}, "rope_scaling": {"rope_type": "linear", "factor": 8.0}},
            {"rope_parameters": {"rope_type": "linear", "factor": 8.0}},
        ),
    ]:
        found, expected = (tiny(family, tokenizer_dir, **fields).embed(texts) for fields in (given, same))
        np.testing.assert_array_equal(found, expected)


UNTIED = (
    "bert",
    "roberta",
    "distilbert",
    "electra",
    "albert",
    "xlnet",
    "modernbert",
    "mpnet",
    "deberta-v2",
    "gpt2",
    "llama",
)


@pytest.mark.filterwarnings("ignore:learning_rate=0.1 is beyond reason")
@pytest.mark.parametrize("family", UNTIED)
def test_output_layer_that_is_not_tied_is_read_and_saved(family, tokenizer_dir, corpus, tmp_path):
    backbone = tiny(family, tokenizer_dir, tie_word_embeddings=False)
    first, second = (ws.LanguageModel(backbone, random_state=seed, verbose=False) for seed in (0, 1))
    tied = ws.LanguageModel(tiny(family, tokenizer_dir, tie_word_embeddings=True), random_state=0, verbose=False)
    assert first.n_parameters - tied.n_parameters == len(WORDS) * (12 if family in ("electra", "albert") else 24)
    texts = ["the film was good", "a dull plot"]
    assert first.perplexity(texts) != second.perplexity(texts)
    first.precision = "f32"
    # Biases begin at 0, where nobody would miss them.
    first.max_steps, first.learning_rate, first.cache_dir = 2, 0.1, tmp_path
    first.fit(corpus)
    first.save(tmp_path / "saved")
    saved = ws.LanguageModel.from_pretrained(tmp_path / "saved", precision="f32", verbose=False)
    scores = first.token_log_probs(texts)
    np.testing.assert_array_equal(np.concatenate(saved.token_log_probs(texts)), np.concatenate(scores))
    said = [[None if np.isnan(p) else float(p) for p in own] for own in scores]
    keep(f"{family}/untied", first.save, lambda: {"texts": texts, "scores": said})


def with_tensors(path: Path, change) -> None:
    """Write a .safetensors file anew with other tensors: bytes, type and shape by name."""
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + size]), content[8 + size :]
    tensors = {
        name: (data[slice(*info["data_offsets"])], info["dtype"], info["shape"])
        for name, info in header.items()
        if name != "__metadata__"
    }
    change(tensors)
    header, end = {}, 0
    for name, (values, dtype, shape) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + len(values)]}
        end += len(values)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(values for values, _, _ in tensors.values()))


@pytest.mark.parametrize(
    ("family", "head"), [("bert", "cls.predictions."), ("roberta", "lm_head."), ("albert", "predictions.")]
)
def test_bias_of_an_output_layer_that_is_not_tied_is_found_under_either_name(family, head, tokenizer_dir, tmp_path):
    """transformers 4.57.6 writes `bias` alone; 5.24.0 `decoder.bias`, and beside it a `bias` that it never uses."""
    model = ws.LanguageModel(tiny(family, tokenizer_dir, tie_word_embeddings=False), random_state=0, verbose=False)
    model.save(tmp_path)
    file, other, own = tmp_path / "model.safetensors", f"{head}bias", f"{head}decoder.bias"
    plain, bias = model.token_log_probs(["the film was good"])[0], np.linspace(-1, 1, len(WORDS), dtype=np.float32)

    def read(change):
        with_tensors(file, change)
        return ws.LanguageModel.from_pretrained(tmp_path, verbose=False).token_log_probs(["the film was good"])[0]

    def as_version_5(tensors):
        assert tensors[other] == tensors[own]  # as we write it, both take it
        tensors[own] = (bias.tobytes(), *tensors[own][1:])
        tensors[other] = (bytes(bias.nbytes), *tensors[own][1:])

    def as_version_4(tensors):
        tensors[other] = tensors.pop(own)

    found = [read(as_version_5), read(as_version_4)]
    np.testing.assert_array_equal(*found)
    assert np.abs(found[0] - plain)[1:-1].max() > 0.1
    ws.LanguageModel.from_pretrained(tmp_path, verbose=False).save(tmp_path)
    np.testing.assert_array_equal(ws.load(tmp_path).token_log_probs(["the film was good"])[0], found[0])


def test_unknown_architecture_names_what_is_supported(tokenizer_dir):
    with pytest.raises(ValueError, match=r'model_type is "t5"; supported: "bert", "roberta", .*"qwen3"'):
        tiny("bert", tokenizer_dir, model_type="t5")


# One architecture with one set of names.
ALIKE = {"bert", "roberta", "xlm-roberta", "camembert"}


def test_weights_of_another_family_are_refused(family, tokenizer_dir, tmp_path):
    tiny(family, tokenizer_dir).save_pretrained(tmp_path / "saved")
    for other in FAMILIES:
        if other != family and not {family, other} <= ALIKE:
            config = FAMILIES[other] | {"model_type": other}
            (tmp_path / "saved" / "config.json").write_text(json.dumps(config))
            with pytest.raises(ws.WeightsError, match=r"tensors do not fit config\.json:\n .*: "):
                ws.Backbone.from_pretrained(tmp_path / "saved")


def test_weights_of_another_family_are_named(tokenizer_dir, tmp_path):
    tiny("bert", tokenizer_dir).save_pretrained(tmp_path / "saved")
    electra = FAMILIES["electra"] | {"model_type": "electra", "embedding_size": 24}
    gpt2 = FAMILIES["gpt2"] | {"model_type": "gpt2"}
    for config, problem in [(gpt2, "wte.weight: missing"), (electra, "pooler.dense.weight: unexpected")]:
        (tmp_path / "saved" / "config.json").write_text(json.dumps(config))
        with pytest.raises(ws.WeightsError, match=problem):
            ws.Backbone.from_pretrained(tmp_path / "saved")
