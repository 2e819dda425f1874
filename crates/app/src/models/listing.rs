//! The catalogue as tables and as JSON, with what of it is there. What is not known is shown as `unknown`.

use std::process::ExitCode;

use contract::Complaint;
use models::{Catalogue, Checked, Component, Form, Places, Selection, Source, Verdict, Wanted, readable};
use serde_json::{Value, json};

use crate::say;

const UNKNOWN: &str = "unknown";

/// Sets and components, a line each.
pub fn table(catalogue: &Catalogue, places: &Places) -> Result<ExitCode, Complaint> {
    say::line(format_args!("models folder: {}\n", places.root.display()))?;
    say::line(format_args!("{:<20} {:<13} {:>9}  {:<7} {}", "SET", "ENGINE", "DISK", "THERE", "WHAT"))?;
    for set in &catalogue.sets {
        let selection = catalogue.select(std::slice::from_ref(&set.name))?;
        let parts: Vec<&Component> =
            set.components.iter().filter_map(|name| catalogue.component(name)).collect();
        let disk = parts.iter().map(|component| disk(component)).reduce(Disk::with).unwrap_or_default();
        let there = there(&selection, places);
        say::line(format_args!(
            "{:<20} {:<13} {:>9}  {there:<7} {}",
            set.name,
            set.engine,
            disk.text(),
            set.title
        ))?;
    }
    let head = ("COMPONENT", "DISK", "THERE", "LICENCE", "WHAT");
    say::line(format_args!("\n{:<26} {:>9}  {:<7} {:<45} {}", head.0, head.1, head.2, head.3, head.4))?;
    for component in &catalogue.components {
        let selection = catalogue.select(std::slice::from_ref(&component.name))?;
        let there = there(&selection, places);
        let licence = component.licence.as_deref().unwrap_or(UNKNOWN);
        let gated = if component.gated == Some(true) { " (gated)" } else { "" };
        say::line(format_args!(
            "{:<26} {:>9}  {there:<7} {:<45} {}",
            component.name,
            disk(component).text(),
            format!("{licence}{gated}"),
            component.title
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Every fact of what was named.
pub fn details(catalogue: &Catalogue, names: &[String], places: &Places) -> Result<ExitCode, Complaint> {
    let shown = named(catalogue, names)?;
    for set in catalogue.sets.iter().filter(|set| names.contains(&set.name)) {
        say::line(format_args!("{} ({}): {}", set.name, set.engine, set.title))?;
        say::line(format_args!("  VRAM: {}\n", set.vram.as_deref().unwrap_or(UNKNOWN)))?;
    }
    for component in shown {
        say::line(format_args!("{}: {}", component.name, component.title))?;
        let known = |text: &Option<String>| text.clone().unwrap_or_else(|| UNKNOWN.to_owned());
        let revision = component.revision.as_deref().unwrap_or("main, not pinned");
        say::line(format_args!("  from {} ({revision})", component.page()))?;
        say::line(format_args!(
            "  licence {}; commercial use: {}",
            known(&component.licence),
            known(&component.commercial)
        ))?;
        say::line(format_args!("  gated: {}; disk: {}", gated(component), disk(component).text()))?;
        if let Some(note) = &component.note {
            say::line(format_args!("  note: {note}"))?;
        }
        if let Some(folder) = &component.listing {
            say::line(format_args!("  every file of the repository's folder {folder}"))?;
        }
        for file in &component.files {
            let wanted = Wanted { component, file };
            let optional = if file.optional { ", on request" } else { "" };
            say::line(format_args!(
                "  {:<10} {:>9}  sha256 {:<16} {}{optional}",
                state(wanted, places),
                size(wanted),
                sum(wanted),
                file.place
            ))?;
        }
        say::line("")?;
    }
    Ok(ExitCode::SUCCESS)
}

pub fn json(catalogue: &Catalogue, names: &[String], places: &Places) -> Result<ExitCode, Complaint> {
    let shown =
        if names.is_empty() { catalogue.components.iter().collect() } else { named(catalogue, names)? };
    let components: Vec<Value> = shown.into_iter().map(|component| as_json(component, places)).collect();
    let sets = catalogue.sets.iter().filter(|set| names.is_empty() || names.contains(&set.name));
    let sets: Vec<Value> = sets
        .map(|set| {
            json!({
                "name": set.name, "engine": set.engine, "title": set.title, "components": set.components, "vram": set.vram
            })
        })
        .collect();
    say::line(
        json!({ "models": places.root.display().to_string(), "sets": sets, "components": components }),
    )?;
    Ok(ExitCode::SUCCESS)
}

/// One line a file; a failure where one is missing or has the wrong size.
pub fn paths(selection: &Selection<'_>, places: &Places, json: bool) -> Result<ExitCode, Complaint> {
    let mut good = true;
    let mut rows = Vec::new();
    for &wanted in &selection.files {
        let found = places.find(wanted);
        let fits = found.as_ref().is_some_and(|found| found.fits(wanted));
        good &= fits;
        let state = state(wanted, places);
        let path = found.as_ref().map(|found| found.path.display().to_string());
        if json {
            let kind = found.as_ref().map(|found| found.kind.name());
            rows.push(json!({ "file": wanted.label(), "state": state, "path": path, "place": kind }));
        } else {
            let kind = found.as_ref().filter(|_| fits).map_or(state, |found| found.kind.name());
            say::line(format_args!("{kind:<11} {}", path.unwrap_or_else(|| wanted.label())))?;
        }
    }
    if json {
        say::line(json!({ "good": good, "files": rows }))?;
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub fn checked(checked: &Checked<'_>) -> Value {
    let witness = match &checked.verdict {
        Verdict::Ok(witness) | Verdict::WrongChecksum { witness, .. } => Some(witness.name()),
        Verdict::Missing | Verdict::WrongSize { .. } | Verdict::Damaged(_) | Verdict::UnknownChecksum => None,
    };
    json!({
        "file": checked.wanted.label(),
        "verdict": checked.verdict.code(),
        "detail": checked.verdict.to_string(),
        "checksum_of": witness,
        "path": checked.found.as_ref().map(|found| found.path.display().to_string()),
        "place": checked.found.as_ref().map(|found| found.kind.name()),
    })
}

/// The components that sets, components and files belong to, each once.
fn named<'a>(catalogue: &'a Catalogue, names: &[String]) -> Result<Vec<&'a Component>, Complaint> {
    let selection = catalogue.select(names)?;
    let mut shown: Vec<&Component> = Vec::new();
    let all = selection.files.iter().map(|wanted| wanted.component).chain(selection.listings.iter().copied());
    for component in all {
        if !shown.iter().any(|other| other.name == component.name) {
            shown.push(component);
        }
    }
    Ok(shown)
}

fn as_json(component: &Component, places: &Places) -> Value {
    let files: Vec<Value> = component
        .files
        .iter()
        .map(|file| {
            let wanted = Wanted { component, file };
            let found = places.find(wanted);
            json!({
                "file": file.path.as_str(),
                "place": file.place.as_str(),
                "revision": wanted.revision(),
                "bytes": file.bytes,
                "about_bytes": file.about,
                "sha256": file.sha256,
                "optional": file.optional,
                "seeded_as": file.seed.as_ref().map(|seed| form(seed.form)),
                "state": state(wanted, places),
                "path": found.as_ref().map(|found| found.path.display().to_string()),
                "kind": found.as_ref().map(|found| found.kind.name()),
            })
        })
        .collect();
    json!({
        "name": component.name,
        "title": component.title,
        "source": source(&component.source),
        "mirrors": component.mirrors.iter().map(source).collect::<Vec<_>>(),
        "revision": component.revision,
        "page": component.page(),
        "licence": component.licence,
        "commercial": component.commercial,
        "gated": component.gated,
        "note": component.note,
        "listing": component.listing.as_ref().map(|folder| folder.as_str()),
        "disk": disk(component).text(),
        "files": files,
    })
}

fn source(source: &Source) -> Value {
    match source {
        Source::Hub(repository) => json!({ "hub": repository }),
        Source::Url(base) => json!({ "url": base }),
    }
}

fn form(form: Form) -> &'static str {
    match form {
        Form::Safetensors | Form::SafetensorsShard => "safetensors",
        Form::SafetensorsIndex => "safetensors index",
        Form::QuantoInt8 => "safetensors, quanto int8",
        Form::QuantoFp8 => "safetensors, quanto fp8",
        Form::QuantoInt8Map | Form::QuantoFp8Map => "quanto map",
        Form::TorchZip => "torch zip",
        Form::TorchLegacy => "torch, before 1.6",
    }
}

fn state(wanted: Wanted<'_>, places: &Places) -> &'static str {
    match places.find(wanted) {
        None => "missing",
        Some(found) if found.fits(wanted) => "there",
        Some(_) => "wrong",
    }
}

fn there(selection: &Selection<'_>, places: &Places) -> String {
    if selection.files.is_empty() {
        return UNKNOWN.to_owned();
    }
    let count = selection.files.iter().filter(|wanted| state(**wanted, places) == "there").count();
    format!("{count}/{}", selection.files.len())
}

fn gated(component: &Component) -> &'static str {
    match component.gated {
        Some(true) => "yes",
        Some(false) => "no",
        None => UNKNOWN,
    }
}

fn size(wanted: Wanted<'_>) -> String {
    match (wanted.file.bytes, wanted.file.about) {
        (Some(bytes), _) => readable(bytes),
        (None, Some(bytes)) => format!("~{}", readable(bytes)),
        (None, None) => UNKNOWN.to_owned(),
    }
}

/// The beginning of a checksum, and whose it is where it is not the catalogue's.
fn sum(wanted: Wanted<'_>) -> String {
    match (&wanted.file.sha256, &wanted.component.source) {
        (Some(sum), _) if sum.len() > 12 => format!("{}…", &sum[..12]),
        (Some(sum), _) => format!("{sum}… in part"),
        (None, Source::Hub(_)) => "of the hub".to_owned(),
        (None, Source::Url(_)) => UNKNOWN.to_owned(),
    }
}

/// Bytes on the disk, as far as they are known.
#[derive(Clone, Copy, Default)]
struct Disk {
    bytes: u64,
    exact: bool,
}

impl Disk {
    fn with(self, other: Self) -> Self {
        Self { bytes: self.bytes + other.bytes, exact: self.exact && other.exact }
    }

    fn text(self) -> String {
        match (self.bytes, self.exact) {
            (0, _) => UNKNOWN.to_owned(),
            (bytes, true) => readable(bytes),
            (bytes, false) => format!("~{}", readable(bytes)),
        }
    }
}

fn disk(component: &Component) -> Disk {
    let needed = || component.files.iter().filter(|file| !file.optional);
    match component.about {
        Some(bytes) => Disk { bytes, exact: false },
        None => Disk {
            bytes: needed().filter_map(|file| file.size()).sum(),
            exact: needed().all(|file| file.bytes.is_some()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of docs/models.md.
    fn documented(catalogue: &Catalogue) -> String {
        let mut table = "| component | from | disk | licence | commercial use | gated |\n| --- | --- | --- | --- | --- | --- |\n"
            .to_owned();
        for component in &catalogue.components {
            let from = match &component.source {
                Source::Hub(repository) => format!("[{repository}]({})", component.page()),
                Source::Url(base) => format!("<{base}>"),
            };
            let known = |text: &Option<String>| text.clone().unwrap_or_else(|| UNKNOWN.to_owned());
            table += &format!(
                "| `{}` | {from} | {} | {} | {} | {} |\n",
                component.name,
                disk(component).text(),
                known(&component.licence),
                known(&component.commercial),
                gated(component)
            );
        }
        table
    }

    #[test]
    fn the_documents_table_is_the_catalogue() {
        let text = include_str!("../../../../docs/models.md");
        let table = documented(&Catalogue::built_in());
        assert!(text.contains(&table), "docs/models.md should have this table:\n{table}");
    }
}
