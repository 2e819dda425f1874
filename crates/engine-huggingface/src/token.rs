//! A token of Hugging Face: shown nowhere, only the variable or key it came from.

use contract::Complaint;
use reqwest::header::HeaderValue;

pub const HOW_TO_GET_A_TOKEN: &str = "set HF_TOKEN (or HUGGING_FACE_TOKEN) to a token of https://huggingface.co/settings/tokens that may call inference providers";

/// A token, and which variable or key it came from.
#[derive(Clone)]
pub struct Token {
    secret: String,
    from: String,
}

impl Token {
    pub fn new(secret: &str, from: impl Into<String>) -> Result<Self, Complaint> {
        let (secret, from) = (secret.trim(), from.into());
        if secret.is_empty() || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            // the token itself is not shown
            let message = format!("the token of {from} is empty or has characters that no token has");
            return Err(Complaint::new(
                "bad_config",
                message,
                "copy it anew from https://huggingface.co/settings/tokens",
            ));
        }
        Ok(Self { secret: secret.to_owned(), from })
    }

    /// `HF_TOKEN`, …
    pub fn from(&self) -> &str {
        &self.from
    }

    pub(crate) fn secret(&self) -> &str {
        &self.secret
    }

    pub(crate) fn header(&self) -> HeaderValue {
        let mut value = HeaderValue::try_from(format!("Bearer {}", self.secret))
            .expect("a token is visible ASCII, which every header takes");
        value.set_sensitive(true);
        value
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token(of {})", self.from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_shown() {
        let token = Token::new(" hf_Secret1\n", "HF_TOKEN").unwrap();
        assert_eq!(token.secret(), "hf_Secret1");
        let shown = format!("{token:?} {:?}", token.header());
        assert!(!shown.contains("Secret1") && shown.contains("HF_TOKEN"), "{shown}");
        for wrong in ["", " ", "a b", "hf_\u{e9}", "x\r\nHost: y"] {
            let complaint = Token::new(wrong, "HF_TOKEN").unwrap_err();
            assert!(
                complaint.message.contains("HF_TOKEN") && !complaint.message.contains("Host"),
                "{complaint}"
            );
        }
    }
}
