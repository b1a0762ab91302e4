//! Tokens against those of transformers' fast BERT tokenizer, recorded for awkward texts.

use std::path::Path;

use serde_json::Value;
use warmstart::text::{SideFiles, Tokenizer};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn side_files(do_lower_case: bool) -> Result<(SideFiles, Value), Box<dyn std::error::Error>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/bert_b_legacy");
    let mut files = SideFiles::read(&dir)?;
    let config = serde_json::json!({"do_lower_case": do_lower_case, "model_max_length": 33});
    files.0.insert("tokenizer_config.json".into(), serde_json::to_vec(&config)?);
    let mut recorded: Value = serde_json::from_slice(&std::fs::read(dir.join("expected_tokens.json"))?)?;
    Ok((files, recorded[format!("do_lower_case_{do_lower_case}")].take()))
}

#[test]
fn tokens_when_read_from_vocab_txt_equal_those_of_transformers() -> Outcome {
    for do_lower_case in [true, false] {
        let (files, recorded) = side_files(do_lower_case)?;
        let tokenizer = Tokenizer::from_files(&files, None)?;
        assert_eq!((tokenizer.vocab_size(), tokenizer.max_length().map(|limit| limit.tokens)), (53, Some(33)));
        // Written out as tokenizer.json and read again, it is the same tokenizer.
        let mut json = files.clone();
        json.0.insert("tokenizer.json".into(), tokenizer.to_json()?.into_bytes());
        let cases = recorded.as_array().ok_or("no cases")?;
        assert!(cases.len() > 10);
        for tokenizer in [tokenizer, Tokenizer::from_files(&json, None)?] {
            for case in cases {
                let text = [case["text"].as_str().ok_or("no text")?.to_string()];
                let pair = case["pair"].as_str().map(|pair| [pair.to_string()]);
                let encoded = tokenizer.encode(&text, pair.as_ref().map(<[String; 1]>::as_slice), 512)?;
                assert_eq!(serde_json::json!(encoded.ids(0)), case["ids"], "ids of {text:?} {pair:?}");
                assert_eq!(serde_json::json!(encoded.segments(0)), case["token_type_ids"], "segments of {text:?}");
                assert_eq!(serde_json::json!(encoded.offsets(0)), case["offsets"], "offsets of {text:?} {pair:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn encode_when_texts_are_too_long_cuts_and_counts_them() -> Outcome {
    let (files, _) = side_files(true)?;
    let tokenizer = Tokenizer::from_files(&files, None)?;
    let texts = ["the cat sat on the mat the cat sat".to_string(), String::new(), "the".to_string()];
    let encoded = tokenizer.encode(&texts, None, 6)?;
    assert_eq!((encoded.n_truncated(), encoded.lengths()), (1, vec![6, 2, 3]));
    // Of a pair, the longer text is cut.
    let pairs = ["the cat".to_string(), "the".to_string(), "the".to_string()];
    let paired = tokenizer.encode(&texts, Some(&pairs), 8)?;
    assert_eq!(paired.lengths()[0], 8);
    assert_eq!(paired.segments(0), [0, 0, 0, 0, 0, 1, 1, 1]);
    let error = tokenizer.encode(&texts, Some(&pairs), 3).err().ok_or("no room for text was accepted")?;
    assert!(error.to_string().contains("at least 4"), "{error}");
    Ok(())
}

#[test]
fn tokenizer_when_its_files_are_wrong_says_which() -> Outcome {
    let (files, _) = side_files(true)?;
    for (name, content, expected) in [
        ("tokenizer.json", &b"{}"[..], "tokenizer.json: cannot be read"),
        ("tokenizer_config.json", b"{", "tokenizer_config.json: not valid JSON"),
        ("vocab.txt", b"[PAD]\nthe\n", "unk_token \"[UNK]\" is not among its 2 tokens"),
        ("vocab.txt", b"\xff\xfe", "vocab.txt: not UTF-8"),
    ] {
        let mut files = files.clone();
        files.0.insert(name.into(), content.to_vec());
        let error = Tokenizer::from_files(&files, None).err().ok_or(name)?;
        assert!(error.to_string().contains(expected), "{error}");
    }
    let error = Tokenizer::from_files(&SideFiles::default(), None).err().ok_or("no files were accepted")?;
    assert!(error.to_string().contains("expected tokenizer.json or vocab.txt"), "{error}");
    Ok(())
}

#[test]
fn encode_when_tokens_do_not_fit_the_model_names_the_text() -> Outcome {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/bert_b_legacy");
    let (files, _) = side_files(true)?;
    let mut json: Value = serde_json::from_str(&Tokenizer::from_files(&files, None)?.to_json()?)?;
    let special = |id: u32, type_id: u32| {
        serde_json::json!({"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "[CLS]", "type_id": type_id}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [id], "tokens": ["[CLS]"]}}})
    };
    for (processor, expected) in [
        (Value::Null, "text 1 has no tokens"),
        (special(999, 0), "text 0 has the token id 999"),
        (special(2, 7), "text 0 has the segment 7"),
        (special(2, 256), "segments above 255"),
    ] {
        json["post_processor"] = processor;
        let mut backbone = warmstart::backbone::Backbone::from_pretrained(&dir)?;
        let mut files = files.clone();
        files.0.insert("tokenizer.json".into(), serde_json::to_vec(&json)?);
        backbone.tokenizer = Tokenizer::from_files(&files, None)?.into();
        let error = backbone.encode(&["the".into(), String::new()], None, None).err().ok_or(expected)?;
        assert!(error.to_string().contains(expected), "{error}");
    }
    Ok(())
}
