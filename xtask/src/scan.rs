//! Reading of Rust source as far as the text checks need it: what is code, what is comment, what is
//! the content of a string, and which lines belong to unit tests.
//!
//! It is no parser: it knows comments, literals and brackets. That is enough to keep a check from
//! tripping over a word in a comment or a string.

/// One source file, split into views that have the same length and the same lines.
pub(crate) struct Source {
    /// Relative to the root of the workspace, with forward slashes.
    pub(crate) path: String,
    /// The file as it is.
    pub(crate) text: String,
    /// Code alone: comments and the contents of literals are spaces. ASCII, one byte a character
    /// of the file, so that positions in it are byte offsets.
    pub(crate) code: String,
    /// Comments alone, markers included, everything else spaces; split into lines.
    pub(crate) comments: Vec<String>,
    line_starts: Vec<usize>,
    test_lines: Vec<bool>,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let (code, comments) = split(text);
        let line_starts: Vec<usize> = std::iter::once(0)
            .chain(code.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        let mut source = Self {
            path: path.to_owned(),
            text: text.to_owned(),
            comments: comments.split('\n').map(str::to_owned).collect(),
            test_lines: vec![false; line_starts.len()],
            line_starts,
            code,
        };
        source.mark_tests();
        source
    }

    /// The line, from 1, of a position in `code`.
    pub(crate) fn line_of(&self, position: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= position)
    }

    /// Whether a line, counted from 1, lies in an item under `#[cfg(test)]`.
    pub(crate) fn is_test_line(&self, line: usize) -> bool {
        self.test_lines[line - 1]
    }

    /// Positions of `word` in the code where it is not part of a longer identifier.
    pub(crate) fn find_word<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        find_word(&self.code, word)
    }

    /// Each `cfg(..)`, `cfg!(..)` and `cfg_attr(..)` of the code: where it begins, and its arguments.
    pub(crate) fn cfgs(&self) -> Vec<(usize, &str)> {
        let mut found = Vec::new();
        for word in ["cfg", "cfg_attr"] {
            for at in self.find_word(word) {
                let mut open = at + word.len();
                if self.code[open..].starts_with('!') {
                    open += 1;
                }
                if self.code[open..].starts_with('(') {
                    let close = closing(&self.code, open).unwrap_or(self.code.len());
                    found.push((at, &self.code[open + 1..close]));
                }
            }
        }
        found
    }

    /// The position behind the attribute that contains `position`, and behind the further
    /// attributes that follow it: where the item itself begins.
    pub(crate) fn item_after(&self, position: usize) -> Option<usize> {
        let code = &self.code;
        let mut open = code[..position].rfind("#[")? + 1;
        if closing(code, open)? < position {
            // The position lies in an inner attribute or in a macro call, not in this attribute.
            return None;
        }
        loop {
            let after = closing(code, open)? + 1;
            let rest = code[after..].trim_start();
            let start = code.len() - rest.len();
            if !rest.starts_with("#[") {
                return Some(start);
            }
            open = start + 1;
        }
    }

    fn mark_tests(&mut self) {
        let mut ranges = Vec::new();
        for (at, arguments) in self.cfgs() {
            let names_test = find_word(arguments, "test").next().is_some();
            let negated = find_word(arguments, "not").next().is_some();
            if !names_test || negated {
                continue;
            }
            let Some(item) = self.item_after(at) else {
                continue;
            };
            let Some(length) = self.code[item..].find(['{', ';']) else {
                continue;
            };
            if self.code[item + length..].starts_with('{') {
                let close = closing(&self.code, item + length).unwrap_or(self.code.len());
                ranges.push((self.line_of(at), self.line_of(close)));
            }
        }
        for (first, last) in ranges {
            self.test_lines[first - 1..last].fill(true);
        }
    }
}

/// Positions of `word` in `code` where no character of an identifier touches it.
pub(crate) fn find_word<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |at| {
            let before = code[..*at].chars().next_back();
            let after = code[at + word.len()..].chars().next();
            !before.is_some_and(is_ident) && !after.is_some_and(is_ident)
        })
}

/// The position of the bracket that closes the one at `open`.
pub(crate) fn closing(code: &str, open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (offset, byte) in code.as_bytes()[open..].iter().enumerate() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(open + offset);
                }
            }
            _ => {}
        }
    }
    None
}

