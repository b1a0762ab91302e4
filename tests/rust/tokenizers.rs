//! Ids, segments and offsets of every tokenizer format against those of transformers' fast tokenizers, recorded.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use warmstart::text::{SideFiles, Tokenizer};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn reference() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/tokenizers")
}

fn read(directory: &str) -> Result<SideFiles, Box<dyn std::error::Error>> {
    Ok(SideFiles::read(&reference().join(directory))?)
}

/// The recorded cases of each tokenizer, and the files it is made of.
fn records() -> Result<Vec<(Value, SideFiles)>, Box<dyn std::error::Error>> {
    let mut records = Vec::new();
    // That of DeBERTa as transformers 4.57 reads it.
    for file in ["expected.json", "deberta_v2/expected.json"] {
        let mut recorded: Value = serde_json::from_slice(&std::fs::read(reference().join(file))?)?;
        records.append(recorded["records"].as_array_mut().ok_or("no records")?);
    }
    assert!(records.len() > 17);
    records
        .iter()
        .map(|record| {
            let mut files = read(record["directory"].as_str().ok_or("no directory")?)?;
            files.0.insert("tokenizer_config.json".into(), serde_json::to_vec(&record["config"])?);
            Ok((record.clone(), files))
        })
        .collect()
}

/// FNV-1a, 64 bits, each value as four bytes.
fn hash(values: impl Iterator<Item = u32>) -> String {
    let bytes = values.flat_map(u32::to_le_bytes);
    let state = bytes.fold(0xcbf2_9ce4_8422_2325u64, |state, b| (state ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    format!("{state:016x}")
}

fn check(tokenizer: &Tokenizer, record: &Value) -> Outcome {
    let of = &record["config"];
    assert_eq!(json!(tokenizer.vocab_size()), record["vocab_size"], "{of}");
    for case in record["cases"].as_array().ok_or("no cases")? {
        let text = [case["text"].as_str().ok_or("no text")?.to_string()];
        let pair = case["pair"].as_str().map(|pair| [pair.to_string()]);
        let encoded = tokenizer.encode(&text, pair.as_ref().map(<[String; 1]>::as_slice), 100_000)?;
        let what = format!("{text:?} {pair:?} of {of}");
        assert_eq!(json!(encoded.ids(0)), case["ids"], "ids of {what}");
        let offsets: Vec<u32> = encoded.offsets(0).iter().flat_map(|&(a, b)| [a, b]).collect();
        assert_eq!(json!(offsets), case["offsets"], "offsets of {what}");
        let segments = case.get("segments").cloned().unwrap_or_else(|| json!(vec![0; encoded.ids(0).len()]));
        assert_eq!(json!(encoded.segments(0)), segments, "segments of {what}");
    }
    for case in record["long"].as_array().ok_or("no long texts")? {
        let text = case["text"].as_str().ok_or("no text")?;
        let times = case["times"].as_u64().ok_or("no times")? as usize;
        let encoded = tokenizer.encode(&[text.repeat(times)], None, 10_000_000)?;
        assert_eq!(json!(encoded.n_tokens()), case["n"], "{text} of {of}");
        assert_eq!(json!(hash(encoded.ids(0).iter().copied())), case["ids"], "ids of many {text} of {of}");
        let offsets = encoded.offsets(0).iter().flat_map(|&(a, b)| [a, b]);
        assert_eq!(json!(hash(offsets)), case["offsets"], "offsets of many {text} of {of}");
    }
    Ok(())
}

#[test]
fn tokens_when_read_from_any_format_equal_those_of_transformers() -> Outcome {
    for (record, files) in records()? {
        check(&Tokenizer::from_files(&files, None)?, &record)?;
    }
    Ok(())
}

#[test]
fn tokens_when_saved_with_a_tokenizer_json_and_read_again_are_the_same() -> Outcome {
    for (record, files) in records()? {
        let saved = Tokenizer::from_files(&files, None)?.saved_files(&files, None)?;
        assert!(saved.0.contains_key("tokenizer.json"));
        check(&Tokenizer::from_files(&saved, None)?, &record)?;
    }
    Ok(())
}

#[test]
fn tokenizer_when_the_family_is_not_named_follows_the_model_type() -> Outcome {
    for (directory, model_type) in [
        ("gpt2", "gpt2"),
        ("roberta", "roberta"),
        ("xlnet", "xlnet"),
        ("albert", "albert"),
        ("llama", "mistral"),
        ("mpnet", "mpnet"),
        ("deberta_v2", "deberta-v2"),
    ] {
        let files = read(directory)?;
        let tokenizer = Tokenizer::from_files(&files, Some(model_type))?;
        let record = records()?.into_iter().find(|(record, _)| record["directory"] == directory);
        check(&tokenizer, &record.ok_or("no record")?.0)?;
        // A vocab.txt is BERT's where nothing else is known of it.
        let supported = if directory == "mpnet" { "is not among" } else { "whisper; supported: " };
        let error = Tokenizer::from_files(&files, Some("whisper")).err().ok_or("another family was accepted")?;
        assert!(error.to_string().contains(supported), "{error}");
    }
    Ok(())
}

#[test]
fn encode_when_nothing_is_added_still_counts_texts_that_were_cut() -> Outcome {
    let tokenizer = Tokenizer::from_files(&read("gpt2")?, Some("gpt2"))?;
    let text = ["the cat sat".to_string()];
    let n = tokenizer.encode(&text, None, 1000)?.n_tokens();
    assert_eq!(tokenizer.encode(&text, None, n)?.n_truncated(), 0);
    let cut = tokenizer.encode(&text, None, n - 1)?;
    assert_eq!((cut.n_truncated(), cut.n_tokens()), (1, n - 1));
    Ok(())
}

#[test]
fn decode_when_ids_come_from_a_text_gives_the_text() -> Outcome {
    for (directory, model_type) in [("gpt2", "gpt2"), ("xlm_roberta", "xlm-roberta"), ("llama", "llama")] {
        let tokenizer = Tokenizer::from_files(&read(directory)?, Some(model_type))?;
        let encoded = tokenizer.encode(&["the cat sat".into()], None, 100)?;
        assert_eq!(tokenizer.decode(&[encoded.ids(0).to_vec()], true)?, ["the cat sat"], "{directory}");
    }
    Ok(())
}

#[test]
fn tokenizer_when_a_file_is_wrong_says_which() -> Outcome {
    let piece = |text: &str| [&[0x0a, text.len() as u8 + 2, 0x0a, text.len() as u8][..], text.as_bytes()].concat();
    let xlnet = read("xlnet")?.0["spiece.model"].clone();
    for (directory, name, content, expected) in [
        ("gpt2", "merges.txt", b"a b c\n".to_vec(), "merges.txt: line 1: expected two tokens"),
        ("gpt2", "merges.txt", b"nothere neither\n".to_vec(), "make a token that vocab.json does not have"),
        ("gpt2", "merges.txt", b"\xff".to_vec(), "merges.txt: not UTF-8"),
        ("gpt2", "vocab.json", b"[1]".to_vec(), "vocab.json: expected tokens and ids"),
        ("gpt2", "added_tokens.json", br#"{"<new>": 9999}"#.to_vec(), "has id 9999"),
        ("xlnet", "spiece.model", b"".to_vec(), "spiece.model: it has no pieces"),
        ("xlnet", "spiece.model", b"\x0a\xff".to_vec(), "spiece.model: the file ends in the middle"),
        ("xlnet", "spiece.model", b"\x0b".to_vec(), "unknown wire type 3"),
        ("xlnet", "spiece.model", piece("a"), "sep_token \"<sep>\" is not in"),
        ("llama", "tokenizer.model", xlnet, "LlamaTokenizer needs a BPE model, this is a unigram model"),
    ] {
        let mut files = read(directory)?;
        let model_type = directory;
        files.0.insert(name.into(), content);
        let result = Tokenizer::from_files(&files, Some(model_type));
        // A token that the vocabulary lacks is appended to it.
        let Err(error) = result else {
            assert!(expected.starts_with("sep_token"), "{name} of {directory}: accepted, not {expected}");
            continue;
        };
        assert!(error.to_string().contains(expected), "{error}");
    }
    Ok(())
}

mod hostile {
    use proptest::prelude::*;

    use super::{Outcome, SideFiles, Tokenizer, read};

    /// A file with some bytes changed, some left out.
    fn damaged(bytes: &[u8], changes: &[(usize, u8)], from: usize, without: usize) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for &(at, byte) in changes {
            let n = bytes.len();
            bytes[at % n] = byte;
        }
        let from = from % bytes.len();
        bytes.drain(from..(from + without).min(from.max(1) + bytes.len() / 2).min(bytes.len()));
        bytes
    }

    fn config(cases: u32) -> ProptestConfig {
        ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
    }

    fn open(files: &SideFiles, model_type: &str) {
        if let Ok(tokenizer) = Tokenizer::from_files(files, Some(model_type)) {
            let texts = ["the cat ﬁne e\u{301} 我 🙂\u{200d} x\u{0} <mask>", "", "\u{10ffff}"].map(String::from);
            let _ = tokenizer.encode(&texts, None, 100);
        }
    }

    #[test]
    fn files_when_damaged_give_an_error_or_a_tokenizer() -> Outcome {
        for (directory, name, model_type) in [
            ("gpt2", "vocab.json", "gpt2"),
            ("gpt2", "merges.txt", "roberta"),
            ("xlnet", "spiece.model", "xlnet"),
            ("albert", "spiece.model", "albert"),
            ("xlm_roberta", "sentencepiece.bpe.model", "xlm-roberta"),
            ("xlm_roberta", "sentencepiece.bpe.model", "camembert"),
            ("llama", "tokenizer.model", "llama"),
        ] {
            let files = read(directory)?;
            let whole = files.0[name].clone();
            let changes = prop::collection::vec((any::<usize>(), any::<u8>()), 0..6);
            let strategy = (changes, any::<usize>(), prop_oneof![Just(0usize), 0..60usize]);
            proptest!(config(150), |((changes, from, without) in strategy)| {
                let mut files = files.clone();
                files.0.insert(name.into(), damaged(&whole, &changes, from, without));
                open(&files, model_type);
            });
            // As tokenizer.json, too.
            let json = Tokenizer::from_files(&files, Some(model_type))?.to_json()?.into_bytes();
            let changes = prop::collection::vec((any::<usize>(), any::<u8>()), 0..4);
            proptest!(config(50), |(changes in changes)| {
                let mut files = SideFiles::default();
                files.0.insert("tokenizer.json".into(), damaged(&json, &changes, 0, 0));
                open(&files, model_type);
            });
        }
        Ok(())
    }

    #[test]
    fn sentence_piece_when_its_pieces_are_made_to_fill_the_memory_is_refused() -> Outcome {
        let field = |tag: u8, bytes: &[u8]| {
            let n = bytes.len();
            [&[tag, (n & 0x7f) as u8 | 0x80, (n >> 7) as u8][..], bytes].concat()
        };
        // Each piece can be cut everywhere.
        let mut model: Vec<u8> = (1..900).flat_map(|n| field(0x0a, &field(0x0a, "a".repeat(n).as_bytes()))).collect();
        model.extend(field(0x12, &[3 << 3, 2]));
        let mut files = SideFiles::default();
        files.0.insert("tokenizer.model".into(), model);
        let error = Tokenizer::from_files(&files, Some("llama")).err().ok_or("it was accepted")?;
        assert!(error.to_string().contains("cut in more ways"), "{error}");
        // A piece longer than any real one.
        files.0.insert("tokenizer.model".into(), field(0x0a, &field(0x0a, &[b'a'; 2000])));
        let error = Tokenizer::from_files(&files, Some("llama")).err().ok_or("it was accepted")?;
        assert!(error.to_string().contains("2000 bytes"), "{error}");
        Ok(())
    }

    #[test]
    fn normalisation_when_its_array_lies_is_refused() -> Outcome {
        let files = read("xlm_roberta")?;
        let json = Tokenizer::from_files(&files, Some("xlm-roberta"))?.to_json()?;
        let json: serde_json::Value = serde_json::from_str(&json)?;
        let map = &json["normalizer"]["normalizers"][0]["precompiled_charsmap"];
        assert!(map.is_string(), "{}", json["normalizer"]);
        // It claims four gigabytes; its first step leads far away.
        for (lie, expected) in [("/////wAAAAA=", "shorter than it says"), ("BAAAAP8B//8A", "out of its array")] {
            let mut json = json.clone();
            json["normalizer"]["normalizers"][0]["precompiled_charsmap"] = lie.into();
            let mut files = SideFiles::default();
            files.0.insert("tokenizer.json".into(), serde_json::to_vec(&json)?);
            let error = Tokenizer::from_files(&files, None).err().ok_or("it was accepted")?;
            assert!(error.to_string().contains(expected), "{error}");
        }
        Ok(())
    }
}
