//! Llama, Qwen2, Qwen3: tensor names and configuration.

use serde_json::{Map, Value, json};

use super::architecture::{Architecture, Form, Names};
use super::fields::Fields;
use super::reader::Checked;

/// llama.cpp permutes the rows of the query and key projections of Llama, and of no other architecture.
pub(super) const LLAMA: Architecture =
    Architecture { name: "llama", names: &names(Form::Queries, Form::Keys), config: llama };
pub(super) const QWEN2: Architecture = Architecture { name: "qwen2", names: PLAIN, config: qwen2 };
pub(super) const QWEN3: Architecture = Architecture { name: "qwen3", names: PLAIN, config: qwen3 };

const PLAIN: Names = &names(Form::Same, Form::Same);

const fn names(queries: Form, keys: Form) -> [(&'static str, &'static str, Form); 14] {
    [
        ("token_embd", "model.embed_tokens", Form::Same),
        ("output_norm", "model.norm", Form::Same),
        ("output", "lm_head", Form::Same),
        ("attn_norm", "model.layers.{}.input_layernorm", Form::Same),
        ("attn_q", "model.layers.{}.self_attn.q_proj", queries),
        ("attn_k", "model.layers.{}.self_attn.k_proj", keys),
        ("attn_v", "model.layers.{}.self_attn.v_proj", Form::Same),
        ("attn_q_norm", "model.layers.{}.self_attn.q_norm", Form::Same),
        ("attn_k_norm", "model.layers.{}.self_attn.k_norm", Form::Same),
        ("attn_output", "model.layers.{}.self_attn.o_proj", Form::Same),
        ("ffn_norm", "model.layers.{}.post_attention_layernorm", Form::Same),
        ("ffn_gate", "model.layers.{}.mlp.gate_proj", Form::Same),
        ("ffn_up", "model.layers.{}.mlp.up_proj", Form::Same),
        ("ffn_down", "model.layers.{}.mlp.down_proj", Form::Same),
    ]
}

fn llama(fields: &Fields) -> Checked<Map<String, Value>> {
    let mut config = common(fields, "llama", "LlamaForCausalLM")?;
    config.insert("attention_bias".into(), json!(fields.shape("blk.0.attn_q.bias").is_some()));
    config.insert("mlp_bias".into(), json!(fields.shape("blk.0.ffn_up.bias").is_some()));
    Ok(config)
}

fn qwen2(fields: &Fields) -> Checked<Map<String, Value>> {
    let mut config = common(fields, "qwen2", "Qwen2ForCausalLM")?;
    config.insert("use_sliding_window".into(), json!(false));
    Ok(config)
}

fn qwen3(fields: &Fields) -> Checked<Map<String, Value>> {
    let mut config = common(fields, "qwen3", "Qwen3ForCausalLM")?;
    config.insert("attention_bias".into(), json!(fields.shape("blk.0.attn_q.bias").is_some()));
    config.insert("use_sliding_window".into(), json!(false));
    Ok(config)
}

fn common(fields: &Fields, model_type: &str, class: &str) -> Checked<Map<String, Value>> {
    let (hidden, heads) = (fields.count("embedding_length")?, fields.count("attention.head_count")?);
    if heads == 0 || hidden == 0 {
        return Err(format!("has embedding_length {hidden} and attention.head_count {heads}; expected at least 1"));
    }
    let rotary = fields.optional_count("rope.dimension_count")?;
    let key = fields.optional_count("attention.key_length")?;
    let head_dim = key.or(rotary).unwrap_or(hidden / heads);
    for (name, size) in
        [("rope.dimension_count", rotary), ("attention.value_length", fields.optional_count("attention.value_length")?)]
    {
        if size.is_some_and(|size| size != head_dim) {
            return Err(format!(
                "has heads of size {head_dim}, but {name} is {}; supported: the same",
                size.unwrap_or(0)
            ));
        }
    }
    if fields.optional_count("expert_count")?.unwrap_or(0) > 0
        || fields.optional_count("expert_used_count")?.unwrap_or(0) > 0
    {
        return Err("is a mixture of experts, which is not supported".into());
    }
    // The layout of the original weights; the converter has already undone it.
    fields.optional_text("tensor_data_layout")?;
    let mut config = Map::new();
    for (name, value) in [
        ("architectures", json!([class])),
        ("model_type", json!(model_type)),
        ("vocab_size", json!(fields.vocab_size()?)),
        ("hidden_size", json!(hidden)),
        ("intermediate_size", json!(fields.count("feed_forward_length")?)),
        ("num_hidden_layers", json!(fields.count("block_count")?)),
        ("num_attention_heads", json!(heads)),
        ("num_key_value_heads", json!(fields.optional_count("attention.head_count_kv")?.unwrap_or(heads))),
        ("head_dim", json!(head_dim)),
        ("hidden_act", json!("silu")),
        ("max_position_embeddings", json!(fields.count("context_length")?)),
        ("rms_norm_eps", json!(fields.number("attention.layer_norm_rms_epsilon")?)),
        ("rope_theta", json!(fields.optional_number("rope.freq_base")?.unwrap_or(10_000.0))),
        ("rope_scaling", scaling(fields)?),
        ("tie_word_embeddings", json!(fields.shape("output.weight").is_none())),
    ] {
        config.insert(name.into(), value);
    }
    fields.special_ids(&mut config)?;
    Ok(config)
}

/// The `rope_scaling` that extends rotary positions beyond the context length of the pretraining.
fn scaling(fields: &Fields) -> Checked<Value> {
    let factor = fields.optional_number("rope.scaling.factor")?;
    let original = fields.optional_count("rope.scaling.original_context_length")?;
    let kind = fields.optional_text("rope.scaling.type")?;
    match (kind, factor) {
        (None | Some("none"), _) => Ok(Value::Null),
        (Some("linear"), Some(factor)) => Ok(json!({"rope_type": "linear", "factor": factor})),
        (Some("yarn"), Some(factor)) => {
            let mut scaling = Map::from_iter([("rope_type".into(), json!("yarn")), ("factor".into(), json!(factor))]);
            if let Some(original) = original {
                scaling.insert("original_max_position_embeddings".into(), json!(original));
            }
            Ok(Value::Object(scaling))
        }
        (Some(kind), _) => Err(format!(
            "rope.scaling.type is {kind:?}, its factor {factor:?}; supported: none, linear and yarn, with a factor"
        )),
    }
}
