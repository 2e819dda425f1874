//! JSON as Python's `json` module reads and writes it: the same mistakes at the same character, `NaN` and integers of any
//! size let in, the last of equal keys kept, floats written as `repr` writes them. What it refuses it never panics over.

use std::collections::HashMap;
use std::fmt::Write as _;

/// Deeper than Python's recursion limit would go with a framework on the stack.
const DEPTH: u32 = 400;
/// Python's own limit for turning text into an integer.
const DIGITS: usize = 4300;

#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    Int(i64),
    /// An integer beyond 64 bits, in canonical digits.
    Big(String),
    Float(f64),
    Text(String),
    List(Vec<Json>),
    /// In the order of the text.
    Object(Vec<(String, Json)>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// Not JSON: what is wrong, and at which character.
    Invalid { at: usize, error: &'static str },
    /// Not text, too deep, too many digits: Python gives up without a place.
    Hopeless,
}

impl Json {
    pub fn read(bytes: &[u8]) -> Result<Json, Unreadable> {
        let chars = decode(bytes).ok_or(Unreadable::Hopeless)?;
        let mut reader = Reader { chars: &chars, at: 0, depth: 0 };
        reader.blank();
        let value = reader.value()?;
        reader.blank();
        if reader.at < chars.len() { Err(reader.wrong("Extra data")) } else { Ok(value) }
    }

    pub fn get(&self, key: &str) -> Option<&Json> {
        match self {
            Json::Object(fields) => fields.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// Compact, as Starlette writes answers. What JSON cannot say (`NaN`, infinities) becomes `null`.
    pub fn write(&self, out: &mut String) {
        match self {
            Json::Null => out.push_str("null"),
            Json::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
            Json::Int(value) => {
                let _ = write!(out, "{value}"); // a String takes everything
            }
            Json::Big(digits) => out.push_str(digits),
            Json::Float(value) => out.push_str(&float(*value).unwrap_or_else(|| "null".into())),
            Json::Text(text) => quote(text, out),
            Json::List(items) => {
                out.push('[');
                for (n, item) in items.iter().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Json::Object(fields) => {
                out.push('{');
                for (n, (name, value)) in fields.iter().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    quote(name, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

impl From<serde_json::Value> for Json {
    fn from(value: serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Json::Null,
            serde_json::Value::Bool(flag) => Json::Bool(flag),
            serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(value), _) => Json::Int(value),
                // beyond 64 bits with a sign: as it was written
                (None, _) if number.is_u64() => Json::Big(number.to_string()),
                (None, value) => Json::Float(value.unwrap_or(f64::INFINITY)),
            },
            serde_json::Value::String(text) => Json::Text(text),
            serde_json::Value::Array(items) => Json::List(items.into_iter().map(Json::from).collect()),
            serde_json::Value::Object(fields) => {
                Json::Object(fields.into_iter().map(|(name, value)| (name, value.into())).collect())
            }
        }
    }
}

impl std::fmt::Display for Json {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::new();
        self.write(&mut text);
        f.write_str(&text)
    }
}

/// As Python's `repr`: `5.0`, `1e+16`, `1e-07`. `None` for what is no number.
pub fn float(value: f64) -> Option<String> {
    if !value.is_finite() {
        return None;
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e')?;
    let exponent: i32 = exponent.parse().ok()?;
    if value == 0.0 || (-4..16).contains(&exponent) {
        return Some(format!("{value:?}"));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    Some(format!("{digits}e{sign}{:02}", exponent.abs()))
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c)); // a String takes everything
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// UTF-8, or UTF-16 and UTF-32 told by their marks or by where the zero bytes are.
fn decode(bytes: &[u8]) -> Option<Vec<char>> {
    let wide = |size: usize, big: bool, bytes: &[u8]| -> Option<Vec<u32>> {
        if !bytes.len().is_multiple_of(size) {
            return None;
        }
        let unit = |unit: &[u8]| {
            let fold = |value: u32, byte: &u8| value << 8 | u32::from(*byte);
            if big { unit.iter().fold(0, fold) } else { unit.iter().rev().fold(0, fold) }
        };
        Some(bytes.chunks(size).map(unit).collect())
    };
    let utf16 = |big, bytes| {
        let units: Vec<u16> = wide(2, big, bytes)?.into_iter().map(|unit| unit as u16).collect();
        char::decode_utf16(units).collect::<Result<Vec<_>, _>>().ok()
    };
    let utf32 = |big, bytes| wide(4, big, bytes)?.into_iter().map(char::from_u32).collect::<Option<Vec<_>>>();
    match bytes {
        [0, 0, 0xfe, 0xff, rest @ ..] => utf32(true, rest),
        [0xff, 0xfe, 0, 0, rest @ ..] => utf32(false, rest),
        [0xfe, 0xff, rest @ ..] => utf16(true, rest),
        [0xff, 0xfe, rest @ ..] => utf16(false, rest),
        [0xef, 0xbb, 0xbf, rest @ ..] => utf8(rest),
        [0, 0, ..] if bytes.len() >= 4 => utf32(true, bytes),
        [0, ..] if bytes.len() >= 2 => utf16(true, bytes),
        [_, 0, 0, 0, ..] => utf32(false, bytes),
        [_, 0, ..] => utf16(false, bytes),
        _ => utf8(bytes),
    }
}

fn utf8(bytes: &[u8]) -> Option<Vec<char>> {
    Some(std::str::from_utf8(bytes).ok()?.chars().collect())
}

struct Reader<'a> {
    chars: &'a [char],
    at: usize,
    depth: u32,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn wrong(&self, error: &'static str) -> Unreadable {
        Unreadable::Invalid { at: self.at, error }
    }

    fn blank(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | '\n' | '\r')) {
            self.at += 1;
        }
    }

    fn word(&mut self, word: &str) -> bool {
        let there = self.chars[self.at..].iter().copied().take(word.len()).eq(word.chars());
        if there {
            self.at += word.len();
        }
        there
    }

    fn value(&mut self) -> Result<Json, Unreadable> {
        match self.peek() {
            Some('"') => self.text().map(Json::Text),
            Some('{') => self.nested(Self::object),
            Some('[') => self.nested(Self::list),
            _ if self.word("null") => Ok(Json::Null),
            _ if self.word("true") => Ok(Json::Bool(true)),
            _ if self.word("false") => Ok(Json::Bool(false)),
            _ if self.word("NaN") => Ok(Json::Float(f64::NAN)),
            _ if self.word("Infinity") => Ok(Json::Float(f64::INFINITY)),
            _ if self.word("-Infinity") => Ok(Json::Float(f64::NEG_INFINITY)),
            Some('-' | '0'..='9') => self.number(),
            _ => Err(self.wrong("Expecting value")),
        }
    }

    fn nested(&mut self, inner: fn(&mut Self) -> Result<Json, Unreadable>) -> Result<Json, Unreadable> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(Unreadable::Hopeless);
        }
        self.at += 1;
        self.blank();
        let value = inner(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn object(&mut self) -> Result<Json, Unreadable> {
        let (mut fields, mut places) = (Vec::new(), HashMap::new());
        if self.peek() == Some('}') {
            self.at += 1;
            return Ok(Json::Object(fields));
        }
        loop {
            if self.peek() != Some('"') {
                return Err(self.wrong("Expecting property name enclosed in double quotes"));
            }
            let name = self.text()?;
            self.blank();
            if self.peek() != Some(':') {
                return Err(self.wrong("Expecting ':' delimiter"));
            }
            self.at += 1;
            self.blank();
            let value = self.value()?;
            match places.get(&name) {
                Some(&place) => {
                    let field: &mut (String, Json) = &mut fields[place];
                    field.1 = value;
                }
                None => {
                    places.insert(name.clone(), fields.len());
                    fields.push((name, value));
                }
            }
            self.blank();
            match self.peek() {
                Some('}') => {
                    self.at += 1;
                    return Ok(Json::Object(fields));
                }
                Some(',') => self.at += 1,
                _ => return Err(self.wrong("Expecting ',' delimiter")),
            }
            self.blank();
        }
    }

    fn list(&mut self) -> Result<Json, Unreadable> {
        let mut items = Vec::new();
        if self.peek() == Some(']') {
            self.at += 1;
            return Ok(Json::List(items));
        }
        loop {
            items.push(self.value()?);
            self.blank();
            match self.peek() {
                Some(']') => {
                    self.at += 1;
                    return Ok(Json::List(items));
                }
                Some(',') => self.at += 1,
                _ => return Err(self.wrong("Expecting ',' delimiter")),
            }
            self.blank();
        }
    }

    fn digits(&mut self) -> usize {
        let from = self.at;
        while matches!(self.peek(), Some('0'..='9')) {
            self.at += 1;
        }
        self.at - from
    }

    fn number(&mut self) -> Result<Json, Unreadable> {
        let from = self.at;
        if self.peek() == Some('-') {
            self.at += 1;
        }
        match self.peek() {
            Some('0') => self.at += 1,
            Some('1'..='9') => {
                self.digits();
            }
            _ => {
                self.at = from;
                return Err(self.wrong("Expecting value"));
            }
        }
        let (whole, mut float) = (self.at, false);
        if self.peek() == Some('.') {
            self.at += 1;
            if self.digits() == 0 { self.at = whole } else { float = true }
        }
        let mantissa = self.at;
        if matches!(self.peek(), Some('e' | 'E')) {
            self.at += 1;
            if matches!(self.peek(), Some('+' | '-')) {
                self.at += 1;
            }
            if self.digits() == 0 { self.at = mantissa } else { float = true }
        }
        let text: String = self.chars[from..self.at].iter().collect();
        if float {
            return Ok(Json::Float(text.parse().map_err(|_| Unreadable::Hopeless)?));
        }
        integer(&text).ok_or(Unreadable::Hopeless)
    }

    fn text(&mut self) -> Result<String, Unreadable> {
        let begin = self.at;
        let unterminated = Unreadable::Invalid { at: begin, error: "Unterminated string starting at" };
        self.at += 1;
        let mut text = String::new();
        loop {
            let Some(c) = self.peek() else { return Err(unterminated) };
            match c {
                '"' => {
                    self.at += 1;
                    return Ok(text);
                }
                '\\' => {
                    let Some(&escape) = self.chars.get(self.at + 1) else { return Err(unterminated) };
                    let plain = match escape {
                        '"' | '\\' | '/' => escape,
                        'b' => '\u{8}',
                        'f' => '\u{c}',
                        'n' => '\n',
                        'r' => '\r',
                        't' => '\t',
                        'u' => {
                            self.at += 1;
                            text.push(self.escaped()?);
                            continue;
                        }
                        _ => return Err(self.wrong("Invalid \\escape")),
                    };
                    text.push(plain);
                    self.at += 2;
                }
                c if c < ' ' => return Err(self.wrong("Invalid control character at")),
                c => {
                    text.push(c);
                    self.at += 1;
                }
            }
        }
    }

    /// At the `u` of an escape. Half a surrogate pair, which no text can hold, becomes U+FFFD.
    fn escaped(&mut self) -> Result<char, Unreadable> {
        let high = self.hex(self.at)?;
        self.at += 5;
        let follows = self.peek() == Some('\\') && self.chars.get(self.at + 1) == Some(&'u');
        if (0xd800..0xdc00).contains(&high) && follows {
            let low = self.hex(self.at + 1).unwrap_or(0);
            if (0xdc00..0xe000).contains(&low) {
                self.at += 6;
                let pair = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                return Ok(char::from_u32(pair).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
        }
        Ok(char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex(&self, u: usize) -> Result<u32, Unreadable> {
        let wrong = Unreadable::Invalid { at: u, error: "Invalid \\uXXXX escape" };
        if u + 5 >= self.chars.len() {
            return Err(wrong);
        }
        let digits = &self.chars[u + 1..u + 5];
        digits.iter().try_fold(0, |value, c| Some(value << 4 | c.to_digit(16)?)).ok_or(wrong)
    }
}

/// Canonical digits of an integer that may be of any size (up to Python's own limit).
pub fn integer(text: &str) -> Option<Json> {
    if let Ok(value) = text.parse() {
        return Some(Json::Int(value));
    }
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let digits = digits.trim_start_matches('0');
    let plain = !digits.is_empty() && digits.len() <= DIGITS && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| Json::Big(format!("{sign}{digits}")))
}
