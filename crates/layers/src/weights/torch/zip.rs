//! The members of a zip whose members are stored, as PyTorch writes it. Compressed or encrypted members, two of one name and anything that does
//! not lie within the file are refused; checksums are not computed (a download is checked as a whole).

use std::collections::BTreeMap;
use std::ops::Range;

const END: &[u8] = b"PK\x05\x06";
const END_64: &[u8] = b"PK\x06\x06";
const LOCATOR_64: &[u8] = b"PK\x06\x07";
const CENTRAL: &[u8] = b"PK\x01\x02";
const LOCAL: &[u8] = b"PK\x03\x04";

/// Fixed sizes of the records (APPNOTE 4.3).
const END_BYTES: usize = 22;
const CENTRAL_BYTES: usize = 46;
const LOCAL_BYTES: usize = 30;

fn bytes_at(bytes: &[u8], at: usize, n: usize) -> Result<&[u8], String> {
    let end = at.checked_add(n).filter(|&end| end <= bytes.len());
    end.map(|end| &bytes[at..end])
        .ok_or_else(|| format!("the zip's directory points behind its end (byte {at})"))
}

fn number(bytes: &[u8], at: usize, n: usize) -> Result<u64, String> {
    let bytes = bytes_at(bytes, at, n)?;
    Ok(bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
}

fn place(number: u64) -> Result<usize, String> {
    usize::try_from(number).map_err(|_| format!("the zip names a size of {number}"))
}

/// Where the central directory begins, and how many entries it has.
fn directory(bytes: &[u8]) -> Result<(usize, usize), String> {
    let lowest = bytes.len().saturating_sub(END_BYTES + 0xFFFF);
    let is_end = |&at: &usize| {
        bytes[at..].starts_with(END)
            && number(bytes, at + 20, 2).is_ok_and(|comment| at + END_BYTES + comment as usize == bytes.len())
    };
    let latest = bytes.len().checked_sub(END_BYTES).ok_or("it is too short for a zip")?;
    let end =
        (lowest..=latest).rev().find(is_end).ok_or("the zip has no end record: is the file complete?")?;
    let (mut count, mut begin) = (number(bytes, end + 10, 2)?, number(bytes, end + 16, 4)?);
    if let Some(locator) = end.checked_sub(20).filter(|&at| bytes[at..].starts_with(LOCATOR_64)) {
        let at = place(number(bytes, locator + 8, 8)?)?;
        if bytes_at(bytes, at, 4)? != END_64 {
            return Err("the zip's 64-bit end record is not where it should be".into());
        }
        (count, begin) = (number(bytes, at + 32, 8)?, number(bytes, at + 48, 8)?);
    }
    Ok((place(begin)?, place(count)?))
}

/// Name to the bytes of each member.
pub(super) fn members(bytes: &[u8]) -> Result<BTreeMap<&str, Range<usize>>, String> {
    let (begin, count) = directory(bytes)?;
    if count > bytes.len() / CENTRAL_BYTES {
        return Err(format!("the zip claims {count} members, more than fit in it"));
    }
    let (mut members, mut at) = (BTreeMap::new(), begin);
    for _ in 0..count {
        if bytes_at(bytes, at, 4)? != CENTRAL {
            return Err("the zip's directory is damaged".into());
        }
        let field = |offset: usize, n: usize| number(bytes, at + offset, n);
        let (name_len, extra_len) = (field(28, 2)? as usize, field(30, 2)? as usize);
        let name = bytes_at(bytes, at + CENTRAL_BYTES, name_len)?;
        let name =
            std::str::from_utf8(name).map_err(|_| "a member of the zip has a name that is not UTF-8")?;
        if field(8, 2)? & 1 != 0 {
            return Err(format!("the zip's member `{name}` is encrypted"));
        }
        if field(10, 2)? != 0 {
            return Err(format!("the zip's member `{name}` is compressed; PyTorch stores its members"));
        }
        let extra = bytes_at(bytes, at + CENTRAL_BYTES + name_len, extra_len)?;
        let [size, packed, offset] = sizes(extra, [field(24, 4)?, field(20, 4)?, field(42, 4)?])?;
        if size != packed {
            return Err(format!(
                "the zip's member `{name}` is stored, but {packed} bytes are to become {size}"
            ));
        }
        let range = data(bytes, name, (place(offset)?, place(size)?))?;
        if members.insert(name, range).is_some() {
            return Err(format!("the zip has two members named `{name}`"));
        }
        at += CENTRAL_BYTES + name_len + extra_len + field(32, 2)? as usize;
    }
    Ok(members)
}

/// Sizes that do not fit 32 bits are all ones there and follow, in this order, in an extra field of kind 1.
fn sizes(extra: &[u8], mut fields: [u64; 3]) -> Result<[u64; 3], String> {
    let mut at = 0;
    while at + 4 <= extra.len() {
        let (kind, len) = (number(extra, at, 2)?, number(extra, at + 2, 2)? as usize);
        if kind == 1 {
            let mut wide = at + 4;
            for field in fields.iter_mut().filter(|field| **field == 0xFFFF_FFFF) {
                *field = number(extra, wide, 8)?;
                wide += 8;
            }
            return Ok(fields);
        }
        at += 4 + len;
    }
    Ok(fields)
}

/// The local header must agree about the name; the data follow it.
fn data(bytes: &[u8], name: &str, (header, size): (usize, usize)) -> Result<Range<usize>, String> {
    if bytes_at(bytes, header, 4)? != LOCAL {
        return Err(format!("the zip's member `{name}` is not where the directory says"));
    }
    let (name_len, extra_len) =
        (number(bytes, header + 26, 2)? as usize, number(bytes, header + 28, 2)? as usize);
    if bytes_at(bytes, header + LOCAL_BYTES, name_len)? != name.as_bytes() {
        return Err(format!("the zip's member `{name}` has another name where it lies"));
    }
    let begin = header + LOCAL_BYTES + name_len + extra_len;
    bytes_at(bytes, begin, size)?;
    Ok(begin..begin + size)
}
