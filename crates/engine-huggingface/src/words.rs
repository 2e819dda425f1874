//! What a provider says, as it may be shown: one short line without control characters, markup or the token.

use serde_json::Value;

use crate::token::Token;

/// Characters of a provider's words that are shown.
const SHOWN: usize = 240;

/// The reason in an answer's body: the message of a JSON error, the title of a page, else its text. Empty where there is none.
pub fn reason(body: &[u8], token: Option<&Token>) -> String {
    let text = String::from_utf8_lossy(body);
    let said = match serde_json::from_str::<Value>(&text) {
        Ok(json) => message(&json).unwrap_or_default(),
        Err(_) if is_page(body) => title(&text).unwrap_or_default().to_owned(),
        Err(_) => text.into_owned(),
    };
    plain(&said, token)
}

/// One line, cut short; a token that is echoed is left out.
pub fn plain(said: &str, token: Option<&Token>) -> String {
    let hidden = match token {
        Some(token) => said.replace(token.secret(), "…"),
        None => said.to_owned(),
    };
    let visible: String = hidden.chars().map(|c| if is_plain(c) { c } else { ' ' }).collect();
    let line = visible.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

/// Whether bytes begin as an HTML page does.
pub fn is_page(bytes: &[u8]) -> bool {
    let head: Vec<u8> = bytes.trim_ascii_start().iter().take(16).map(u8::to_ascii_lowercase).collect();
    head.starts_with(b"<!doctype html") || head.starts_with(b"<html")
}

/// Controls move a terminal's cursor, and marks of direction turn a line around.
fn is_plain(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// `{"error": "…"}`, `{"error": {"message": "…"}}`, `{"error": ["…"]}`, and `detail` or `message` in its place, as FastAPI and fal have it.
fn message(json: &Value) -> Option<String> {
    match json {
        Value::String(text) => Some(text.clone()),
        Value::Array(all) => {
            let all: Vec<String> = all.iter().filter_map(message).collect();
            (!all.is_empty()).then(|| all.join("; "))
        }
        Value::Object(fields) => {
            ["error", "detail", "message", "msg"].iter().find_map(|name| message(fields.get(*name)?))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

fn title(page: &str) -> Option<&str> {
    let lower = page.to_ascii_lowercase(); // the same length: only ASCII letters change
    let begin = lower.find("<title")?;
    let begin = begin + lower[begin..].find('>')? + 1;
    let end = begin + lower[begin..].find("</title")?;
    Some(&page[begin..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_providers_words_become_one_plain_line() {
        let long = "x".repeat(1000);
        let cut = format!("{}…", "x".repeat(SHOWN));
        let rows: [(&str, &str); 12] = [
            (
                r#"{"error":"Model m is currently loading","estimated_time":20.0}"#,
                "Model m is currently loading",
            ),
            (r#"{"error":["a","b"]}"#, "a; b"),
            (r#"{"error":{"message":"no","code":3}}"#, "no"),
            (r#"{"detail":[{"loc":["body"],"msg":"field required"}]}"#, "field required"),
            (r#"{"detail":"Not authenticated"}"#, "Not authenticated"),
            (r#"{"x":1}"#, ""),
            ("<!DOCTYPE html><html><head><TITLE lang=en>502 Bad\nGateway</TITLE></head>", "502 Bad Gateway"),
            ("<html><body>nothing", ""),
            ("plain\u{1b}[31m red\r\nand\u{202e}more\u{0}", "plain [31m red and more"),
            ("", ""),
            ("the token hf_Secret1 is wrong", "the token … is wrong"),
            (&long, &cut),
        ];
        let token = Token::new("hf_Secret1", "HF_TOKEN").unwrap();
        for (body, expected) in rows {
            assert_eq!(reason(body.as_bytes(), Some(&token)), expected, "{body:.40}");
        }
        assert_eq!(reason(b"\xff\xfe", None), "\u{fffd}\u{fffd}");
    }

    #[test]
    fn pages_are_known_by_their_first_bytes() {
        for page in ["<!doctype html>", "\n  <HTML lang=x>"] {
            assert!(is_page(page.as_bytes()), "{page}");
        }
        for other in ["", "{}", "\0\0\0\x20ftypisom", "<svg>"] {
            assert!(!is_page(other.as_bytes()), "{other}");
        }
    }
}
