//! What files beside a `tokenizer.json` change, against what transformers 4.57.6 makes of them, recorded.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use warmstart::text::{Extender, SideFiles, Tokenizer};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn reference() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference")
}

fn recorded() -> Result<Value, Box<dyn std::error::Error>> {
    Ok(serde_json::from_slice(&std::fs::read(reference().join("side_files/expected.json"))?)?)
}

/// The files of a case.
fn files(case: &Value) -> Result<SideFiles, Box<dyn std::error::Error>> {
    let base = case["base"].as_str().ok_or("no base")?;
    let mut json: Value =
        serde_json::from_slice(&std::fs::read(reference().join("side_files").join(base).with_extension("json"))?)?;
    for (pointer, value) in case["changes"].as_object().ok_or("no changes")? {
        *json.pointer_mut(pointer).ok_or("nothing there")? = value.clone();
    }
    let mut files = SideFiles::default();
    files.0.insert("tokenizer.json".into(), serde_json::to_vec(&json)?);
    for (name, content) in case["files"].as_object().ok_or("no files")? {
        let bytes = match content.as_str() {
            Some(directory) => std::fs::read(reference().join("tokenizers").join(directory).join(name))?,
            None => serde_json::to_vec(content)?,
        };
        files.0.insert(name.clone(), bytes);
    }
    Ok(files)
}

/// What a tokenizer makes of the recorded texts, in the form of the record.
fn answer(tokenizer: &Tokenizer, recorded: &Value) -> Result<Value, Box<dyn std::error::Error>> {
    let strings = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(String::from).collect()
    };
    let (texts, pair) = (strings(&recorded["texts"]), strings(&recorded["pair"]));
    let encoded = tokenizer.encode(&texts, None, 1000)?;
    let both = tokenizer.encode(&pair[..1], Some(&pair[1..]), 1000)?;
    let ids: Vec<&[u32]> = (0..texts.len()).map(|i| encoded.ids(i)).chain([both.ids(0)]).collect();
    let cut = tokenizer.encode(&texts[..1], None, 5)?;
    let pair_cut = tokenizer.encode(&pair[..1], Some(&[pair[1].repeat(2)]), 6)?;
    Ok(json!({
        "max_length": tokenizer.max_length().map(|limit| limit.tokens),
        "cut": [cut.ids(0), pair_cut.ids(0)],
        "vocab_size": tokenizer.vocab_size(),
        "ids": ids,
        "segments": both.segments(0),
        "special": tokenizer.special_ids(),
    }))
}

/// The record without what a model is not given.
fn expected(case: &Value) -> Value {
    let mut expected = case["expected"].clone();
    if let Some(fields) = expected.as_object_mut()
        && fields.remove("gives_segments") == Some(false.into())
        && !case["files"]["tokenizer_config.json"]["model_input_names"].is_null()
    {
        let n = fields["segments"].as_array().map_or(0, Vec::len);
        fields.insert("segments".into(), vec![0; n].into());
    }
    expected
}

/// What a case should give here; None where transformers 4.57.6 cannot read it.
fn wanted(case: &Value, recorded: &Value) -> Result<Option<Value>, Box<dyn std::error::Error>> {
    if !case["expected"]["error"].is_null() {
        return Ok(None);
    }
    if !case["files"]["tokenizer_config.json"].is_null() {
        return Ok(Some(expected(case)));
    }
    // Without a tokenizer_config.json, what the type of the model would make transformers assume is not assumed here.
    let mut alone = case.clone();
    alone["files"]["tokenizer_config.json"] = json!({"tokenizer_class": "PreTrainedTokenizerFast",
        "add_prefix_space": case["changes"]["/pre_tokenizer/add_prefix_space"] == true});
    Ok(Some(answer(&Tokenizer::from_files(&files(&alone)?, None)?, recorded)?))
}

fn differences(what: &str, got: &Value, expected: &Value) -> Vec<String> {
    let fields = expected.as_object().into_iter().flatten();
    fields
        .filter(|(key, value)| got[*key] != **value)
        .map(|(key, value)| format!("{what}\n  {key} {value}\n  got {}", got[key]))
        .collect()
}

