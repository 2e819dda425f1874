//! Where a file may lie already: the models folder, folders the user names (official layouts), torch's and the Hugging Face
//! hub's caches. Files are used where they are; nothing is copied.

use std::path::{Path, PathBuf};

use crate::catalogue::{Component, File, Source, Wanted};
use crate::listed;
use crate::name::Name;
use crate::receipt::Receipt;

/// Folders inside a project's checkout that hold its models.
const INSIDE: &[&str] = &["models", "weights"];

#[derive(Clone, Debug, Default)]
pub struct Places {
    /// What `pull` fills.
    pub root: PathBuf,
    /// Folders in an official layout, checkouts of the official projects, or one model's folder.
    pub folders: Vec<PathBuf>,
    /// Caches of the hub's own libraries (`…/huggingface/hub`).
    pub hub_caches: Vec<PathBuf>,
    /// torch's (`…/torch`).
    pub torch_home: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Models,
    Folder,
    HubCache,
    TorchHome,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Models => "models",
            Kind::Folder => "folder",
            Kind::HubCache => "hub-cache",
            Kind::TorchHome => "torch-home",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Found {
    pub path: PathBuf,
    pub kind: Kind,
    pub bytes: u64,
    /// The hub's checksum, which its cache uses as the blob's name.
    pub hub_sha256: Option<String>,
    /// What `pull` wrote down of it, in the models folder.
    pub receipt: Option<Receipt>,
}

impl Found {
    fn at(path: PathBuf, kind: Kind) -> Option<Self> {
        let metadata = std::fs::metadata(&path).ok().filter(|metadata| metadata.is_file())?;
        let hub_sha256 = (kind == Kind::HubCache).then(|| blob(&path)).flatten();
        Some(Self { path, kind, bytes: metadata.len(), hub_sha256, receipt: None })
    }

    /// Whether what can be told without opening it agrees with the catalogue and with what was pulled.
    pub fn fits(&self, wanted: Wanted<'_>) -> bool {
        let size = self.should_have(wanted).is_none_or(|bytes| bytes == self.bytes);
        if self.is_trusted() {
            return size;
        }
        let sum = match (&wanted.file.sha256, &self.hub_sha256) {
            (Some(known), Some(blob)) => blob.starts_with(known.as_str()),
            _ => true,
        };
        size && sum
    }

    /// The size it must have: the catalogue's, else that of what was pulled.
    pub fn should_have(&self, wanted: Wanted<'_>) -> Option<u64> {
        let pulled = self.receipt.as_ref().map(|receipt| receipt.bytes);
        if self.is_trusted() { pulled } else { wanted.file.bytes.or(pulled) }
    }

    /// Where the user trusted the source, the catalogue has nothing to say.
    pub fn is_trusted(&self) -> bool {
        self.receipt.as_ref().is_some_and(|receipt| receipt.trusted)
    }
}

impl Places {
    /// The first place whose file fits; else one that does not, so that it can be told.
    pub fn find(&self, wanted: Wanted<'_>) -> Option<Found> {
        let mut misfit = None;
        for mut found in self.candidates(wanted) {
            // of the file that it wrote, not of one that lies under another of its names
            if found.kind == Kind::Models && found.path == wanted.file.place.under(&self.root) {
                found.receipt = Receipt::read(&self.root, &wanted.file.place);
            }
            if found.fits(wanted) {
                return Some(found);
            }
            misfit = misfit.or(Some(found));
        }
        misfit
    }

    /// The files of a component that only the hub can name, as it named them when it was pulled.
    pub fn pulled(&self, component: &Component) -> Vec<File> {
        listed::read(&self.root, component)
    }

