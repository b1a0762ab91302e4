"""`Backbone.from_pretrained("org/name")`: fetched through huggingface_hub from a server on the loopback address.

``huggingface_hub`` reads its environment once, at import: each environment is a process of its own.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import warmstart as ws
from conftest import CONFIG
from hub_server import Hub, files_of
from warmstart import _core

pytest.importorskip("huggingface_hub")

REFERENCE = Path(__file__).parents[1] / "reference"
TEXT = "the film was good"

CHILD = """
import json, sys, warnings
import warmstart as ws
for line in sys.stdin:
    call = json.loads(line)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            opened = getattr(ws, call.pop("kind", "Backbone")).from_pretrained(call.pop("path"), **call)
            backbone = getattr(opened, "backbone", opened)
            found = {"source": backbone._inner.source, "vector": backbone.embed(["the film was good"]).tolist()}
        except Exception as error:
            found = {"error": type(error).__name__, "message": str(error)}
    print(json.dumps({**found, "warnings": [str(w.message) for w in caught]}), flush=True)
"""


class Client:
    """A process that opens backbones."""

    def __init__(self, home: Path, endpoint: str, **environment: str) -> None:
        base = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TQDM_"))}
        self.cache = home / "hub"
        with (home / "stderr").open("a", encoding="utf-8") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", CHILD],
                env={**base, "HF_HOME": str(home), "HF_ENDPOINT": endpoint, **environment},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self.errors = (home / "stderr").open(encoding="utf-8")

    def open(self, path: str, **options: Any) -> dict[str, Any]:
        """Return ``source, vector, warnings``, or ``error, message, warnings``."""
        assert self.process.stdin and self.process.stdout
        print(json.dumps({"path": path, **options}), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def shown(self) -> str:
        """Return what the error stream got since the last call."""
        return self.errors.read()

    def close(self) -> None:
        self.process.communicate()
        self.errors.close()


@pytest.fixture
def hub():
    server = Hub()
    yield server
    server.close()


@pytest.fixture
def connect(tmp_path, hub):
    """Start a client: its cache is the test's, its environment what is given."""
    clients: list[Client] = []

    def start(**environment: str) -> Client:
        home = tmp_path / "home"
        home.mkdir(exist_ok=True)
        clients.append(Client(home, hub.url, **environment))
        return clients[-1]

    yield start
    for client in clients:
        client.close()


@pytest.fixture(scope="module")
def model(backbone, tmp_path_factory) -> dict[str, bytes]:
    directory = tmp_path_factory.mktemp("model")
    backbone.save_pretrained(directory)
    return files_of(directory)


@pytest.fixture(scope="module")
def other(tokenizer_dir, tmp_path_factory) -> tuple[ws.Backbone, dict[str, bytes]]:
    """Other weights of the same shape."""
    directory = tmp_path_factory.mktemp("other")
    backbone = ws.Backbone.from_config(CONFIG, tokenizer_dir, random_state=1)
    backbone.save_pretrained(directory)
    return backbone, files_of(directory)


def assert_is(found: dict[str, Any], backbone: ws.Backbone) -> None:
    assert "error" not in found, found
    np.testing.assert_array_equal(np.float32(found["vector"]), backbone.embed([TEXT]))


def snapshot(found: dict[str, Any]) -> set[str]:
    return set(files_of(Path(found["source"])))


def test_fetch_when_first_then_gets_what_is_needed_and_when_again_then_nothing(hub, connect, backbone, model):
    extra = ("README.md", "pytorch_model.bin", "tf_model.h5", "onnx/model.onnx", "model.fp16.safetensors")
    templates = ["additional_chat_templates/tools.jinja", "additional_chat_templates/rag.jinja"]
    beside = dict.fromkeys({*_core.SIDE_FILES, *templates} - set(model), b"{}")
    beside["modules.json"] = (REFERENCE / "sentence" / "turned" / "modules.json").read_bytes()
    hub.add("org/name", {**model, **beside, **dict.fromkeys(extra, b"not needed")})
    client = connect()
    found = client.open("org/name")
    assert_is(found, backbone)
    assert snapshot(found) == {*model, *beside}
    assert not [path for path in hub.gets() for name in extra if path.endswith(name)]
    hub.requests.clear()
    assert_is(client.open("org/name"), backbone)
    assert hub.gets() == []
    assert client.shown() == ""  # nobody watches a file
    # Another library fetched what it needs, which is less.
    (Path(found["source"]) / "1_Pooling" / "config.json").unlink()
    assert snapshot(client.open("org/name")) == {*model, *beside}


