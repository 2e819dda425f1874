//! The encodings of one byte a character that text is mistaken for, as vendors' tables have them. Windows' tables are read as programs read
//! them: bytes without a character stand for the control character of the same number.

/// What stands for U+FFFD, which was a byte that nobody remembers.
pub const LOST: u8 = 0x1a;

/// A table of what the bytes from 0x80 on mean.
#[derive(Debug)]
pub struct Charset {
    upper: &'static str,
    /// Of Windows: has bytes without a character, and stands for what is lost by `LOST`.
    pub sloppy: bool,
    /// Has a dash where others have byte 0xe2's first follower, so that a dash before a blank looks like damaged UTF-8.
    pub macroman: bool,
}

impl Charset {
    /// The bytes that this text was before, if it can have been some in this encoding.
    pub fn encode(&self, text: &str) -> Option<Vec<u8>> {
        let byte = |c: char| match c {
            '\u{1a}' if self.sloppy => None, // it would be taken for what is lost
            '\0'..='\x7f' => u8::try_from(c).ok(),
            '\u{fffd}' if self.sloppy => Some(LOST),
            _ => self.upper.chars().position(|upper| upper == c).map(|i| 0x80 + i as u8),
        };
        text.chars().map(byte).collect()
    }

    /// What a byte means.
    pub fn decode(&self, byte: u8) -> char {
        match byte.checked_sub(0x80) {
            None => char::from(byte),
            Some(i) => self.upper.chars().nth(i.into()).expect("a table has 128 characters"),
        }
    }
}

const fn windows(upper: &'static str) -> Charset {
    Charset { upper, sloppy: true, macroman: false }
}

pub const LATIN_1: Charset = Charset { upper: LATIN_1_UPPER, sloppy: false, macroman: false };

pub const WINDOWS_1252: Charset = windows(WINDOWS_1252_UPPER);

/// In the order in which they are tried.
pub const ALL: [Charset; 10] = [
    LATIN_1,
    WINDOWS_1252,
    windows(WINDOWS_1251_UPPER),
    windows(WINDOWS_1250_UPPER),
    windows(WINDOWS_1253_UPPER),
    windows(WINDOWS_1254_UPPER),
    windows(WINDOWS_1257_UPPER),
    Charset { upper: ISO_8859_2_UPPER, sloppy: false, macroman: false },
    Charset { upper: MACROMAN_UPPER, sloppy: false, macroman: true },
    Charset { upper: CP437_UPPER, sloppy: false, macroman: false },
];

/// Those that are like Latin-1: their letters are in the upper half.
pub fn like_latin_1() -> &'static [Charset] {
    const FIRST: &[Charset] = &ALL;
    &FIRST[..7]
}

const LATIN_1_UPPER: &str = "\
    \u{80}\u{81}\u{82}\u{83}\u{84}\u{85}\u{86}\u{87}\u{88}\u{89}\u{8a}\u{8b}\u{8c}\u{8d}\u{8e}\u{8f}\u{90}\u{91}\u{92}\u{93}\u{94}\u{95}\u{96}\u{97}\u{98}\u{99}\u{9a}\u{9b}\u{9c}\u{9d}\u{9e}\u{9f}\
    \u{a0}¡¢£¤¥¦§¨©ª«¬\u{ad}®¯°±²³´µ¶·¸¹º»¼½¾¿\
    ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖ×ØÙÚÛÜÝÞß\
    àáâãäåæçèéêëìíîïðñòóôõö÷øùúûüýþÿ";

const WINDOWS_1252_UPPER: &str = "\
    €\u{81}‚ƒ„…†‡ˆ‰Š‹Œ\u{8d}Ž\u{8f}\u{90}‘’“”•–—˜™š›œ\u{9d}žŸ\
    \u{a0}¡¢£¤¥¦§¨©ª«¬\u{ad}®¯°±²³´µ¶·¸¹º»¼½¾¿\
    ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖ×ØÙÚÛÜÝÞß\
    àáâãäåæçèéêëìíîïðñòóôõö÷øùúûüýþÿ";

const WINDOWS_1251_UPPER: &str = "\
    ЂЃ‚ѓ„…†‡€‰Љ‹ЊЌЋЏђ‘’“”•–—\u{98}™љ›њќћџ\
    \u{a0}ЎўЈ¤Ґ¦§Ё©Є«¬\u{ad}®Ї°±Ііґµ¶·ё№є»јЅѕї\
    АБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯ\
    абвгдежзийклмнопрстуфхцчшщъыьэюя";

