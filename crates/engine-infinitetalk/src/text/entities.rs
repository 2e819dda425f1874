//! References of HTML (`&eacute;`, `&#233;`) to characters, in two ways: as browsers and Python's `html.unescape` read them, without semicolons
//! and with what Windows wrote into numbers; and as ftfy does, only what is unmistakable. The table is that of HTML5
//! (`assets/html5-entities.txt`: name, `*` where it needs no semicolon, code points).

use std::collections::HashMap;
use std::sync::OnceLock;

use super::charsets::WINDOWS_1252;

/// The longest name that is looked for.
const LONGEST: usize = 32;

struct Entity {
    characters: String,
    /// Known without a semicolon, too.
    bare: bool,
}

fn table() -> &'static HashMap<&'static str, Entity> {
    static TABLE: OnceLock<HashMap<&'static str, Entity>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let entity = |line: &'static str| {
            let (name, points) = line.split_once(' ').expect("a name and its code points");
            let character = |point| {
                let number = u32::from_str_radix(point, 16).expect("a code point");
                char::from_u32(number).expect("a character")
            };
            let entity =
                Entity { characters: points.split(' ').map(character).collect(), bare: name.ends_with('*') };
            (name.trim_end_matches('*'), entity)
        };
        include_str!("../../assets/html5-entities.txt").lines().map(entity).collect()
    })
}

/// All references, as Python's `html.unescape`.
pub fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        let (before, reference) = rest.split_at(at);
        out.push_str(before);
        let after = &reference[1..];
        rest = match numbered(after).or_else(|| named(after)) {
            Some((characters, used)) => {
                out.push_str(&characters);
                &after[used..]
            }
            None => {
                out.push('&');
                after
            }
        };
    }
    out + rest
}

/// What `#233;` or `#xe9` at the beginning of a text means, and how many of its bytes it is.
fn numbered(text: &str) -> Option<(String, usize)> {
    let digits = text.strip_prefix('#')?;
    let (radix, digits) = match digits.strip_prefix(['x', 'X']) {
        Some(hex) if hex.starts_with(|c: char| c.is_ascii_hexdigit()) => (16, hex),
        _ => (10, digits),
    };
    let count = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    if count == 0 {
        return None;
    }
    let start = text.len() - digits.len();
    let used = start + count + usize::from(digits[count..].starts_with(';'));
    Some((meant(u32::from_str_radix(&digits[..count], radix).unwrap_or(u32::MAX)), used))
}

/// The character of a number; none where the number must not stand for one.
fn meant(number: u32) -> String {
    match number {
        0 | 0xd800..=0xdfff | 0x11_0000.. => "\u{fffd}".into(),
        0x0d => "\r".into(),
        0x80..=0x9f => WINDOWS_1252.decode(number as u8).into(),
        0x01..=0x08 | 0x0b | 0x0e..=0x1f | 0x7f | 0xfdd0..=0xfdef => String::new(),
        _ if number & 0xfffe == 0xfffe => String::new(),
        _ => char::from_u32(number).expect("surrogates are gone").into(),
    }
}

/// Of the longest name that a text begins with.
fn named(text: &str) -> Option<(String, usize)> {
    let ends = |c: char| matches!(c, '\t' | '\n' | '\x0c' | ' ' | '<' | '&' | '#' | ';');
    let characters = text.char_indices().take(LONGEST).take_while(|(_, c)| !ends(*c));
    let mut stops: Vec<usize> = characters.map(|(at, c)| at + c.len_utf8()).collect();
    let whole = stops.pop()?;
    if text[whole..].starts_with(';')
        && let Some(entity) = table().get(&text[..whole])
    {
        return Some((entity.characters.clone(), whole + 1));
    }
    // a name alone may be the beginning of a word, but only of more than one letter
    stops.push(whole);
    let mut bare = stops.into_iter().rev().filter(|&stop| stop > 1);
    bare.find_map(|stop| {
        let entity = table().get(&text[..stop]).filter(|entity| entity.bare)?;
        Some((entity.characters.clone(), stop))
    })
}

/// Only references that end with a semicolon and whose name is known, also in capitals where that leaves no doubt; as ftfy's `unescape_html`.
pub fn unescape_unmistakable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        let (before, reference) = rest.split_at(at);
        out.push_str(before);
        let name = &reference[1..];
        let digits = name.strip_prefix('#').unwrap_or(name);
        let count = digits.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(digits.len());
        let used = 1 + name.len() - digits.len() + count + 1;
        let whole = (1..=24).contains(&count) && digits[count..].starts_with(';');
        match whole.then(|| unmistakable(&reference[..used])).flatten() {
            Some(characters) => {
                out.push_str(&characters);
                rest = &reference[used..];
            }
            None => {
                out.push('&');
                rest = name;
            }
        }
    }
    out + rest
}

/// reference: from its `&` to its `;`
fn unmistakable(reference: &str) -> Option<String> {
    let name = &reference[1..reference.len() - 1];
    if name.starts_with('#') {
        return Some(unescape(reference)).filter(|characters| !characters.contains(';'));
    }
    if let Some(entity) = table().get(name) {
        return Some(entity.characters.clone());
    }
    let lower = name.to_ascii_lowercase();
    let shouted = name == lower.to_ascii_uppercase() && unescape(reference) == reference;
    let entity = table().get(lower.as_str()).filter(|_| shouted)?;
    Some(entity.characters.to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_browsers_read_them() {
        for (text, expect) in [
            ("&amp;&lt&gt;", "&<>"),
            ("&notit; &notin; &not", "¬it; ∉ ¬"),
            ("&copy 2025 &copyright", "© 2025 ©right"),
            ("&#233;&#xE9&#Xe9;x", "éééx"),
            ("&#; &#x; &#xg; && &", "&#; &#x; &#xg; && &"),
            ("&#0;&#xD800;&#x110000;&#99999999999;", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}"),
            ("a&#1;b&#x80;c&#xffff;", "ab€c"),
            ("&nosuchname; &é; &NotEqualTilde;", "&nosuchname; &é; ≂̸"),
        ] {
            assert_eq!(unescape(text), expect, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_mistaken() {
        for (text, expect) in [
            ("this&not that &not; &eacute", "this&not that ¬ &eacute"),
            ("P&EACUTE;REZ &SZLIG; &nTILDE; &Eacute;", "PÉREZ SS &nTILDE; É"),
            ("&#233; &#x;", "é &#x;"),
            ("&AMP; &Amp;", "& &Amp;"),
        ] {
            assert_eq!(unescape_unmistakable(text), expect, "{text}");
        }
    }
}
