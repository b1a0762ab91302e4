"""Write python/warmstart/base_configs.json: the fields of transformers' default configurations that shape a model.

Run by hand in the environment of make_reference.py, from the root of the project:

    python tests/reference/make_base_configs.py
"""

import json
from pathlib import Path

import transformers

MODEL_TYPES = (
    *("bert", "roberta", "xlm-roberta", "camembert", "distilbert", "electra", "albert", "modernbert"),
    *("gpt2", "llama", "mistral", "qwen2", "qwen3", "xlnet", "mpnet", "deberta-v2"),
)
# What says nothing of a model's shape, and what follows from other fields: a number of heads, of layers.
LEFT_OUT = {
    "_name_or_path",
    "architectures",
    "chunk_size_feed_forward",
    "d_head",
    "dtype",
    "head_dim",
    "id2label",
    "is_decoder",
    "is_encoder_decoder",
    "label2id",
    "layer_types",
    "max_window_layers",
    "num_key_value_heads",
    "output_attentions",
    "output_hidden_states",
    "pooler_hidden_size",
    "pretraining_tp",
    "problem_type",
    "return_dict",
    "transformers_version",
    "use_cache",
    "vocab_size",
}
# Where transformers' defaults are of no published model: those of microsoft/deberta-v3-base.
PUBLISHED = {
    "deberta-v2": {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "max_relative_positions": -1,
        "norm_rel_ebd": "layer_norm",
        "num_attention_heads": 12,
        "num_hidden_layers": 12,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
        "position_buckets": 256,
        "relative_attention": True,
        "share_att_key": True,
    },
}
# Positions of RoBERTa's kind begin behind that of padding.
WITH_PADDING = {"roberta", "xlm-roberta", "camembert"}


def base(model_type):
    fields = transformers.AutoConfig.for_model(model_type).to_dict()
    kept = {name: value for name, value in fields.items() if name not in LEFT_OUT and value is not None}
    kept = {name: value for name, value in kept.items() if not name.endswith("_token_id")}
    if model_type == "qwen3":  # whose heads are of one size, whatever the width
        kept["head_dim"] = fields["head_dim"]
    if model_type in WITH_PADDING:
        kept["pad_token_id"] = fields["pad_token_id"]
    return dict(sorted((kept | PUBLISHED.get(model_type, {})).items()))


if __name__ == "__main__":
    path = Path(__file__).parents[2] / "python" / "warmstart" / "base_configs.json"
    path.write_text(json.dumps({name: base(name) for name in MODEL_TYPES}, indent=1) + "\n")
