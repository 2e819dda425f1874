//! The catalogue: every checkpoint the engines need, where it is published and what is known of it. The facts are data
//! (`assets/catalogue.toml`); a fact that is not known is `None` here and `unknown` to the user. Refuses a catalogue that
//! contradicts itself.

use std::collections::{BTreeMap, BTreeSet};

use contract::Complaint;
use serde::Deserialize;

use crate::name::Name;

const BUILT_IN: &str = include_str!("../assets/catalogue.toml");

/// Fewest hex digits of a checksum that say anything.
const SHORTEST_PREFIX: usize = 8;

#[derive(Clone, Debug)]
pub struct Catalogue {
    pub components: Vec<Component>,
    pub sets: Vec<Set>,
}

/// Files that belong together, from one place.
#[derive(Clone, Debug)]
pub struct Component {
    pub name: String,
    pub title: String,
    pub source: Source,
    /// Asked when the source does not have a file or does not answer.
    pub mirrors: Vec<Source>,
    /// A commit; `None` is the hub's `main`, whatever that is today.
    pub revision: Option<String>,
    /// Below a models folder; empty where the repository itself has the official layout.
    pub folder: String,
    pub licence: Option<String>,
    /// What the licence says about commercial use.
    pub commercial: Option<String>,
    pub gated: Option<bool>,
    pub note: Option<String>,
    /// Bytes of it all, about, where the files' own are not known.
    pub about: Option<u64>,
    /// A folder of the repository whose files are all meant; the hub is asked for their names.
    pub listing: Option<Name>,
    pub files: Vec<File>,
}

/// Where files come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A repository of the Hugging Face hub, `owner/name`.
    Hub(String),
    /// An address that a file's name is put behind.
    Url(String),
}

#[derive(Clone, Debug)]
pub struct File {
    /// In the repository.
    pub path: Name,
    /// Below a models folder, in the official layout.
    pub place: Name,
    /// Other places where the official programs keep it.
    pub also: Vec<Name>,
    pub revision: Option<String>,
    pub bytes: Option<u64>,
    pub about: Option<u64>,
    /// Lower-case hex; shorter than 64 digits where only its beginning is known.
    pub sha256: Option<String>,
    /// Not needed by any set: another form of a file that is.
    pub optional: bool,
    pub seed: Option<Seeding>,
    /// Stem in `assets/tiny` of what stands for it in a tiny model: a key inventory, or a config.
    pub tiny: Option<String>,
    /// Name in `assets/` of what stands for it where weights are seeded, at the scales that have one.
    pub stand_in: Option<String>,
    /// Too large to be seeded on disk at full scale: whoever needs it computes it from the inventory.
    pub computed: bool,
}

/// How seeded weights for a file are written.
#[derive(Clone, Debug)]
pub struct Seeding {
    /// Stem of the key inventory in `goldens/keys`; several with ` + ` between them.
    pub inventory: String,
    pub form: Form,
    /// A key of the file under which the tensors lie.
    pub nested: Option<String>,
    /// In place of the inventory's.
    pub dtype: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    Safetensors,
    /// One of several files of one model, by the number in its name.
    SafetensorsShard,
    /// Which tensor lies in which of those files.
    SafetensorsIndex,
    /// optimum-quanto's, and the map beside it.
    QuantoInt8,
    QuantoInt8Map,
    QuantoFp8,
    QuantoFp8Map,
    TorchZip,
    TorchLegacy,
}

/// What an engine needs, by the name a user gives.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Set {
    pub name: String,
    pub engine: String,
    pub title: String,
    pub components: Vec<String>,
    /// Components that come with it only where it is seeded at a smaller scale: variants that cost nothing there.
    #[serde(default)]
    pub smaller_with: Vec<String>,
    pub vram: Option<String>,
}

/// One file of one component, as it was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub component: &'a Component,
    pub file: &'a File,
}

impl Wanted<'_> {
    /// What a user calls it: component and name in the repository.
    pub fn label(&self) -> String {
        format!("{}/{}", self.component.name, self.file.path)
    }

    pub fn revision(&self) -> &str {
        self.file.revision.as_deref().or(self.component.revision.as_deref()).unwrap_or("main")
    }
}

/// What a user's words mean: files, and components whose files only the hub can name.
#[derive(Clone, Debug, Default)]
pub struct Selection<'a> {
    pub files: Vec<Wanted<'a>>,
    pub listings: Vec<&'a Component>,
}

impl Catalogue {
    /// The catalogue this program was built with.
    pub fn built_in() -> Self {
        Self::parse(BUILT_IN).expect("a test reads the catalogue that is built in")
    }

