"""`save` and `load`: a Hugging Face directory with ``warmstart.json``, and what damage does."""

import json
import re
import struct

import numpy as np
import pytest
import warmstart as ws


@pytest.fixture
def saved(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    return tmp_path / "model"


def test_the_directory_is_what_transformers_reads(fitted, saved):
    config = json.loads((saved / "config.json").read_text(encoding="utf-8"))
    assert config["id2label"] == {"0": "neg", "1": "pos"}
    assert config["label2id"] == {"neg": 0, "pos": 1}
    assert config["architectures"] == ["BertForSequenceClassification"]
    assert {"model.safetensors", "warmstart.json"} <= {p.name for p in saved.iterdir()}


def test_load_restores_the_estimator(fitted, saved, texts, labels):
    again = ws.load(str(saved))
    np.testing.assert_array_equal(again.predict_proba(texts), fitted.predict_proba(texts))
    for name, value in fitted.get_params(deep=False).items():
        if name != "backbone":
            assert getattr(again, name) == value, name
    assert again.history_.rows == fitted.history_.rows
    assert again.history_.best_step == fitted.history_.best_step
    assert repr(again.report_) == repr(fitted.report_)
    assert (again.random_state_, again.n_iter_) == (fitted.random_state_, fitted.n_iter_)
    assert again.score(texts, labels) == 1.0


def test_a_loaded_estimator_can_be_fitted_again_and_saved_again(saved, texts, labels, tmp_path):
    again = ws.load(saved).set_params(epochs=1).fit(texts, labels)
    again.save(tmp_path / "second")
    np.testing.assert_array_equal(ws.load(tmp_path / "second").predict_proba(texts), again.predict_proba(texts))


@pytest.mark.parametrize("names", [("no", "yes"), (3, 11), (False, True), ("é <ü>", "日本")])
def test_labels_keep_their_kind(make, texts, names, tmp_path):
    clf = make(epochs=1).fit(texts, [names[i % 2] for i in range(len(texts))])
    clf.save(tmp_path / "model")
    again = ws.load(tmp_path / "model")
    assert again.classes_.dtype.kind == clf.classes_.dtype.kind
    assert again.predict(texts).tolist() == clf.predict(texts).tolist()


def test_every_parameter_survives(make, texts, tmp_path):
    labels = [i % 2 for i in range(len(texts))]
    params = {
        "strategy": ws.LinearProbing(),
        "learning_rate": np.float32(0.5),
        "optimizer": ws.AdamW(schedule="cosine", max_grad_norm=None, weight_decay=np.float32(0.25)),
        "label_smoothing": 0.125,
        "epochs": np.int64(1),
        "max_steps": 2,
        "batch_tokens": 64,
        "accumulation_steps": 2,
        "max_length": 20,
        "class_weight": {0: 1.5, 1: 0.5},
        "metric": "loss",
        "precision": "f32",
        "device": "cpu",
        "random_state": np.random.RandomState(3),
    }
    clf = make(**params).fit(texts, labels, eval_set=(texts, labels))
    clf.save(tmp_path / "model")
    again = ws.load(tmp_path / "model")
    for name, value in params.items():
        expected = clf.random_state_ if name == "random_state" else value
        assert getattr(again, name) == expected, name


def test_a_metric_that_is_a_function_is_warned_about(make, texts, labels, tmp_path):
    clf = make(metric=lambda truth, predicted: 1.0).fit(texts, labels, eval_set=(texts, labels))
    with pytest.warns(UserWarning, match="is a function, which is not saved") as caught:
        clf.save(tmp_path / "model")
    assert caught[0].filename == __file__
    assert ws.load(tmp_path / "model").metric == "accuracy"


def test_saving_over_an_older_save_replaces_it(make, texts, labels, saved):
    other = make(epochs=1, random_state=9).fit(texts, labels)
    other.save(saved)
    np.testing.assert_array_equal(ws.load(saved).predict_proba(texts), other.predict_proba(texts))


def test_the_backbone_of_a_save_opens_as_a_backbone(fitted, saved, texts):
    with pytest.warns(UserWarning, match="head .* is left out"):
        backbone = ws.Backbone.from_pretrained(saved)
    np.testing.assert_array_equal(backbone.embed(texts), fitted.backbone_.embed(texts))


def test_a_place_that_cannot_be_written_is_named(fitted, tmp_path):
    (tmp_path / "file").write_text("here", encoding="utf-8")
    with pytest.raises((OSError, ws.WarmstartError), match="file"):
        fitted.save(tmp_path / "file" / "model")
    assert (tmp_path / "file").read_text(encoding="utf-8") == "here"


def test_a_disk_that_fills_up_leaves_the_older_save(make, texts, labels, saved):
    resource = pytest.importorskip("resource")
    before = {file.name: file.read_bytes() for file in saved.iterdir()}
    other = make(epochs=1, random_state=9).fit(texts, labels)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises((OSError, ws.WarmstartError), match="model"):
            other.save(saved)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {file.name: file.read_bytes() for file in saved.iterdir()} == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def sizes(directory, name):
    """Return the bytes of every tensor in a safetensors file."""
    content = (directory / name).read_bytes()
    header = json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])
    return {n: t["data_offsets"][1] - t["data_offsets"][0] for n, t in header.items() if n != "__metadata__"}