#[test]
fn tokens_when_files_lie_beside_tokenizer_json_are_those_of_transformers() -> Outcome {
    let recorded = recorded()?;
    let cases = recorded["cases"].as_array().ok_or("no cases")?;
    assert!(cases.len() > 100);
    let mut wrong = Vec::new();
    for (i, case) in cases.iter().enumerate() {
        let what = format!("{i} {} {} {}", case["base"], case["changes"], case["files"]);
        let tokenizer = Tokenizer::from_files(&files(case)?, case["model_type"].as_str());
        match (case["refused"].as_str(), tokenizer) {
            (Some(message), Err(error)) if error.to_string().contains(message) => {}
            (None, Ok(tokenizer)) => {
                if let Some(wanted) = wanted(case, &recorded)? {
                    wrong.extend(differences(&what, &answer(&tokenizer, &recorded)?, &wanted));
                }
            }
            (refused, other) => wrong.push(format!("{what}\n  {refused:?}, got {:?}", other.err())),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn tokenizer_when_saved_is_read_as_the_same_without_the_model() -> Outcome {
    let recorded = recorded()?;
    let mut wrong = Vec::new();
    for (i, case) in recorded["cases"].as_array().ok_or("no cases")?.iter().enumerate() {
        let what = format!("{i} {} {} {}", case["base"], case["changes"], case["files"]);
        let (files, model_type) = (files(case)?, case["model_type"].as_str());
        let Ok(tokenizer) = Tokenizer::from_files(&files, model_type) else { continue };
        let saved = tokenizer.saved_files(&files, None)?;
        let before = answer(&tokenizer, &recorded)?;
        for model_type in [None, model_type] {
            let again = Tokenizer::from_files(&saved, model_type)?;
            wrong.extend(differences(&what, &answer(&again, &recorded)?, &before));
            assert_eq!(again.notes(), Vec::<String>::new(), "{what}");
            assert_eq!(again.saved_files(&saved, None)?.0, saved.0, "{what}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn tokenizer_when_version_1_wrote_its_files_takes_tokenizer_json_as_it_stands() -> Outcome {
    let recorded = recorded()?;
    for case in recorded["cases"].as_array().ok_or("no cases")? {
        let (files, model_type) = (files(case)?, case["model_type"].as_str());
        let mut alone = SideFiles::default();
        alone.0.insert("tokenizer.json".into(), files.0["tokenizer.json"].clone());
        let mut before = answer(&Tokenizer::from_files(&alone, None)?, &recorded)?;
        let migrated = files.of_version_1(model_type)?;
        let mut now = answer(&Tokenizer::from_files(&migrated, model_type)?, &recorded)?;
        for answer in [&mut before, &mut now] {
            // It read the limit, and always cut at the right.
            answer["max_length"] = Value::Null;
            answer["cut"] = Value::Null;
        }
        assert_eq!(now, before, "{} {} {}", case["base"], case["changes"], case["files"]);
    }
    Ok(())
}

#[test]
fn tokenizer_when_its_file_says_dropout_is_the_same_at_every_call_and_says_so() -> Outcome {
    let recorded = recorded()?;
    let of = |dropout: f64| files(&json!({"base": "gpt2", "changes": {"/model/dropout": dropout}, "files": {}}));
    let tokenizer = Tokenizer::from_files(&of(0.0)?, None)?;
    assert_eq!(tokenizer.notes(), Vec::<String>::new());
    let plain = answer(&tokenizer, &recorded)?;
    let files = of(0.5)?;
    let tokenizer = Tokenizer::from_files(&files, None)?;
    assert_eq!(answer(&tokenizer, &recorded)?, plain);
    assert!(tokenizer.notes()[0].contains("tokenizer.json: dropout=0.5"), "{:?}", tokenizer.notes());
    let saved = tokenizer.saved_files(&files, None)?;
    let json: Value = serde_json::from_slice(&saved.0["tokenizer.json"])?;
    assert_eq!(json["model"]["dropout"], Value::Null);
    Ok(())
}

#[test]
fn tokens_when_transformers_4_cannot_read_the_files_are_those_of_transformers_5() -> Outcome {
    // transformers 5.24.0.
    for (base, config, text, expected) in [
        (
            "bert",
            json!({"tokenizer_class": "BertTokenizer", "extra_special_tokens": ["<new>"]}),
            "the<new>cat",
            vec![2, 5, 87, 6, 3],
        ),
        (
            "llama",
            json!({"tokenizer_class": "LlamaTokenizer", "add_prefix_space": false, "add_bos_token": false}),
            "The cat sat on the mat",
            vec![498, 277, 339, 285, 425, 278, 280, 407],
        ),
        (
            "llama",
            json!({"tokenizer_class": "LlamaTokenizer", "add_prefix_space": true, "add_bos_token": false}),
            "The cat sat on the mat",
            vec![425, 498, 277, 339, 285, 425, 278, 280, 407],
        ),
    ] {
        let case = json!({"base": base, "changes": {}, "files": {"tokenizer_config.json": config}});
        let tokenizer = Tokenizer::from_files(&files(&case)?, None)?;
        assert_eq!(tokenizer.encode(&[text.to_string()], None, 100)?.ids(0), expected, "{config}");
    }
    Ok(())
}

#[test]
fn tokenizer_when_no_configuration_says_whose_it_is_tells_what_transformers_would_do() -> Outcome {
    let open = |changes: Value, files_beside: Value| -> Result<Vec<String>, Box<dyn std::error::Error>> {
        let case = json!({"base": "bert", "changes": changes, "files": files_beside});
        Ok(Tokenizer::from_files(&files(&case)?, Some("bert"))?.notes())
    };
    let cased = json!({"/normalizer/lowercase": false});
    let notes = open(cased.clone(), json!({}))?;
    assert!(notes.len() == 1 && notes[0].contains("as BertTokenizer"), "{notes:?}");
    assert_eq!(open(json!({}), json!({}))?, Vec::<String>::new());
    let configured = json!({"tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast"}});
    assert_eq!(open(cased, configured)?, Vec::<String>::new());
    Ok(())
}

#[test]
fn old_texts_when_words_are_new_behind_an_added_token_keep_their_ids() -> Outcome {
    // Before, by transformers 4.57.6; the added token is not matched in a text that only its lower case makes equal to it.
    for (base, config, text, expected, spared) in [
        (
            "albert",
            json!({"additional_special_tokens": ["<new>"]}),
            "the <NEW>",
            vec![2, 9, 6, 1, 129, 173, 39, 1, 3],
            true,
        ),
        ("albert", json!({"additional_special_tokens": ["<NEW>"]}), "the <NEW>", vec![2, 9, 6, 175, 3], false),
        (
            "bert",
            json!({"additional_special_tokens": ["zzcat"]}),
            "the ZZCATs",
            vec![2, 5, 54, 83, 60, 58, 77, 76, 3],
            true,
        ),
        ("bert", json!({"additional_special_tokens": ["[new]"]}), "the [NEW]", vec![2, 5, 22, 15, 23, 3], false),
    ] {
        let case = json!({"base": base, "changes": {}, "files": {"tokenizer_config.json": config}});
        let files = files(&case)?;
        let tokenizer = Tokenizer::from_files(&files, Some(base))?;
        let ids = |tokenizer: &Tokenizer, text: &str| -> Result<Vec<u32>, Box<dyn std::error::Error>> {
            Ok(tokenizer.encode(&[text.to_string()], None, 100)?.ids(0).to_vec())
        };
        assert_eq!(ids(&tokenizer, text)?, expected, "{config}");
        let extension = Extender::new(&tokenizer).tokens(&files, &["zzqq".to_string()])?;
        let extended = Tokenizer::from_files(&extension.files, Some(base))?;
        assert_eq!(ids(&extended, text)?, expected, "{config}");
        let new = extension.rows[0].0;
        assert_eq!(new as usize, tokenizer.vocab_size());
        for written in ["the zzqq", "the ZZQQ the"] {
            let tail = &ids(&tokenizer, "the")?[..2];
            let found = ids(&extended, written)?;
            assert_eq!(found[..3], [tail, &[new]].concat(), "{config} {written}");
        }
        let added = extended.saved_files(&extension.files, None)?.json("tokenizer.json")?.unwrap_or_default();
        let is_added = added["added_tokens"].as_array().into_iter().flatten().any(|token| token["id"] == new);
        assert_eq!(is_added, spared, "{config}");
    }
    Ok(())
}
