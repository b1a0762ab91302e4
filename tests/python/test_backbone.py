"""`Backbone`: opening, making, copying, embedding, showing itself."""

import copy
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import warmstart as ws
from conftest import CONFIG, FAST, MAX_LENGTH
from sklearn.base import clone


def test_properties_match_the_configuration(backbone):
    assert backbone.family == "bert"
    assert (backbone.n_layers, backbone.hidden_size, backbone.max_length) == (2, 32, MAX_LENGTH)
    assert backbone.config["num_hidden_layers"] == 2
    assert backbone.n_parameters > CONFIG["vocab_size"] * CONFIG["hidden_size"] - 1


def test_from_config_reads_dict_file_and_directory_alike(tokenizer_dir, tmp_path, texts):
    file = tmp_path / "config.json"
    file.write_text(json.dumps(CONFIG), encoding="utf-8")
    made = [ws.Backbone.from_config(c, str(tokenizer_dir), random_state=3) for c in (CONFIG, file, str(file), tmp_path)]
    for other in made[1:]:
        np.testing.assert_array_equal(made[0].embed(texts), other.embed(texts))


def test_from_config_with_another_seed_differs(tokenizer_dir, texts):
    a, b = (ws.Backbone.from_config(CONFIG, tokenizer_dir, random_state=seed) for seed in (1, 2))
    assert not np.allclose(a.embed(texts), b.embed(texts))


def test_from_config_refuses_broken_json(tokenizer_dir, tmp_path):
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises((ValueError, ws.WarmstartError)):
        ws.Backbone.from_config(tmp_path, tokenizer_dir)


def test_from_pretrained_of_nothing_is_file_not_found(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        ws.Backbone.from_pretrained(tmp_path / "nowhere")


def test_constructor_points_to_from_pretrained():
    with pytest.raises(TypeError, match="from_pretrained"):
        ws.Backbone("some/path")


def test_save_pretrained_round_trip(backbone, texts, tmp_path):
    backbone.save_pretrained(tmp_path / "saved")
    again = ws.Backbone.from_pretrained(tmp_path / "saved")
    np.testing.assert_array_equal(backbone.embed(texts), again.embed(texts))


def test_copies_are_the_same_object_and_pickles_the_same_values(backbone, texts):
    assert copy.copy(backbone) is backbone
    assert copy.deepcopy(backbone) is backbone
    assert clone(backbone, safe=False) is backbone
    again = pickle.loads(pickle.dumps(backbone))
    assert again is not backbone
    np.testing.assert_array_equal(again.embed(texts), backbone.embed(texts))


def test_embed_gives_float32_in_input_order(backbone, texts):
    whole = backbone.embed(texts)
    assert whole.shape == (len(texts), 32)
    assert whole.dtype == np.float32
    for index in (0, 7, 15):
        np.testing.assert_allclose(backbone.embed([texts[index]])[0], whole[index], rtol=1e-4, atol=1e-5)


def test_embed_does_not_depend_on_batch_size(backbone, texts):
    np.testing.assert_allclose(
        backbone.embed(texts, batch_tokens=16), backbone.embed(texts, batch_tokens=4096), rtol=1e-4, atol=1e-5
    )


def test_embed_of_no_texts_is_empty(backbone):
    assert backbone.embed([]).shape == (0, 32)
    assert backbone.embed([], layers=[0, 1]).shape == (0, 64)


def test_negative_layers_count_from_the_last(backbone, texts):
    np.testing.assert_array_equal(backbone.embed(texts, layers=-1), backbone.embed(texts, layers=2))
    np.testing.assert_array_equal(backbone.embed(texts, layers=-3), backbone.embed(texts, layers=0))
    both = backbone.embed(texts, layers=[0, -1])
    np.testing.assert_array_equal(both, np.hstack([backbone.embed(texts, layers=0), backbone.embed(texts, layers=2)]))


@pytest.mark.parametrize(
    ("layers", "error", "match"),
    [
        (3, ValueError, "layers=3 does not exist"),
        (-4, ValueError, "2 or -1"),
        ([], ValueError, "empty"),
        ("last", TypeError, "'last'"),
        (True, TypeError, "True"),
        ([0, 1.5], TypeError, "1.5"),
    ],
)
def test_layers_out_of_range_are_named(backbone, layers, error, match):
    with pytest.raises(error, match=match):
        backbone.embed(["a"], layers=layers)


def test_unknown_pooling_lists_the_known(backbone):
    with pytest.raises(ValueError, match=r"'mean', 'cls', 'last', 'max', 'mean_sqrt_len', 'weighted_mean', got 'sum'"):
        backbone.embed(["a"], pooling="sum")


def test_poolings_differ(backbone, texts):
    mean, cls, largest = (backbone.embed(texts, pooling=p) for p in ("mean", "cls", "max"))
    assert not np.allclose(mean, cls)
    assert (largest >= mean - 1e-5).all()


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"pooling_mode": "cls"}, "cls"),  # sentence-transformers 6
        ({"pooling_mode": ["max"]}, "max"),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True, "pooling_mode_lasttoken": False}, "mean"),
        ({"pooling_mode_lasttoken": True}, "last"),
        ({"pooling_mode_max_tokens": True, "pooling_mode_mean_sqrt_len_tokens": False}, "max"),
        ({"pooling_mode_weightedmean_tokens": True}, "weighted_mean"),
        ({"pooling_mode": "mean_sqrt_len_tokens"}, "mean_sqrt_len"),
        ({"pooling_mode_max_tokens": True, "pooling_mode_cls_token": True}, ["cls", "max"]),
        ({"word_embedding_dimension": 24}, "mean"),
    ],
)
def test_pooling_that_a_directory_asks_for_is_the_default(config, expected, backbone, texts, tmp_path):
    asking = with_pooling(backbone, config, tmp_path)
    np.testing.assert_array_equal(asking.embed(texts), backbone.embed(texts, pooling=expected))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"pooling_mode_min_tokens": True}, "pooling_mode_min_tokens is not supported"),
        ({"pooling_mode": 3}, "pooling_mode is 3; supported: cls, max, mean"),
        ([1], "expected an object"),
    ],
)
def test_pooling_that_is_not_known_is_refused(config, message, backbone, tmp_path):
    with pytest.raises(ValueError, match=f"1_Pooling/config.json: {message}.*open a copy without"):
        with_pooling(backbone, config, tmp_path)