def test_cache_when_offline_then_serves_without_a_request(hub, connect, backbone, model):
    hub.add("org/name", model)
    assert_is(connect().open("org/name"), backbone)
    hub.requests.clear()
    offline = connect(HF_HUB_OFFLINE="1")
    found = offline.open("org/name")
    assert_is(found, backbone)
    assert found["warnings"] == []
    missing = offline.open("org/other")
    assert missing["error"] == "WarmstartError"
    assert "org/other: no such directory here, and as a repository it is not whole in the cache" in missing["message"]
    assert "HF_HUB_OFFLINE" in missing["message"]
    assert hub.requests == []


def test_cache_when_the_server_is_gone_then_serves_with_a_warning(hub, connect, backbone, model):
    hub.add("org/name", model)
    client = connect()
    client.open("org/name")
    hub.close()
    found = client.open("org/name")
    assert_is(found, backbone)
    assert "could not be reached" in found["warnings"][0]
    missing = client.open("org/other")
    assert missing["error"] == "WarmstartError"
    assert "\n" not in missing["message"]
    assert f"as a repository it could not be fetched from {hub.url}" in missing["message"]


def test_revision_when_named_then_is_that_commit(hub, connect, backbone, model, other):
    repository = hub.add("org/name", model)
    changed, files = other
    commit = repository.commit(files, "v2", "refs/pr/1")
    client = connect()
    assert_is(client.open("org/name"), backbone)
    for revision in ("v2", commit, "refs/pr/1"):
        found = client.open("org/name", revision=revision)
        assert_is(found, changed)
        assert Path(found["source"]).name == commit
    unknown = client.open("org/name", revision="v3")
    assert unknown["error"] == "FileNotFoundError"
    assert "org/name has no revision 'v3'" in unknown["message"]
    offline = connect(HF_HUB_OFFLINE="1")
    assert_is(offline.open("org/name", revision="v2"), changed)


def test_language_model_when_its_repository_is_named_then_is_fetched_too(hub, connect, backbone, tmp_path):
    repository = hub.add("org/writer", {})
    ws.LanguageModel(backbone, random_state=0, verbose=False).save(tmp_path / "saved")
    commit = repository.commit(files_of(tmp_path / "saved"), "v2", "v2")
    client = connect()
    found = client.open("org/writer", kind="LanguageModel", revision="v2", verbose=False)
    assert_is(found, backbone)
    assert Path(found["source"]).name == commit
    assert client.open("org/none", kind="LanguageModel")["error"] == "FileNotFoundError"


def test_fetch_when_the_branch_moved_then_is_the_new_commit(hub, connect, backbone, model, other):
    repository = hub.add("org/name", model)
    client = connect()
    assert_is(client.open("org/name"), backbone)
    changed, files = other
    repository.commit(files)
    assert_is(client.open("org/name"), changed)


def test_token_when_required_then_is_asked_for(hub, connect, backbone, model):
    hub.add("org/private", model, token="right")
    hub.add("org/gated", model, token="right", gated=True)
    client = connect()
    for name, error, text in [
        ("org/private", "FileNotFoundError", "or it is private"),
        ("org/gated", "WarmstartError", "org/gated is gated: ask for access at"),
    ]:
        refused = client.open(name)
        assert refused["error"] == error
        assert text in refused["message"]
        assert "HF_TOKEN" in refused["message"]
        assert "\n" not in refused["message"]
    assert client.open("org/gated", token="of another")["error"] == "WarmstartError"
    wrong = client.open("org/private", token="wrong")
    assert wrong["error"] == "WarmstartError"
    assert "refuses the token" in wrong["message"]
    assert not list(client.cache.rglob("*.safetensors"))
    assert_is(client.open("org/private", token="right"), backbone)
    assert_is(connect(HF_TOKEN="right").open("org/gated"), backbone)
    large = [headers for _, path, headers in hub.requests if path.startswith("/large/")]
    assert large
    assert not any("authorization" in headers for headers in large)


