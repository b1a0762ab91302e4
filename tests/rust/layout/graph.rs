//! Which file uses which, and the circles in that.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Path, Source};

/// What each file uses, by name.
pub type Graph = BTreeMap<String, BTreeSet<String>>;

/// The graph of a crate's files, `(name, text)`. A file uses another where it names an item that is defined there, through
/// whatever re-exports; those of whole modules (`pub use a::*`) are not looked into.
pub fn uses<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Graph {
    let sources: BTreeMap<Path, (&str, Source)> = files
        .into_iter()
        .map(|(file, text)| {
            let source = Source::new(file, text);
            (source.module().clone(), (file, source))
        })
        .collect();
    let used = |file: &str, source: &Source| {
        let files = source.paths().filter_map(|path| defining(&sources, &path, 8)).map(|module| sources[&module].0);
        files.filter(|used| *used != file).map(String::from).collect()
    };
    sources.values().map(|(file, source)| ((*file).to_string(), used(file, source))).collect()
}

/// The module in whose file the item of this path is defined, through so many re-exports at most.
fn defining(sources: &BTreeMap<Path, (&str, Source)>, path: &Path, reexports: usize) -> Option<Path> {
    let mut module = Path::new();
    for (i, name) in path.iter().enumerate() {
        let imported = sources.get(&module)?.1.import(name);
        let inner = [&module[..], std::slice::from_ref(name)].concat();
        // A function may have the name of its module: then the last name is the function's.
        if sources.contains_key(&inner) && (i + 1 < path.len() || imported.is_none()) {
            module = inner;
        } else if let Some(imported) = imported {
            let rest = &path[i + 1..];
            return defining(sources, &[&imported[..], rest].concat(), reexports.checked_sub(1)?);
        } else {
            break;
        }
    }
    Some(module)
}

/// The same between the entries of folders: where two files lie in different folders, the folders that lie beside each other
/// stand for them.
pub fn between_entries(graph: &Graph) -> Graph {
    let mut entries = Graph::new();
    for (file, used) in graph.iter().flat_map(|(file, all)| all.iter().map(move |used| (file, used))) {
        let [mine, theirs] = [file, used].map(|name| name.split_inclusive('/').collect::<Vec<_>>());
        let shared = mine.iter().zip(&theirs).take_while(|(a, b)| a == b).count();
        let [mine, theirs] = [mine, theirs].map(|names| names[..=shared].concat());
        entries.entry(mine).or_default().insert(theirs);
    }
    entries
}

/// Those of which each uses each other, if only through others; one line for each, with what of its circle it uses.
pub fn circles(graph: &Graph) -> Vec<String> {
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        graph.keys().map(|name| (name.as_str(), reached(graph, name))).collect();
    let is_mutual = |a: &str, b: &str| reached[a].contains(b) && reached.get(b).is_some_and(|back| back.contains(a));
    let in_circle = |(name, used): (&String, &BTreeSet<String>)| {
        let used: Vec<&str> = used.iter().map(String::as_str).filter(|used| is_mutual(name, used)).collect();
        (!used.is_empty()).then(|| format!("{name} uses {}", used.join(", ")))
    };
    graph.iter().filter_map(in_circle).collect()
}

fn reached<'a>(graph: &'a Graph, from: &'a str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut next = vec![from];
    while let Some(name) = next.pop() {
        let used = graph.get(name).into_iter().flatten().map(String::as_str);
        next.extend(used.filter(|used| found.insert(*used)));
    }
    found
}
