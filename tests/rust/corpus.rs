//! Texts to a corpus and back: tokens, words, documents, blocks, batches.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use warmstart::corpus::{
    Batches, Blocks, CONTINUES, Corpus, CorpusWriter, OnError, Skipped, Stretches, TextFile, token,
};
use warmstart::error::{Error, Result};
use warmstart::text::{SideFiles, Tokenizer};

type Outcome = std::result::Result<(), Box<dyn std::error::Error>>;

const KINDS: [(&str, &str); 7] = [
    ("bert_b_legacy", "bert"),
    ("tokenizers/gpt2", "gpt2"),
    ("tokenizers/roberta", "roberta"),
    ("tokenizers/xlnet", "xlnet"),
    ("tokenizers/albert", "albert"),
    ("tokenizers/xlm_roberta", "xlm-roberta"),
    ("tokenizers/llama", "llama"),
];

fn tokenizer((directory, model_type): (&str, &str)) -> Result<Arc<Tokenizer>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(directory);
    Ok(Arc::new(Tokenizer::from_files(&SideFiles::read(&directory)?, Some(model_type))?))
}

fn ids(stored: &[u32]) -> Vec<u32> {
    stored.iter().map(|&stored| token(stored).0).collect()
}

type Plain = (Vec<u32>, Vec<(u32, u32)>);

/// Ids and character offsets of a text with the template's tokens, without them.
fn without_specials(tokenizer: &Tokenizer, text: &str) -> Result<Plain> {
    let encoded = tokenizer.encode(&[text.to_string(), String::new()], None, 10_000)?;
    let (ids, specials) = (encoded.ids(0), encoded.ids(1));
    let before = ids.iter().zip(specials).take_while(|(a, b)| a == b).count();
    let range = before..ids.len() - (specials.len() - before);
    Ok((ids[range.clone()].to_vec(), encoded.offsets(0)[range].to_vec()))
}

fn corpus(texts: &[String]) -> std::result::Result<(tempfile::TempDir, Corpus), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let mut writer = CorpusWriter::create(dir.path(), tokenizer(KINDS[1])?)?;
    writer.add(texts)?;
    let corpus = writer.finish("corpus")?;
    Ok((dir, corpus))
}

#[test]
fn corpus_when_written_has_the_tokens_of_each_text_for_every_tokenizer() -> Outcome {
    let texts = ["the cat sat on the mat, unhappily", "", " \n", "日本 🙂👩‍👩‍👧 don't\tstop", "x"].map(String::from);
    for kind in KINDS {
        let tokenizer = tokenizer(kind)?;
        let dir = tempfile::tempdir()?;
        let mut writer = CorpusWriter::create(dir.path(), tokenizer.clone())?;
        writer.add(&texts)?;
        let corpus = writer.finish("corpus")?;
        let mut expected = Vec::new();
        for text in &texts {
            expected.push(without_specials(&tokenizer, text)?.0);
        }
        expected.retain(|ids| !ids.is_empty());
        assert_eq!(corpus.vocab_size(), tokenizer.vocab_size());
        let found: Vec<_> = (0..corpus.n_documents()).map(|i| ids(corpus.document(i))).collect();
        assert_eq!(found, expected, "{kind:?}");
        assert_eq!(corpus.n_tokens(), found.iter().map(Vec::len).sum::<usize>());
        assert!((0..found.len()).all(|i| corpus.document(i)[0] & CONTINUES == 0), "{kind:?}");
        assert!(corpus.document(found.len()).is_empty() && corpus.document(usize::MAX).is_empty());
        assert_eq!(std::fs::read_dir(dir.path())?.count(), 1);
    }
    Ok(())
}

/// The words of a text in the simplest way: cut at spaces, punctuation and ideographs alone.
fn words(text: &str) -> Vec<String> {
    let mut spaced = String::new();
    for c in text.chars() {
        let alone = ",.'!-日本語".contains(c);
        spaced.extend([' ', c, ' '].into_iter().filter(|&s| alone || s == c));
    }
    spaced.split_whitespace().map(String::from).collect()
}

