//! Tokenizers of GGUF metadata against what the packages tokenizers 0.23.3 and transformers 5.24.0 make of the same texts.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, Tokenizer};
use warmstart::gguf::Gguf;

use crate::tests::gguf::{Builder, Outcome, reference, text};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn texts(texts: &[impl AsRef<str>]) -> Vec<u8> {
    let head = [&8u32.to_le_bytes()[..], &(texts.len() as u64).to_le_bytes()].concat();
    texts.iter().fold(head, |all, one| [all, text(one.as_ref())].concat())
}

fn kinds(kinds: &[i32]) -> Vec<u8> {
    let head = [&5u32.to_le_bytes()[..], &(kinds.len() as u64).to_le_bytes()].concat();
    kinds.iter().fold(head, |all, one| [&all[..], &one.to_le_bytes()].concat())
}

fn open(file: &Builder, dir: &Path) -> Result<Tokenizer> {
    let path = dir.join("model.gguf");
    std::fs::write(&path, file.bytes())?;
    Ok(Gguf::open(&path)?.tokenizer()?)
}

/// Byte-level BPE whose tokens are the bytes and a few special ones.
fn byte_level(pre: &str) -> Builder {
    let alphabet = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
    let mut tokens: Vec<String> = alphabet.into_iter().map(String::from).collect();
    tokens.sort_unstable();
    tokens.extend(["<s>", "</s>"].map(String::from));
    let mut types = vec![1; 256];
    types.extend([3, 3]);
    Builder::gpt2()
        .value("tokenizer.ggml.model", 8, &text("gpt2"))
        .value("tokenizer.ggml.pre", 8, &text(pre))
        .value("tokenizer.ggml.tokens", 9, &texts(&tokens))
        .value("tokenizer.ggml.token_type", 9, &kinds(&types))
        .value("tokenizer.ggml.merges", 9, &texts(&[""; 0]))
}

/// The names that the refusal of an unknown one lists.
fn supported(dir: &Path) -> Result<Vec<String>> {
    let error = open(&byte_level("novelty"), dir).err().ok_or("an unknown name was accepted")?.to_string();
    let (_, names) = error.split_once("tokenizer.ggml.pre is \"novelty\"; supported: ").ok_or(error.clone())?;
    Ok(names.split(", ").map(String::from).collect())
}

#[test]
fn text_when_split_by_a_named_pre_tokenizer_gives_the_pieces_of_tokenizers() -> Outcome {
    let dir = tempfile::tempdir()?;
    let recorded = std::fs::read(reference("gguf/pre_tokenizers.json"))?;
    let recorded: BTreeMap<String, Vec<String>> = serde_json::from_slice(&recorded)?;
    let mut names = supported(dir.path())?;
    names.sort_unstable();
    assert_eq!(names, recorded.keys().cloned().collect::<Vec<_>>());
    for (name, expected) in &recorded {
        let tokenizer = open(&byte_level(name), dir.path())?;
        let awkward = expected.concat();
        let mut pieces = PreTokenizedString::from(awkward.as_str());
        let steps = tokenizer.get_pre_tokenizer().ok_or("no pre-tokenizer")?;
        steps.pre_tokenize(&mut pieces).map_err(|e| format!("{name}: {e}"))?;
        let found = pieces.get_splits(OffsetReferential::Original, OffsetType::Byte);
        let found: Vec<&str> = found.into_iter().map(|(_, (start, end), _)| &awkward[start..end]).collect();
        assert_eq!(&found, expected, "{name}");
    }
    Ok(())
}

