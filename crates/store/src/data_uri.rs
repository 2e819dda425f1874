//! `data:` URLs (RFC 2397, with the leniency of browsers): base64 with or without padding and blanks, or percent-encoded.
//! Decoded piece by piece, so that nothing holds the bytes twice.

use std::io::{ErrorKind, Write};

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use contract::Complaint;

use crate::writing::too_large;

/// A multiple of 4.
const PIECE: usize = 64 << 10;

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Base64,
    Percent,
}

/// A `data:` URL whose head is well-formed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DataUri<'a> {
    coding: Coding,
    body: &'a str,
}

/// Whether it carries its bytes in itself.
pub fn is_data_uri(text: &str) -> bool {
    text.get(..5).is_some_and(|head| head.eq_ignore_ascii_case("data:"))
}

impl<'a> DataUri<'a> {
    pub(crate) fn parse(text: &'a str, limit: u64) -> Result<Self, Complaint> {
        let Some((head, body)) = text.get(5..).and_then(|rest| rest.split_once(',')) else {
            return Err(broken("has no comma"));
        };
        let mark = head.rsplit(';').next().unwrap_or_default().trim();
        // without a `;` before it, `base64` would be a media type
        let base64 = mark.eq_ignore_ascii_case("base64") && head.contains(';');
        let coding = if base64 { Coding::Base64 } else { Coding::Percent };
        let body = body.split('#').next().unwrap_or_default();
        let uri = Self { coding, body };
        // percent-encoding makes three bytes of one, base64 four of three: what cannot fit is told before it is decoded
        let least = match coding {
            Coding::Base64 if !body.contains(['%', ' ', '\n', '\r', '\t']) => {
                body.trim_end_matches('=').len() as u64 * 3 / 4
            }
            Coding::Base64 => body.len() as u64 / 4,
            Coding::Percent => body.len() as u64 / 3,
        };
        if least > limit { Err(too_large("data: URL", least, limit)) } else { Ok(uri) }
    }

    /// Writes the bytes. Blocks.
    pub(crate) fn decode(&self, limit: u64, out: &mut impl Write) -> Result<(), Complaint> {
        let mut total = 0;
        let mut emit = |bytes: &[u8]| {
            total += bytes.len() as u64;
            if total > limit {
                return Err(too_large("data: URL", total, limit));
            }
            out.write_all(bytes).map_err(|error| {
                let message = format!("the bytes of a data: URL cannot be written: {error}");
                match error.kind() {
                    ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                        Complaint::new("disk_full", message, "free some space")
                    }
                    _ => Complaint::new("store_broken", message, "check the disk of the data folder"),
                }
            })
        };
        let mut piece = Vec::with_capacity(PIECE);
        for byte in percent_decoded(self.body.as_bytes()) {
            if self.coding == Coding::Base64 && byte.is_ascii_whitespace() {
                continue;
            }
            piece.push(byte);
            if piece.len() == PIECE {
                emit(&self.plain(&piece)?)?;
                piece.clear();
            }
        }
        emit(&self.plain(&piece)?)
    }

    fn plain(&self, piece: &[u8]) -> Result<Vec<u8>, Complaint> {
        match self.coding {
            Coding::Base64 => LENIENT.decode(piece).map_err(|_| broken("is not well-formed base64")),
            Coding::Percent => Ok(piece.to_vec()),
        }
    }
}

/// A `%` without two hexadecimal digits behind it stands for itself, as in browsers.
fn percent_decoded(body: &[u8]) -> impl Iterator<Item = u8> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let byte = *body.get(at)?;
        let digit = |offset: usize| body.get(at + offset).and_then(|&b| (b as char).to_digit(16));
        match (byte, digit(1), digit(2)) {
            (b'%', Some(high), Some(low)) => {
                at += 3;
                Some((high * 16 + low) as u8)
            }
            _ => {
                at += 1;
                Some(byte)
            }
        }
    })
}

fn broken(why: &str) -> Complaint {
    Complaint::new(
        "bad_data_url",
        format!("the data: URL {why}"),
        "write it like data:image/png;base64,iVBOR…",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &str, limit: u64) -> Result<Vec<u8>, &'static str> {
        let mut out = Vec::new();
        let uri = DataUri::parse(text, limit).map_err(|c| c.code)?;
        uri.decode(limit, &mut out).map_err(|c| c.code)?;
        Ok(out)
    }

    #[test]
    fn data_urls_as_browsers_read_them() {
        let rows: [(&str, &[u8]); 14] = [
            ("data:,", b""),
            ("data:,A%20brief%20note", b"A brief note"),
            ("DATA:text/plain;charset=utf-8,a%2Cb,c", b"a,b,c"),
            ("data:;base64,aGVsbG8=", b"hello"),
            ("data:image/png;base64,aGVsbG8", b"hello"),
            ("data:image/png;BASE64 ,aGVs bG8=\n", b"hello"),
            ("data:image/png;base64,aGVsbG8%3D", b"hello"),
            ("data:image/png;base64,aGVsbG8=#fragment", b"hello"),
            ("data:audio/wav;codecs=\"1\";base64,AAEC/w==", &[0, 1, 2, 255]),
            ("data:base64,aGk=", b"aGk="),
            ("data:,100%", b"100%"),
            ("data:,%zz%4", b"%zz%4"),
            ("data:;base64,", b""),
            ("data:,ä", "ä".as_bytes()),
        ];
        for (text, bytes) in rows {
            assert_eq!(decode(text, 100).as_deref(), Ok(bytes), "{text}");
        }
        for text in [
            "data:",
            "data:image/png;base64",
            "data:;base64,a",
            "data:;base64,a*b=",
            "data:;base64,aGk=aGk=",
            "data:;base64,ä",
        ] {
            assert_eq!(decode(text, 100), Err("bad_data_url"), "{text}");
        }
    }

    #[test]
    fn only_a_full_disk_is_called_full() {
        struct Refusing(ErrorKind);
        impl Write for Refusing {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(self.0.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let rows = [
            (ErrorKind::StorageFull, "disk_full"),
            (ErrorKind::QuotaExceeded, "disk_full"),
            (ErrorKind::PermissionDenied, "store_broken"),
            (ErrorKind::Other, "store_broken"),
        ];
        for (kind, code) in rows {
            let told = DataUri::parse("data:,x", 9).unwrap().decode(9, &mut Refusing(kind)).unwrap_err();
            assert_eq!(told.code, code, "{kind}");
        }
    }

    #[test]
    fn the_limit_holds_to_the_byte_and_across_pieces() {
        let bytes: Vec<u8> = (0..200_000u32).map(|n| (n * 7) as u8).collect();
        let text = format!("data:;base64,{}", base64::prelude::BASE64_STANDARD.encode(&bytes));
        assert_eq!(decode(&text, 200_000).as_deref(), Ok(&bytes[..]));
        assert_eq!(decode(&text, 199_999), Err("file_too_large"));
        assert!(DataUri::parse(&text, 100_000).is_err(), "told before anything is decoded");
        assert_eq!(decode("data:,abc", 3).as_deref(), Ok(&b"abc"[..]));
        assert_eq!(decode("data:,abc", 2), Err("file_too_large"));
    }
}
