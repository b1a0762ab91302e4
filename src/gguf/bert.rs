//! BERT: tensor names and configuration.

use serde_json::{Map, Value, json};

use super::architecture::{Architecture, Form};
use super::fields::Fields;
use super::reader::Checked;

pub(super) const BERT: Architecture = Architecture {
    name: "bert",
    names: &[
        ("token_embd", "embeddings.word_embeddings", Form::Same),
        ("position_embd", "embeddings.position_embeddings", Form::Same),
        ("token_types", "embeddings.token_type_embeddings", Form::Same),
        ("token_embd_norm", "embeddings.LayerNorm", Form::Same),
        ("attn_q", "encoder.layer.{}.attention.self.query", Form::Same),
        ("attn_k", "encoder.layer.{}.attention.self.key", Form::Same),
        ("attn_v", "encoder.layer.{}.attention.self.value", Form::Same),
        ("attn_output", "encoder.layer.{}.attention.output.dense", Form::Same),
        ("attn_output_norm", "encoder.layer.{}.attention.output.LayerNorm", Form::Same),
        ("ffn_up", "encoder.layer.{}.intermediate.dense", Form::Same),
        ("ffn_down", "encoder.layer.{}.output.dense", Form::Same),
        ("layer_output_norm", "encoder.layer.{}.output.LayerNorm", Form::Same),
    ],
    config,
};

fn config(fields: &Fields) -> Checked<Map<String, Value>> {
    if fields.optional_flag("attention.causal")?.unwrap_or(false) {
        return Err("bert.attention.causal is true; supported: false".into());
    }
    // `Gguf::pooling` uses this field; here it only counts as used.
    fields.optional_count("pooling_type")?;
    let mut config = Map::new();
    for (name, value) in [
        ("architectures", json!(["BertModel"])),
        ("model_type", json!("bert")),
        ("vocab_size", json!(fields.vocab_size()?)),
        ("hidden_size", json!(fields.count("embedding_length")?)),
        ("intermediate_size", json!(fields.count("feed_forward_length")?)),
        ("num_hidden_layers", json!(fields.count("block_count")?)),
        ("num_attention_heads", json!(fields.count("attention.head_count")?)),
        ("hidden_act", json!("gelu")),
        ("max_position_embeddings", json!(fields.count("context_length")?)),
        ("type_vocab_size", json!(fields.rows("token_types.weight")?)),
        ("layer_norm_eps", json!(fields.number("attention.layer_norm_epsilon")?)),
    ] {
        config.insert(name.into(), value);
    }
    fields.special_ids(&mut config)?;
    Ok(config)
}