def weights_in(directory):
    return sorted(p.name for p in directory.iterdir() if re.match(r"model|pytorch_model", p.name))


@pytest.mark.parametrize(("given", "limit"), [("9.5KB", 9500), (8448, 8448), ("8 KiB", 8192), (1, 1)])
def test_weights_above_a_size_become_shards_with_an_index(fitted, texts, tmp_path, given, limit):
    fitted.save(tmp_path / "whole")
    fitted.save(tmp_path / "model", max_shard_size=given)
    index = json.loads((tmp_path / "model" / "model.safetensors.index.json").read_text(encoding="utf-8"))
    shards = sorted(set(index["weight_map"].values()))
    n = len(shards)
    assert shards == [f"model-{i:05}-of-{n:05}.safetensors" for i in range(1, n + 1)]
    assert weights_in(tmp_path / "model") == [*shards, "model.safetensors.index.json"]
    found = {}
    for shard in shards:
        inside = sizes(tmp_path / "model", shard)
        assert sum(inside.values()) <= limit or len(inside) == 1
        assert {index["weight_map"][name] for name in inside} == {shard}
        found |= inside
    assert found == sizes(tmp_path / "whole", "model.safetensors")
    assert index["metadata"]["total_size"] == sum(found.values())
    np.testing.assert_array_equal(ws.load(tmp_path / "model").predict_proba(texts), fitted.predict_proba(texts))


def test_weights_of_exactly_the_size_are_one_file(backbone, tmp_path):
    total = 4 * backbone.n_parameters
    backbone.save_pretrained(tmp_path / "one", max_shard_size=total)
    assert weights_in(tmp_path / "one") == ["model.safetensors"]
    backbone.save_pretrained(tmp_path / "two", max_shard_size=total - 1)
    assert len(weights_in(tmp_path / "two")) == 3


def test_a_save_of_other_shards_keeps_none_of_the_older(backbone, texts, tmp_path):
    for name in ("pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json", "model-mine"):
        (tmp_path / name).write_text("old")
    expected = backbone.embed(texts)
    for limit, n in ((1, 39), ("20KB", 5), ("5GB", 1), ("20KB", 5)):
        backbone.save_pretrained(tmp_path, max_shard_size=limit)
        assert len(weights_in(tmp_path)) == n + (n > 1) + 1, weights_in(tmp_path)
        assert "model-mine" in weights_in(tmp_path)
        np.testing.assert_array_equal(ws.Backbone.from_pretrained(tmp_path).embed(texts), expected)


def test_a_disk_that_fills_up_leaves_the_older_shards(backbone, tmp_path):
    resource = pytest.importorskip("resource")
    backbone.save_pretrained(tmp_path / "model", max_shard_size="12KB")
    before = {file.name: file.read_bytes() for file in (tmp_path / "model").iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises((OSError, ws.WarmstartError), match="model"):
            backbone.save_pretrained(tmp_path / "model", max_shard_size="40KB")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {file.name: file.read_bytes() for file in (tmp_path / "model").iterdir()} == before


@pytest.mark.parametrize(
    ("size", "error", "match"),
    [
        ("big", ValueError, "got 'big'"),
        ("5", ValueError, "got '5'"),
        ("-1GB", ValueError, "got '-1GB'"),
        ("0MB", ValueError, "at least 1"),
        (0, ValueError, "at least 1"),
        (-5, ValueError, "at least 1"),
        (1.5, TypeError, "1.5"),
        (None, TypeError, "None"),
        (True, TypeError, "True"),
    ],
)
def test_a_size_that_is_none_is_refused(backbone, fitted, tmp_path, size, error, match):
    for save in (backbone.save_pretrained, fitted.save):
        with pytest.raises(error, match=f"max_shard_size.*{match}"):
            save(tmp_path / "model", max_shard_size=size)
    assert not (tmp_path / "model").exists()


def test_a_directory_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: no such directory"):
        ws.load(tmp_path / "nowhere")


def test_a_plain_hugging_face_directory_says_what_to_do(backbone, tmp_path):
    backbone.save_pretrained(tmp_path / "plain")
    with pytest.raises(ws.WarmstartError, match=r"no warmstart.json.*Backbone.from_pretrained"):
        ws.load(tmp_path / "plain")


def test_a_file_is_told_its_directory(backbone, saved, tmp_path):
    for name in ("model.safetensors", "config.json", "warmstart.json"):
        with pytest.raises(ws.WarmstartError, match=f"is a file; .*: {re.escape(f'load({str(saved)!r})')}$"):
            ws.load(saved / name)
    plain = tmp_path / "plain"
    backbone.save_pretrained(plain)
    with pytest.raises(ws.WarmstartError, match=f"no warmstart.json.*{re.escape(f'from_pretrained({str(plain)!r})')}"):
        ws.load(plain / "model.safetensors")


def test_what_is_no_model_is_not_said_to_be_one(tmp_path):
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}', encoding="utf-8")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    for path in (tmp_path, tmp_path / "adapter_model.safetensors"):
        with pytest.raises(ws.WarmstartError, match=r"has no warmstart\.json, so no estimator was saved there$"):
            ws.load(path)
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    with pytest.raises(ws.WarmstartError, match=rf"is a file, and .*{re.escape(f'from_pretrained({str(file)!r})')}"):
        ws.load(file)