    pub fn parse(text: &str) -> Result<Self, Complaint> {
        let wire: CatalogueWire = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let components: Vec<Component> =
            wire.component.into_iter().map(Component::from_wire).collect::<Result<_, _>>().map_err(wrong)?;
        let catalogue = Self { components, sets: wire.set };
        catalogue.check().map_err(wrong)?;
        Ok(catalogue)
    }

    fn check(&self) -> Result<(), String> {
        let mut names = BTreeSet::new();
        let all = self.components.iter().map(|c| &c.name).chain(self.sets.iter().map(|s| &s.name));
        for name in all {
            if !names.insert(name) {
                return Err(format!("the name `{name}` stands twice"));
            }
        }
        for set in &self.sets {
            let mut named = set.components.iter().chain(&set.smaller_with);
            if let Some(name) = named.find(|name| self.component(name).is_none()) {
                return Err(format!("the set {} names `{name}`, which is no component", set.name));
            }
        }
        let mut places: BTreeMap<&Name, Wanted> = BTreeMap::new();
        for component in &self.components {
            for file in &component.files {
                if let Some(other) = places.insert(&file.place, Wanted { component, file })
                    && (other.component.source != component.source || other.file.path != file.path)
                {
                    return Err(format!("{} is the place of two different files", file.place));
                }
            }
        }
        Ok(())
    }

    pub fn component(&self, name: &str) -> Option<&Component> {
        self.components.iter().find(|component| component.name == name)
    }

    /// Sets, components and single files by name (`component/path`, or the place below a models folder), each file once.
    pub fn select(&self, names: &[String]) -> Result<Selection<'_>, Complaint> {
        let mut selection = Selection::default();
        for name in names {
            if let Some(set) = self.sets.iter().find(|set| set.name == *name) {
                set.components.iter().filter_map(|name| self.component(name)).for_each(|c| selection.add(c));
            } else if let Some(component) = self.component(name) {
                selection.add(component);
            } else if let Some(wanted) = self.file(name) {
                selection.files.push(wanted);
            } else {
                let sets: Vec<&str> = self.sets.iter().map(|set| set.name.as_str()).collect();
                return Err(Complaint::new(
                    "unknown_model",
                    format!("`{name}` is no set, component or file of the catalogue"),
                    format!("sets are {}; `talkie models list` shows everything", sets.join(", ")),
                ));
            }
        }
        selection.files = once(selection.files);
        Ok(selection)
    }

    /// As `select`, with what comes along where it is seeded at a smaller scale.
    pub fn select_smaller(&self, names: &[String]) -> Result<Selection<'_>, Complaint> {
        let along =
            self.sets.iter().filter(|set| names.contains(&set.name)).flat_map(|set| &set.smaller_with);
        let all: Vec<String> = names.iter().chain(along).cloned().collect();
        self.select(&all)
    }

    /// Every file that has a name here, once.
    pub fn everything(&self) -> Vec<Wanted<'_>> {
        once(self.all().collect())
    }

    fn all(&self) -> impl Iterator<Item = Wanted<'_>> {
        self.components.iter().flat_map(|c| c.files.iter().map(move |file| Wanted { component: c, file }))
    }

    fn file(&self, name: &str) -> Option<Wanted<'_>> {
        let labelled = self.all().find(|wanted| wanted.label() == name);
        labelled.or_else(|| self.all().find(|wanted| wanted.file.place.as_str() == name))
    }
}

/// Variants of a model share files: the first to name one has it.
fn once(mut files: Vec<Wanted<'_>>) -> Vec<Wanted<'_>> {
    let mut seen = BTreeSet::new();
    files.retain(|wanted| seen.insert(&wanted.file.place));
    files
}

impl<'a> Selection<'a> {
    fn add(&mut self, component: &'a Component) {
        let needed = component.files.iter().filter(|file| !file.optional);
        self.files.extend(needed.map(|file| Wanted { component, file }));
        if component.listing.is_some() && !self.listings.iter().any(|other| other.name == component.name) {
            self.listings.push(component);
        }
    }

    /// The same with the files that the hub's listings name, each place once. Where both name a file the catalogue's entry stays,
    /// unless it knows neither size nor checksum and the listing's does.
    pub fn with(&self, listed: &'a [(&'a Component, File)]) -> Selection<'a> {
        let mut files = self.files.clone();
        let mut at: BTreeMap<&Name, usize> =
            files.iter().enumerate().map(|(index, wanted)| (&wanted.file.place, index)).collect();
        for (component, file) in listed {
            match at.get(&file.place) {
                Some(&index) => {
                    let known = files[index].file;
                    if known.bytes.is_none() && known.sha256.is_none() && file.sha256.is_some() {
                        files[index] = Wanted { component, file };
                    }
                }
                None => {
                    at.insert(&file.place, files.len());
                    files.push(Wanted { component, file });
                }
            }
        }
        Selection { files, listings: Vec::new() }
    }
}