    fn candidates<'a>(&'a self, wanted: Wanted<'a>) -> impl Iterator<Item = Found> + 'a {
        let names = || std::iter::once(&wanted.file.place).chain(&wanted.file.also);
        let folders = std::iter::once((Kind::Models, &self.root))
            .chain(self.folders.iter().map(|folder| (Kind::Folder, folder)))
            .chain(self.torch_home.iter().map(|folder| (Kind::TorchHome, folder)));
        let in_folders = folders.flat_map(move |(kind, folder)| {
            names().flat_map(move |name| inside(folder, name)).filter_map(move |path| Found::at(path, kind))
        });
        let in_caches = self.hub_caches.iter().flat_map(move |cache| cached(cache, wanted));
        in_folders.chain(in_caches.filter_map(|path| Found::at(path, Kind::HubCache)))
    }
}

/// `name` below the folder, below its models folder, or below it where it is the model's own folder.
fn inside(folder: &Path, name: &Name) -> Vec<PathBuf> {
    let mut paths = vec![name.under(folder)];
    paths.extend(INSIDE.iter().map(|inner| name.under(&folder.join(inner))));
    if let (first, Some(rest)) = name.split_first()
        && folder.file_name().is_some_and(|own| own == first)
    {
        paths.push(folder.join(rest));
    }
    paths
}

/// `models--owner--name/snapshots/<commit>/<path>`: the pinned commit's first, then the one its reference names, then any.
fn cached(cache: &Path, wanted: Wanted<'_>) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for repository in repositories(wanted.component) {
        let folder = cache.join(format!("models--{}", repository.replace('/', "--")));
        let snapshots = folder.join("snapshots");
        let at = |commit: &str| wanted.file.path.under(&snapshots.join(commit));
        let revision = wanted.revision();
        paths.push(at(revision));
        for reference in [revision, "main"] {
            if let Ok(commit) = std::fs::read_to_string(folder.join("refs").join(reference)) {
                paths.push(at(commit.trim()));
            }
        }
        let others = std::fs::read_dir(&snapshots).into_iter().flatten().flatten();
        let mut others: Vec<PathBuf> = others.map(|entry| wanted.file.path.under(&entry.path())).collect();
        others.sort();
        paths.extend(others);
    }
    paths
}

fn repositories(component: &Component) -> impl Iterator<Item = &str> {
    let sources = std::iter::once(&component.source).chain(&component.mirrors);
    sources.filter_map(|source| match source {
        Source::Hub(repository) => Some(repository.as_str()),
        Source::Url(_) => None,
    })
}

/// The checksum in the name of the blob that a snapshot's link leads to; small files have another kind of name.
fn blob(path: &Path) -> Option<String> {
    let target = std::fs::read_link(path).ok()?;
    let name = target.file_name()?.to_str()?;
    crate::sum::is_sha256(name).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;

    const TEXT: &str = "[[component]]\nname='m'\ntitle='t'\nhub='o/n'\nrevision='c0ffee'\nfolder='big'\n\
        [[component.file]]\npath='unet/x.bin'\nbytes=3\nalso=['hub/checkpoints/x.bin']\n";

    fn write(path: PathBuf, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn files_are_found_in_every_layout() {
        let rows = [
            ("root/big/unet/x.bin", Kind::Models),
            ("other/big/unet/x.bin", Kind::Folder),
            ("other/models/big/unet/x.bin", Kind::Folder),
            ("other/weights/big/unet/x.bin", Kind::Folder),
            ("own/big/unet/x.bin", Kind::Folder),
            ("torch/hub/checkpoints/x.bin", Kind::TorchHome),
            ("cache/models--o--n/snapshots/c0ffee/unet/x.bin", Kind::HubCache),
            ("cache/models--o--n/snapshots/another/unet/x.bin", Kind::HubCache),
        ];
        let catalogue = Catalogue::parse(TEXT).unwrap();
        let wanted = catalogue.select(&["m".to_owned()]).unwrap().files[0];
        for (place, kind) in rows {
            let folder = tempfile::tempdir().unwrap();
            let at = |name: &str| folder.path().join(name);
            let places = Places {
                root: at("root"),
                folders: vec![at("other"), at("own/big")],
                hub_caches: vec![at("cache")],
                torch_home: Some(at("torch")),
            };
            assert!(places.find(wanted).is_none());
            write(at(place), "abc");
            let found = places.find(wanted).expect(place);
            assert_eq!((found.path, found.kind), (at(place), kind));
        }
    }

    #[test]
    fn a_file_that_fits_is_taken_before_one_that_does_not() {
        let catalogue = Catalogue::parse(TEXT).unwrap();
        let wanted = catalogue.select(&["m".to_owned()]).unwrap().files[0];
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let places = Places { root: at("root"), hub_caches: vec![at("cache")], ..Places::default() };
        write(at("root/big/unet/x.bin"), "torn");
        assert!(!places.find(wanted).unwrap().fits(wanted));
        write(at("cache/models--o--n/refs/main"), "beef\n");
        write(at("cache/models--o--n/snapshots/beef/unet/x.bin"), "abc");
        assert_eq!(places.find(wanted).unwrap().kind, Kind::HubCache);
    }
}
