//! Weights as they lie on this machine: in the models folder, in folders that were named, in the hub's and torch's caches, or where a variable says;
//! and how a take names them. A file under an official name may be anybody's: it has that name only with its sum.

use std::path::{Path, PathBuf};

use contract::{Complaint, Weights};
use models::{Catalogue, Found, Kind, Places, Wanted, identity, sample};

use crate::say;

/// Bytes from which a file that a variable names is known by a sample of it: nobody waits minutes for a server to begin.
const LARGE: u64 = 4 << 30;

/// The catalogue and where its files may lie.
pub struct Shelf<'a> {
    pub catalogue: Catalogue,
    pub places: &'a Places,
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

    /// The first of `names` that is there, of a component.
    pub fn known(&self, component: &str, names: &[&str]) -> Result<Option<Known>, Complaint> {
        let Some((found, sum)) = names.iter().find_map(|name| self.found(component, name)) else {
            return Ok(None);
        };
        let sha256 = self.sum(&found)?;
        let official = match &sum {
            Some(sum) => sha256.starts_with(sum.as_str()),
            None => found.receipt.is_some(),
        };
        let name = if official { component.to_owned() } else { format!("own-{component}") };
        Ok(Some(Known { path: found.path, card: Weights { name, sha256, embedded: false } }))
    }

    /// Where a file of a component lies.
    pub fn path(&self, component: &str, name: &str) -> Option<PathBuf> {
        self.found(component, name).map(|(found, _)| found.path)
    }

    fn found(&self, component: &str, name: &str) -> Option<(Found, Option<String>)> {
        let selection = self.catalogue.select(&[component.to_owned()]).ok()?;
        let files = self.catalogue.component(component)?;
        // a name with folders is the whole of it: several parts may call their file the same
        let called = |path: &str| match name.contains('/') {
            true => path == name,
            false => Path::new(path).file_name() == Some(name.as_ref()),
        };
        let file = files.files.iter().find(|file| called(file.path.as_str()))?;
        let wanted = selection.files.first()?;
        let found = self.places.find(Wanted { component: wanted.component, file })?;
        Some((found, file.sha256.clone()))
    }

    /// A file that a variable names.
    pub fn named(&self, variable: &str, path: &Path) -> Result<Known, Complaint> {
        let bytes =
            std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|metadata| metadata.len());
        let bytes = bytes.ok_or_else(|| {
            let message = format!("{variable} names {}, but there is no such file", path.display());
            Complaint::new("weights_unloadable", message, format!("correct or unset {variable}"))
        })?;
        if let Some((name, found)) = self.pulled(path) {
            let sha256 = self.sum(&found)?;
            return Ok(Known { path: path.to_owned(), card: Weights { name, sha256, embedded: false } });
        }
        let file = path.file_name().map_or("file".into(), |name| name.to_string_lossy());
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
        let own = || format!("own-{file}");
        let name = known.map_or_else(own, |component| component.name.clone());
        Ok(Known { path: path.to_owned(), card: Weights { name, sha256, embedded: false } })
    }

    /// The component of a file that a pull wrote down.
    fn pulled(&self, path: &Path) -> Option<(String, Found)> {
        let files = self
            .catalogue
            .components
            .iter()
            .flat_map(|component| component.files.iter().map(move |file| Wanted { component, file }));
        let of_that_name =
            |wanted: &Wanted| Path::new(wanted.file.path.as_str()).file_name() == path.file_name();
        files.filter(of_that_name).find_map(|wanted| {
            let found = self.places.find(wanted)?;
            (found.path == path && found.receipt.is_some()).then(|| (wanted.component.name.clone(), found))
        })
    }

    fn sum(&self, found: &Found) -> Result<String, Complaint> {
        identity(&self.places.root, found, &mut |path| {
            say::aside(format_args!("talkie: reading {} once, to know what it is", path.display()));
        })
    }
}