impl Component {
    /// Something is asked of whoever fetches or uses it.
    pub fn has_terms(&self) -> bool {
        self.gated == Some(true) || self.commercial.as_ref().is_some_and(|says| says != "allowed")
    }

    /// A person's way to the licence.
    pub fn page(&self) -> String {
        match &self.source {
            Source::Hub(repository) => format!("https://huggingface.co/{repository}"),
            Source::Url(base) => base.clone(),
        }
    }

    /// A file that the hub's listing names.
    pub fn listed(&self, path: Name) -> File {
        File {
            place: path.below(&self.folder),
            path,
            also: Vec::new(),
            revision: None,
            bytes: None,
            about: None,
            sha256: None,
            optional: false,
            seed: None,
            tiny: None,
            stand_in: None,
            computed: false,
        }
    }

    fn from_wire(wire: ComponentWire) -> Result<Self, String> {
        let name = wire.name;
        let source = match (wire.hub, wire.url) {
            (Some(repository), None) => hub(&repository)?,
            (None, Some(base)) => address(&base)?,
            _ => return Err(format!("{name} needs either `hub` or `url`")),
        };
        let mirrors =
            wire.mirrors.iter().map(|text| if text.contains("://") { address(text) } else { hub(text) });
        let mirrors = mirrors.collect::<Result<_, _>>()?;
        if wire.file.is_empty() == wire.listing.is_none() {
            return Err(format!("{name} needs files or a listing, and not both"));
        }
        if !wire.folder.is_empty() {
            Name::parse(&wire.folder)?;
        }
        let gated = match wire.gated.as_deref() {
            None => None,
            Some("yes") => Some(true),
            Some("no") => Some(false),
            Some(other) => return Err(format!("{name} is gated `{other}`, it can be `yes` or `no`")),
        };
        let files = wire.file.into_iter().map(|file| File::from_wire(file, &wire.folder));
        let files = files.collect::<Result<_, _>>().map_err(|why| format!("{name}: {why}"))?;
        let listing = wire.listing.as_deref().map(Name::parse).transpose()?;
        Ok(Self {
            name,
            title: wire.title,
            source,
            mirrors,
            revision: wire.revision,
            folder: wire.folder,
            licence: wire.licence,
            commercial: wire.commercial,
            gated,
            note: wire.note,
            about: wire.about,
            listing,
            files,
        })
    }
}

impl File {
    fn from_wire(wire: FileWire, folder: &str) -> Result<Self, String> {
        let path = Name::parse(&wire.path)?;
        if let Some(sha256) = &wire.sha256 {
            let hex = sha256.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            if !hex || !(SHORTEST_PREFIX..=64).contains(&sha256.len()) {
                return Err(format!(
                    "{path} has the checksum `{sha256}`, it can be 8 to 64 lower-case hex digits"
                ));
            }
        }
        let seed = match (wire.inventory, wire.form) {
            (Some(inventory), Some(form)) => {
                Some(Seeding { inventory, form, nested: wire.nested, dtype: wire.dtype })
            }
            (None, None) => None,
            _ => return Err(format!("{path} needs both `inventory` and `form`, or neither")),
        };
        Ok(Self {
            place: path.below(folder),
            also: wire.also.iter().map(|text| Name::parse(text)).collect::<Result<_, _>>()?,
            path,
            revision: wire.revision,
            bytes: wire.bytes,
            about: wire.about,
            sha256: wire.sha256,
            optional: wire.optional,
            seed,
            tiny: wire.tiny,
            stand_in: wire.stand_in,
            computed: wire.computed,
        })
    }

    /// Exact or about.
    pub fn size(&self) -> Option<u64> {
        self.bytes.or(self.about)
    }
}

fn hub(repository: &str) -> Result<Source, String> {
    match repository.split_once('/') {
        Some((owner, name)) if !name.contains('/') => {
            Name::parse(owner)?;
            Name::parse(name)?;
            Ok(Source::Hub(repository.to_owned()))
        }
        _ => Err(format!("`{repository}` is no repository of the hub: it is not owner/name")),
    }
}

fn address(base: &str) -> Result<Source, String> {
    if !base.starts_with("https://") || !base.ends_with('/') {
        return Err(format!("the address `{base}` is not https:// with a / at its end"));
    }
    Ok(Source::Url(base.to_owned()))
}