def with_pooling(backbone, config, directory):
    backbone.save_pretrained(directory)
    (directory / "1_Pooling").mkdir()
    (directory / "1_Pooling" / "config.json").write_text(json.dumps(config))
    return ws.Backbone.from_pretrained(directory)


@pytest.mark.parametrize(("kind", "expected"), [(0, "mean"), (1, "mean"), (2, "cls"), (3, "last"), (4, None)])
def test_pooling_that_a_gguf_file_asks_for_is_the_default(kind, expected, tmp_path):
    content = bytearray((Path(__file__).parents[1] / "reference" / "gguf" / "bert.gguf").read_bytes())
    value = content.index(b"bert.pooling_type") + len(b"bert.pooling_type") + 4
    content[value : value + 4] = kind.to_bytes(4, "little")
    (tmp_path / "model.gguf").write_bytes(content)
    if expected is None:
        with pytest.raises(ValueError, match="pooling_type is 4; supported: 0 none"):
            ws.Backbone.from_pretrained(tmp_path)
        return
    opened, texts = ws.Backbone.from_pretrained(tmp_path), ["the film was good", "a film"]
    np.testing.assert_array_equal(opened.embed(texts), opened.embed(texts, pooling=expected))
    opened.save_pretrained(tmp_path / "saved")
    again = ws.Backbone.from_pretrained(tmp_path / "saved")
    np.testing.assert_array_equal(again.embed(texts), opened.embed(texts))


def test_texts_that_were_cut_are_counted_in_one_warning(backbone):
    with pytest.warns(UserWarning, match=f"1 of 2 texts is longer than {MAX_LENGTH} tokens and was cut") as caught:
        backbone.embed(["the film " * 40, "a film"])
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_max_length_beyond_the_model_is_refused(backbone):
    with pytest.raises(ValueError, match=str(MAX_LENGTH)):
        backbone.embed(["a"], max_length=MAX_LENGTH + 1)


def test_repr_tells_what_it_is(backbone):
    text = repr(backbone)
    assert text.startswith("Backbone(bert, 2 layers x 32, ")
    assert f"vocabulary of {CONFIG['vocab_size']}" in text
    assert "up to 32 tokens" in text
    assert "\n" not in text


def test_html_is_a_table(backbone):
    html = backbone._repr_html_()
    assert html.startswith("<table>")
    for word in ("bert", "parameters", "attention heads"):
        assert word in html


def test_load_report_tells_what_was_read(backbone, tmp_path):
    backbone.save_pretrained(tmp_path / "saved")
    report = ws.Backbone.from_pretrained(tmp_path / "saved").load_report
    nothing: dict[str, object] = {"missing": [], "ignored": [], "converted": [], "not_finite": [], "prefix": ""}
    assert report == {"loaded": len(backbone._inner.parameters()), **nothing}


def test_training_a_model_whose_weights_are_the_file_changes_neither(tokenizer_dir, texts, tmp_path):
    # Large enough for tensors to be mapped instead of read: 256 KiB.
    wide = CONFIG | {"hidden_size": 160, "intermediate_size": 640, "num_hidden_layers": 1}
    ws.Backbone.from_config(wide, tokenizer_dir, random_state=0).save_pretrained(tmp_path / "wide")
    before = (tmp_path / "wide" / "model.safetensors").read_bytes()
    opened = ws.Backbone.from_pretrained(tmp_path / "wide")
    vectors = opened.embed(texts[:4])
    ws.TextClassifier(opened, **FAST).fit(texts, [i % 2 for i in range(len(texts))])
    assert (tmp_path / "wide" / "model.safetensors").read_bytes() == before
    np.testing.assert_array_equal(opened.embed(texts[:4]), vectors)
