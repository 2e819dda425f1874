//! UTF-8 that somebody read in an encoding of one byte a character (`cafÃ©`), turned back, also where a non-breaking space became a blank
//! or a byte was lost on the way. Reference: ftfy 6.3.1 (Speer 2019), `fix_encoding`.

use std::collections::HashSet;
use std::sync::OnceLock;

use regex::bytes::Regex;

use super::badness::is_bad;
use super::charsets::{ALL, LATIN_1, WINDOWS_1252, like_latin_1};

/// Until nothing changes.
pub fn fix_encoding(text: &str) -> String {
    let mut text = text.to_owned();
    loop {
        match step(&text) {
            Some(fixed) if fixed != text => text = fixed,
            _ => return text,
        }
    }
}

/// None where nothing is to be done.
fn step(text: &str) -> Option<String> {
    if text.is_ascii() || !is_bad(text) {
        return None;
    }
    for charset in &ALL {
        let Some(mut bytes) = charset.encode(text) else { continue };
        if !charset.macroman {
            bytes = with_blanks_restored(bytes);
        }
        if charset.sloppy {
            bytes = lossy().replace_all(&bytes, "\u{fffd}".as_bytes()).into_owned();
        }
        if let Some(fixed) = decode(&bytes) {
            return Some(fixed);
        }
    }
    let fixed = with_parts_fixed(text);
    if fixed != text {
        return Some(fixed);
    }
    if let Some(bytes) = LATIN_1.encode(text)
        && let Some(fixed) = bytes.iter().map(|&byte| assigned(byte)).collect::<Option<String>>()
        && fixed != text
    {
        return Some(fixed);
    }
    Some(without_c1(text))
}

/// A byte of Windows-1252 that has a character.
fn assigned(byte: u8) -> Option<char> {
    Some(WINDOWS_1252.decode(byte)).filter(|c| !('\u{80}'..='\u{9f}').contains(c))
}

/// C1 control characters as what Windows-1252 has in their place.
pub fn without_c1(text: &str) -> String {
    let meant = |c: char| if ('\u{80}'..='\u{9f}').contains(&c) { WINDOWS_1252.decode(c as u8) } else { c };
    text.chars().map(meant).collect()
}

fn compiled(pattern: &'static str, cell: &'static OnceLock<Regex>) -> &'static Regex {
    cell.get_or_init(|| Regex::new(pattern).expect("a pattern of this file"))
}

/// UTF-8 in which byte 0xa0 became a blank; only where that gives characters that are likely.
fn altered() -> &'static Regex {
    static CELL: OnceLock<Regex> = OnceLock::new();
    compiled(
        r"(?-u)[\xc2\xc3\xc5\xce\xd0\xd9] |[\xe2\xe3] [\x80-\x84\x86-\x9f\xa1-\xbf]|[\xe0-\xe3][\x80-\x84\x86-\x9f\xa1-\xbf] |\xf0 [\x80-\xbf][\x80-\xbf]|\xf0[\x80-\xbf] [\x80-\xbf]|\xf0[\x80-\xbf][\x80-\xbf] ",
        &CELL,
    )
}

/// UTF-8 (and its variant with surrogates) of which bytes were lost.
fn lossy() -> &'static Regex {
    static CELL: OnceLock<Regex> = OnceLock::new();
    compiled(
        r"(?-u)[\xc2-\xdf]\x1a|[\xc2-\xc3]\?|\xed[\xa0-\xaf][\x1a?]\xed[\xb0-\xbf][\x1a?\x80-\xbf]|\xed[\xa0-\xaf][\x1a?\x80-\xbf]\xed[\xb0-\xbf][\x1a?]|[\xe0-\xef][\x1a?][\x1a\x80-\xbf]|[\xe0-\xef][\x1a\x80-\xbf][\x1a?]|[\xf0-\xf4][\x1a?][\x1a\x80-\xbf][\x1a\x80-\xbf]|[\xf0-\xf4][\x1a\x80-\xbf][\x1a?][\x1a\x80-\xbf]|[\xf0-\xf4][\x1a\x80-\xbf][\x1a\x80-\xbf][\x1a?]|\x1a",
        &CELL,
    )
}

/// Blanks that were 0xa0. A letter `à` that is a word by itself keeps its blank as well.
fn with_blanks_restored(bytes: Vec<u8>) -> Vec<u8> {
    if !altered().is_match(&bytes) {
        return bytes;
    }
    // Portuguese contractions (às, àquele, …) are no words by themselves
    const GOES_ON: [&[u8]; 5] = [b" ", b"quele", b"quela", b"quilo", b"s "];
    let mut spaced = Vec::with_capacity(bytes.len() + 8);
    let mut rest = bytes.as_slice();
    while let [first, after @ ..] = rest {
        if rest.starts_with(b"\xc3 ") && !GOES_ON.iter().any(|more| rest[2..].starts_with(more)) {
            spaced.extend_from_slice(b"\xc3\xa0 ");
            rest = &rest[2..];
        } else {
            spaced.push(*first);
            rest = after;
        }
    }
    let whole = |found: &regex::bytes::Captures| -> Vec<u8> {
        found[0].iter().map(|&byte| if byte == b' ' { 0xa0 } else { byte }).collect()
    };
    altered().replace_all(&spaced, whole).into_owned()
}

