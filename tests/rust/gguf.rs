//! GGUF files against what the packages gguf, transformers, tokenizers and sentencepiece read in them.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde_json::{Value, json};
use warmstart::array::Array;
use warmstart::backbone::{Backbone, Config, Pooling, ScorePositions};
use warmstart::gguf::Gguf;

pub type Outcome = Result<(), Box<dyn std::error::Error>>;

pub fn reference(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(name)
}

fn bits(array: &Array) -> warmstart::error::Result<(Vec<usize>, Vec<u32>)> {
    Ok((array.dims().to_vec(), array.values()?.iter().map(|x| x.to_bits()).collect()))
}

#[test]
fn tensors_when_read_equal_those_of_the_gguf_package_and_transformers_bit_for_bit() -> Outcome {
    // Every type of block; Llama's permuted heads, with their biases; GPT-2's transposed matrices.
    for (name, count) in [("kinds", 10), ("llama", 29), ("gpt2", 28)] {
        let gguf = Gguf::open(&reference(&format!("gguf/{name}.gguf")))?;
        let expected: HashMap<String, Tensor> =
            candle_core::safetensors::load(reference(&format!("gguf/{name}.safetensors")), &Device::Cpu)?;
        let shapes: BTreeMap<&str, &[usize]> = gguf.tensors().collect();
        assert_eq!((shapes.len(), expected.len()), (count, count), "{name}");
        for (tensor_name, expected) in &expected {
            assert_eq!(shapes.get(tensor_name.as_str()), Some(&expected.dims()), "{name}: {tensor_name}");
            assert!(
                bits(&gguf.tensor(tensor_name)?)? == bits(&Array::try_from(expected)?)?,
                "{name}: {tensor_name} differs"
            );
        }
    }
    Ok(())
}

