//! The tables of what dropping each future does name every future that is public.

use std::fs;
use std::path::{Path, PathBuf};

/// Every file of the crate, by its path below `src`.
fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => sources(&path, found),
            false => found.push(path),
        }
    }
}

/// The rows of the tables in a module's own documentation, and the sentences beside them.
fn documentation(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .filter(|line| line.starts_with("//!"))
        .collect()
}

/// The names of public functions that give a future.
fn futures(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in text.match_indices("pub ") {
        let Some(signature) = text[at..].split(['{', ';']).next() else {
            continue;
        };
        let is_future = signature.starts_with("pub async fn ")
            || signature.starts_with("pub fn ") && signature.contains("-> impl Future");
        let Some((_, named)) = signature.split_once("fn ").filter(|_| is_future) else {
            continue;
        };
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        names.push(named.split(|c| !is_part(c)).next().unwrap().to_owned());
    }
    names
}

/// Whether the text names it in code: `name`, or the end of a path.
fn names(documentation: &str, name: &str) -> bool {
    documentation.match_indices(name).any(|(at, _)| {
        let before = documentation[..at].chars().next_back();
        let behind = documentation[at + name.len()..].chars().next();
        matches!(before, Some('`' | ':')) && matches!(behind, Some('`' | '(' | ')'))
    })
}

#[test]
fn every_public_future_is_named_in_a_table_of_what_dropping_it_does() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let of_crate = documentation(&root.join("lib.rs"));
    let mut files = Vec::new();
    sources(&root, &mut files);
    let (mut count, mut missing) = (0, Vec::new());
    for file in files {
        let below = file.strip_prefix(&root).unwrap();
        let module = root.join(below.iter().next().unwrap()).join("mod.rs");
        let of_module = module.exists().then(|| documentation(&module));
        for name in futures(&fs::read_to_string(&file).unwrap()) {
            count += 1;
            let is_named = |text: &String| names(text, &name);
            if !is_named(&of_crate) && !of_module.as_ref().is_some_and(is_named) {
                missing.push(format!("{}: {name}", below.display()));
            }
        }
    }
    assert!(count > 80, "only {count} futures were found");
    assert!(
        missing.is_empty(),
        "say what dropping these does: {missing:#?}"
    );
}
