//! torch's format since 1.6: a zip of stored entries whose data begin at multiples of 64 bytes; one pickle, one entry a storage.
//! References: PKWARE's APPNOTE (local header, central directory, ZIP64), `caffe2/serialize/inline_container.cc`.

use std::io::{Seek, SeekFrom, Write};

use super::Pen;
use crate::inventory::Tensor;
use crate::pickle::{Pickle, Storage};

const ALIGNMENT: u64 = 64;
const LOCAL_HEADER: u64 = 30;
/// Of the checksum in a local header.
const CRC_AT: u64 = 14;
/// From here on a field holds this value and the true one stands in a ZIP64 record.
const ZIP64: u64 = 0xFFFF_FFFF;
/// Of the format that is needed to read a plain entry, and one with a ZIP64 record.
const PLAIN: u16 = 20;
const LARGE: u16 = 45;
/// 1980-01-01: equal inputs make equal files.
const DATE: u16 = 0x21;

pub fn write(pen: &mut Pen<'_, '_>, tensors: &[Tensor], nested: Option<&str>) -> std::io::Result<()> {
    let mut zip = Zip::default();
    let mut object = Pickle::new();
    if let Some(key) = nested {
        object.begin_dictionary().text(key);
    }
    object.begin_ordered();
    for (key, tensor) in tensors.iter().enumerate() {
        object.text(&tensor.key).tensor(tensor, key, Storage::Zip);
    }
    object.end_items();
    if nested.is_some() {
        object.end_items();
    }
    zip.small(pen, "archive/data.pkl", &object.finish())?;
    zip.small(pen, "archive/byteorder", b"little")?;
    for (key, tensor) in tensors.iter().enumerate() {
        zip.tensor(pen, &format!("archive/data/{key}"), tensor)?;
    }
    zip.small(pen, "archive/version", b"3\n")?;
    zip.finish(pen)
}

#[derive(Default)]
struct Zip {
    central: Vec<u8>,
    entries: u64,
}

impl Zip {
    fn small(&mut self, pen: &mut Pen<'_, '_>, name: &str, data: &[u8]) -> std::io::Result<()> {
        let at = pen.position()?;
        let crc = crc32fast::hash(data);
        local_header(pen, name, crc, data.len() as u64)?;
        pen.bytes(data)?;
        self.note(name, crc, data.len() as u64, at);
        Ok(())
    }

    /// The checksum is known only after the data: the header is written again.
    fn tensor(&mut self, pen: &mut Pen<'_, '_>, name: &str, tensor: &Tensor) -> std::io::Result<()> {
        let at = pen.position()?;
        let size = tensor.bytes();
        if size >= ZIP64 {
            let message = format!("{} has {size} bytes, an entry can have {}", tensor.key, ZIP64 - 1);
            return Err(std::io::Error::other(message));
        }
        local_header(pen, name, 0, size)?;
        let mut hasher = crc32fast::Hasher::new();
        pen.tensor(tensor, |block| hasher.update(block))?;
        let crc = hasher.finalize();
        let end = pen.position()?;
        pen.out.seek(SeekFrom::Start(at + CRC_AT))?;
        pen.out.write_all(&crc.to_le_bytes())?;
        pen.out.seek(SeekFrom::Start(end))?;
        self.note(name, crc, size, at);
        Ok(())
    }

    fn note(&mut self, name: &str, crc: u32, size: u64, at: u64) {
        let far = at >= ZIP64;
        let (version, extra) = if far { (LARGE, 12) } else { (PLAIN, 0) };
        let out = &mut self.central;
        out.extend(*b"PK\x01\x02");
        words(out, &[version, version, 0, 0, 0, DATE]);
        doubles(out, &[crc, size as u32, size as u32]);
        words(out, &[name.len() as u16, extra, 0, 0, 0]);
        doubles(out, &[0, at.min(ZIP64) as u32]);
        out.extend(name.as_bytes());
        if far {
            words(out, &[1, 8]);
            out.extend(at.to_le_bytes());
        }
        self.entries += 1;
    }