#[test]
fn words_when_tokens_are_joined_by_their_flags_are_those_of_the_text_for_every_tokenizer() -> Outcome {
    let text = "the  cats sat, unhappily; 日本語 on the-mat!\n\n the quick cat. abracadabra".replace(';', "");
    for kind in KINDS {
        let tokenizer = tokenizer(kind)?;
        let stored = tokenizer.encode_words(&text, None)?;
        let (_, spans) = without_specials(&tokenizer, &text)?;
        assert_eq!(stored.len(), spans.len(), "{kind:?}");
        let characters: Vec<char> = text.chars().collect();
        let mut found: Vec<(usize, usize)> = Vec::new();
        for ((_, continues), &(a, b)) in stored.iter().zip(&spans) {
            match found.last_mut() {
                Some(word) if *continues => word.1 = word.1.max(b as usize),
                _ => found.push((a as usize, b as usize)),
            }
        }
        let text_of = |&(a, b): &(usize, usize)| characters[a..b].iter().collect::<String>();
        // A token may hold several words; what is between flags must be whole words.
        let joined: Vec<String> = found.iter().flat_map(|span| words(&text_of(span))).collect();
        assert_eq!(joined, words(&text), "{kind:?}");
        let several = found.iter().filter(|span| words(&text_of(span)).len() > 1).count();
        assert!(several <= 2, "{kind:?}: {several} groups hold several words");
    }
    Ok(())
}

#[test]
fn word_piece_when_a_token_begins_with_two_hashes_continues_a_word_and_no_other_does() -> Outcome {
    let tokenizer = tokenizer(KINDS[0])?;
    let text = "the catssat on, the mat! unmatted don't the日cat\u{a0}sat";
    let encoded = tokenizer.encode_words(text, None)?;
    assert!(encoded.iter().any(|(_, continues)| *continues));
    for (id, continues) in encoded {
        let piece = tokenizer.decode(&[vec![id]], false)?.concat();
        assert_eq!(piece.starts_with("##"), continues, "{piece}");
    }
    Ok(())
}

#[test]
fn document_when_added_in_parts_has_the_tokens_of_the_whole_for_every_tokenizer() -> Outcome {
    let sentence = "the cat sat on the mat, and the  cat's hat\nwas on the cat. ";
    let text = sentence.repeat(200_000 / sentence.len());
    for kind in KINDS {
        let tokenizer = tokenizer(kind)?;
        let dir = tempfile::tempdir()?;
        let mut writer = CorpusWriter::create(dir.path(), tokenizer.clone())?;
        // Parts end anywhere, within words too.
        for part in text.as_bytes().chunks(7919) {
            writer.add_piece(std::str::from_utf8(part)?)?;
        }
        writer.end_document()?;
        writer.add(&["the end".into()])?;
        let corpus = writer.finish("corpus")?;
        let stored = |(id, continues): (u32, bool)| if continues { id | CONTINUES } else { id };
        let whole: Vec<u32> = tokenizer.encode_words(&text, None)?.into_iter().map(stored).collect();
        assert_eq!(corpus.n_documents(), 2, "{kind:?}");
        assert!(corpus.document(0) == whole, "{kind:?}");
    }
    Ok(())
}

#[test]
fn document_when_it_has_no_whitespace_is_one_word_however_it_is_cut() -> Outcome {
    let (_dir, corpus) = corpus(&["ab".repeat(150_000)])?;
    assert_eq!(corpus.n_documents(), 1);
    assert_eq!(corpus.tokens().iter().filter(|&&stored| stored & CONTINUES == 0).count(), 1);
    Ok(())
}

#[test]
fn writer_when_dropped_or_empty_leaves_nothing() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mut writer = CorpusWriter::create(dir.path(), tokenizer(KINDS[0])?)?;
    writer.add(&["the cat".into()])?;
    drop(writer);
    let mut writer = CorpusWriter::create(dir.path(), tokenizer(KINDS[0])?)?;
    writer.add(&[String::new(), " \n".into()])?;
    let error = writer.finish("corpus").err().ok_or("an empty corpus was written")?;
    assert!(matches!(&error, Error::Data(message) if message.contains("corpus is empty")), "{error}");
    assert_eq!(std::fs::read_dir(dir.path())?.count(), 0);
    Ok(())
}

#[test]
fn open_when_the_file_is_cut_or_changed_says_so() -> Outcome {
    let (dir, corpus) = corpus(&["the cat".into(), "sat".into()])?;
    let path = dir.path().join("corpus");
    let bytes = std::fs::read(&path)?;
    let end = bytes.len();
    drop(corpus);
    let changed = |at: usize, byte: u8| {
        let mut bytes = bytes.clone();
        bytes[at] ^= byte;
        bytes
    };
    let cases = [
        (bytes[..0].to_vec(), "too short"),
        (bytes[..31].to_vec(), "too short"),
        (bytes[..end - 1].to_vec(), "bytes, which are not"),
        ([bytes.clone(), vec![0]].concat(), "bytes, which are not"),
        (changed(0, 1), "is no corpus"),
        (changed(8, 64), "version 65"),
        (changed(23, 0x80), "bytes, which are not"),
        (changed(31, 0x80), "bytes, which are not"),
        (changed(end - 8, 1), "not in order"),
        (changed(end - 16, 0xff), "not in order"),
    ];
    for (bytes, expected) in cases {
        std::fs::write(&path, bytes)?;
        let error = Corpus::open(&path).err().ok_or(expected)?;
        assert!(matches!(&error, Error::Data(message) if message.contains(expected)), "{error}");
    }
    Ok(())
}

