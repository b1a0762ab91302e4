//! The module list in `lib.rs` is the order of the flow: a module may use only those above it.

use std::path::{Path, PathBuf};

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
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'))
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

#[test]
fn sources_when_measured_are_short() -> Outcome {
    for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))? {
        let lines = std::fs::read_to_string(&file)?.lines().count();
        assert!(lines <= 400, "{}: {lines} lines; is it still one concept?", file.display());
    }
    Ok(())
}