    fn finish(self, pen: &mut Pen<'_, '_>) -> std::io::Result<()> {
        let at = pen.position()?;
        let size = self.central.len() as u64;
        pen.bytes(&self.central)?;
        let mut tail = Vec::new();
        let many = self.entries >= 0xFFFF;
        if many || at >= ZIP64 {
            let record = at + size;
            tail.extend(*b"PK\x06\x06");
            tail.extend(44u64.to_le_bytes());
            words(&mut tail, &[LARGE, LARGE]);
            doubles(&mut tail, &[0, 0]);
            for value in [self.entries, self.entries, size, at] {
                tail.extend(value.to_le_bytes());
            }
            tail.extend(*b"PK\x06\x07");
            doubles(&mut tail, &[0]);
            tail.extend(record.to_le_bytes());
            doubles(&mut tail, &[1]);
        }
        let entries = self.entries.min(0xFFFF) as u16;
        tail.extend(*b"PK\x05\x06");
        words(&mut tail, &[0, 0, entries, entries]);
        doubles(&mut tail, &[size as u32, at.min(ZIP64) as u32]);
        words(&mut tail, &[0]);
        pen.bytes(&tail)
    }
}

/// Padded, so that the data begin at a multiple of 64.
fn local_header(pen: &mut Pen<'_, '_>, name: &str, crc: u32, size: u64) -> std::io::Result<()> {
    // the padding is a field of its own, of at least its own head
    let bare = pen.position()? + LOCAL_HEADER + name.len() as u64 + 4;
    let padding = (bare.next_multiple_of(ALIGNMENT) - bare) as u16;
    let mut out = Vec::with_capacity(128);
    out.extend(*b"PK\x03\x04");
    words(&mut out, &[PLAIN, 0, 0, 0, DATE]);
    doubles(&mut out, &[crc, size as u32, size as u32]);
    words(&mut out, &[name.len() as u16, padding + 4]);
    out.extend(name.as_bytes());
    out.extend(*b"FB");
    words(&mut out, &[padding]);
    out.resize(out.len() + usize::from(padding), b'Z');
    pen.bytes(&out)
}

fn words(out: &mut Vec<u8>, values: &[u16]) {
    values.iter().for_each(|value| out.extend(value.to_le_bytes()));
}

fn doubles(out: &mut Vec<u8>, values: &[u32]) {
    values.iter().for_each(|value| out.extend(value.to_le_bytes()));
}

#[cfg(test)]
mod tests {
    use std::io::{BufWriter, Read};

    use contract::Stop;

    use super::*;
    use crate::inventory::Dtype;

    /// A file that begins behind a hole of five gigabytes, which takes no room: its entries lie where only ZIP64 can point.
    #[test]
    fn entries_beyond_four_gigabytes_are_found() {
        const HOLE: u64 = 5_000_000_000;
        let mut file = tempfile::tempfile().unwrap();
        file.seek(SeekFrom::Start(HOLE)).unwrap();
        let tensors = [Tensor { key: "a.weight".to_owned(), shape: vec![3, 5], dtype: Dtype::F32 }];
        let mut pen =
            Pen { out: BufWriter::new(&file), salt: "public", stop: &Stop::new(), tell: &mut |_| {} };
        write(&mut pen, &tensors, None).unwrap();
        pen.out.flush().unwrap();
        drop(pen);

        file.seek(SeekFrom::Start(HOLE)).unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let find = |sign: &[u8]| bytes.windows(4).rposition(|window| window == sign).unwrap();
        let here = |at: u64| (at - HOLE) as usize;
        let record = find(b"PK\x06\x06");
        assert_eq!(here(long(find(b"PK\x06\x07") + 8)), record);
        assert_eq!((long(record + 24), long(record + 32)), (4, 4));
        let mut central = here(long(record + 48));
        let end = central + long(record + 40) as usize;
        assert_eq!(end, record);
        let mut names = Vec::new();
        while central < end {
            let word =
                |at: usize| usize::from(u16::from_le_bytes([bytes[central + at], bytes[central + at + 1]]));
            let (name, extra) = (word(28), word(30));
            names.push(String::from_utf8(bytes[central + 46..central + 46 + name].to_vec()).unwrap());
            assert_eq!(bytes[central + 42..central + 46], [0xFF; 4]);
            let local = here(long(central + 46 + name + 4));
            assert_eq!(bytes[local..local + 4], *b"PK\x03\x04");
            assert_eq!(bytes[local + 14..local + 18], bytes[central + 16..central + 20], "the checksum");
            central += 46 + name + extra;
        }
        assert_eq!(names, ["archive/data.pkl", "archive/byteorder", "archive/data/0", "archive/version"]);
    }
}
