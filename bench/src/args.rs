//! The command lines of the binaries: `--name value`, `--name=value` and `--flag`, and nothing more.
//!
//! It owns the parsing and the one way to refuse: a sentence on stderr, the usage, exit code 2. A crate for
//! command lines would be a dependency of every bench that shares the loops of this crate.

use std::fmt::Display;
use std::process;
use std::str::FromStr;

/// The arguments of the process that have not been asked for yet.
#[derive(Debug)]
pub struct Args {
    usage: &'static str,
    rest: Vec<String>,
}

impl Args {
    /// Takes the arguments of the process; `--help` prints `usage` and ends it.
    #[must_use]
    pub fn from_env(usage: &'static str) -> Self {
        let rest: Vec<String> = std::env::args().skip(1).collect();
        if rest.iter().any(|word| word == "--help" || word == "-h") {
            println!("{usage}");
            process::exit(0);
        }
        Self { usage, rest }
    }

    /// The value of `--name`, each time that it was given.
    pub fn values<T>(&mut self, name: &str) -> Vec<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        let mut found = Vec::new();
        let mut kept = Vec::new();
        let mut words = std::mem::take(&mut self.rest).into_iter();
        while let Some(word) = words.next() {
            let text = if word == name {
                words
                    .next()
                    .unwrap_or_else(|| self.refuse(&format!("{name} needs a value")))
            } else if let Some(text) = word
                .strip_prefix(name)
                .and_then(|tail| tail.strip_prefix('='))
            {
                text.to_owned()
            } else {
                kept.push(word);
                continue;
            };
            match text.parse() {
                Ok(value) => found.push(value),
                Err(error) => self.refuse(&format!("{name} {text}: {error}")),
            }
        }
        self.rest = kept;
        found
    }

    /// The value of `--name`, the last one if it was given twice, else `default`.
    pub fn value<T>(&mut self, name: &str, default: T) -> T
    where
        T: FromStr,
        T::Err: Display,
    {
        self.values(name).pop().unwrap_or(default)
    }

    /// The comma separated list of `--name`, else `default`.
    pub fn list<T>(&mut self, name: &str, default: Vec<T>) -> Vec<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        let Some(text) = self.values::<String>(name).pop() else {
            return default;
        };
        text.split(',')
            .map(|item| match item.parse() {
                Ok(value) => value,
                Err(error) => self.refuse(&format!("{name} {item}: {error}")),
            })
            .collect()
    }

    /// Whether `--name` was given.
    pub fn flag(&mut self, name: &str) -> bool {
        let before = self.rest.len();
        self.rest.retain(|word| word != name);
        self.rest.len() < before
    }

    /// Refuses every argument that nothing asked for.
    pub fn finish(self) {
        if let Some(word) = self.rest.first() {
            self.refuse(&format!("unexpected argument {word}"));
        }
    }

    /// Ends the process for wrong use.
    pub fn refuse(&self, sentence: &str) -> ! {
        eprintln!("{sentence}\n\n{}", self.usage);
        process::exit(2);
    }
}