/// As RobertaTokenizer (transformers 5.24.0): `<s> A </s></s> B </s>`.
#[test]
fn pair_when_the_file_asks_for_separators_stands_between_them_as_robertas() -> Outcome {
    let dir = tempfile::tempdir()?;
    let id = |id: u32| id.to_le_bytes();
    let mut file = byte_level("roberta-bpe");
    for (key, value) in [("bos", 256), ("eos", 257), ("seperator", 257)] {
        file = file.value(&format!("tokenizer.ggml.{key}_token_id"), 4, &id(value));
    }
    for key in ["add_bos_token", "add_eos_token"] {
        file = file.value(&format!("tokenizer.ggml.{key}"), 7, &[1]);
    }
    let tokens = |file: &Builder| -> Result<Vec<String>> {
        let tokenizer = open(file, dir.path())?;
        let encoding = tokenizer.encode(("a", "b"), true).map_err(|e| e.to_string())?;
        Ok(encoding.get_tokens().to_vec())
    };
    assert_eq!(tokens(&file)?, ["<s>", "a", "</s>", "</s>", "b", "</s>"]);
    let without = file.value("tokenizer.ggml.add_sep_token", 7, &[0]);
    assert_eq!(tokens(&without)?, ["<s>", "a", "</s>", "<s>", "b", "</s>"]);
    Ok(())
}

/// A BERT's vocabulary in the spelling of llama.cpp.
fn word_pieces(words: &[&str]) -> Builder {
    let is_special = |word: &str| matches!(word, "[PAD]" | "[UNK]" | "[CLS]" | "[SEP]" | "[MASK]");
    let phantom = |word: &&str| match word.strip_prefix("##") {
        Some(rest) => rest.to_string(),
        None if is_special(word) => word.to_string(),
        None => format!("▁{word}"),
    };
    let types: Vec<i32> = words.iter().map(|word| if is_special(word) { 3 } else { 1 }).collect();
    Builder::gpt2()
        .value("tokenizer.ggml.model", 8, &text("bert"))
        .value("tokenizer.ggml.tokens", 9, &texts(&words.iter().map(phantom).collect::<Vec<_>>()))
        .value("tokenizer.ggml.token_type", 9, &kinds(&types))
}

#[test]
fn word_pieces_when_the_vocabulary_has_markers_and_letters_without_a_small_form_are_lower_case() -> Outcome {
    let dir = tempfile::tempdir()?;
    let recorded: Value = serde_json::from_slice(&std::fs::read(reference("gguf/word_piece.json"))?)?;
    let words: Vec<&str> = recorded["words"].as_array().ok_or("no words")?.iter().filter_map(Value::as_str).collect();
    for case in recorded["cases"].as_array().ok_or("no cases")? {
        let n_words = case["n_words"].as_u64().ok_or("no n_words")? as usize;
        let (lower, strip) = (case["lower"].as_bool().ok_or("no lower")?, case["strip"].as_bool());
        let plain = word_pieces(&words[..n_words]);
        let said = plain.clone().value("tokenizer.ggml.normalizer.lowercase", 7, &[u8::from(lower)]);
        let mut files = vec![said];
        // The first 18 words have no capitals, but for the markers `<S>` and `<T>` and for ℝ; then come The and Paris.
        if lower == (n_words == 18) {
            files.push(plain);
        }
        for file in files {
            let file = match strip {
                Some(strip) => file.value("tokenizer.ggml.normalizer.strip_accents", 7, &[u8::from(strip)]),
                None => file,
            };
            let encoding = open(&file, dir.path())?.encode(case["text"].as_str().ok_or("no text")?, true);
            assert_eq!(json!(encoding.map_err(|e| e.to_string())?.get_ids()), case["ids"], "{case}");
        }
    }
    // One word of 121 says nothing sure.
    let many: Vec<String> = (0..120).map(|i| format!("word{i}")).collect();
    let unclear: Vec<&str> = words[..5].iter().copied().chain(many.iter().map(String::as_str)).chain(["The"]).collect();
    let error = open(&word_pieces(&unclear), dir.path()).err().ok_or("accepted")?.to_string();
    assert!(error.contains("has no tokenizer.ggml.normalizer.lowercase, and 1 of its 121 words"), "{error}");
    Ok(())
}
