//! `phonemes.json`, as `tools/visnet/README.md` defines it: the one wire type of this room.

use contract::Complaint;
use serde::Deserialize;
use speech::Viseme;
use speech::truth::Phoneme;

const FORMAT: &str = "talkie-phonemes-1";
/// Seconds: what is longer than a day is no recording but a mistake.
const LONGEST: f64 = 86_400.0;
const HINT: &str = "the format is described in tools/visnet/README.md";

/// Phonemes in order, without overlaps, and how long the sound is.
#[derive(Clone, Debug, PartialEq)]
pub struct Truth {
    pub phonemes: Vec<Phoneme>,
    pub seconds: f64,
}

#[derive(Deserialize)]
struct TruthFile {
    format: String,
    duration: f64,
    phonemes: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    start: f64,
    end: f64,
    viseme: String,
}

impl Truth {
    pub fn parse(json: &[u8]) -> Result<Self, Complaint> {
        let file: TruthFile =
            serde_json::from_slice(json).map_err(|error| bad(format!("no phoneme truth: {error}")))?;
        if file.format != FORMAT {
            return Err(bad(format!("the truth is in format `{}`, `{FORMAT}` is read", file.format)));
        }
        if !(file.duration > 0.0 && file.duration <= LONGEST) {
            return Err(bad(format!("the truth lasts {} s, it can last up to {LONGEST}", file.duration)));
        }
        let mut phonemes = Vec::with_capacity(file.phonemes.len());
        let mut end = 0.0;
        for entry in file.phonemes {
            let Some(viseme) = Viseme::from_name(&entry.viseme) else {
                return Err(bad(format!("`{}` at {} s is not a viseme", entry.viseme, entry.start)));
            };
            // written to a millisecond, neighbours may overlap by its rounding
            if !(entry.start >= end - 0.002 && entry.end > entry.start && entry.end <= file.duration + 0.002)
            {
                return Err(bad(format!(
                    "the phoneme from {} to {} s is out of order",
                    entry.start, entry.end
                )));
            }
            end = entry.end;
            phonemes.push(Phoneme { start: entry.start, end: entry.end, viseme });
        }
        Ok(Self { phonemes, seconds: file.duration })
    }
}

fn bad(message: String) -> Complaint {
    Complaint::new("bad_truth", message, HINT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_truth_is_read_and_its_mistakes_are_named() {
        let file = |format: &str, entries: &str| {
            format!(r#"{{"format": "{format}", "duration": 1.0, "phonemes": [{entries}]}}"#)
        };
        let good = r#"{"start": 0.0, "end": 0.3, "ipa": "", "viseme": "sil"}, {"start": 0.3, "end": 0.4, "ipa": "p", "viseme": "PP"}"#;
        let truth = Truth::parse(file(FORMAT, good).as_bytes()).unwrap();
        assert_eq!((truth.phonemes.len(), truth.phonemes[1].viseme, truth.seconds), (2, Viseme::PP, 1.0));
        let rows = [
            (file("2", good), "format `2`"),
            (file(FORMAT, r#"{"start": 0, "end": 0.3, "viseme": "XX"}"#), "`XX` at 0 s"),
            (file(FORMAT, r#"{"start": 0.5, "end": 0.3, "viseme": "aa"}"#), "from 0.5 to 0.3"),
            (file(FORMAT, r#"{"start": 0.5, "end": 1.3, "viseme": "aa"}"#), "from 0.5 to 1.3"),
            ("[".into(), "no phoneme truth"),
        ];
        for (json, told) in rows {
            let complaint = Truth::parse(json.as_bytes()).unwrap_err();
            assert!(complaint.code == "bad_truth" && complaint.message.contains(told), "{complaint}");
        }
    }
}
