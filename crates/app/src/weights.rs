//! Weights as they lie on this machine: in the models folder, in folders that were named, in the hub's and torch's caches, or where a variable says;
//! and how a take names them. A file under an official name may be anybody's: it has that name only with its sum.

use std::path::{Path, PathBuf};

use contract::{Complaint, Weights};
use models::{Catalogue, Found, Kind, Places, Sum, Wanted, identity, sample};

use crate::say;

/// Bytes from which a file that a variable names is known by a sample of it: nobody waits minutes for a server to begin.
const LARGE: u64 = 4 << 30;

/// The catalogue and where its files may lie.
pub struct Shelf<'a> {
    pub catalogue: Catalogue,
    pub places: &'a Places,
}

/// A file of the catalogue that is on this machine.
struct Placed {
    found: Found,
    /// Whether it is as long as it should be.
    fits: bool,
    /// The beginning of its SHA-256 as it was published, where that is known.
    published: Option<String>,
}

/// Whether a file holds what its name says: by what was published, else by what `pull` wrote down of it.
fn is_official(published: Option<&str>, found: &Found, sha256: &str) -> bool {
    match (published, &found.receipt) {
        (Some(sum), _) => sha256.starts_with(sum),
        (None, Some(receipt)) => match receipt.sum() {
            Some(Sum::Sha256(sum)) => sum == sha256,
            // another source, or a small file: it is what came as long as nobody has touched it
            Some(Sum::GitBlob(_)) | None => {
                std::fs::metadata(&found.path).is_ok_and(|file| receipt.is_of(&file))
            }
        },
        (None, None) => false,
    }
}

/// A file of weights, and how a take names it.
pub struct Known {
    pub path: PathBuf,
    pub card: Weights,
}

impl<'a> Shelf<'a> {
    pub fn new(places: &'a Places) -> Self {
        Self { catalogue: Catalogue::built_in(), places }
    }

    /// Of a component, the first of `names` that is there and as long as it should be; else the first that is there.
    pub fn known(&self, component: &str, names: &[&str]) -> Result<Option<Known>, Complaint> {
        let mut there: Vec<Placed> = names.iter().filter_map(|name| self.placed(component, name)).collect();
        if there.is_empty() {
            return Ok(None);
        }
        let best = there.iter().position(|placed| placed.fits).unwrap_or(0);
        let Placed { found, published, .. } = there.swap_remove(best);
        let sha256 = self.sum(&found)?;
        let official = is_official(published.as_deref(), &found, &sha256);
        let name = if official { component.to_owned() } else { format!("own-{component}") };
        Ok(Some(Known { path: found.path, card: Weights { name, sha256, embedded: false } }))
    }

    /// Where a file of a component lies.
    pub fn path(&self, component: &str, name: &str) -> Option<PathBuf> {
        self.placed(component, name).map(|placed| placed.found.path)
    }

    fn placed(&self, component: &str, name: &str) -> Option<Placed> {
        let selection = self.catalogue.select(&[component.to_owned()]).ok()?;
        let files = self.catalogue.component(component)?;
        // a name with folders is the whole of it: several parts may call their file the same
        let called = |path: &str| match name.contains('/') {
            true => path == name,
            false => Path::new(path).file_name() == Some(name.as_ref()),
        };
        let file = files.files.iter().find(|file| called(file.path.as_str()))?;
        let wanted = Wanted { component: selection.files.first()?.component, file };
        let found = self.places.find(wanted)?;
        Some(Placed { fits: found.fits(wanted), found, published: file.sha256.clone() })
    }