const WINDOWS_1250_UPPER: &str = "\
    €\u{81}‚\u{83}„…†‡\u{88}‰Š‹ŚŤŽŹ\u{90}‘’“”•–—\u{98}™š›śťžź\
    \u{a0}ˇ˘Ł¤Ą¦§¨©Ş«¬\u{ad}®Ż°±˛ł´µ¶·¸ąş»Ľ˝ľż\
    ŔÁÂĂÄĹĆÇČÉĘËĚÍÎĎĐŃŇÓÔŐÖ×ŘŮÚŰÜÝŢß\
    ŕáâăäĺćçčéęëěíîďđńňóôőö÷řůúűüýţ˙";

const WINDOWS_1253_UPPER: &str = "\
    €\u{81}‚ƒ„…†‡\u{88}‰\u{8a}‹\u{8c}\u{8d}\u{8e}\u{8f}\u{90}‘’“”•–—\u{98}™\u{9a}›\u{9c}\u{9d}\u{9e}\u{9f}\
    \u{a0}΅Ά£¤¥¦§¨©ª«¬\u{ad}®―°±²³΄µ¶·ΈΉΊ»Ό½ΎΏ\
    ΐΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡÒΣΤΥΦΧΨΩΪΫάέήί\
    ΰαβγδεζηθικλμνξοπρςστυφχψωϊϋόύώÿ";

const WINDOWS_1254_UPPER: &str = "\
    €\u{81}‚ƒ„…†‡ˆ‰Š‹Œ\u{8d}\u{8e}\u{8f}\u{90}‘’“”•–—˜™š›œ\u{9d}\u{9e}Ÿ\
    \u{a0}¡¢£¤¥¦§¨©ª«¬\u{ad}®¯°±²³´µ¶·¸¹º»¼½¾¿\
    ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏĞÑÒÓÔÕÖ×ØÙÚÛÜİŞß\
    àáâãäåæçèéêëìíîïğñòóôõö÷øùúûüışÿ";

const WINDOWS_1257_UPPER: &str = "\
    €\u{81}‚\u{83}„…†‡\u{88}‰\u{8a}‹\u{8c}¨ˇ¸\u{90}‘’“”•–—\u{98}™\u{9a}›\u{9c}¯˛\u{9f}\
    \u{a0}¡¢£¤¥¦§Ø©Ŗ«¬\u{ad}®Æ°±²³´µ¶·ø¹ŗ»¼½¾æ\
    ĄĮĀĆÄÅĘĒČÉŹĖĢĶĪĻŠŃŅÓŌÕÖ×ŲŁŚŪÜŻŽß\
    ąįāćäåęēčéźėģķīļšńņóōõö÷ųłśūüżž˙";

const ISO_8859_2_UPPER: &str = "\
    \u{80}\u{81}\u{82}\u{83}\u{84}\u{85}\u{86}\u{87}\u{88}\u{89}\u{8a}\u{8b}\u{8c}\u{8d}\u{8e}\u{8f}\u{90}\u{91}\u{92}\u{93}\u{94}\u{95}\u{96}\u{97}\u{98}\u{99}\u{9a}\u{9b}\u{9c}\u{9d}\u{9e}\u{9f}\
    \u{a0}Ą˘Ł¤ĽŚ§¨ŠŞŤŹ\u{ad}ŽŻ°ą˛ł´ľśˇ¸šşťź˝žż\
    ŔÁÂĂÄĹĆÇČÉĘËĚÍÎĎĐŃŇÓÔŐÖ×ŘŮÚŰÜÝŢß\
    ŕáâăäĺćçčéęëěíîďđńňóôőö÷řůúűüýţ˙";

const MACROMAN_UPPER: &str = "\
    ÄÅÇÉÑÖÜáàâäãåçéèêëíìîïñóòôöõúùûü\
    †°¢£§•¶ß®©™´¨≠ÆØ∞±≤≥¥µ∂∑∏π∫ªºΩæø\
    ¿¡¬√ƒ≈∆«»…\u{a0}ÀÃÕŒœ–—“”‘’÷◊ÿŸ⁄€‹›ﬁﬂ\
    ‡·‚„‰ÂÊÁËÈÍÎÏÌÓÔ\u{f8ff}ÒÚÛÙıˆ˜¯˘˙˚¸˝˛ˇ";

const CP437_UPPER: &str = "\
    ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒ\
    áíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐\
    └┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀\
    αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_whole_and_go_both_ways() {
        for charset in &ALL {
            assert_eq!(charset.upper.chars().count(), 128, "{charset:?}");
            let bytes: Vec<u8> = (0..=255).filter(|&byte| byte != LOST).collect();
            let text: String = bytes.iter().map(|&byte| charset.decode(byte)).collect();
            assert_eq!(charset.encode(&text), Some(bytes), "{charset:?}");
        }
        assert_eq!(WINDOWS_1252.encode("\u{fffd}"), Some(vec![LOST]));
        assert_eq!(LATIN_1.encode("€"), None);
        assert_eq!((WINDOWS_1252.decode(0x80), WINDOWS_1252.decode(0x81)), ('€', '\u{81}'));
    }
}
