//! A cleaned prompt as the numbers that umT5 reads: the released `tokenizer.json`, whatever steps it names, then the end of the text, cut to
//! what the net takes. `tokenizers` is in the tree already (candle brings it), so it costs no build. Reference: InfiniteTalk
//! 0107cd9, `wan/modules/t5.py` and `tokenizers.py`. Refused: a file that is no tokenizer or does not know the end of a text.

use std::path::{Path, PathBuf};

use contract::Warning;
use thiserror::Error;
use tokenizers::Tokenizer;

use super::clean::clean;

/// What ends a text.
const END: &str = "</s>";

#[derive(Debug, Error)]
pub enum TextError {
    #[error("{} is no tokenizer: {why}", path.display())]
    File { path: PathBuf, why: String },
    #[error("a prompt of {characters} characters cannot be cut into tokens: {why}")]
    Prompt { characters: usize, why: String },
}

/// A prompt as the net reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// The last is the end of the text. No padding.
    pub ids: Vec<u32>,
    /// Tokens that were left out at the end.
    pub dropped: usize,
}

impl Tokens {
    /// What the user should know. what: `prompt`, `negative prompt`
    pub fn warning(&self, what: &str) -> Option<Warning> {
        let all = self.ids.len() + self.dropped;
        let text =
            format!("the {what} is {all} tokens long, of which the model reads the first {}", self.ids.len());
        (self.dropped > 0).then(|| Warning::new("prompt_cut", text))
    }
}

pub struct Prompts {
    tokenizer: Tokenizer,
    longest: usize,
}

impl Prompts {
    /// path: of a `tokenizer.json`; longest: tokens that the net takes, the end of the text among them (`text_len`)
    pub fn open(path: &Path, longest: usize) -> Result<Self, TextError> {
        // some damage makes the library panic
        std::panic::catch_unwind(|| Self::opened(path, longest)).unwrap_or_else(|_| {
            Err(TextError::File { path: path.to_owned(), why: "it is damaged".to_owned() })
        })
    }

    fn opened(path: &Path, longest: usize) -> Result<Self, TextError> {
        let fail = |why: String| TextError::File { path: path.to_owned(), why };
        let mut tokenizer = Tokenizer::from_file(path).map_err(|e| fail(e.to_string()))?;
        tokenizer.with_padding(None);
        // it is cut here, where what is dropped is counted
        tokenizer.with_truncation(None).map_err(|e| fail(e.to_string()))?;
        let end = tokenizer.token_to_id(END).ok_or_else(|| fail(format!("it does not know `{END}`")))?;
        let prompts = Self { tokenizer, longest };
        if prompts.all("a").map_err(|e| fail(e.to_string()))?.last() != Some(&end) {
            return Err(fail(format!("it does not end a text with `{END}`")));
        }
        Ok(prompts)
    }

    /// A prompt as the user wrote it.
    pub fn read(&self, prompt: &str) -> Result<Tokens, TextError> {
        self.tokens(&clean(prompt))
    }

    /// Of a text that is clean.
    pub(crate) fn tokens(&self, text: &str) -> Result<Tokens, TextError> {
        let mut ids = self.all(text)?;
        let dropped = ids.len().saturating_sub(self.longest);
        let end = *ids.last().expect("seen when it was opened: a text has an end");
        ids.truncate(self.longest);
        if dropped > 0 {
            ids[self.longest - 1] = end;
        }
        Ok(Tokens { ids, dropped })
    }

    fn all(&self, text: &str) -> Result<Vec<u32>, TextError> {
        let encoding = self.tokenizer.encode_fast(text, true);
        let encoding = encoding
            .map_err(|e| TextError::Prompt { characters: text.chars().count(), why: e.to_string() })?;
        Ok(encoding.get_ids().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the released net.
    const LONGEST: usize = 512;

    fn folder() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens/infinitetalk/tokenizer")
    }

    #[test]
    fn mutated_prompts_become_tokens() {
        let prompts = Prompts::open(&folder().join("tokenizer.json"), LONGEST).unwrap();
        let whole = [
            "a   woman &amp; a man, l&#8217;\u{e9}t\u{e9} \u{2014} &lt;b&gt; 100%",
            "\u{c3}\u{83}\u{c2}\u{a9} \u{e2}\u{20ac}\u{153}quoted\u{e2}\u{20ac}\u{9d} caf\u{c3}\u{a9}",
            "\u{4e00}\u{4e2a}\u{5973}\u{4eba}\u{5728}\u{8bf4}\u{8bdd}\u{ff0c}\u{955c}\u{5934}\u{62c9}\u{8fd1}",
        ];
        for mut dice in damage::rounds(200) {
            let prompt = damage::text(dice.one_of(&whole), &mut dice);
            let tokens = prompts.read(&prompt).unwrap();
            assert!(!tokens.ids.is_empty() && tokens.ids.len() <= LONGEST, "{prompt:?}");
            assert_eq!(tokens.ids.last(), Some(&1), "{prompt:?}");
        }
    }

    #[test]
    fn mutated_tokenizers_are_refused_or_read() {
        let whole = std::fs::read(folder().join("tokenizer.json")).unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("tokenizer.json");
        for mut dice in damage::rounds(20) {
            std::fs::write(&path, damage::bytes(&whole, &mut dice)).unwrap();
            if let Ok(prompts) = Prompts::open(&path, LONGEST) {
                let _ = prompts.read("a woman &amp; a man");
            }
        }
    }

    #[test]
    fn a_long_prompt_is_cut_and_told() {
        let prompts = Prompts::open(&folder().join("tokenizer.json"), LONGEST).unwrap();
        let short = prompts.read("  a   woman &amp; a man  ").unwrap();
        assert_eq!((short.ids.last(), short.dropped, short.warning("prompt")), (Some(&1), 0, None));
        assert_eq!(prompts.read("a woman & a man").unwrap(), short);
        let long = prompts.read(&"the camera moves ".repeat(600)).unwrap();
        assert_eq!((long.ids.len(), long.ids.last()), (LONGEST, Some(&1)));
        let said = long.warning("prompt").unwrap().message;
        let all = LONGEST + long.dropped;
        assert_eq!(said, format!("the prompt is {all} tokens long, of which the model reads the first 512"));
        let whole = Prompts::open(&folder().join("tokenizer.json"), 1_000_000).unwrap();
        assert_eq!(whole.read(&"the camera moves ".repeat(600)).unwrap().ids.len(), all);
        assert_eq!(prompts.read("").unwrap().ids, [1]);
    }

    #[test]
    fn what_is_no_tokenizer() {
        let said = |path: PathBuf| Prompts::open(&path, LONGEST).err().unwrap().to_string();
        assert!(said(folder().join("nothing.json")).contains("is no tokenizer: "));
        assert!(said(folder().join("special_tokens_map.json")).contains("is no tokenizer: "));
    }
}