fn wrong(why: impl Into<String>) -> Complaint {
    Complaint::new("bad_catalogue", format!("the catalogue of models is wrong: {}", why.into()), "")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CatalogueWire {
    component: Vec<ComponentWire>,
    #[serde(default)]
    set: Vec<Set>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ComponentWire {
    name: String,
    title: String,
    hub: Option<String>,
    url: Option<String>,
    #[serde(default)]
    mirrors: Vec<String>,
    revision: Option<String>,
    folder: String,
    licence: Option<String>,
    commercial: Option<String>,
    gated: Option<String>,
    note: Option<String>,
    about: Option<u64>,
    listing: Option<String>,
    #[serde(default)]
    file: Vec<FileWire>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileWire {
    path: String,
    #[serde(default)]
    also: Vec<String>,
    revision: Option<String>,
    bytes: Option<u64>,
    about: Option<u64>,
    sha256: Option<String>,
    #[serde(default)]
    optional: bool,
    inventory: Option<String>,
    form: Option<Form>,
    nested: Option<String>,
    dtype: Option<String>,
    stand_in: Option<String>,
    tiny: Option<String>,
    #[serde(default)]
    computed: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Catalogue, String> {
        Catalogue::parse(text).map_err(|complaint| complaint.message)
    }

    #[test]
    fn the_built_in_catalogue_is_whole() {
        let catalogue = Catalogue::built_in();
        for engine in ["musetalk", "infinitetalk", "svd"] {
            assert!(catalogue.sets.iter().any(|set| set.engine == engine), "{engine}");
        }
        for component in &catalogue.components {
            for file in component.files.iter().filter(|file| file.seed.is_some()) {
                let seed = file.seed.as_ref().unwrap();
                crate::inventory::Inventory::named(&seed.inventory).unwrap();
            }
        }
        let names = ["musetalk-v15".to_owned(), "sd-vae".to_owned(), "musetalkV15/unet.pth".to_owned()];
        let selection = catalogue.select(&names).unwrap();
        let labels: Vec<String> = selection.files.iter().map(Wanted::label).collect();
        assert_eq!(labels.len(), 10, "{labels:?}");
        assert!(labels.contains(&"sd-vae/diffusion_pytorch_model.bin".to_owned()), "{labels:?}");
        assert!(
            !labels.iter().any(|label| label.ends_with("diffusion_pytorch_model.safetensors")),
            "{labels:?}"
        );
    }

    #[test]
    fn what_a_user_names_is_found_or_refused() {
        let catalogue = Catalogue::built_in();
        let one = catalogue.select(&["sd-vae/diffusion_pytorch_model.safetensors".to_owned()]).unwrap();
        assert_eq!(one.files.len(), 1);
        let listed = catalogue.select(&["infinitetalk-quantised".to_owned()]).unwrap();
        assert_eq!((listed.files.len(), listed.listings.len()), (0, 1));
        let fp8 = catalogue.select(&["infinitetalk-fp8".to_owned()]).unwrap();
        let places: Vec<&str> = fp8.files.iter().map(|wanted| wanted.file.place.as_str()).collect();
        assert!(places.contains(&"Wan2.1-I2V-14B-480P/config.json"), "{places:?}");
        assert!(
            !places.iter().any(|place| place.contains("-of-00007") || place.contains("models_t5")),
            "{places:?}"
        );
        let plain = |select: fn(&Catalogue, &[String]) -> Result<usize, Complaint>| {
            select(&catalogue, &["infinitetalk".to_owned()]).unwrap()
        };
        let [pulled, seeded] = [
            plain(|c, names| Ok(c.select(names)?.files.len())),
            plain(|c, names| Ok(c.select_smaller(names)?.files.len())),
        ];
        assert_eq!(seeded, pulled + 1);
        let error = catalogue.select(&["svt".to_owned()]).unwrap_err();
        assert!(error.message.contains("svt") && error.hint.contains("svd-xt"), "{error}");
    }

    #[test]
    fn a_catalogue_that_contradicts_itself_is_refused() {
        let one =
            "[[component]]\nname='a'\ntitle='t'\nhub='o/n'\nfolder='f'\n[[component.file]]\npath='x.bin'\n";
        assert!(check(one).is_ok());
        let rows = [
            (format!("{one}{one}"), "twice"),
            (one.replace("hub='o/n'", "hub='o'"), "owner/name"),
            (one.replace("hub='o/n'", "url='http://h/'"), "https"),
            (one.replace("x.bin", "../x.bin"), "leads out"),
            (format!("{one}sha256='ABCDEF01'\n"), "hex"),
            (format!("{one}bytez=3\n"), "bytez"),
            (format!("{one}inventory='sd_vae'\n"), "form"),
            (format!("{one}[[set]]\nname='s'\nengine='e'\ntitle='t'\ncomponents=['b']\n"), "no component"),
            (
                format!("{one}{}", one.replace("name='a'", "name='b'").replace("o/n", "o/m")),
                "two different files",
            ),
        ];
        for (text, expected) in rows {
            let message = check(&text).unwrap_err();
            assert!(message.contains(expected), "{message} does not say {expected}");
        }
    }
}
