//! What a causal language model expects after a text:
//! `cargo run --release --example next_token -- MODEL "The capital of France is"`, where MODEL is a GGUF file or a Hugging Face
//! directory.

use std::path::Path;
use std::time::Instant;

use warmstart::{LanguageModel, Precision};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, texts @ ..] = arguments.as_slice() else { return Err("usage: next_token MODEL TEXT...".into()) };
    let started = Instant::now();
    let model = LanguageModel::from_pretrained(Path::new(model))?;
    println!("opened in {:.3} s", started.elapsed().as_secs_f64());
    let expected = model.next_tokens(texts, 5, Precision::F32)?;
    println!("first output after {:.3} s", started.elapsed().as_secs_f64());
    for (text, tokens) in texts.iter().zip(expected) {
        println!("{text}");
        for (id, probability) in tokens {
            println!("  {probability:.4} {:?} ({id})", model.backbone.tokenizer.decode(&[vec![id]], false)?.concat());
        }
    }
    Ok(())
}
