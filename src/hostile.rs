//! Hostile files: valid ones, changed at random, and opened as a user's would be.
//!
//! Whatever a file claims, opening it ends in an error or in a model that can be used: never in a panic, never in more memory
//! than a small multiple of the files, never in minutes of work. `WARMSTART_HOSTILE_SECONDS` (default 1) says for how long
//! each format is tried, `WARMSTART_HOSTILE_FIRST` (default 0) with which change to begin; a failure names its change.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::backbone::{Backbone, Config};
use crate::corpus::{Blocks, Corpus, CorpusWriter};
use crate::error::Result;
use crate::gguf::Gguf;
use crate::head::{TargetKind, TaskModel};
use crate::rng::{Key, Stream};
use crate::text::{SIDE_FILES, SideFiles, Tokenizer};

type Outcome = std::result::Result<(), Box<dyn std::error::Error>>;

/// Memory a file may take, in multiples of its length, and what any takes.
const MULTIPLE: usize = 16;
const FIXED: usize = 2 << 20;
/// Time that a thread may compute. Time on the wall passes too while the machine does something else.
const LONGEST: Duration = Duration::from_secs(20);

/// For how long this thread has computed.
#[cfg(unix)]
fn computed() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock writes to `time` alone.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(not(unix))]
fn computed() -> Duration {
    static FIRST: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    FIRST.get_or_init(std::time::Instant::now).elapsed()
}

