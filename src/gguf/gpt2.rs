//! GPT-2: tensor names and configuration.

use serde_json::{Map, Value, json};

use super::architecture::{Architecture, Form};
use super::fields::Fields;
use super::reader::Checked;

pub(super) const GPT2: Architecture = Architecture {
    name: "gpt2",
    names: &[
        ("token_embd", "transformer.wte", Form::Same),
        ("position_embd", "transformer.wpe", Form::Same),
        ("output_norm", "transformer.ln_f", Form::Same),
        ("output", "lm_head", Form::Same),
        ("attn_norm", "transformer.h.{}.ln_1", Form::Same),
        ("attn_qkv", "transformer.h.{}.attn.c_attn", Form::Transposed),
        ("attn_output", "transformer.h.{}.attn.c_proj", Form::Transposed),
        ("ffn_norm", "transformer.h.{}.ln_2", Form::Same),
        ("ffn_up", "transformer.h.{}.mlp.c_fc", Form::Transposed),
        ("ffn_down", "transformer.h.{}.mlp.c_proj", Form::Transposed),
    ],
    config,
};

fn config(fields: &Fields) -> Checked<Map<String, Value>> {
    let positions = fields.count("context_length")?;
    let mut config = Map::new();
    for (name, value) in [
        ("architectures", json!(["GPT2LMHeadModel"])),
        ("model_type", json!("gpt2")),
        ("vocab_size", json!(fields.vocab_size()?)),
        ("n_embd", json!(fields.count("embedding_length")?)),
        ("n_inner", json!(fields.optional_count("feed_forward_length")?)),
        ("n_layer", json!(fields.count("block_count")?)),
        ("n_head", json!(fields.count("attention.head_count")?)),
        ("n_positions", json!(positions)),
        ("n_ctx", json!(positions)),
        ("activation_function", json!("gelu_new")),
        ("layer_norm_epsilon", json!(fields.number("attention.layer_norm_epsilon")?)),
        ("tie_word_embeddings", json!(fields.shape("output.weight").is_none())),
    ] {
        config.insert(name.into(), value);
    }
    fields.special_ids(&mut config)?;
    Ok(config)
}