def test_fetch_when_there_is_no_such_repository_then_says_so(hub, connect):
    client = connect()
    for name in ("org/nowhere", "nowhere"):
        found = client.open(name, token="right")
        assert found["error"] == "FileNotFoundError"
        assert f"{name}: no such directory, and {hub.url} has no such model" in found["message"]
    invalid = client.open("org/a--b")
    assert invalid["error"] == "FileNotFoundError"
    assert "no name of a repository" in invalid["message"]


def test_fetch_when_the_repository_was_renamed_then_follows(hub, connect, backbone, model):
    hub.add("org/name", model)
    hub.renamed["old-name"] = "org/name"
    assert_is(connect().open("old-name"), backbone)


def test_fetch_when_weights_are_sharded_then_gets_the_shards_of_the_index(hub, connect, backbone, tmp_path):
    backbone.save_pretrained(tmp_path / "sharded", max_shard_size="30KB")
    files = files_of(tmp_path / "sharded")
    shards = [name for name in files if name.startswith("model-")]
    assert len(shards) > 1
    hub.add("org/name", {**files, "model-00001-of-00009.safetensors": b"of another index"})
    found = connect().open("org/name")
    assert_is(found, backbone)
    assert snapshot(found) == set(files)


def test_fetch_when_there_are_no_safetensors_then_takes_bin(hub, connect):
    directory = REFERENCE / "bert_b_legacy"
    hub.add("org/legacy", files_of(directory))
    found = connect().open("org/legacy")
    assert_is(found, ws.Backbone.from_pretrained(directory))
    assert "pytorch_model.bin" in snapshot(found)


def test_fetch_when_the_connection_breaks_then_resumes(hub, connect, tokenizer_dir, tmp_path):
    # Larger than the 10 MiB pieces in which huggingface_hub writes.
    backbone = ws.Backbone.from_config({**CONFIG, "max_position_embeddings": 90_001}, tokenizer_dir, random_state=0)
    backbone.save_pretrained(tmp_path / "model")
    hub.add("org/name", files_of(tmp_path / "model"))
    hub.trouble = ["cut"]
    assert_is(connect().open("org/name"), backbone)
    ranges = [headers["range"] for _, _, headers in hub.requests if "range" in headers]
    assert len(ranges) == 1
    assert re.fullmatch(r"bytes=\d{8,}-", ranges[0])


def test_fetch_when_the_server_breaks_then_leaves_nothing_half_and_later_is_whole(hub, connect, backbone, model):
    hub.add("org/name", model)
    hub.trouble = ["cut", "500"]
    client = connect()
    broken = client.open("org/name")
    assert broken["error"] == "WarmstartError"
    assert "could not be fetched" in broken["message"]
    assert "500" in broken["message"]
    assert "\n" not in broken["message"]
    assert not list(client.cache.rglob("*.safetensors"))
    offline = connect(HF_HUB_OFFLINE="1").open("org/name")
    assert offline["error"] == "WarmstartError"
    assert "not whole" in offline["message"]
    assert_is(client.open("org/name"), backbone)


def test_fetch_when_files_are_missing_or_hostile_then_names_them(hub, connect, model):
    index = json.dumps({"weight_map": {"a": "../../secret", "b": 3, "c": "model-1.safetensors"}}).encode()
    files = {name: content for name, content in model.items() if name != "model.safetensors"}
    hub.add("org/weightless", files)
    hub.add("org/configless", {name: content for name, content in model.items() if name != "config.json"})
    hub.add("org/empty", {"README.md": b""})
    hub.add("org/outside", {**files, "model.safetensors.index.json": index, "../../secret": b"", "config": b""})
    hub.add("org/broken", {**files, "model.safetensors.index.json": b"[]"})
    hub.add("org/damaged", {**files, "model.safetensors": b"\xff" * 40})
    client = connect()
    for name, error, text in [
        ("org/weightless", "FileNotFoundError", "model.safetensors"),
        ("org/configless", "FileNotFoundError", "config.json"),
        ("org/empty", "FileNotFoundError", "config.json"),
        ("org/outside", "WeightsError", "outside the directory"),
        ("org/broken", "WeightsError", "weight_map"),
        ("org/damaged", "WeightsError", "cannot be read as safetensors"),
    ]:
        found = client.open(name)
        assert (found.get("error"), text in found.get("message", "")) == (error, True), (name, found)
    assert not list(client.cache.parent.rglob("secret"))


