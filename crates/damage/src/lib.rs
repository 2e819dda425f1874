//! Damaged files, texts and JSON for the tests that feed a parser what nobody should have sent (`tests/mutated.rs` of a room). Each round has
//! dice of its own; a round that fails prints the number that repeats it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// Chance that can be repeated (splitmix64).
pub struct Dice {
    /// What began it.
    seed: u64,
    state: u64,
}

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self { seed, state: seed }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// 0 where `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { (self.next() >> 1) as usize % bound }
    }

    pub fn one_of<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }
}

impl Drop for Dice {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("TALKIE_FUZZ_SEED={} begins with the round that failed", self.seed);
        }
    }
}

/// Dice for each round: `everyday` rounds, the same at every run. With `TALKIE_FUZZ_SECONDS` (`make fuzz`) other rounds for so long, from
/// `TALKIE_FUZZ_SEED` or from the time on.
pub fn rounds(everyday: usize) -> impl Iterator<Item = Dice> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    let seconds = number("TALKIE_FUZZ_SECONDS");
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    let first = number("TALKIE_FUZZ_SEED").unwrap_or_else(|| if seconds.is_some() { clock() } else { 1 });
    let begun = Instant::now();
    let mut done = 0;
    std::iter::from_fn(move || {
        let goes_on = match seconds {
            Some(seconds) => begun.elapsed() < Duration::from_secs(seconds),
            None => done < everyday as u64,
        };
        if !goes_on {
            eprintln!("{done} rounds in {:?}", begun.elapsed());
            return None;
        }
        done += 1;
        Some(Dice::new(first.wrapping_add(done - 1)))
    })
}

/// Flips bits, cuts, doubles and overwrites pieces; headers get their share.
pub fn bytes(whole: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    for _ in 0..=dice.below(4) {
        if bytes.is_empty() {
            break;
        }
        let reach = if dice.below(2) == 0 { bytes.len().min(256) } else { bytes.len() };
        let at = dice.below(reach);
        let end = |longest: usize| (at + 1 + longest).min(bytes.len());
        match dice.below(6) {
            0 => bytes[at] ^= 1 << dice.below(8),
            1 => bytes[at] = [0, 0xFF, 0x7F, 0x80][dice.below(4)],
            2 => bytes.truncate(at.max(1)),
            3 => {
                let piece = bytes[at..end(dice.below(64))].to_vec();
                let to = dice.below(bytes.len());
                bytes.splice(to..to, piece);
            }
            4 => drop(bytes.drain(at..end(dice.below(64)))),
            _ => {
                let end = end(dice.below(8));
                bytes[at..end].fill(0xFF);
            }
        }
    }
    bytes
}

/// Pieces that readers of text trip over.
const PIECES: [&str; 32] = [
    "\0",
    "\t",
    "\r\n",
    "\u{85}",
    "\u{a0}",
    "\u{ad}",
    "\u{200d}",
    "\u{202e}",
    "\u{feff}",
    "\u{fffd}",
    "\u{fffe}",
    "\u{10ffff}",
    "İ",
    "ß",
    "ﬀ",
    "e\u{301}",
    "👩‍👩‍👧",
    "Ã©",
    "â€œ",
    "&#0;",
    "&#x110000;",
    "&amp;amp;",
    "&lt",
    "%00",
    "%2e%2e/",
    "../",
    "\\",
    "\"",
    "'",
    "{",
    "-1",
    "1e309",
];

/// Characters taken out, doubled, changed and put in; words grow long.
pub fn text(whole: &str, dice: &mut Dice) -> String {
    let mut chars: Vec<char> = whole.chars().collect();
    for _ in 0..=dice.below(6) {
        let at = dice.below(chars.len() + 1);
        match dice.below(5) {
            0 => drop(chars.splice(at..at, dice.one_of(&PIECES).chars())),
            1 if at < chars.len() => drop(chars.remove(at)),
            2 => {
                let character = char::from_u32(dice.below(0x11_0000) as u32).unwrap_or('\u{d7ff}');
                chars.insert(at, character);
            }
            3 => {
                let piece: Vec<char> = chars[at..(at + dice.below(32)).min(chars.len())].to_vec();
                (0..dice.below(64)).for_each(|_| drop(chars.splice(at..at, piece.iter().copied())));
            }
            _ => chars.truncate(at.max(1)),
        }
    }
    chars.into_iter().collect()
}

/// One or two values somewhere in it become another's, or are gone.
pub fn json(whole: &Value, dice: &mut Dice) -> Value {
    let mut value = whole.clone();
    (0..=dice.below(2)).for_each(|_| change(&mut value, dice));
    value
}

fn change(value: &mut Value, dice: &mut Dice) {
    if dice.below(4) > 0 {
        match value {
            Value::Array(items) if !items.is_empty() => {
                let at = dice.below(items.len());
                return change(&mut items[at], dice);
            }
            Value::Object(fields) if !fields.is_empty() => {
                let at = dice.below(fields.len());
                let name = fields.keys().nth(at).cloned().unwrap_or_default();
                if dice.below(8) == 0 {
                    let taken = fields.remove(&name).unwrap_or_default();
                    if dice.below(2) == 0 {
                        fields.insert(text(&name, dice), taken);
                    }
                    return;
                }
                return change(fields.entry(name).or_insert(Value::Null), dice);
            }
            _ => {}
        }
    }
    *value = match dice.below(12) {
        0 => Value::Null,
        1 => json!(dice.below(2) == 0),
        2 => json!([0, -1, 1, i64::MAX, i64::MIN][dice.below(5)]),
        3 => json!(u64::MAX),
        4 => json!([1e308, -1e308, 5e-324, 0.1, -0.0][dice.below(5)]),
        5 => json!(""),
        6 => json!([value.clone(), value.clone()]),
        7 => json!({ "a": value.clone() }),
        8 => json!("x".repeat(1 << dice.below(16))),
        9 => (0..dice.below(300)).fold(value.clone(), |inner, _| json!([inner])),
        _ => json!(text(value.as_str().unwrap_or("1"), dice)),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_can_be_repeated() {
        let made = |seed| {
            let mut dice = Dice::new(seed);
            (
                bytes(&[7; 600], &mut dice),
                text("a picture of a face", &mut dice),
                json(&json!({"a": [1]}), &mut dice),
            )
        };
        assert_eq!(made(5), made(5));
        assert_ne!(made(5), made(6));
    }

    #[test]
    fn nothing_is_too_short_to_be_damaged() {
        for mut dice in rounds(300) {
            bytes(&[], &mut dice);
            bytes(&[1], &mut dice);
            text("", &mut dice);
            json(&Value::Null, &mut dice);
        }
    }
}