thread_local! {
    /// Bytes this thread has taken and not given back, and the most of them since the last look.
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, counting for each thread. Not our own: sanitizers know no blocks but those of the system's.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(bytes: isize) {
    // Fails while a thread ends.
    let _ = LIVE.try_with(|live| {
        live.set(live.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

// SAFETY: blocks are the system's, handed on as they come.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller promises a layout that is not of size zero.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller promises a layout that is not of size zero.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller promises that it came from here with this layout, and so from the system's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// The most bytes that `f` takes at a time, in this thread.
fn peak<T>(f: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE.get();
    PEAK.set(before);
    let value = f();
    (value, usize::try_from(PEAK.get() - before).unwrap_or(0))
}

/// Numbers for one change.
struct Dice(Key, u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.1 += 1;
        ((u128::from(self.0.uniform_u64(self.1)) * n as u128) >> 64) as usize
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// A place in a file: anywhere, or near its ends, where the headers are.
    fn place(&mut self, length: usize) -> usize {
        let near = length.min(self.one_of(&[64, 1024, 4096]));
        match self.below(4) {
            0 | 1 => self.below(near),
            2 => length - 1 - self.below(near),
            _ => self.below(length),
        }
    }
}

fn change(file: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut file = file.to_vec();
    for _ in 0..=dice.below(3) {
        if file.is_empty() {
            break;
        }
        let at = dice.place(file.len());
        let rest = file.len() - at;
        match dice.below(8) {
            0 => file[at] ^= 1 << dice.below(8),
            1 => file[at] = dice.one_of(&[0, 1, 0x7f, 0x80, 0xff, b'"', b'9', b'-']),
            2 => file.truncate(at),
            // A length, a count, an offset
            3 | 4 => {
                let length = file.len() as u64;
                let extremes =
                    [0, 1, 2, length - 1, length, length + 1, 1 << 31, (1 << 32) - 1, 1 << 40, 1 << 63, u64::MAX];
                let value = dice.one_of(&extremes).to_le_bytes();
                let width = dice.one_of(&[1, 2, 4, 8]).min(rest);
                file[at..at + width].copy_from_slice(&value[..width]);
            }
            5 => drop(file.drain(at..=at + dice.below(rest.min(64)))),
            6 => {
                let piece = file[at..=at + dice.below(rest.min(64))].repeat(dice.one_of(&[1, 2, 50, 2000]));
                drop(file.splice(at..at, piece));
            }
            // A number in JSON
            _ => match file[at..].iter().position(u8::is_ascii_digit) {
                Some(digit) => {
                    let number =
                        dice.one_of(&["0", "4294967295", "-1", "1e300", "18446744073709551615", "999999999999"]);
                    drop(file.splice(at + digit..=at + digit, number.bytes()));
                }
                None => file[at] ^= 0x20,
            },
        }
    }
    file
}

fn seconds() -> f64 {
    std::env::var("WARMSTART_HOSTILE_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(1.0)
}

fn first() -> u64 {
    std::env::var("WARMSTART_HOSTILE_FIRST").ok().and_then(|s| s.parse().ok()).unwrap_or(0)
}

fn reference(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(name)
}

/// Change the files `changed` of `files`, each a name and its content, and `open` the directory they are in.
fn try_changes(files: &[(&str, Vec<u8>)], changed: &[&str], open: impl Fn(&Path) -> Result<()> + Sync) -> Outcome {
    let dir = tempfile::tempdir()?;
    let write = |name: &str, content: &[u8]| std::fs::write(dir.path().join(name), content);
    for (name, content) in files {
        write(name, content)?;
    }
    open(dir.path())?;
    let (begin, mut spent, first) = (computed(), Duration::ZERO, first());
    let mut accepted = 0u64;
    for case in first.. {
        let elapsed = computed().saturating_sub(begin) + spent;
        if elapsed.as_secs_f64() > seconds() {
            eprintln!("{changed:?}: changes {first} to {case}, {accepted} of them accepted");
            assert!(case - first > 50, "only {} changes in {elapsed:?}", case - first);
            break;
        }
        let mut dice = Dice(Key::new(case, Stream::Shuffle), 0);
        let chosen = dice.one_of(changed);
        let (_, content) = files.iter().find(|(name, _)| *name == chosen).ok_or("no such file")?;
        let hostile = change(content, &mut dice);
        write(chosen, &hostile)?;
        let length = hostile.len() + files.iter().filter(|(n, _)| *n != chosen).map(|(_, c)| c.len()).sum::<usize>();
        let path = dir.path();
        let run = || {
            let before = computed();
            let (opened, peak) = peak(|| catch_unwind(AssertUnwindSafe(|| open(path))));
            (opened, peak, computed().saturating_sub(before))
        };
        // In a thread of its own: the cache of BPE in `tokenizers` (0.23) is a thread's, and grows with every tokenizer.
        let ran = std::thread::scope(|scope| scope.spawn(run).join());
        let (opened, peak, took) = ran.map_err(|_| format!("{chosen}: change {case} panics"))?;
        spent += took;
        write(chosen, content)?;
        let Ok(opened) = opened else { return Err(format!("{chosen}: change {case} panics").into()) };
        assert!(took < LONGEST, "{chosen}: change {case} takes {took:?}");
        assert!(
            peak <= MULTIPLE * length + FIXED,
            "{chosen}: change {case} takes {peak} bytes for {length}; {opened:?}"
        );
        accepted += u64::from(opened.is_ok());
    }
    Ok(())
}

/// Open a model and use its tokenizer.
fn open_backbone(dir: &Path) -> Result<()> {
    let backbone = Backbone::from_pretrained(dir)?;
    let texts = ["the cat sat on the mat".into(), String::new(), "日本 é\u{301} \0".into()];
    backbone.encode(&texts, Some(&texts), None).map(drop)
}

fn open_gguf(dir: &Path) -> Result<()> {
    let gguf = Gguf::open(&dir.join("model.gguf"))?;
    for (name, shape) in gguf.tensors() {
        assert_eq!(gguf.tensor(name)?.dims(), shape);
    }
    let tokenizer = gguf.tokenizer()?;
    for text in ["the cat sat on the mat", "", "日本 é\u{301} <s> <|end|> 12"] {
        if let Ok(encoding) = tokenizer.encode(text, true) {
            assert!(encoding.get_ids().iter().all(|&id| tokenizer.id_to_token(id).is_some()));
        }
    }
    Ok(())
}

fn read(name: &str) -> std::io::Result<Vec<u8>> {
    std::fs::read(reference(name))
}

#[test]
fn gguf_when_it_is_changed_is_refused_or_read() -> Outcome {
    for name in ["gpt2", "llama", "smollm"] {
        try_changes(&[("model.gguf", read(&format!("gguf/{name}.gguf"))?)], &["model.gguf"], open_gguf)?;
    }
    try_changes(&[("model.gguf", read("gguf/bert.gguf")?)], &["model.gguf"], open_backbone)
}

#[test]
fn safetensors_when_they_are_changed_are_refused_or_read() -> Outcome {
    let index = "model.safetensors.index.json";
    let mut files =
        vec![("config.json", read("bert_b_legacy/config.json")?), ("vocab.txt", read("bert_b_legacy/vocab.txt")?)];
    files.push((index, read("bert_b_sharded/model.safetensors.index.json")?));
    let shards =
        ["model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors"];
    for shard in shards {
        files.push((shard, read(&format!("bert_b_sharded/{shard}"))?));
    }
    try_changes(&files, &[index, shards[0], shards[1], shards[2]], open_backbone)
}

#[test]
fn torch_file_when_it_is_changed_is_refused_or_read() -> Outcome {
    for name in ["bert_b_legacy/pytorch_model.bin", "bert_b_bin_f16/pytorch_model.bin", "torch_files/expanded.bin"] {
        let file = read(name)?;
        let files = [
            ("config.json", read("bert_b_legacy/config.json")?),
            ("vocab.txt", read("bert_b_legacy/vocab.txt")?),
            ("pytorch_model.bin", file),
        ];
        try_changes(&files, &["pytorch_model.bin"], open_backbone)?;
    }
    Ok(())
}

#[test]
fn configuration_and_vocabulary_when_they_are_changed_are_refused_or_read() -> Outcome {
    let mut files = Vec::new();
    for name in ["config.json", "vocab.txt", "tokenizer_config.json", "pytorch_model.bin"] {
        files.push((name, read(&format!("bert_b_legacy/{name}"))?));
    }
    try_changes(&files, &["config.json", "vocab.txt", "tokenizer_config.json"], open_backbone)
}

/// Open a corpus and read all of it.
fn open_corpus(dir: &Path) -> Result<()> {
    let corpus = Corpus::open(&dir.join("a.corpus"))?;
    let all = 0..corpus.n_documents();
    let n: usize = all.clone().map(|i| corpus.document(i).len()).sum();
    assert_eq!(n, corpus.n_tokens());
    let mut tokens = Vec::new();
    for blocks in [Blocks::documents(&corpus, all.clone(), 3), Blocks::stream(&corpus, all, 5, 0)] {
        let blocks = blocks?;
        (0..blocks.len()).for_each(|i| blocks.read(i, &mut tokens));
    }
    Ok(())
}

#[test]
fn corpus_when_it_is_changed_is_refused_or_read() -> Outcome {
    let tokenizer = Backbone::from_pretrained(&reference("bert_b_legacy"))?.tokenizer;
    let dir = tempfile::tempdir()?;
    let mut writer = CorpusWriter::create(dir.path(), tokenizer)?;
    writer.add(&["the cat sat on the mat".into(), "the cat".into(), "sat".into()])?;
    drop(writer.finish("a.corpus")?);
    let file = std::fs::read(dir.path().join("a.corpus"))?;
    try_changes(&[("a.corpus", file)], &["a.corpus"], open_corpus)
}

#[test]
fn tokenizer_json_when_it_is_changed_is_refused_or_read() -> Outcome {
    let backbone = Backbone::from_pretrained(&reference("bert_b_legacy"))?;
    let mut files = vec![("tokenizer.json", backbone.tokenizer.to_json()?.into_bytes())];
    for name in ["config.json", "pytorch_model.bin"] {
        files.push((name, read(&format!("bert_b_legacy/{name}"))?));
    }
    try_changes(&files, &["tokenizer.json"], open_backbone)
}

/// Read a tokenizer without a model, and use it.
fn open_tokenizer(dir: &Path, model_type: &str) -> Result<()> {
    let tokenizer = Tokenizer::from_files(&SideFiles::read(dir)?, Some(model_type))?;
    let texts = ["the cat sat on the mat".into(), String::new(), "日本 é\u{301} \0 <s>".into()];
    tokenizer.encode(&texts, None, 64)?;
    tokenizer.frame()?;
    texts.iter().try_for_each(|text| tokenizer.encode_words(text, None).map(drop))
}

#[test]
fn tokenizers_of_every_kind_when_they_are_changed_are_refused_or_read() -> Outcome {
    for (name, model_type) in [
        ("gpt2", "gpt2"),
        ("roberta", "roberta"),
        ("xlnet", "xlnet"),
        ("albert", "albert"),
        ("llama", "llama"),
        ("mpnet", "mpnet"),
        ("deberta_v2", "deberta-v2"),
    ] {
        let directory = reference("tokenizers").join(name);
        let mut files = Vec::new();
        for file in SIDE_FILES.into_iter().filter(|file| directory.join(file).is_file()) {
            files.push((file, std::fs::read(directory.join(file))?));
        }
        let changed: Vec<&str> = files.iter().map(|(file, _)| *file).collect();
        try_changes(&files, &changed, |dir| open_tokenizer(dir, model_type))?;
    }
    Ok(())
}

#[test]
fn files_beside_a_tokenizer_json_when_they_are_changed_are_refused_or_read() -> Outcome {
    for (name, class, n) in
        [("bert", "BertTokenizer", 87), ("roberta", "RobertaTokenizer", 500), ("llama", "LlamaTokenizer", 520)]
    {
        let config = serde_json::json!({"tokenizer_class": class, "do_lower_case": false, "strip_accents": true,
            "add_prefix_space": false, "add_eos_token": true, "mask_token": {"content": "<m>", "lstrip": true},
            "additional_special_tokens": ["<x>", ""], "truncation_side": "left", "model_max_length": 9});
        let files = [
            ("tokenizer.json", std::fs::read(reference("side_files").join(name).with_extension("json"))?),
            ("tokenizer_config.json", serde_json::to_vec(&config)?),
            ("special_tokens_map.json", br#"{"pad_token": "<p>", "eos_token": "</s>"}"#.to_vec()),
            ("added_tokens.json", format!(r#"{{"<m>": {n}}}"#).into_bytes()),
        ];
        let beside = ["tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"];
        try_changes(&files, &beside, |dir| open_tokenizer(dir, name))?;
    }
    Ok(())
}

#[test]
fn configuration_of_every_family_when_it_is_changed_is_refused_or_read() -> Outcome {
    for entry in std::fs::read_dir(reference("families"))? {
        let file = std::fs::read(entry?.path().join("config.json"))?;
        try_changes(&[("config.json", file)], &["config.json"], |dir| {
            let text = std::fs::read_to_string(dir.join("config.json")).unwrap_or_default();
            let config = Config::parse(&text)?;
            // What it asks for is counted, not made.
            let values =
                Backbone::specs(&config).iter().map(|spec| spec.shape.iter().product::<usize>()).sum::<usize>();
            assert!(values > 0);
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn published_classifier_when_its_configuration_is_changed_is_refused_or_read() -> Outcome {
    let mut files = vec![("vocab.txt", read("bert_b_legacy/vocab.txt")?)];
    for name in ["config.json", "model.safetensors"] {
        files.push((name, read(&format!("families/electra_b/{name}"))?));
    }
    try_changes(&files, &["config.json"], |dir| TaskModel::from_pretrained(dir, TargetKind::Classes).map(drop))
}