#[test]
fn config_when_read_has_the_fields_of_a_hugging_face_config() -> Outcome {
    let llama = json!({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 330, "hidden_size": 32,
        "intermediate_size": 20, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6,
        "hidden_act": "silu", "max_position_embeddings": 37, "rms_norm_eps": 1e-5, "rope_theta": 5e5, "rope_scaling": null,
        "tie_word_embeddings": false, "attention_bias": true, "mlp_bias": false, "bos_token_id": 1, "eos_token_id": 2});
    let gpt2 = json!({"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": 340, "n_embd": 12,
        "n_inner": 20, "n_layer": 2, "n_head": 3, "n_positions": 19, "n_ctx": 19, "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5, "tie_word_embeddings": true, "bos_token_id": 0, "eos_token_id": 0});
    for (name, expected) in [("llama", llama), ("gpt2", gpt2)] {
        let gguf = Gguf::open(&reference(&format!("gguf/{name}.gguf")))?;
        assert_eq!(Value::Object(gguf.config().clone()), expected);
    }
    Ok(())
}

#[test]
fn tokens_when_read_from_metadata_equal_those_of_the_models_own_tokenizers() -> Outcome {
    for name in ["llama", "gpt2", "smollm", "llama-bpe", "qwen2"] {
        let tokenizer = Gguf::open(&reference(&format!("gguf/{name}.gguf")))?.tokenizer()?;
        // Written as tokenizer.json and read again, it is the same.
        let json = tokenizer.to_string(false).map_err(|e| e.to_string())?;
        let again = tokenizers::Tokenizer::from_bytes(json).map_err(|e| e.to_string())?;
        let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(reference(&format!("gguf/{name}.json")))?)?;
        assert!(cases.len() > 15);
        for case in &cases {
            let text = case["text"].as_str().ok_or("no text")?;
            for tokenizer in [&tokenizer, &again] {
                let encoding = tokenizer.encode_char_offsets(text, true).map_err(|e| e.to_string())?;
                assert_eq!(json!(encoding.get_ids()), case["ids"], "{name}: {text:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn backbone_when_opened_from_a_gguf_file_is_that_of_the_directory() -> Outcome {
    let backbone = Backbone::from_pretrained(&reference("gguf/bert.gguf"))?;
    let original = candle_core::safetensors::load(reference("bert_a/model.safetensors"), &Device::Cpu)?;
    let mut compared = 0;
    for (name, tensor) in backbone.params.iter().filter(|(name, _)| !name.starts_with("pooler.")) {
        let original = original.get(&format!("bert.{name}")).ok_or(name)?;
        let original = match original.rank() {
            2 => original.to_dtype(candle_core::DType::F16)?.to_dtype(candle_core::DType::F32)?,
            _ => original.clone(),
        };
        assert!(bits(tensor)? == bits(&Array::try_from(&original)?)?, "{name}");
        compared += 1;
    }
    assert_eq!((compared, backbone.report.missing.len(), backbone.report.converted.len()), (53, 2, 21));
    // The vocabulary is that of bert_b_legacy, whose tokens are recorded; it has capital letters.
    let recorded: Value = serde_json::from_slice(&std::fs::read(reference("bert_b_legacy/expected_tokens.json"))?)?;
    for case in recorded["do_lower_case_false"].as_array().ok_or("no cases")? {
        let text = [case["text"].as_str().ok_or("no text")?.to_string()];
        let pair = case["pair"].as_str().map(|pair| [pair.to_string()]);
        let encoded = backbone.tokenizer.encode(&text, pair.as_ref().map(<[String; 1]>::as_slice), 512)?;
        assert_eq!(json!(encoded.ids(0)), case["ids"], "{text:?}");
        assert_eq!(json!(encoded.offsets(0)), case["offsets"], "{text:?}");
    }
    // A directory that holds nothing else is the file; what is saved from it is read again.
    let dir = tempfile::tempdir()?;
    std::fs::copy(reference("gguf/bert.gguf"), dir.path().join("model.GGUF"))?;
    assert_eq!(Backbone::from_pretrained(dir.path())?.params.count(), backbone.params.count());
    let saved = dir.path().join("saved");
    backbone.save_pretrained(&saved, u64::MAX)?;
    assert_eq!(Backbone::from_pretrained(&saved)?.params.count(), backbone.params.count());
    std::fs::copy(reference("gguf/gpt2.gguf"), dir.path().join("second.gguf"))?;
    let error = Backbone::from_pretrained(dir.path()).err().ok_or("two files were accepted")?;
    assert!(error.to_string().contains("holds 2 GGUF files"), "{error}");
    Ok(())
}

/// A GGUF file, entry by entry.
#[derive(Clone)]
pub struct Builder {
    version: u32,
    metadata: Vec<Vec<u8>>,
    tensors: Vec<Vec<u8>>,
    data: usize,
}

pub fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

impl Builder {
    pub fn gpt2() -> Self {
        let mut file = Self { version: 3, metadata: Vec::new(), tensors: Vec::new(), data: 4096 };
        file = file.value("general.architecture", 8, &text("gpt2"));
        for key in ["block_count", "context_length", "embedding_length", "attention.head_count"] {
            file = file.value(&format!("gpt2.{key}"), 4, &4u32.to_le_bytes());
        }
        file = file.value("gpt2.attention.layer_norm_epsilon", 6, &1e-5f32.to_le_bytes());
        file.tensor("token_embd.weight", &[4, 5], 0, 0)
    }

    pub fn value(mut self, key: &str, kind: u32, value: &[u8]) -> Self {
        self.metadata.push([&text(key), &kind.to_le_bytes()[..], value].concat());
        self
    }

    pub fn tensor(mut self, name: &str, dims: &[u64], kind: u32, offset: u64) -> Self {
        let dims_bytes: Vec<u8> = dims.iter().flat_map(|dim| dim.to_le_bytes()).collect();
        let rank = (dims.len() as u32).to_le_bytes();
        self.tensors.push([&text(name)[..], &rank, &dims_bytes, &kind.to_le_bytes(), &offset.to_le_bytes()].concat());
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let counts = [self.tensors.len() as u64, self.metadata.len() as u64].map(u64::to_le_bytes).concat();
        let header = [&b"GGUF"[..], &self.version.to_le_bytes(), &counts].concat();
        [header, self.metadata.concat(), self.tensors.concat(), vec![0; self.data]].concat()
    }
}

/// Llama 3.1 (factor 8) and 3.2 (factor 32), whose files have divisors of the frequencies and no settings.
#[test]
fn config_when_frequencies_are_divided_stretches_positions_as_llama_3() -> Outcome {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("model.gguf");
    let llama = |scaling: Option<&str>| {
        let mut file = Builder { metadata: Vec::new(), tensors: Vec::new(), ..Builder::gpt2() };
        file = file.value("general.architecture", 8, &text("llama"));
        for (key, value) in [
            ("block_count", 1u32),
            ("context_length", 131_072),
            ("embedding_length", 64),
            ("attention.head_count", 1),
            ("feed_forward_length", 8),
        ] {
            file = file.value(&format!("llama.{key}"), 4, &value.to_le_bytes());
        }
        file = file.value("llama.attention.layer_norm_rms_epsilon", 6, &1e-5f32.to_le_bytes());
        file = file.value("llama.rope.freq_base", 6, &500_000f32.to_le_bytes());
        if let Some(kind) = scaling {
            file = file.value("llama.rope.scaling.type", 8, &text(kind));
            file = file.value("llama.rope.scaling.factor", 6, &8f32.to_le_bytes());
        }
        file.tensor("rope_freqs.weight", &[32], 0, 0).tensor("token_embd.weight", &[64, 5], 0, 128)
    };
    let scaling = |file: &Builder, divisors: &[f32]| -> Result<Value, Box<dyn std::error::Error>> {
        let mut bytes = file.bytes();
        let start = (bytes.len() - file.data).next_multiple_of(32);
        for (i, divisor) in divisors.iter().enumerate() {
            bytes[start + 4 * i..][..4].copy_from_slice(&divisor.to_le_bytes());
        }
        std::fs::write(&path, bytes)?;
        Ok(Gguf::open(&path)?.config()["rope_scaling"].clone())
    };
    for factor in [8.0, 32.0] {
        let settings = json!({
            "rope_type": "llama3", "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        });
        // What the settings make of the frequencies, which parity with transformers has shown elsewhere.
        let config = |scaling: &Value| {
            let config = json!({
                "model_type": "llama", "vocab_size": 5, "hidden_size": 64, "num_hidden_layers": 1,
                "num_attention_heads": 1, "intermediate_size": 8, "max_position_embeddings": 131_072,
                "rope_theta": 500_000.0, "rope_scaling": scaling,
            });
            Config::parse(&config.to_string()).map(|config| match config.attention.positions {
                ScorePositions::Rotary(ways) => ways[0].frequencies.clone(),
                other => panic!("{other:?}"),
            })
        };
        let (plain, stretched) = (config(&Value::Null)?, config(&settings)?);
        let divisors: Vec<f32> = plain.iter().zip(&stretched).map(|(plain, s)| (plain / s) as f32).collect();
        assert!(divisors.contains(&1.0) && divisors.iter().filter(|&&d| d > 1.0 && f64::from(d) < factor).count() > 1);
        assert_eq!(scaling(&llama(None), &divisors)?, settings);
        let both = scaling(&llama(Some("linear")), &divisors).err().ok_or("two ways were accepted")?;
        assert!(both.to_string().contains("both rope.scaling.type and rope_freqs.weight"), "{both}");
    }
    assert_eq!(scaling(&llama(None), &[1.0; 32])?, Value::Null);
    for other in [[2.0; 32], [0.0; 32], [f32::NAN; 32]] {
        let error = scaling(&llama(None), &other).err().ok_or("other divisors were accepted")?;
        assert!(error.to_string().contains("in another way than Llama 3 does"), "{error}");
    }
    let mut short = llama(None);
    short.tensors.clear();
    let short = short.tensor("rope_freqs.weight", &[16], 0, 0).tensor("token_embd.weight", &[64, 5], 0, 128);
    let error = scaling(&short, &[1.0; 16]).err().ok_or("too few divisors were accepted")?;
    assert!(error.to_string().contains("expected F32 and 32 values"), "{error}");
    Ok(())
}

#[test]
fn file_when_it_is_damaged_or_hostile_is_refused_by_name() -> Outcome {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("model.gguf");
    let open = |bytes: &[u8]| -> Result<(), Box<dyn std::error::Error>> {
        std::fs::write(&path, bytes)?;
        let gguf = Gguf::open(&path)?;
        for (name, _) in gguf.tensors() {
            gguf.tensor(name)?;
        }
        Ok(gguf.tokenizer().map(drop)?)
    };
    let good = Builder::gpt2;
    std::fs::write(&path, good().bytes())?;
    Gguf::open(&path)?;
    let terabytes = 1u64 << 41;
    let array = |kind: u32, len: u64| [&kind.to_le_bytes()[..], &len.to_le_bytes()].concat();
    let mut old = good();
    old.version = 1;
    let mut big_endian = good();
    big_endian.version = 3u32.swap_bytes();
    let mut many = good().bytes();
    many[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    let mut entries = good().bytes();
    entries[16..24].copy_from_slice(&terabytes.to_le_bytes());
    for (bytes, expected) in [
        (Vec::new(), "promises 4 bytes at byte 0, but only 0 follow"),
        (b"PK\x03\x04 a zip archive".to_vec(), "does not begin with \"GGUF\""),
        (old.bytes(), "GGUF version 1"),
        (big_endian.bytes(), "big-endian"),
        (many, "0 dimensions"),
        (entries, ""),
        (good().bytes()[..200].to_vec(), "download it again"),
        (good().value("a", 9, &array(8, terabytes)).bytes(), "download it again"),
        (good().value("a", 9, &array(10, u64::MAX)).bytes(), "download it again"),
        (good().value("a", 9, &array(9, 1)).bytes(), "array of the type 9"),
        (good().value("a", 8, &terabytes.to_le_bytes()).bytes(), "download it again"),
        (good().value("a", 8, &[1, 0, 0, 0, 0, 0, 0, 0, 0xff]).bytes(), "not UTF-8"),
        (good().value("a", 7, &[2]).bytes(), "truth value 2"),
        (good().value("a", 13, &[2]).bytes(), "unknown type 13"),
        (good().value("a", 0, &[2]).value("a", 0, &[2]).bytes(), "the metadata \"a\" twice"),
        (good().value("general.alignment", 4, &0u32.to_le_bytes()).bytes(), "general.alignment is 0"),
        (good().value("general.alignment", 4, &48u32.to_le_bytes()).bytes(), "power of two"),
        (good().value("gpt2.novelty", 4, &[7, 0, 0, 0]).bytes(), "gpt2.novelty is 7; such a model is not supported"),
        (
            good().value("gpt2.vocab_size", 4, &[7, 0, 0, 0]).bytes(),
            "vocab_size is 7, but token_embd.weight has 5 rows",
        ),
        (good().tensor("output.weight", &[4, terabytes], 0, 96).bytes(), "claims shape [2199023255552, 4]"),
        (good().tensor("output.weight", &[4, u64::MAX, u64::MAX], 0, 96).bytes(), "does not hold"),
        (good().tensor("output.weight", &[4, 5], 0, u64::MAX - 31).bytes(), "does not hold"),
        (good().tensor("output.weight", &[0, 5], 0, 96).bytes(), "does not hold"),
        (good().tensor("output.weight", &[4, 5], 0, 100).bytes(), "not a multiple of 32"),
        (good().tensor("output.weight", &[4, 5], 0, 64).bytes(), "overlap"),
        (good().tensor("token_embd.weight", &[4, 5], 0, 96).bytes(), "two tensors named"),
        (good().tensor("output.weight", &[4, 5], 16, 96).bytes(), "type number 16; supported: F32, F16"),
        (good().tensor("output.weight", &[4, 5], 8, 96).bytes(), "rows of 4 values; expected a multiple of 32"),
        (good().tensor("output.weight", &[1; 5], 0, 96).bytes(), "has 5 dimensions"),
        (good().tensor("rope_freqs.weight", &[4], 0, 96).bytes(), "\"rope_freqs.weight\", which a gpt2 model does not"),
        (good().tensor("blk.01.ffn_up.weight", &[4, 5], 0, 96).bytes(), "\"blk.01.ffn_up.weight\", which"),
        (good().tensor("blk.0.ffn_up.weight", &[4], 0, 96).bytes(), "expected a matrix"),
        (good().bytes(), "has no tokenizer"),
    ] {
        let error = open(&bytes).err().ok_or_else(|| format!("accepted, expected {expected}"))?.to_string();
        assert!(error.contains(expected) && error.contains("model.gguf"), "{error}\nexpected {expected}");
    }
    Ok(())
}

#[test]
fn backbone_when_read_from_a_file_of_a_decoder_has_its_family_and_leaves_its_output_layer() -> Outcome {
    for (name, family, ignored) in [("llama", "llama", vec!["lm_head.weight"]), ("gpt2", "gpt2", vec![])] {
        let backbone = Backbone::from_pretrained(&reference(&format!("gguf/{name}.gguf")))?;
        assert_eq!((backbone.config.family.name, backbone.default_pooling()), (family, vec![Pooling::Last]));
        assert_eq!(backbone.report.ignored, ignored);
    }
    Ok(())
}

#[test]
fn file_when_it_is_of_an_unknown_architecture_says_what_is_supported() -> Outcome {
    let mut file = std::fs::read(reference("gguf/gpt2.gguf"))?;
    let at = file.windows(4).position(|w| w == b"gpt2").ok_or("no name")?;
    file[at..at + 4].copy_from_slice(b"gpt9");
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("a.gguf");
    std::fs::write(&path, file)?;
    let error = Backbone::from_pretrained(&path).err().ok_or("accepted")?;
    assert!(error.to_string().contains("is \"gpt9\"; supported: bert, gpt2, llama, qwen2, qwen3"), "{error}");
    Ok(())
}
