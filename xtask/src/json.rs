//! Just enough JSON to read what `wharf doctor --json` says. It reads any valid document; it does not
//! aim to refuse every invalid one.

/// A JSON value. Numbers stay text, because nobody here computes with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads a document; nothing where it is not one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut reader = Reader { rest: text };
        let value = reader.value()?;
        reader.rest.trim_start().is_empty().then_some(value)
    }

    /// A member of an object.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members
                .iter()
                .find(|(name, _)| name == key)
                .map(|(_, value)| value),
            _ => None,
        }
    }

    pub(crate) fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self {
            Some(text)
        } else {
            None
        }
    }

    pub(crate) fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self {
            Some(*value)
        } else {
            None
        }
    }

    pub(crate) fn items(&self) -> &[Self] {
        if let Self::List(items) = self {
            items
        } else {
            &[]
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn value(&mut self) -> Option<Json> {
        self.rest = self.rest.trim_start();
        for (word, value) in [
            ("null", Json::Null),
            ("true", Json::Bool(true)),
            ("false", Json::Bool(false)),
        ] {
            if self.eat(word) {
                return Some(value);
            }
        }
        match self.rest.chars().next()? {
            '"' => self.text().map(Json::Text),
            '[' => self.list(),
            '{' => self.object(),
            _ => self.number(),
        }
    }

    fn eat(&mut self, token: &str) -> bool {
        self.rest = self.rest.trim_start();
        if let Some(rest) = self.rest.strip_prefix(token) {
            self.rest = rest;
            return true;
        }
        false
    }

    fn number(&mut self) -> Option<Json> {
        let end = self
            .rest
            .find(|c: char| !c.is_ascii_digit() && !matches!(c, '+' | '-' | '.' | 'e' | 'E'))
            .unwrap_or(self.rest.len());
        let (number, rest) = self.rest.split_at(end);
        self.rest = rest;
        number.parse::<f64>().ok()?;
        Some(Json::Number(number.to_owned()))
    }

    fn text(&mut self) -> Option<String> {
        let mut text = String::new();
        let mut characters = self.rest.char_indices().skip(1);
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Some(text);
                }
                '\\' => match characters.next()?.1 {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    'r' => text.push('\r'),
                    'b' => text.push('\u{8}'),
                    'f' => text.push('\u{c}'),
                    'u' => {
                        let digits: String = characters.by_ref().take(4).map(|(_, c)| c).collect();
                        let code = u32::from_str_radix(&digits, 16).ok()?;
                        // Half of a surrogate pair is shown as what it is: not a character.
                        text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                    }
                    other => text.push(other),
                },
                other => text.push(other),
            }
        }
        None
    }

    fn list(&mut self) -> Option<Json> {
        let mut items = Vec::new();
        self.eat("[");
        if self.eat("]") {
            return Some(Json::List(items));
        }
        loop {
            items.push(self.value()?);
            if self.eat("]") {
                return Some(Json::List(items));
            }
            if !self.eat(",") {
                return None;
            }
        }
    }

    fn object(&mut self) -> Option<Json> {
        let mut members = Vec::new();
        self.eat("{");
        if self.eat("}") {
            return Some(Json::Object(members));
        }
        loop {
            self.rest = self.rest.trim_start();
            if !self.rest.starts_with('"') {
                return None;
            }
            let key = self.text()?;
            if !self.eat(":") {
                return None;
            }
            members.push((key, self.value()?));
            if self.eat("}") {
                return Some(Json::Object(members));
            }
            if !self.eat(",") {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Json;

    #[test]
    fn json_reads_a_report() {
        let text = r#" {"chosen": "epoll", "n": [-1.5e3, null, []], "o": {},
            "backends": [{"name": "io_uring", "available": false, "reason": "a \"b\"\n\u0041"}]} "#;
        let report = Json::parse(text).expect("valid");
        assert_eq!(report.get("chosen").and_then(Json::as_text), Some("epoll"));
        assert_eq!(report.get("n").map(|n| n.items().len()), Some(3));
        let backend = &report.get("backends").expect("present").items()[0];
        assert_eq!(
            backend.get("available").and_then(Json::as_bool),
            Some(false)
        );
        assert_eq!(
            backend.get("reason").and_then(Json::as_text),
            Some("a \"b\"\nA")
        );
        assert_eq!(backend.get("features"), None);
    }

    #[test]
    fn json_refuses_what_is_cut_off() {
        for text in [
            "", "{", "[1", "[1,", "\"a", "{\"a\"", "{\"a\":", "{\"a\":1", "nul", "1 2", "\"\\u00",
        ] {
            assert_eq!(Json::parse(text), None, "{text}");
        }
    }
}
