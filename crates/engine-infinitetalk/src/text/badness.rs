//! Whether a text looks as if it had been read in the wrong encoding: pairs and triples of characters that people do not write. The sets and the
//! pairs are those of ftfy 6.3.1 (Speer 2019, `ftfy/badness.py`).

use std::sync::OnceLock;

use regex::Regex;

// Sets of characters, as they stand between the brackets of a pattern.

/// Of little meaning by themselves.
const COMMON: &str = r"\x{a0}\x{ad}·´–—―…’";
const C1: &str = r"\x{80}-\x{9f}";
/// Hardly ever meant.
const BAD: &str = r"¦¤¨¬¯¸ƒˆˇ˘˛˜†‡‰⌐◊\x{fffd}ªº";
const LAW: &str = "¶§";
const CURRENCY: &str = "¢£¥₧€";
const START: &str = r"¡«¿©΄΅‘‚“„•‹\x{f8ff}";
const END: &str = "®»˝”›™";
const NUMERIC: &str = "²³¹±¼½¾×µ÷⁄∂∆∏∑√∞∩∫≈≠≡≤≥№";
/// Of which faces are made.
const FACES: &str = "Ò-ÖÙ-Üò-öø-üŐŌŪŲ°";
const UPPER_ACCENTED: &str = "À-ÑØÜÝĂĀĄĆČĎĐĘĚĒĖĞĢİĪĶĹĽŁĻŃŇŅŒŘŚŞŠŢŤŮŰŸŹŻŽҐ";
const LOWER_ACCENTED: &str = "ßà-ñăąāćčďđęěēėğģįīķĺľłļœŕśşšťüźżžґﬁﬂ";
const UPPER_COMMON: &str = "ÞΑ-ΩΆΈΉΊΌΎΏΪΫЁ-Я";
const LOWER_COMMON: &str = "α-ωάέήίΰа-џ";
const BOX: &str = "│┌┐┘├┤┬┼═-╬▀▄█▌▐░▒▓";

/// One alternative: sets that follow each other, each a list of the sets above, or plain characters.
type Sequence<'a> = &'a [&'a [&'a str]];

const SEQUENCES: &[Sequence] = &[
    &[&[C1]],
    &[&[BAD, LOWER_ACCENTED, UPPER_ACCENTED, BOX, START, END, CURRENCY, NUMERIC, LAW], &[BAD]],
    &[&["a-zA-Z"], &[LOWER_COMMON, UPPER_COMMON], &[BAD]],
    &[&[BAD], &[LOWER_ACCENTED, UPPER_ACCENTED, BOX, START, END, CURRENCY, NUMERIC, LAW]],
    &[&[LOWER_ACCENTED, LOWER_COMMON, BOX, END, CURRENCY, NUMERIC], &[UPPER_ACCENTED]],
    &[&[BOX, END, CURRENCY, NUMERIC], &[LOWER_ACCENTED]],
    &[&[LOWER_ACCENTED, BOX, END], &[CURRENCY]],
    &[&[r"\s"], &[UPPER_ACCENTED], &[CURRENCY]],
    &[&[UPPER_ACCENTED, BOX], &[NUMERIC, LAW]],
    &[&[LOWER_ACCENTED, UPPER_ACCENTED, BOX, CURRENCY, END], &[START], &[NUMERIC]],
    &[&[LOWER_ACCENTED, UPPER_ACCENTED, CURRENCY, NUMERIC, BOX, LAW], &[END], &[START]],
    &[&[CURRENCY, NUMERIC, BOX], &[START]],
    &[&["a-z"], &[UPPER_ACCENTED], &[START, CURRENCY]],
    &[&[BOX], &[FACES]],
    &[&[LOWER_ACCENTED, UPPER_ACCENTED, CURRENCY, NUMERIC, START, END, LAW], &[BOX]],
    &[&[BOX], &[END]],
    &[&[LOWER_ACCENTED, UPPER_ACCENTED], &[START, END], &[r"_\p{L}\p{N}"]],
    &[&["Œœ"], &["^A-Za-z"]],
    &[&[UPPER_ACCENTED], &["°"]],
    // UTF-8 read as Windows-1252
    &[&["ÂÃÎÐ"], &[r"€œŠš¢£Ÿž\x{a0}\x{ad}®©°·»", START, END, "–—´"]],
    &[&["×"], &["²³"]],
    &[
        &["ØÙ"],
        &[COMMON, CURRENCY, BAD, NUMERIC, START, "ŸŠ®°µ»"],
        &["ØÙ"],
        &[COMMON, CURRENCY, BAD, NUMERIC, START, "ŸŠ®°µ»"],
    ],
    &[&["à"], &["²µ¹¼½¾"]],
    &[&["Ã"], &[r"\x{a0}¡"]],
    &[&["a-z.,?!", END], &["Â"], &[" ", START, END]],
    // as MacRoman
    &[&["√"], &["±∂†≠®™´≤≥¥µø"]],
    &[&["≈"], &["°¢"]],
    &[&["‚"], &["Ä"], &["ìîïòôúùû†°¢π"]],
    &[&["‚"], &["âó"], &["àä°ê"]],
    // as Windows-1251
    &[&["в"], &["Ђ"]],
    &[&["ВГРС"], &[C1, BAD, START, END, CURRENCY, "°µ"], &["ВГРС"]],
    &[&["Г"], &["ў"], &["В"], &["Ђ"], &["В"], &[r"^\n"], &["A-Za-z "]],
    // as Windows-1253
    &[&["β"], &["€"], &[r"™\x{a0}Ά\x{ad}®°"]],
    &[&["ΒΓΞΟ"], &[C1, BAD, START, END, CURRENCY, "°"], &["ΒΓΞΟ"]],
    // as Windows-1257
    &[&["ā"], &["€"]],
];

/// What is bound to a word's beginning or to the text's.
const BOUND: [&str; 2] = [r"[a-z]\s?[ÃÂ] ", "^[ÃÂ] "];

fn pattern() -> &'static Regex {
    static PATTERN: OnceLock<Regex> = OnceLock::new();
    PATTERN.get_or_init(|| {
        let set = |parts: &&[&str]| format!("[{}]", parts.concat());
        let sequence = |sets: &Sequence| sets.iter().map(set).collect::<String>();
        let all: Vec<String> = SEQUENCES.iter().map(sequence).chain(BOUND.map(String::from)).collect();
        Regex::new(&all.join("|")).expect("a pattern made of the sets above")
    })
}

pub fn is_bad(text: &str) -> bool {
    pattern().is_match(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_not_bad() {
        for text in
            ["El Niño été © 2024 €5 ± 2°", "SCHÄTZE IL Y A", "“quoted” – dash", "œuvre", "Ångström", "中文。"]
        {
            assert!(!is_bad(text), "{text}");
        }
        for text in ["cafÃ©", "â€œ", "Ã la", "ðŸ˜€", "Ð¼Ð¸Ñ€", "\u{85}", "вЂ", "√±"] {
            assert!(is_bad(text), "{text}");
        }
    }
}