#[test]
fn split_when_a_fraction_is_held_out_takes_the_last_documents() -> Outcome {
    let (_dir, corpus) = corpus(&vec!["the cat sat".to_string(); 40])?;
    assert_eq!(corpus.split(0.1)?, (0..36, 36..40));
    assert_eq!(corpus.split(0.12)?, (0..36, 36..40));
    assert_eq!(corpus.split(0.001)?, (0..39, 39..40));
    assert_eq!(corpus.split(0.9999)?, (0..1, 1..40));
    assert!(corpus.split(0.0).is_err() && corpus.split(f64::NAN).is_err());
    Ok(())
}

fn read(blocks: &Blocks, block: usize) -> Vec<u32> {
    let mut tokens = Vec::new();
    blocks.read(block, &mut tokens);
    tokens
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]
    #[test]
    fn blocks_when_cut_hold_every_token_once_in_order(
        lengths in prop::collection::vec(1usize..30, 1..20), longest in 1usize..12, skip in 0usize..3, budget in 1usize..40, seed: u64,
    ) {
        let texts: Vec<String> = lengths.iter().map(|&n| "the cat sat on a mat ".repeat(n)[..3 * n].to_string()).collect();
        let Ok((_dir, corpus)) = corpus(&texts) else { return Err(TestCaseError::fail("no corpus")) };
        let documents = skip.min(corpus.n_documents() - 1)..corpus.n_documents();
        let Ok(blocks) = Blocks::documents(&corpus, documents.clone(), longest) else {
            return Err(TestCaseError::fail("no blocks"));
        };
        let expected: Vec<Vec<u32>> =
            documents.clone().flat_map(|i| corpus.document(i).chunks(longest)).map(<[u32]>::to_vec).collect();
        let found: Vec<Vec<u32>> = (0..blocks.len()).map(|i| read(&blocks, i)).collect();
        prop_assert_eq!(&found, &expected);
        prop_assert!((0..blocks.len()).all(|i| blocks.block_len(i) == found[i].len()));
        prop_assert_eq!(blocks.n_tokens(), found.iter().map(Vec::len).sum::<usize>());
        prop_assert_eq!(read(&blocks, blocks.len()), Vec::<u32>::new());

        // Batches: every block once, within the budget.
        let batches: Vec<Vec<usize>> = Batches::new(&blocks, seed, 3, budget, 2).collect();
        let mut all = batches.concat();
        all.sort_unstable();
        prop_assert_eq!(all, (0..blocks.len()).collect::<Vec<_>>());
        for batch in &batches {
            let tokens: usize = batch.iter().map(|&i| blocks.block_len(i) + 2).sum();
            prop_assert!(tokens <= budget || batch.len() == 1);
        }

        let separator = 7;
        let stream: Vec<Vec<u32>> = documents.clone().map(|i| corpus.document(i).to_vec()).collect();
        let stream = stream.join(&separator);
        match Blocks::stream(&corpus, documents, longest, separator) {
            Ok(blocks) => {
                let found: Vec<Vec<u32>> = (0..blocks.len()).map(|i| read(&blocks, i)).collect();
                let expected: Vec<Vec<u32>> = stream.chunks_exact(longest).map(<[u32]>::to_vec).collect();
                prop_assert_eq!(&found, &expected);
                prop_assert_eq!(blocks.n_tokens(), blocks.len() * longest);
                prop_assert_eq!(blocks.block_len(blocks.len()), 0);
            }
            Err(error) => prop_assert!(stream.len() < longest, "{}", error),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]
    #[test]
    fn batches_when_documents_go_on_have_every_block_right_after_the_one_before(
        lengths in prop::collection::vec(1usize..60, 1..12), longest in 1usize..6, budget in 1usize..40, seed: u64,
    ) {
        let texts: Vec<String> = lengths.iter().map(|&n| "the cat sat on a mat ".repeat(n)[..3 * n].to_string()).collect();
        let Ok((_dir, corpus)) = corpus(&texts) else { return Err(TestCaseError::fail("no corpus")) };
        let Ok(blocks) = Blocks::documents(&corpus, 0..corpus.n_documents(), longest) else {
            return Err(TestCaseError::fail("no blocks"));
        };
        let stretches = Stretches::new(&blocks);
        let batches: Vec<Vec<usize>> = stretches.batches(&blocks, seed, 3, budget, 2).collect();
        prop_assert_eq!(&stretches.batches(&blocks, seed, 3, budget, 2).collect::<Vec<_>>(), &batches);
        let mut all = batches.concat();
        all.sort_unstable();
        prop_assert_eq!(all, (0..blocks.len()).collect::<Vec<_>>());
        let mut expected: Vec<usize> = Vec::new();
        for batch in &batches {
            let tokens: usize = batch.iter().map(|&i| blocks.block_len(i) + 2).sum();
            prop_assert!(tokens <= budget || batch.len() == 1);
            prop_assert_eq!(&batch[..expected.len()], &expected[..]);
            // What begins here begins a document, or the ninth block of one.
            for &block in &batch[expected.len()..] {
                let length = (0..block).rev().take_while(|&i| !blocks.ends_document(i)).count();
                prop_assert_eq!(length % 8, 0);
            }
            expected = batch.iter().filter(|&&block| stretches.goes_on(block)).map(|block| block + 1).collect();
        }
        prop_assert!(expected.is_empty());
        for block in 0..blocks.len() {
            let length = (0..=block).rev().skip(1).take_while(|&i| !blocks.ends_document(i)).count() + 1;
            prop_assert_eq!(stretches.goes_on(block), !blocks.ends_document(block) && length % 8 != 0);
        }
    }
}