def test_fetch_when_the_weights_are_gguf_files_then_says_how_to_open_one(hub, connect):
    hub.add("org/files", {"README.md": b"", "model.Q8_0.gguf": b"GGUF", "model.Q4_0.gguf": b"GGUF"})
    client = connect()
    for _ in range(2):
        found = client.open("org/files")
        assert found["error"] == "FileNotFoundError"
        assert "in 2 GGUF files (model.Q4_0.gguf, model.Q8_0.gguf)" in found["message"]
        assert "hf_hub_download('org/files', 'model.Q4_0.gguf')" in found["message"]


def test_cache_when_the_server_is_busy_then_serves_with_a_warning(hub, connect, backbone, model):
    hub.add("org/name", model)
    client = connect()
    client.open("org/name")
    hub.busy = True
    found = client.open("org/name")
    assert_is(found, backbone)
    assert "could not be reached" in found["warnings"][0]


def test_progress_when_verbose_is_false_then_shows_nothing(hub, connect, model):
    hub.add("org/name", model)
    hub.add("org/quiet", {**model, "vocab.txt": model["vocab.txt"] + b"\n"})
    client = connect(TQDM_POSITION="-1")  # shows bars in a file too
    client.open("org/quiet", verbose=False)
    assert client.shown() == ""
    client.open("org/name")
    assert "100%" in client.shown()


def test_import_when_the_hub_is_not_installed_then_says_how_to_install_it(monkeypatch, tmp_path, backbone):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ImportError, match=r'pip install "warmstart\[hub\]"'):
        ws.Backbone.from_pretrained("org/name")
    backbone.save_pretrained("org/name")
    np.testing.assert_array_equal(ws.Backbone.from_pretrained("org/name").embed([TEXT]), backbone.embed([TEXT]))


@pytest.mark.parametrize(
    "path", ["a/b/c", "./name", "name.gguf", "a/name.GGUF", "/name", "~/name", "name/", Path("org/name")]
)
def test_path_when_it_is_no_name_of_a_repository_then_is_not_fetched(monkeypatch, path):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(FileNotFoundError, match=r"name|a/b/c"):
        ws.Backbone.from_pretrained(path)


def test_revision_when_given_for_a_path_then_is_refused(tmp_path):
    with pytest.raises(ValueError, match="revision='main' is for repositories"):
        ws.Backbone.from_pretrained(tmp_path, revision="main")


@pytest.mark.parametrize("name", ["v2_nested", "dense", "v2_lower"])
def test_directory_of_sentence_transformers_is_fetched_whole(hub, connect, name):
    directory = REFERENCE / "sentence" / name
    hub.add("org/name", files_of(directory) | {"onnx/model.onnx": b"0" * 100, "README.md": b"#"})
    client = connect()
    expected = ws.Backbone.from_pretrained(directory)
    found = client.open("org/name")
    assert "error" not in found, found
    np.testing.assert_array_equal(np.array(found["vector"], np.float32), expected.embed([TEXT]))
    source = Path(found["source"])
    assert not (source / "onnx").exists() and not (source / "README.md").exists()
    hub.close()
    again = client.open("org/name")
    assert again["vector"] == found["vector"]
    for file in source.rglob("2_Dense/*.*"):
        if file.suffix != ".json":
            file.unlink()
            assert "not whole in the cache" in client.open("org/name")["message"]


def test_adapter_beside_weights_is_refused_as_in_a_directory(hub, connect, model):
    hub.add("org/name", {**model, "adapter_config.json": b'{"base_model_name_or_path": "org/base"}'})
    found = connect().open("org/name")
    assert found["error"] == "ValueError" and "adapter" in found["message"], found