fn is_ident(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Splits a text into code and comments, each with one character for each character of the text.
fn split(text: &str) -> (String, String) {
    let mut splitter = Splitter {
        text: text.chars().collect(),
        at: 0,
        code: String::with_capacity(text.len()),
        comments: String::with_capacity(text.len()),
    };
    splitter.run();
    (splitter.code, splitter.comments)
}

struct Splitter {
    text: Vec<char>,
    at: usize,
    code: String,
    comments: String,
}

impl Splitter {
    fn run(&mut self) {
        while let Some(character) = self.peek(0) {
            match character {
                '/' if self.peek(1) == Some('/') => self.line_comment(),
                '/' if self.peek(1) == Some('*') => self.block_comment(),
                '"' => self.string(),
                '\'' => self.quote(),
                _ if is_ident(character) => self.word(),
                _ => self.take_code(),
            }
        }
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.text.get(self.at + ahead).copied()
    }

    fn take_code(&mut self) {
        let character = self.text[self.at];
        // A letter outside ASCII stays a letter of an identifier, and one byte long.
        self.code
            .push(if character.is_ascii() { character } else { '_' });
        self.comments
            .push(if character == '\n' { '\n' } else { ' ' });
        self.at += 1;
    }

    fn take_comment(&mut self) {
        let character = self.text[self.at];
        self.code.push(if character == '\n' { '\n' } else { ' ' });
        self.comments.push(character);
        self.at += 1;
    }

    /// Takes a character of a literal; nothing at the end of a file that is cut off.
    fn take_literal(&mut self) {
        let Some(character) = self.peek(0) else {
            return;
        };
        let blank = if character == '\n' { '\n' } else { ' ' };
        self.code.push(blank);
        self.comments.push(blank);
        self.at += 1;
    }

    fn line_comment(&mut self) {
        while self.peek(0).is_some_and(|character| character != '\n') {
            self.take_comment();
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0_usize;
        while let Some(character) = self.peek(0) {
            let pair = (character, self.peek(1));
            if pair == ('/', Some('*')) || pair == ('*', Some('/')) {
                depth = if character == '/' {
                    depth + 1
                } else {
                    depth - 1
                };
                self.take_comment();
            }
            self.take_comment();
            if depth == 0 {
                return;
            }
        }
    }

    fn string(&mut self) {
        self.take_code();
        while let Some(character) = self.peek(0) {
            match character {
                '"' => return self.take_code(),
                '\\' if self.peek(1).is_some() => {
                    self.take_literal();
                    self.take_literal();
                }
                _ => self.take_literal(),
            }
        }
    }

    /// A character literal or a lifetime: the first has a backslash behind the quote, or a quote
    /// behind one character.
    fn quote(&mut self) {
        let is_literal = self.peek(1) == Some('\\') || self.peek(2) == Some('\'');
        self.take_code();
        if !is_literal {
            return;
        }
        // The first character is taken unseen, because it may be a quote behind a backslash.
        if self.peek(0) == Some('\\') {
            self.take_literal();
        }
        self.take_literal();
        while self.peek(0).is_some_and(|character| character != '\'') {
            self.take_literal();
        }
        if self.peek(0).is_some() {
            self.take_code();
        }
    }

    /// An identifier, a number, or the prefix of a literal: `r`, `br` and `cr` begin raw strings.
    fn word(&mut self) {
        let start = self.at;
        while self.peek(0).is_some_and(is_ident) {
            self.take_code();
        }
        let word: String = self.text[start..self.at].iter().collect();
        if matches!(word.as_str(), "r" | "br" | "cr") {
            let hashes = self.text[self.at..]
                .iter()
                .take_while(|character| **character == '#')
                .count();
            if self.peek(hashes) == Some('"') {
                self.raw_string(hashes);
            }
        }
    }

    fn raw_string(&mut self, hashes: usize) {
        for _ in 0..=hashes {
            self.take_code();
        }
        while let Some(character) = self.peek(0) {
            let ends = character == '"' && (1..=hashes).all(|ahead| self.peek(ahead) == Some('#'));
            if ends {
                for _ in 0..=hashes {
                    self.take_code();
                }
                return;
            }
            self.take_literal();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Source;

    fn code(text: &str) -> String {
        Source::new("a.rs", text).code
    }

    #[test]
    fn code_view_blanks_comments_and_strings() {
        assert_eq!(code("a(\"b\"); // c"), "a(\" \");     ");
        assert_eq!(code("/* a /* b */ c */ d"), "                  d");
        assert_eq!(code("r#\"a \" b\"# c"), "r#\"     \"# c");
        assert_eq!(code("b\"\\\"x\" y"), "b\"   \" y");
        assert_eq!(code("\"a\nb\""), "\" \n \"");
    }

    #[test]
    fn code_view_tells_lifetimes_from_characters() {
        assert_eq!(code("&'a str"), "&'a str");
        assert_eq!(code("'\"' x"), "' ' x");
        assert_eq!(code("'\\'' x"), "'  ' x");
        assert_eq!(code("'\\u{41}' x"), "'      ' x");
        assert_eq!(code("r#type"), "r#type");
    }

    #[test]
    fn code_view_survives_what_is_cut_off() {
        for text in ["\"a", "'\\", "/* a", "r##\"a\"#", "'", "\"\\"] {
            assert_eq!(code(text).chars().count(), text.chars().count(), "{text}");
        }
    }

    #[test]
    fn comment_view_keeps_the_lines() {
        let source = Source::new("a.rs", "x // \u{e9} one\n/* two\nthree */ y\n");
        assert_eq!(
            source.comments,
            ["  // \u{e9} one", "/* two", "three */  ", ""]
        );
        assert_eq!(source.code.split('\n').nth(2), Some("         y"));
    }

    #[test]
    fn words_do_not_match_inside_identifiers() {
        let source = Source::new("a.rs", "unsafe_code unsafe { not_unsafe }");
        assert_eq!(source.find_word("unsafe").collect::<Vec<_>>(), [12]);
    }

    #[test]
    fn test_lines_cover_the_module_and_no_more() {
        let text = "fn a() {}\n#[cfg(test)]\n#[allow(x)]\nmod tests {\n  fn b() {}\n}\nfn c() {}\n";
        let source = Source::new("a.rs", text);
        let marked: Vec<usize> = (1..=7).filter(|line| source.is_test_line(*line)).collect();
        assert_eq!(marked, [2, 3, 4, 5, 6]);
        let negated = Source::new("a.rs", "#[cfg(not(test))]\nmod a {\n}\n");
        assert!(!negated.is_test_line(2));
    }

    #[test]
    fn cfgs_span_lines() {
        let source = Source::new(
            "a.rs",
            "#[cfg(any(\n  unix,\n  windows,\n))]\nfn a() { cfg!(x) }",
        );
        let arguments: Vec<&str> = source
            .cfgs()
            .into_iter()
            .map(|(_, arguments)| arguments)
            .collect();
        assert_eq!(arguments, ["any(\n  unix,\n  windows,\n)", "x"]);
    }
}
