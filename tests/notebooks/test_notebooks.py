"""The notebook runs from top to bottom on a tiny model, and the kernel can be interrupted during `fit`."""

import base64
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
import warmstart as ws
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

HERE = Path(__file__).parent
NOTEBOOK = HERE / "quickstart.ipynb"
TIMEOUT_S = 60
WIDGET = "application/vnd.jupyter.widget-view+json"

DOUBTS = ("hardly better than guessing", "are mostly words that the vocabulary lacks")
TOPICS = {"earn": ["profit", "dividend"], "grain": ["wheat", "corn"], "ship": ["port", "vessel"]}
FILL = ["the", "a", "company", "said", "was", "of", "new", "price"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *FILL, *(word for words in TOPICS.values() for word in words)]
CONFIG: dict[str, Any] = {
    "model_type": "bert",
    "vocab_size": len(WORDS),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "max_position_embeddings": 128,
    "type_vocab_size": 2,
    "initializer_range": 0.1,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
}

FIT = """
import warmstart as ws

texts = ["profit dividend", "wheat corn"] * 8
labels = ["earn", "grain"] * 8


def metric(truth, predicted):
    score = (truth == predicted).mean()
    print("evaluated", flush=True)
    return score


clf = ws.TextClassifier(ws.Backbone.from_pretrained(MODEL), max_steps=1_000_000, metric=metric, random_state=0)
clf.fit(texts, labels, eval_set=(texts, labels))
"""
USE = """
assert clf.predict(texts).shape == (len(texts),)
assert len(clf.history_) >= 1
assert clf.history_.best_step <= clf.n_iter_ < 1_000_000
assert clf.report_.training["stopped_by"] == "KeyboardInterrupt"
assert clf.report_.accuracy == max(row["metric"] for row in clf.history_.rows)
clf.history_
"""


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("model")
    (directory / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    (directory / "tokenizer_config.json").write_text('{"do_lower_case": true}', encoding="utf-8")
    ws.Backbone.from_config(CONFIG, directory, random_state=0).save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def r8_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("r8")
    rng = random.Random(0)
    for split, n in (("train", 500), ("test", 60)):
        lines = ["Category\tText", "d\tstring", "class\t"]
        for i in range(n):
            topic = list(TOPICS)[i % len(TOPICS)]
            words = [*rng.choices(FILL, k=rng.randint(2, 5)), rng.choice(TOPICS[topic])]
            lines.append(f"{topic}\t{' '.join(words)}")
        (directory / f"reuters-r8-{split}.tab").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return directory


@pytest.fixture(scope="module", autouse=True)
def kernel_environment(model_dir: Path, r8_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a kernel finds: the tiny model and texts, and folders of its own to leave files in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WARMSTART_MODEL", str(model_dir))
        patch.setenv("WARMSTART_R8", str(r8_dir))
        for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR", "TMPDIR"):
            patch.setenv(name, str(tmp_path_factory.mktemp(name.lower())))
        patch.delenv("MPLBACKEND", raising=False)
        yield


@pytest.fixture(scope="module")
def executed() -> dict[str, list[Any]]:
    """Outputs of every code cell, by the name of the cell."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(
        notebook, kernel_name="python3", timeout=TIMEOUT_S, resources={"metadata": {"path": str(HERE)}}
    ).execute()
    return {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}


def shown(outputs: list[Any], mime: str) -> list[str]:
    return [output.data[mime] for output in outputs if mime in output.get("data", {})]


def test_committed_notebook_holds_no_outputs():
    raw = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    nbformat.validate(raw)
    code = [cell for cell in raw["cells"] if cell["cell_type"] == "code"]
    assert code
    for cell in code:
        assert cell["outputs"] == []
        assert cell["execution_count"] is None
        assert cell["metadata"] == {}
    assert set(raw["metadata"]) == {"kernelspec", "language_info"}


def test_notebook_runs_without_errors_and_warnings(executed):
    streams = [
        (name, output.text)
        for name, outputs in executed.items()
        for output in outputs
        if output.get("name") == "stdout"
    ]
    assert [(o.output_type, o.get("name")) for outputs in executed.values() for o in outputs if is_trouble(o)] == []
    assert {name for name, _ in streams} == {"data", "predict", "save"}
    assert "same probabilities: True" in dict(streams)["save"]


def is_trouble(output: Any) -> bool:
    """Tell an error or a warning from what is rightly said of a model of random weights and a few dozen words."""
    if output.get("name") == "stderr":
        lines = [line for line in output.text.splitlines() if "Warning: " in line or not line.startswith("  ")]
        return not all(any(doubt in line for doubt in DOUBTS) for line in lines if line)
    return bool(output.output_type == "error")


@pytest.mark.parametrize(
    ("cell", "parts"),
    [
        ("backbone", ["<table>", "hidden size", "parameters"]),
        ("svc", ["FeatureExtractor", "SVC"]),
        ("plan", ["<table>", "encoder.layer.1", "learning rate"]),
        ("tuning", ["TextClassifier", "FullFineTuning"]),
        ("history", ["<table>", "eval_loss", "best"]),
        ("report", ["<table>", "macro f1", "precision", "earn"]),
    ],
)
def test_objects_show_themselves_as_html(executed, cell, parts):
    (html,) = shown(executed[cell], "text/html")
    assert [part for part in parts if part not in html] == []


@pytest.mark.parametrize("cell", ["history-plot", "report-plot"])
def test_plots_are_pictures(executed, cell):
    (picture,) = shown(executed[cell], "image/png")
    assert base64.b64decode(picture).startswith(b"\x89PNG")


@pytest.mark.parametrize("cell", ["probing", "tuning"])
def test_progress_bar_is_the_notebooks_own(executed, cell):
    assert len(shown(executed[cell], WIDGET)) == 1


def test_comparison_has_a_row_for_each_method(executed):
    (html,) = shown(executed["compare"], "text/html")
    rows = html.split("<tr>")[2:]
    assert len(rows) == 4
    names = ["features + SVC", "features + random forest", "linear probing", "full fine-tuning"]
    assert [name for name, row in zip(names, rows, strict=True) if f">{name}</td>" not in row] == []


def test_interrupted_kernel_keeps_a_usable_estimator(model_dir):
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel()
    client = manager.client()
    evaluations = 0

    def interrupt_the_third(message: Any) -> None:
        nonlocal evaluations
        if message["msg_type"] != "stream" or message["content"]["name"] != "stdout":
            return
        before, evaluations = evaluations, evaluations + message["content"]["text"].count("evaluated")
        if before < 3 <= evaluations:
            manager.interrupt_kernel()

    try:
        client.start_channels()
        client.wait_for_ready(timeout=TIMEOUT_S)
        code = FIT.replace("MODEL", repr(str(model_dir)))
        stopped = client.execute_interactive(code, output_hook=interrupt_the_third, timeout=TIMEOUT_S)["content"]
        assert (stopped["status"], stopped.get("ename")) == ("error", "KeyboardInterrupt"), stopped
        used = client.execute_interactive(USE, output_hook=lambda message: None, timeout=TIMEOUT_S)["content"]
        assert used["status"] == "ok", used
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()
