//! `check`: whether each file is there, of the right size, whole, and has the right checksum; and whose checksum that is.

use contract::{Complaint, Stop};

use crate::catalogue::{Selection, Wanted};
use crate::places::{Found, Places};
use crate::receipt::Receipt;
use crate::sum::Sum;
use crate::whole;

#[derive(Clone, Debug)]
pub struct Checked<'a> {
    pub wanted: Wanted<'a>,
    pub found: Option<Found>,
    pub verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Ok(Witness),
    Missing,
    WrongSize {
        is: u64,
        should: u64,
    },
    WrongChecksum {
        is: String,
        should: String,
        witness: Witness,
    },
    /// Cut off, or something else under its name.
    Damaged(String),
    /// Whole as far as can be told; nobody tells a checksum.
    UnknownChecksum,
}

/// Who says what the checksum is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witness {
    Catalogue,
    /// The catalogue knows only the checksum's beginning.
    CatalogueInPart,
    Hub,
}

impl Witness {
    pub fn name(self) -> &'static str {
        match self {
            Witness::Catalogue => "catalogue",
            Witness::CatalogueInPart => "catalogue, in part",
            Witness::Hub => "hub",
        }
    }
}

impl Verdict {
    pub fn is_good(&self) -> bool {
        matches!(self, Verdict::Ok(_) | Verdict::UnknownChecksum)
    }

    /// Stable, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Verdict::Ok(_) => "ok",
            Verdict::Missing => "missing",
            Verdict::WrongSize { .. } => "wrong_size",
            Verdict::WrongChecksum { .. } => "wrong_checksum",
            Verdict::Damaged(_) => "damaged",
            Verdict::UnknownChecksum => "unknown_checksum",
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Verdict::Ok(witness) => write!(f, "ok (checksum of the {})", witness.name()),
            Verdict::Missing => f.write_str("missing"),
            Verdict::WrongSize { is, should } => write!(f, "wrong size: {is} bytes, should be {should}"),
            Verdict::WrongChecksum { is, should, witness } => {
                write!(f, "wrong checksum: {is}, the {} says {should}", witness.name())
            }
            Verdict::Damaged(why) => write!(f, "damaged: {why}"),
            Verdict::UnknownChecksum => f.write_str("unknown checksum: whole as far as its head tells"),
        }
    }
}

/// Checks every file; `each` hears of it as it goes: `None` while bytes are read.
pub fn check<'a>(
    selection: &Selection<'a>,
    places: &Places,
    stop: &Stop,
    each: &mut dyn FnMut(Wanted<'a>, Progress<'_, 'a>),
) -> Result<Vec<Checked<'a>>, Complaint> {
    let mut all = Vec::new();
    for &wanted in &selection.files {
        let found = places.find(wanted);
        if let Some(found) = &found {
            each(wanted, Progress::Begun { bytes: found.bytes });
        }
        let verdict = match &found {
            None => Verdict::Missing,
            Some(found) => judge(wanted, found, stop, &mut |n| each(wanted, Progress::Read { bytes: n }))?,
        };
        let checked = Checked { wanted, found, verdict };
        each(wanted, Progress::Done(&checked));
        all.push(checked);
    }
    Ok(all)
}

pub enum Progress<'p, 'a> {
    Begun { bytes: u64 },
    Read { bytes: u64 },
    Done(&'p Checked<'a>),
}

/// What is wrong with a file as far as its size, its head and its end tell.
pub fn glance(wanted: Wanted<'_>, found: &Found) -> Option<Verdict> {
    if let Some(should) = found.should_have(wanted).filter(|should| *should != found.bytes) {
        return Some(Verdict::WrongSize { is: found.bytes, should });
    }
    whole::check(&found.path).err().map(Verdict::Damaged)
}

/// Reads the whole file where anybody knows its checksum.
pub fn judge(
    wanted: Wanted<'_>,
    found: &Found,
    stop: &Stop,
    read: &mut dyn FnMut(u64),
) -> Result<Verdict, Complaint> {
    if let Some(wrong) = glance(wanted, found) {
        return Ok(wrong);
    }
    let receipt = found.receipt.as_ref();
    let known_sum = wanted.file.sha256.as_ref().filter(|_| !found.is_trusted());
    let hub = || found.hub_sha256.clone().map(Sum::Sha256).or_else(|| receipt.and_then(Receipt::sum));
    let (sum, witness) = match (known_sum, hub()) {
        (Some(known), _) if known.len() == 64 => (Sum::Sha256(known.clone()), Witness::Catalogue),
        (Some(known), None) => (Sum::Sha256(known.clone()), Witness::CatalogueInPart),
        (_, Some(sum)) => (sum, Witness::Hub),
        (None, None) => return Ok(Verdict::UnknownChecksum),
    };
    let is = sum.of(&found.path, stop, read)?;
    if sum.agrees(&is) {
        return Ok(Verdict::Ok(witness));
    }
    Ok(Verdict::WrongChecksum { is, should: sum.text().to_owned(), witness })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;

    const HELLO: &str = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";

    fn check_file(facts: &str, content: Option<&str>, receipt: Option<Receipt>) -> &'static str {
        let text = format!(
            "[[component]]\nname='m'\ntitle='t'\nhub='o/n'\nfolder='f'\n[[component.file]]\npath='x.txt'\n{facts}"
        );
        let catalogue = Catalogue::parse(&text).unwrap();
        let selection = catalogue.select(&["m".to_owned()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let places = Places { root: folder.path().to_owned(), ..Places::default() };
        std::fs::create_dir(folder.path().join("f")).unwrap();
        if let Some(content) = content {
            std::fs::write(folder.path().join("f/x.txt"), content).unwrap();
        }
        if let Some(receipt) = receipt {
            receipt.write(folder.path(), &selection.files[0].file.place).unwrap();
        }
        let checked = check(&selection, &places, &Stop::new(), &mut |_, _| {}).unwrap();
        checked[0].verdict.code()
    }

    #[test]
    fn every_verdict_is_reached() {
        let known = format!("sha256='{HELLO}'\n");
        let beginning = format!("sha256='{}'\n", &HELLO[..10]);
        let hub = |sum: &str| Some(Receipt { bytes: 6, sum: Some(sum.to_owned()), ..Receipt::default() });
        let git = "ce013625030ba8dba906f756967f9e9ca394464a";
        let rows = [
            ("", None, None, "missing"),
            ("", Some("hello\n"), None, "unknown_checksum"),
            (&known, Some("hello\n"), None, "ok"),
            (&beginning, Some("hello\n"), None, "ok"),
            (&known, Some("jello\n"), None, "wrong_checksum"),
            ("bytes=7\n", Some("hello\n"), None, "wrong_size"),
            ("", Some("hello\n"), hub(HELLO), "ok"),
            ("", Some("hello\n"), hub(git), "ok"),
            ("", Some("jello\n"), hub(git), "wrong_checksum"),
            ("", Some("hello"), hub(git), "wrong_size"),
            ("", Some("version https://git-lfs"), None, "damaged"),
        ];
        for (facts, content, receipt, expected) in rows {
            assert_eq!(check_file(facts, content, receipt), expected, "{facts} {content:?}");
        }
    }
}