/// UTF-8, also with surrogate pairs (CESU-8) and with a zero of two bytes, as some programs write it.
fn decode(bytes: &[u8]) -> Option<String> {
    if !bytes.contains(&0xed) && !bytes.contains(&0xc0) {
        return String::from_utf8(bytes.to_vec()).ok();
    }
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, after @ ..] = rest {
        match rest {
            [0xed, a @ 0xa0..=0xaf, b @ 0x80..=0xbf, 0xed, c @ 0xb0..=0xbf, d @ 0x80..=0xbf, after @ ..] => {
                let bits = |byte: &u8, mask: u8| u32::from(byte & mask);
                let high = bits(a, 0x0f) << 16 | bits(b, 0x3f) << 10;
                let point = 0x1_0000 + (high | bits(c, 0x0f) << 6 | bits(d, 0x3f));
                let character = char::from_u32(point).expect("a pair of surrogates is a character");
                plain.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                rest = after;
            }
            [0xc0, 0x80, after @ ..] => {
                plain.push(0);
                rest = after;
            }
            _ => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(plain).ok()
}

/// What characters can have been bytes of UTF-8 in an encoding like Latin-1.
struct Clues {
    /// First bytes of sequences of two, three and four.
    first: [HashSet<char>; 3],
    /// A blank may have been 0xa0.
    following: HashSet<char>,
    /// Those that are not punctuation as people write it.
    strict: HashSet<char>,
}

fn clues() -> &'static Clues {
    static CLUES: OnceLock<Clues> = OnceLock::new();
    CLUES.get_or_init(|| {
        let meant = |bytes: &[u8]| -> HashSet<char> {
            like_latin_1().iter().flat_map(|charset| bytes.iter().map(|&byte| charset.decode(byte))).collect()
        };
        let range = |from: u8, to: u8| (from..=to).collect::<Vec<_>>();
        let mut following = meant(&range(0x80, 0xbf));
        let punctuation = '\u{2013}'..='\u{2026}';
        let dagger = |c: &char| matches!(c, '†' | '‡');
        let strict = following.iter().copied().filter(|c| !punctuation.contains(c) || dagger(c)).collect();
        following.insert(' ');
        Clues {
            first: [meant(&range(0xc2, 0xdf)), meant(&range(0xe0, 0xef)), meant(&[0xf0, 0xf3])],
            following,
            strict,
        }
    })
}

/// How many characters from `at` on look like characters of UTF-8.
fn damaged(text: &[char], at: usize) -> usize {
    let clues = clues();
    let mut end = at;
    while let Some(first) = text.get(end) {
        let fits = |(more, set): (usize, &HashSet<char>)| {
            let following = text.get(end + 1..end + 1 + more)?;
            (set.contains(first) && following.iter().all(|c| clues.following.contains(c))).then_some(1 + more)
        };
        let Some(length) = (1..).zip(&clues.first).find_map(fits) else { break };
        end += length;
    }
    end - at
}

/// Parts of a text fixed by themselves, where the whole was not damaged in one way.
fn with_parts_fixed(text: &str) -> String {
    let all: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < all.len() {
        let garble = at > 0 && clues().strict.contains(&all[at - 1]);
        let length = if garble { 0 } else { damaged(&all, at) };
        if length == 0 {
            out.push(all[at]);
            at += 1;
            continue;
        }
        let part: String = all[at..at + length].iter().collect();
        if length < all.len() && is_bad(&part) {
            out += &fix_encoding(&part)
        } else {
            out += &part
        }
        at += length;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::charsets::LOST;

    #[test]
    fn what_was_read_wrongly_is_turned_back() {
        for (text, expect) in [
            ("cafÃ©", "café"),
            ("dÃƒÂ©jÃƒÂ\u{a0} vu", "déjà vu"),        // twice
            ("voilÃ le travail", "voilà le travail"), // the non-breaking space is gone
            ("Ã s vezes", "às vezes"),
            ("â€œ like this â€\u{fffd}", "“ like this \u{fffd}"), // and here the byte
            ("\u{ed}\u{a0}\u{bd}\u{ed}\u{b8}\u{80}", "😀"),       // CESU-8
            ("Ã©tude SCHÄTZE", "étude SCHÄTZE"),
            ("\u{85} \u{93}quoted\u{94}", "… “quoted”"),
            ("‚Äö", "‚Äö"),
        ] {
            assert_eq!(fix_encoding(text), expect, "{text}");
        }
    }

    #[test]
    fn clues_are_characters_of_bytes() {
        let clues = clues();
        assert_eq!(clues.first.each_ref().map(HashSet::len), [124, 66, 9]);
        assert_eq!((clues.following.len(), clues.strict.len()), (159, 147));
    }

    #[test]
    fn what_is_lost_has_a_byte_of_its_own() {
        assert_eq!(WINDOWS_1252.encode("a\u{fffd}"), Some(vec![b'a', LOST]));
        assert_eq!(WINDOWS_1252.encode("a\u{1a}"), None);
    }
}
