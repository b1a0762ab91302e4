"""The random models and fixed batches of the step benchmark, the same for both sides."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CLS, SEP = 2, 3  # rows of SPECIAL
N_CLASSES = 4


@dataclass(frozen=True)
class Shape:
    """A model of random weights and the batch it is trained on.

    Attributes
    ----------
    hidden
        Width D; the feed-forward layers are 4 D wide, gated ones 8/3 D.
    texts, tokens
        B and T of a batch ``[B, T]``; no text is shorter, so there is no padding.
    """

    layers: int
    hidden: int
    texts: int
    tokens: int
    heads: int = 12
    vocabulary: int = 30522
    family: str = "bert"

    def config(self) -> dict[str, Any]:
        """As ``config.json`` has it; dropout is the family's default."""
        config = self._encoder() | {"model_type": self.family} | _MORE.get(self.family, {})
        names = _NAMES.get(self.family, {})
        return {names.get(name, name): value for name, value in config.items() if names.get(name, name)}

    def _encoder(self) -> dict[str, Any]:
        return {
            "vocab_size": self.vocabulary,
            "hidden_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "intermediate_size": 4 * self.hidden,
            "hidden_act": "gelu",
            "hidden_dropout_prob": 0.1,
            "attention_probs_dropout_prob": 0.1,
            "max_position_embeddings": 512,
            "type_vocab_size": 2,
            "initializer_range": 0.02,
            "layer_norm_eps": 1e-12,
            "pad_token_id": 0,
        }

    def rows(self, n_batches: int, seed: int = 0) -> tuple[list[list[int]], list[int]]:
        """Token ids ``[n_batches * B][T]``, special ones included, and a class for each."""
        source = random.Random(seed)
        words = range(len(SPECIAL), self.vocabulary)
        n_rows = n_batches * self.texts
        ids = [[CLS, *source.choices(words, k=self.tokens - 2), SEP] for _ in range(n_rows)]
        return ids, [row % N_CLASSES for row in range(n_rows)]


_ROTARY = {
    "hidden_act": "silu",
    "intermediate_size": 2048,
    "num_key_value_heads": 4,
    "bos_token_id": None,
    "eos_token_id": None,
}
# Of families other than BERT: what they add to its fields and what they call them, nothing where they have none.
_MORE: dict[str, dict[str, Any]] = {
    "electra": {"embedding_size": 768},
    "albert": {"embedding_size": 128},
    "gpt2": {"hidden_act": "gelu_new", "bos_token_id": None, "eos_token_id": None},
    "llama": _ROTARY,
    "qwen3": _ROTARY | {"head_dim": 64},
    "xlnet": {"bos_token_id": None, "eos_token_id": None},
    "modernbert": {
        "intermediate_size": 1152,
        "layer_norm_eps": 1e-5,
        "bos_token_id": None,
        "eos_token_id": None,
        "cls_token_id": None,
        "sep_token_id": None,
    },
}
_WITHOUT = {"hidden_dropout_prob": "", "attention_probs_dropout_prob": "", "type_vocab_size": "", "layer_norm_eps": ""}
_NAMES: dict[str, dict[str, str]] = {
    "distilbert": _WITHOUT
    | {
        "hidden_size": "dim",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "intermediate_size": "hidden_dim",
        "hidden_act": "activation",
    },
    "gpt2": _WITHOUT
    | {
        "hidden_size": "n_embd",
        "num_hidden_layers": "n_layer",
        "num_attention_heads": "n_head",
        "intermediate_size": "n_inner",
        "hidden_act": "activation_function",
        "max_position_embeddings": "n_positions",
        "layer_norm_eps": "layer_norm_epsilon",
    },
    "llama": _WITHOUT,
    "qwen3": _WITHOUT,
    "xlnet": _WITHOUT
    | {
        "hidden_size": "d_model",
        "num_hidden_layers": "n_layer",
        "num_attention_heads": "n_head",
        "intermediate_size": "d_inner",
        "hidden_act": "ff_activation",
        "max_position_embeddings": "",
    },
    "modernbert": _WITHOUT | {"hidden_act": "hidden_activation", "layer_norm_eps": "norm_eps"},
}

SHAPES = {"12x768": Shape(12, 768, texts=8, tokens=128), "6x384": Shape(6, 384, texts=32, tokens=128)}
FAMILIES = ("roberta", "distilbert", "electra", "albert", "gpt2", "llama", "qwen3", "modernbert", "xlnet")
SHAPES |= {family: Shape(12, 768, texts=8, tokens=128, family=family) for family in FAMILIES}


def write_tokenizer(shape: Shape, folder: Path) -> None:
    """A WordPiece vocabulary in which every row of :func:`as_text` is one token a word."""
    words = [*SPECIAL, *(_word(i) for i in range(len(SPECIAL), shape.vocabulary))]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    config = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 512}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")


def as_text(ids: list[int]) -> str:
    """The text that the tokenizer turns into ``ids``; it adds the special tokens itself."""
    return " ".join(_word(i) for i in ids[1:-1])


def _word(token: int) -> str:
    return f"w{token}"
