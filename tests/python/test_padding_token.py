"""The padding token of a saved decoder, which transformers needs to run it in batches.

`tests/reference/check_saved.py` checks the logits of such a batch with transformers itself.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import warmstart as ws
from conftest import FAST
from saved_for_transformers import keep

TEXTS = ["the film was good", "a plot", "the story was very long and dull <|endoftext|> and old", "fine"] * 2
LABELS = ["good", "bad"] * 4
SMALL = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
DECODERS: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 24, "n_layer": 1, "n_head": 2},
    **{family: SMALL | {"num_key_value_heads": 2} for family in ("llama", "mistral", "qwen2", "qwen3")},
}


def saved(family: str, tokenizer: Any, directory: Path, **fields: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fit and save: config.json and tokenizer_config.json."""
    backbone = ws.Backbone.from_config(family, tokenizer, 0, **DECODERS.get(family, SMALL), **fields)
    clf = ws.TextClassifier(backbone, **{**FAST, "epochs": 1, "precision": "f32"}).fit(TEXTS, LABELS)
    clf.save(directory)
    again = ws.load(directory)
    np.testing.assert_array_equal(again.predict_proba(TEXTS), clf.predict_proba(TEXTS))
    config, settings = (
        json.loads((directory / name).read_text(encoding="utf-8")) for name in ("config.json", "tokenizer_config.json")
    )
    if "pad_token" in settings:
        name = f"padded-{family}-{settings['pad_token'].strip('<|[]>')}"
        keep(name, clf.save, lambda: {"batch": TEXTS, "texts": TEXTS, "logits": clf._outputs(TEXTS).tolist()})
    return config, settings


@pytest.fixture(scope="module")
def byte_level() -> ws.Tokenizer:
    return ws.train_tokenizer(TEXTS, "bpe", 300, min_frequency=1)


@pytest.mark.parametrize("family", DECODERS)
def test_a_saved_decoder_pads_with_its_end_of_text(family, byte_level, tmp_path):
    config, settings = saved(family, byte_level, tmp_path / "model")
    assert (config["pad_token_id"], settings["pad_token"]) == (0, "<|endoftext|>")


def test_a_saved_decoder_pads_with_the_padding_token_that_its_tokenizer_has(tokenizer_dir, tmp_path):
    config, settings = saved("gpt2", tokenizer_dir, tmp_path / "model")
    assert (config["pad_token_id"], settings["pad_token"]) == (0, "[PAD]")


def test_a_saved_decoder_never_pads_with_what_ends_its_texts(byte_level, tmp_path):
    byte_level.save(tmp_path / "tokenizer")
    file = tmp_path / "tokenizer" / "tokenizer.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    end = {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}
    settings["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"Sequence": {"id": "A", "type_id": 0}}, end],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, end, {"Sequence": {"id": "B", "type_id": 1}}, end],
        "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}},
    }
    file.write_text(json.dumps(settings), encoding="utf-8")
    config, named = saved("gpt2", tmp_path / "tokenizer", tmp_path / "model")
    assert config.get("pad_token_id") is None and "pad_token" not in named


def test_a_saved_encoder_keeps_its_configuration(backbone, fitted, tmp_path):
    fitted.save(tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text(encoding="utf-8"))
    assert config["pad_token_id"] == backbone.config["pad_token_id"]
    settings = json.loads((tmp_path / "model" / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert settings["pad_token"] == "[PAD]"
