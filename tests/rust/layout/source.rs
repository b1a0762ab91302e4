//! What a source of Rust names: its modules, what it imports, and paths.

use std::collections::{BTreeMap, BTreeSet};

use super::tokens::tokens;

/// The names of a path, as written or from the root of the crate on.
pub type Path = Vec<String>;

/// A source, by what it names. `use` in a block or a module of the source counts as if it stood outside of it.
#[derive(Default)]
pub struct Source {
    /// Its own place from the root on.
    module: Path,
    /// Modules it declares that have a file of their own.
    modules: BTreeSet<String>,
    /// What each imported name stands for.
    imports: BTreeMap<String, Path>,
    /// All paths it names, imports too.
    paths: Vec<Path>,
}

impl Source {
    /// Of the file at `file`, `a/b.rs` or `a/mod.rs`.
    pub fn new(file: &str, text: &str) -> Self {
        let stem = file.trim_end_matches(".rs").trim_end_matches("mod").trim_end_matches('/');
        let module = stem.split('/').filter(|name| *name != "lib").map(String::from).collect();
        let mut source = Self { module, ..Self::default() };
        source.read(&tokens(text));
        source
    }

    pub fn module(&self) -> &Path {
        &self.module
    }

    /// All paths it names, from the root on; those into other crates are left out.
    pub fn paths(&self) -> impl Iterator<Item = Path> {
        self.paths.iter().filter_map(|path| self.absolute(path))
    }

    /// What an imported name stands for, from the root on; none if it is from another crate.
    pub fn import(&self, name: &str) -> Option<Path> {
        self.absolute(self.imports.get(name)?)
    }

    fn read(&mut self, tokens: &[&str]) {
        // How deep the braces are, now and where each module of the source began.
        let (mut depth, mut inside) = (0, Vec::new());
        let mut at = 0;
        while at < tokens.len() {
            let next = |i: usize| tokens.get(at + i).copied().unwrap_or_default();
            // Not in the middle of a path, nor where an item may be seen from.
            let is_start = !tokens[..at].ends_with(&["::"]) && !tokens[..at].ends_with(&["pub", "(", "in"]);
            at += match tokens[at] {
                "{" => {
                    depth += 1;
                    1
                }
                "}" => {
                    depth -= 1;
                    inside.pop_if(|began| *began == depth);
                    1
                }
                "mod" if next(2) == ";" => {
                    self.modules.insert(next(1).into());
                    3
                }
                // Its name may be given by a macro: `mod $name {`.
                "mod" if next(2) == "{" || next(3) == "{" => {
                    inside.push(depth);
                    1
                }
                "use" if next(1) != "<" => {
                    let end = tokens[at..].iter().position(|t| *t == ";").unwrap_or(tokens.len() - at);
                    self.read_use(&[], &tokens[at + 1..at + end], inside.len());
                    end
                }
                _ if is_start && next(1) == "::" => {
                    let more = tokens[at + 1..].chunks(2).take_while(|pair| pair[0] == "::" && is_name(pair.get(1)));
                    let length = 1 + 2 * more.count();
                    self.add(&tokens[at..at + length], inside.len());
                    length
                }
                _ => 1,
            };
        }
    }

    /// A tree of imports: `a::b`, `a::b as c`, `a::{b, c::*}`, each behind `before`.
    fn read_use(&mut self, before: &[&str], tree: &[&str], inside: usize) {
        let brace = tree.iter().position(|t| *t == "{");
        if let Some(brace) = brace {
            let before = [before, &tree[..brace]].concat();
            let (mut depth, mut start) = (0, brace + 1);
            for (i, token) in tree.iter().enumerate().skip(brace + 1) {
                match *token {
                    "{" => depth += 1,
                    "}" if depth > 0 => depth -= 1,
                    "," | "}" if depth == 0 => {
                        self.read_use(&before, &tree[start..i], inside);
                        start = i + 1;
                    }
                    _ => {}
                }
            }
            return;
        }
        let (path, name) = match tree {
            [] => return,
            [path @ .., "as", name] => (path, Some(*name)),
            path => (path, None),
        };
        let mut path = [before, path].concat();
        if let [.., "::", "*" | "self"] = path[..] {
            path.truncate(path.len() - 2);
        }
        let name = if tree.last() == Some(&"*") { None } else { name.or(path.last().copied()) };
        let path = self.add(&path, inside);
        if let Some(name) = name {
            self.imports.insert(name.into(), path);
        }
    }

    /// Add a path that stands so many modules deep inside the source; `super` in there is a module of the source.
    fn add(&mut self, path: &[&str], inside: usize) -> Path {
        let mut path: Path = path.iter().filter(|t| !["::", "$"].contains(t)).map(|t| (*t).to_string()).collect();
        let up = path.iter().take_while(|name| *name == "super").count();
        if up > 0 && inside > 0 {
            path.drain(..up.min(inside));
            if up <= inside {
                path.insert(0, "self".into());
            }
        }
        self.paths.push(path.clone());
        path
    }

    /// From the root on; none if it is of another crate, or begins with a type or a local name.
    fn absolute(&self, path: &Path) -> Option<Path> {
        let mut path = path.clone();
        // A name may be imported through another import.
        for _ in 0..8 {
            let first = path.first()?.clone();
            let rest = path[1..].to_vec();
            match first.as_str() {
                "crate" => return Some(rest),
                "self" => return Some([self.module.clone(), rest].concat()),
                "super" => {
                    let up = path.iter().take_while(|name| *name == "super").count();
                    let above = self.module.len().checked_sub(up)?;
                    return Some([&self.module[..above], &path[up..]].concat());
                }
                _ if self.modules.contains(&first) => return Some([&self.module[..], &path].concat()),
                _ => path = [self.imports.get(&first)?.clone(), rest].concat(),
            }
        }
        None
    }
}

fn is_name(token: Option<&&str>) -> bool {
    token.is_some_and(|token| token.starts_with(|c: char| c.is_alphabetic() || c == '_'))
}