def change(saved, **fields):
    file = saved / "warmstart.json"
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **fields}), encoding="utf-8")


def test_a_newer_format_says_to_upgrade(saved):
    change(saved, format_version=99, warmstart_version="9.0")
    with pytest.raises(ws.WarmstartError, match=r"format version 99, written by warmstart 9.0.*pip install --upgrade"):
        ws.load(saved)


@pytest.mark.parametrize(
    "fields",
    [
        {"params": {}},
        {"params": None},
        {"classes": {"kind": "float", "values": [1.5], "multi_label": False}},
        {"classes": {"kind": "str", "values": ["a", "b", "c"], "multi_label": False}},
        {"report": {}},
        {"history": {"rows": []}},
        {"estimator": "TextPainter"},
        {"format_version": "one"},
        {"random_state": None},
    ],
)
def test_damaged_metadata_is_a_warmstart_error(saved, fields):
    change(saved, **fields)
    with pytest.raises(ws.WarmstartError, match=r"warmstart.json is damaged"):
        ws.load(saved)


def test_an_unknown_parameter_is_a_warmstart_error(saved):
    params = json.loads((saved / "warmstart.json").read_text(encoding="utf-8"))["params"]
    change(saved, params={**params, "colour": "red"})
    with pytest.raises(ws.WarmstartError, match="colour"):
        ws.load(saved)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00"])
def test_metadata_that_is_no_json_object_is_a_warmstart_error(saved, text):
    (saved / "warmstart.json").write_text(text, encoding="utf-8")
    with pytest.raises(ws.WarmstartError, match=r"warmstart.json is damaged"):
        ws.load(saved)


@pytest.mark.parametrize("damage", ["truncated", "empty", "lying header", "huge header"])
def test_damaged_weights_are_a_weights_error(saved, damage):
    file = saved / "model.safetensors"
    content = file.read_bytes()
    broken = {
        "truncated": content[: len(content) // 2],
        "empty": b"",
        "lying header": (len(content) - 9).to_bytes(8, "little") + content[8:],
        "huge header": (2**63 - 1).to_bytes(8, "little") + content[8:],
    }[damage]
    file.write_bytes(broken)
    with pytest.raises(ws.WeightsError, match=r"model\.safetensors"):
        ws.load(saved)


def test_a_config_that_disagrees_with_the_weights_is_a_weights_error(saved):
    file = saved / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**config, "hidden_size": 64}), encoding="utf-8")
    with pytest.raises(ws.WeightsError, match="word_embeddings"):
        ws.load(saved)


def test_weights_that_are_not_there(saved):
    (saved / "model.safetensors").unlink()
    with pytest.raises((FileNotFoundError, ws.WeightsError)):
        ws.load(saved)


def test_a_save_over_another_keeps_nothing_of_it(fitted, backbone, tmp_path):
    """Side files of the older model, or of an estimator, would change what is read."""
    other = tmp_path / "other"
    fitted.save(other)
    (other / "1_Pooling").mkdir()
    (other / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    (other / "notes.txt").write_text("mine")
    backbone.save_pretrained(other)
    assert ws.Backbone.from_pretrained(other)._inner.default_pooling == backbone._inner.default_pooling
    assert not (other / "warmstart.json").exists()
    assert (other / "notes.txt").read_text() == "mine"


def test_saves_from_several_threads_leave_one_whole(fitted, texts, tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(fitted.save, tmp_path / "model") for _ in range(8)]:
            done.result()
    reloaded = ws.load(tmp_path / "model")
    assert (reloaded.decision_function(texts) == fitted.decision_function(texts)).all()
    assert not list((tmp_path / "model").glob(".warmstart*"))
