"""Small models that have learnt nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import warmstart as ws


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Of a model: its width, layers, attention heads, longest sequence and vocabulary."""

    width: int = 128
    layers: int = 2
    heads: int = 4
    max_length: int = 128
    vocab_size: int = 4096


DROPOUT = {
    "bert": ("hidden_dropout_prob", "attention_probs_dropout_prob"),
    "gpt2": ("resid_pdrop", "embd_pdrop", "attn_pdrop"),
    "xlnet": ("dropout",),
}


def new_model(family: str, shape: Shape, tokenizer: ws.Tokenizer, seed: int, dropout: bool = True) -> ws.Backbone:
    """Draw its weights; with the family's own dropout, or with none."""
    import warmstart as ws

    fields: dict[str, dict[str, Any]] = {
        "bert": {
            "hidden_size": shape.width,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "intermediate_size": 4 * shape.width,
            "max_position_embeddings": shape.max_length,
        },
        "gpt2": {
            "n_embd": shape.width,
            "n_layer": shape.layers,
            "n_head": shape.heads,
            "n_positions": shape.max_length,
        },
        "xlnet": {
            "d_model": shape.width,
            "n_layer": shape.layers,
            "n_head": shape.heads,
            "d_inner": 4 * shape.width,
        },
    }
    without = {} if dropout else dict.fromkeys(DROPOUT[family], 0.0)
    return ws.Backbone.from_config(family, tokenizer, random_state=seed, **fields[family], **without)