fn read_file(bytes: &[u8], field: Option<&str>, on_error: OnError) -> Result<(Vec<String>, Skipped)> {
    let dir = tempfile::tempdir().map_err(|e| Error::io(Path::new("temporary"), e))?;
    let path: PathBuf = dir.path().join("texts");
    std::fs::write(&path, bytes).map_err(|e| Error::io(&path, e))?;
    let tokenizer = tokenizer(KINDS[1])?;
    let mut writer = CorpusWriter::create(dir.path(), tokenizer.clone())?;
    let file = TextFile { path, field: field.map(String::from), on_error };
    let skipped = file.add_to(&mut writer, |_| Ok(()))?;
    let corpus = writer.finish("corpus")?;
    let documents: Vec<_> = (0..corpus.n_documents()).map(|i| ids(corpus.document(i))).collect();
    Ok((tokenizer.decode(&documents, false)?, skipped))
}

#[test]
fn plain_text_when_blank_lines_separate_it_is_several_documents() -> Outcome {
    let text = "\u{feff}the cat\r\nsat\n\n\n \t\r\n on the mat\n\nthe end";
    let (documents, skipped) = read_file(text.as_bytes(), None, OnError::Stop)?;
    assert_eq!(documents, ["the cat\nsat", " on the mat", "the end"]);
    assert_eq!(skipped, Skipped::default());
    Ok(())
}

#[test]
fn plain_text_when_a_line_is_longer_than_a_buffer_keeps_its_characters() -> Outcome {
    // Characters of two bytes, at odd places, so that buffers end within one.
    let line = format!("x{}", "é".repeat((5 << 19) + 1));
    let (documents, _) = read_file(format!("{line}\nend\n\nnext").as_bytes(), None, OnError::Stop)?;
    assert!(documents[0] == format!("{line}\nend"));
    assert_eq!(documents[1..], ["next"]);
    Ok(())
}

#[test]
fn lines_when_they_cannot_be_read_are_named_or_left_out() -> Outcome {
    let cases: [(&[u8], Option<&str>, &str); 5] = [
        (b"the cat\nb\xffd\nsat\n\nx", None, "line 2: is not valid UTF-8 from byte 2 on"),
        (b"{\"t\": \"the cat\"}\n\n{\"t\": \"b\xff\"}", Some("t"), "line 3: is not valid UTF-8 from byte 9 on"),
        (b"{\"t\": \"the cat\"}\nnone", Some("t"), "line 2: is not JSON"),
        (b"{\"t\": \"the cat\"}\n{\"text\": 1}", Some("t"), "line 2: has no field \"t\", but [\"text\"]"),
        (b"{\"t\": \"the cat\"}\n{\"t\": 1}", Some("t"), "line 2: the field \"t\" is a number"),
    ];
    for (bytes, field, expected) in cases {
        let error = read_file(bytes, field, OnError::Stop).err().ok_or(expected)?;
        assert!(matches!(&error, Error::Data(message) if message.contains(expected)), "{error}");
        let (documents, skipped) = read_file(bytes, field, OnError::Skip)?;
        assert!(documents[0].starts_with("the cat"), "{documents:?}");
        assert!(skipped.count == 1 && skipped.first.is_some_and(|first| first.contains(expected)));
    }
    let (documents, _) = read_file(b"the cat\nb\xffd\nsat\n\nx", None, OnError::Skip)?;
    assert_eq!(documents, ["the cat\nsat", "x"]);
    Ok(())
}
