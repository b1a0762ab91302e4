//! The module list in `lib.rs` is the order of the flow: a module may use only those above it. Inside a folder files form no
//! circle.

mod graph;
mod source;
mod tokens;

use std::path::{Path, PathBuf};

use graph::{Graph, between_entries, circles};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn sources(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        files.extend(sources(&entry?.path())?);
    }
    Ok(files)
}

/// The modules a source names after `crate::`, one for each occurrence.
fn uses(text: &str) -> impl Iterator<Item = &str> {
    text.split("crate::").skip(1).filter_map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next())
}

#[test]
fn modules_when_listed_in_order_use_only_those_above() -> Outcome {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let lib = std::fs::read_to_string(src.join("lib.rs"))?;
    let modules: Vec<&str> = lib
        .lines()
        .filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'))
        // Tests lie elsewhere.
        .filter(|module| src.join(module).is_dir() || src.join(format!("{module}.rs")).is_file())
        .collect();
    assert!(modules.len() > 10, "{modules:?}");
    let mut seen = 0;
    for (i, module) in modules.iter().enumerate() {
        let folder = src.join(module);
        let path = if folder.is_dir() { folder } else { src.join(format!("{module}.rs")) };
        for file in sources(&path)? {
            let text = std::fs::read_to_string(&file)?;
            for used in uses(&text) {
                seen += 1;
                let position = modules.iter().position(|m| *m == used);
                assert!(
                    position.is_some_and(|p| p <= i),
                    "{}: uses crate::{used}, which is not above {module}",
                    file.display()
                );
            }
        }
    }
    assert!(seen > 50, "only {seen} uses found: does the test still read the sources?");
    Ok(())
}

fn graph_of_the_crate() -> Result<Graph, Box<dyn std::error::Error>> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    for path in sources(&src)? {
        let names: Vec<_> = path.strip_prefix(&src)?.iter().map(|name| name.to_string_lossy()).collect();
        files.push((names.join("/"), std::fs::read_to_string(&path)?));
    }
    let graph = graph::uses(files.iter().map(|(name, text)| (name.as_str(), text.as_str())));
    let n_uses = graph.values().map(std::collections::BTreeSet::len).sum::<usize>();
    assert!(n_uses > 500, "only {n_uses} uses found: does the test still read the sources?");
    Ok(graph)
}

#[test]
fn files_when_they_use_each_other_form_no_circle() -> Outcome {
    let found = circles(&graph_of_the_crate()?);
    assert!(found.is_empty(), "circles; move what both sides need to a file below them:\n{}", found.join("\n"));
    Ok(())
}

#[test]
fn folders_when_their_files_use_each_other_form_no_circle() -> Outcome {
    let found = circles(&between_entries(&graph_of_the_crate()?));
    assert!(found.is_empty(), "circles; move what both sides need to a file below them:\n{}", found.join("\n"));
    Ok(())
}

#[test]
fn circle_when_it_goes_through_reexports_renamed_and_inner_modules_is_found() {
    let graph = graph::uses([
        ("lib.rs", "pub mod low;\npub mod parts;"),
        ("low.rs", "pub const N: usize = 1; pub fn low() {}"),
        ("parts/mod.rs", "mod one; mod three; mod two; pub(crate) use {one::One, two::{Two as Second, two}};"),
        ("parts/one.rs", "mod inner { use super::low; pub fn f() -> low::L { super::super::Second } } use crate::low;"),
        ("parts/two.rs", "use super::three as after; pub struct Two; pub fn two() { after::three(crate::low::N) }"),
        ("parts/three.rs", "pub fn three(n: usize) { let _ = [r#\"\"\"#, \"'\"]; for _ in super::One::all('\"') {} }"),
    ]);
    let found = circles(&graph);
    let expected = ["one.rs uses parts/two.rs", "three.rs uses parts/one.rs", "two.rs uses parts/three.rs"];
    assert_eq!(found, expected.map(|line| format!("parts/{line}")));
    assert_eq!(graph["parts/mod.rs"].iter().collect::<Vec<_>>(), ["parts/one.rs", "parts/two.rs"]);
    assert!(graph["parts/one.rs"].contains("low.rs") && graph["low.rs"].is_empty());
}

#[test]
fn circle_when_a_file_uses_the_registry_above_it_is_found() {
    let graph = graph::uses([
        ("lib.rs", "mod parts;"),
        ("parts/mod.rs", "mod one; pub use one::one; pub struct Shared;"),
        ("parts/one.rs", "pub fn one(_: super::Shared) {}"),
    ]);
    assert_eq!(circles(&graph), ["parts/mod.rs uses parts/one.rs", "parts/one.rs uses parts/mod.rs"]);
}

#[test]
fn circle_when_only_comments_texts_and_tests_close_it_is_none() {
    let other = "pub(in crate::one) const N: usize = 1; // crate::one::one\n/* use crate::one; */ /// [`crate::one::one`]\npub fn two() -> &'static str { \"use crate::one;\" }
        #[cfg(all(test, not(miri)))] mod tests { use crate::one::one; } #[cfg(test)] use crate::one::{one};";
    let graph = graph::uses([
        ("lib.rs", "mod one; mod two;"),
        ("one.rs", "#[cfg(not(test))] use crate::two::two; pub fn one() {}"),
        ("two.rs", other),
    ]);
    assert_eq!(circles(&graph), [""; 0]);
    assert!(graph["one.rs"].contains("two.rs"));
}

#[test]
fn circle_when_it_is_between_folders_but_not_their_files_is_found() {
    let graph = graph::uses([
        ("lib.rs", "mod a; mod b;"),
        ("a/mod.rs", "mod high; pub mod low;"),
        ("a/high.rs", "use crate::b::B;"),
        ("a/low.rs", "pub struct Low;"),
        ("b.rs", "pub struct B(crate::a::low::Low);"),
    ]);
    assert_eq!(circles(&graph), [""; 0]);
    assert_eq!(circles(&between_entries(&graph)), ["a/ uses b.rs", "b.rs uses a/"]);
}

#[test]
fn sources_when_measured_are_short() -> Outcome {
    for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))? {
        let lines = std::fs::read_to_string(&file)?.lines().count();
        assert!(lines <= 400, "{}: {lines} lines; is it still one concept?", file.display());
    }
    Ok(())
}
