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
    let recorded: Value = serde_json::from_slice(&std::fs::read(reference().join("expected.json"))?)?;
    let records = recorded["records"].as_array().ok_or("no records")?;
    assert!(records.len() > 10);
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
fn tokens_when_written_as_tokenizer_json_and_read_again_are_the_same() -> Outcome {
    for (record, mut files) in records()? {
        let written = Tokenizer::from_files(&files, None)?.to_json()?;
        files.0.insert("tokenizer.json".into(), written.into_bytes());
        check(&Tokenizer::from_files(&files, None)?, &record)?;
    }
    Ok(())
}
