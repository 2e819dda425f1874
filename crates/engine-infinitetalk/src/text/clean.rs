//! What is done to a prompt before it is cut into tokens: ftfy's `fix_text` with its defaults, HTML's references twice, runs of white space to one
//! blank. Reference: InfiniteTalk 0107cd9, `wan/modules/tokenizers.py` (`whitespace_clean(basic_clean(text))`), with ftfy 6.3.1. A
//! Rust text holds no lone surrogates, so nothing is done about them.

use unicode_normalization::UnicodeNormalization;

use super::entities::{unescape, unescape_unmistakable};
use super::mojibake::{fix_encoding, without_c1};

pub fn clean(prompt: &str) -> String {
    let text = unescape(&unescape(&fix_text(prompt)));
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Line by line. From the first line with a `<` on, references are left to HTML.
fn fix_text(text: &str) -> String {
    let (mut out, mut markup) = (String::with_capacity(text.len()), false);
    for line in text.split_inclusive('\n') {
        markup |= line.contains('<');
        out += &fix_line(line, markup);
    }
    out
}

fn fix_line(line: &str, markup: bool) -> String {
    let mut text = line.to_owned();
    loop {
        let mut fixed = if markup { text.clone() } else { unescape_unmistakable(&text) };
        fixed = without_c1(&fix_encoding(&fixed));
        fixed = fixed.chars().fold(String::with_capacity(fixed.len()), plain);
        fixed = fixed.replace("\r\n", "\n").replace(['\r', '\u{2028}', '\u{2029}'], "\n");
        fixed = without_terminal_escapes(&fixed);
        fixed.retain(|c| !is_stray_control(c));
        fixed = fixed.nfc().collect();
        if fixed == text {
            return text;
        }
        text = fixed;
    }
}

/// Ligatures of Latin letters, other widths of letters and curled quotes as what they stand for.
fn plain(mut out: String, c: char) -> String {
    let letters = match c {
        'Ĳ' => "IJ",
        'ĳ' => "ij",
        'ŉ' => "ʼn",
        'Ǳ' => "DZ",
        'ǲ' => "Dz",
        'ǳ' => "dz",
        'Ǆ' => "DŽ",
        'ǅ' => "Dž",
        'ǆ' => "dž",
        'Ǉ' => "LJ",
        'ǈ' => "Lj",
        'ǉ' => "lj",
        'Ǌ' => "NJ",
        'ǋ' => "Nj",
        'ǌ' => "nj",
        'ﬀ' => "ff",
        'ﬁ' => "fi",
        'ﬂ' => "fl",
        'ﬃ' => "ffi",
        'ﬄ' => "ffl",
        'ﬅ' => "ſt",
        'ﬆ' => "st",
        '\u{3000}' => " ",
        '\u{201c}'..='\u{201f}' => "\"",
        '\u{2bc}' | '\u{2018}'..='\u{201b}' => "'",
        '\u{ff01}'..='\u{ffef}' => {
            out.extend(std::iter::once(c).nfkc());
            return out;
        }
        _ => {
            out.push(c);
            return out;
        }
    };
    // the apostrophe that a ligature gave is curled, too
    out.extend(letters.chars().map(|c| if c == '\u{2bc}' { '\'' } else { c }));
    out
}

/// Without `ESC [ 3 1 m` and its like.
fn without_terminal_escapes(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let command = part.trim_start_matches(|c: char| c.is_numeric() || c == ';');
        match command.strip_prefix(|c: char| c.is_ascii_alphabetic()) {
            Some(rest) => out += rest,
            None => {
                out += "\u{1b}[";
                out += part;
            }
        }
    }
    out
}

/// Control characters that mean nothing in a text; white space, joiners and marks of direction are not among them.
fn is_stray_control(c: char) -> bool {
    matches!(
        c,
        '\0'..='\x08'
            | '\x0b'
            | '\x0e'..='\x1f'
            | '\x7f'
            | '\u{206a}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffc}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_wait_for_html_once_there_is_a_tag() {
        assert_eq!(fix_text("&amp;\n<b>&amp;\n&amp;"), "&\n<b>&amp;\n&amp;");
        assert_eq!(clean("&amp;amp;lt; \n x"), "< x");
    }

    #[test]
    fn letters_become_plain() {
        for (text, expect) in [
            ("ŉ ﬃ Ǆ “a” ‘b’", "'n ffi DŽ \"a\" 'b'"),
            ("Ａｶﾞ\u{3000}x", "Aガ x"),
            ("\u{1b}[31;1mred\u{1b}[0m \u{1b}[x\u{1b}", "red"),
            ("a\u{feff}b\0c\u{200d}d", "abc\u{200d}d"),
            ("e\u{301}", "é"),
        ] {
            assert_eq!(clean(text), expect, "{text}");
        }
    }

    #[test]
    fn a_long_prompt_is_cleaned_in_no_time() {
        let long = "Ã©tude â€œ & café ".repeat(2000);
        let begin = std::time::Instant::now();
        assert!(clean(&long).starts_with("étude \" & café"));
        assert!(begin.elapsed().as_secs() < 5, "{:?}", begin.elapsed());
    }
}
