"""A tiny random BERT, and texts of a few words that it can learn."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import warmstart as ws

matplotlib.use("Agg")

GOOD = ["good", "great", "fine", "nice", "lovely"]
BAD = ["bad", "awful", "poor", "sad", "dull"]
PLAIN = ["long", "short", "old", "new", "plain"]
FILL = ["the", "a", "film", "plot", "was", "very", "and", "it", "story", "acting"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
MAX_LENGTH = 32

WORDS = SPECIAL + FILL + GOOD + BAD + PLAIN

CONFIG: dict[str, Any] = {
    "architectures": ["BertModel"],
    "model_type": "bert",
    "vocab_size": len(WORDS),
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "max_position_embeddings": MAX_LENGTH,
    "type_vocab_size": 2,
    "initializer_range": 0.1,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
    "position_embedding_type": "absolute",
}

FAST = {"learning_rate": 1e-2, "epochs": 2, "random_state": 0, "verbose": False}


@pytest.fixture(scope="session")
def tokenizer_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tokenizer")
    (directory / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    settings = '{"tokenizer_class": "BertTokenizer", "do_lower_case": true, "model_max_length": 32}'
    (directory / "tokenizer_config.json").write_text(settings, encoding="utf-8")
    return directory


@pytest.fixture(scope="session")
def backbone(tokenizer_dir: Path) -> ws.Backbone:
    return ws.Backbone.from_config(CONFIG, tokenizer_dir, random_state=0)


def make_texts(n: int, words: list[list[str]], seed: int = 0) -> tuple[list[str], list[int]]:
    """Return n texts, each with one word of its class among fillers, classes in turn."""
    rng = random.Random(seed)
    texts, labels = [], []
    for i in range(n):
        label = i % len(words)
        text = [rng.choice(FILL) for _ in range(rng.randint(2, 5))]
        text.insert(rng.randint(0, len(text)), rng.choice(words[label]))
        texts.append(" ".join(text))
        labels.append(label)
    return texts, labels


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return make_texts(16, [BAD, GOOD])[0]


@pytest.fixture(scope="session")
def labels() -> list[str]:
    return [("neg", "pos")[i % 2] for i in range(16)]


@pytest.fixture
def make(backbone: ws.Backbone) -> Callable[..., ws.TextClassifier]:
    """Make a quiet, quick, seeded classifier; keywords override."""

    def build(**params: Any) -> ws.TextClassifier:
        # The rate goes with the strategy: it would have the head of a probing trained in steps.
        fast = FAST if "strategy" not in params else {k: value for k, value in FAST.items() if k != "learning_rate"}
        return ws.TextClassifier(backbone, **{**fast, **params})

    return build


@pytest.fixture(scope="session")
def fitted(backbone: ws.Backbone, texts: list[str], labels: list[str]) -> ws.TextClassifier:
    """A classifier that has learnt its texts. Do not change it."""
    clf = ws.TextClassifier(backbone, **{**FAST, "epochs": 20})
    return clf.fit(texts, labels, eval_set=(texts, labels))


@pytest.fixture
def corpora(tmp_path, monkeypatch) -> Path:
    """Keep tokenised corpora in a cache of the test's own."""
    monkeypatch.setenv("WARMSTART_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def corpus() -> list[str]:
    """Texts in which each word is followed by one of two others."""
    words, random = [word for word in WORDS if word.isalpha()], np.random.default_rng(0)
    texts = []
    for _ in range(60):
        at, text = int(random.integers(len(words))), []
        for _ in range(int(random.integers(3, 28))):
            text.append(words[at])
            at = (2 * at + int(random.integers(2))) % len(words)
        texts.append(" ".join(text))
    return texts