    /// A file that a variable names.
    pub fn named(&self, variable: &str, path: &Path) -> Result<Known, Complaint> {
        let bytes =
            std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|metadata| metadata.len());
        let bytes = bytes.ok_or_else(|| {
            let message = format!("{variable} names {}, but there is no such file", path.display());
            Complaint::new("weights_unloadable", message, format!("correct or unset {variable}"))
        })?;
        let file = path.file_name().map_or("file".into(), |name| name.to_string_lossy());
        let own = || format!("own-{file}");
        if let Some((component, Placed { found, published, .. })) = self.pulled(path) {
            let sha256 = self.sum(&found)?;
            let name = if is_official(published.as_deref(), &found, &sha256) { component } else { own() };
            return Ok(Known { path: path.to_owned(), card: Weights { name, sha256, embedded: false } });
        }
        if bytes > LARGE {
            let name = format!("own-{file}-sampled");
            return Ok(Known {
                path: path.to_owned(),
                card: Weights { name, sha256: sample(path)?, embedded: false },
            });
        }
        let found =
            Found { path: path.to_owned(), kind: Kind::Folder, bytes, hub_sha256: None, receipt: None };
        let sha256 = self.sum(&found)?;
        let known = self.catalogue.components.iter().find(|component| {
            component
                .files
                .iter()
                .any(|file| file.sha256.as_deref().is_some_and(|sum| sha256.starts_with(sum)))
        });
        let name = known.map_or_else(own, |component| component.name.clone());
        Ok(Known { path: path.to_owned(), card: Weights { name, sha256, embedded: false } })
    }

    /// The component of a file that a pull wrote down.
    fn pulled(&self, path: &Path) -> Option<(String, Placed)> {
        let files = self
            .catalogue
            .components
            .iter()
            .flat_map(|component| component.files.iter().map(move |file| Wanted { component, file }));
        let of_that_name =
            |wanted: &Wanted| Path::new(wanted.file.path.as_str()).file_name() == path.file_name();
        files.filter(of_that_name).find_map(|wanted| {
            let found = self.places.find(wanted)?;
            let placed = Placed { fits: found.fits(wanted), found, published: wanted.file.sha256.clone() };
            (placed.found.path == path && placed.found.receipt.is_some())
                .then(|| (wanted.component.name.clone(), placed))
        })
    }

    fn sum(&self, found: &Found) -> Result<String, Complaint> {
        identity(&self.places.root, found, &mut |path| {
            say::aside(format_args!("talkie: reading {} once, to know what it is", path.display()));
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_file_that_somebody_replaced_has_no_official_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("unet.pth");
        std::fs::write(&path, "weights").unwrap();
        let metadata = std::fs::metadata(&path).unwrap();
        let sums = ["a".repeat(64), "b".repeat(64)];
        let found = |sum: Option<&str>, nanoseconds: i64| {
            let changed = (metadata.mtime(), nanoseconds);
            let receipt = serde_json::json!({ "source": "hub", "commit": null, "bytes": 7, "changed": changed, "sum": sum });
            let receipt = Some(serde_json::from_value(receipt).unwrap());
            Found { path: path.clone(), kind: Kind::Models, bytes: 7, hub_sha256: None, receipt }
        };
        let (now, before) = (metadata.mtime_nsec(), metadata.mtime_nsec() - 1);
        let blob = "c".repeat(40);
        let rows = [
            (Some(&sums[0][..16]), found(Some(&sums[1]), now), true),
            (Some(&sums[1][..16]), found(Some(&sums[0]), now), false),
            (None, found(Some(&sums[0]), before), true),
            (None, found(Some(&sums[1]), now), false),
            (None, found(Some(&blob), now), true),
            (None, found(Some(&blob), before), false),
            (None, found(None, before), false),
            (None, Found { receipt: None, ..found(None, now) }, false),
        ];
        for (at, (published, found, official)) in rows.into_iter().enumerate() {
            assert_eq!(is_official(published, &found, &sums[0]), official, "row {at}");
        }
    }

    #[test]
    fn a_broken_file_does_not_hide_a_good_one() {
        let folder = tempfile::tempdir().unwrap();
        let places = Places { root: folder.path().to_owned(), ..Places::default() };
        let shelf = Shelf::new(&places);
        let whole = shelf.catalogue.components.iter().find_map(|component| {
            let (one, other) = match component.files.as_slice() {
                [one, other, ..] => (one, other),
                _ => return None,
            };
            (one.bytes? > 100 && other.bytes? < 100_000).then_some((component, one, other))
        });
        let (component, broken, good) = whole.expect("a component with a large and a small file");
        for (file, bytes) in [(broken, 10), (good, good.bytes.unwrap())] {
            let path = file.place.under(folder.path());
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::File::create(path).unwrap().set_len(bytes).unwrap();
        }
        let names = [broken.path.as_str(), good.path.as_str()];
        let known = shelf.known(&component.name, &names).unwrap().unwrap();
        assert_eq!(known.path, good.place.under(folder.path()));
        assert!(known.card.name.starts_with("own-"), "{}", known.card.name);
    }
}
