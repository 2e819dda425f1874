//! `talkie models`: the weights of the neural engines, as files.

mod listing;
mod screen;
pub mod surroundings;

use std::process::ExitCode;
use std::sync::Arc;

use contract::{Complaint, Stop};
use models::{
    Catalogue, Checksums, Component, File, OnMisfit, Places, Progress, PullOrder, Scale, SeedEvent,
    Selection, Teller, check, pull, seed,
};
use serde_json::json;

use crate::cli::{MachineArgs, ModelsAction, ModelsArgs, PullArgs, SeedScale};
use crate::config::Config;
use crate::serve::data_place;
use crate::terminal::Audience;
use crate::{say, signals};
use screen::ByteBar;

pub fn run(machine: &MachineArgs, args: &ModelsArgs) -> Result<ExitCode, Complaint> {
    let config = Config::load(machine)?;
    let catalogue = Catalogue::built_in();
    let mut places = surroundings::places(args.models.clone(), &config, &data_place(&args.data, &config)?);
    places.folders.splice(0..0, args.folders.iter().cloned());
    match &args.action {
        ModelsAction::List { names } if args.json => listing::json(&catalogue, names, &places),
        ModelsAction::List { names } if names.is_empty() => listing::table(&catalogue, &places),
        ModelsAction::List { names } => listing::details(&catalogue, names, &places),
        ModelsAction::Path { names } => {
            let selection = catalogue.select(names)?;
            let listed = listed(&selection, &places)?;
            listing::paths(&selection.with(&listed), &places, args.json)
        }
        ModelsAction::Pull(wish) => {
            fetch(&catalogue.select(&wish.names)?, &places, wish, (args.json, &config))
        }
        ModelsAction::Check { names } => {
            let selection = chosen(&catalogue, names, &places)?;
            let listed = listed(&selection, &places)?;
            compare(&selection.with(&listed), &places, args.json)
        }
        ModelsAction::Seed { names, out, salt, scale } => {
            let (selection, scale) = match scale {
                SeedScale::Full => (catalogue.select(names)?, Scale::Full),
                SeedScale::Small => (catalogue.select_smaller(names)?, Scale::Small),
                SeedScale::Tiny => (catalogue.select_smaller(names)?, Scale::Tiny),
            };
            write_seeded(&selection, (salt, scale, out), args.json)
        }
    }
}

/// The first signal stops the work; what is there stays.
fn stopping() -> Result<(Stop, signals::Caught), Complaint> {
    let stop = Stop::new();
    let token = stop.clone();
    Ok((stop, signals::watch(move || token.stop())?))
}

/// A canceled command ends as shells expect it.
fn ended(outcome: Result<ExitCode, Complaint>, caught: &signals::Caught) -> Result<ExitCode, Complaint> {
    match (outcome, caught.exit_code()) {
        (Err(complaint), Some(code)) if complaint.code == "canceled" => {
            say::aside(format_args!("talkie: {complaint}"));
            Ok(ExitCode::from(code))
        }
        (outcome, _) => outcome,
    }
}

fn fetch(
    selection: &Selection<'_>,
    places: &Places,
    wish: &PullArgs,
    (json, config): (bool, &Config),
) -> Result<ExitCode, Complaint> {
    let order = PullOrder {
        access: surroundings::access(wish, config)?,
        connections: usize::from(wish.connections),
        existing: if wish.replace { OnMisfit::Replace } else { OnMisfit::Refuse },
        checksums: if wish.hub_checksums { Checksums::Hub } else { Checksums::Catalogue },
    };
    let (stop, caught) = stopping()?;
    let bar = Arc::new(ByteBar::new(Audience::of(wish.quiet, json)));
    let teller = {
        let bar = Arc::clone(&bar);
        Teller::new(move |event| {
            if json {
                // a reader who has gone is no reason to stop a download
                let _ = say::line(screen::as_json(&event));
            } else {
                screen::show(&bar, &event);
            }
        })
    };
    let outcome = pull(selection, places, &order, &stop, teller);
    drop(bar);
    ended(outcome.map(|()| ExitCode::SUCCESS), &caught)
}

/// What was named; else whatever is there.
fn chosen<'a>(
    catalogue: &'a Catalogue,
    names: &[String],
    places: &Places,
) -> Result<Selection<'a>, Complaint> {
    if !names.is_empty() {
        return catalogue.select(names);
    }
    let mut files = catalogue.everything();
    files.retain(|wanted| places.find(*wanted).is_some());
    let listings = catalogue.components.iter().filter(|component| !places.pulled(component).is_empty());
    Ok(Selection { files, listings: listings.collect() })
}

/// The files of components that only the hub can name, as it named them when they were pulled.
fn listed<'a>(selection: &Selection<'a>, places: &Places) -> Result<Vec<(&'a Component, File)>, Complaint> {
    let mut all = Vec::new();
    for &component in &selection.listings {
        let files = places.pulled(component);
        if files.is_empty() {
            let message =
                format!("{} was never pulled here, and only the hub can name its files", component.name);
            return Err(Complaint::new("unknown_files", message, "pull it first"));
        }
        all.extend(files.into_iter().map(|file| (component, file)));
    }
    Ok(all)
}

fn compare(selection: &Selection<'_>, places: &Places, json: bool) -> Result<ExitCode, Complaint> {
    let (stop, caught) = stopping()?;
    let bar = ByteBar::new(Audience::of(false, json));
    let checked = check(selection, places, &stop, &mut |wanted, progress| match progress {
        Progress::Begun { bytes } => bar.begin(&wanted.label(), bytes),
        Progress::Read { bytes } => bar.more(&wanted.label(), bytes),
        Progress::Done(checked) if !json => {
            bar.line(format_args!("{:<64} {}", wanted.label(), checked.verdict))
        }
        Progress::Done(_) => {}
    });
    drop(bar);
    let checked = match checked {
        Ok(checked) => checked,
        Err(complaint) => return ended(Err(complaint), &caught),
    };
    let good = checked.iter().all(|checked| checked.verdict.is_good());
    if json {
        let rows: Vec<_> = checked.iter().map(listing::checked).collect();
        say::line(json!({ "good": good, "files": rows }))?;
    } else {
        let count = checked.iter().filter(|checked| checked.verdict.is_good()).count();
        say::line(format_args!("{count} of {} files are good", checked.len()))?;
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn write_seeded(
    selection: &Selection<'_>,
    (salt, scale, folder): (&str, Scale, &std::path::Path),
    json: bool,
) -> Result<ExitCode, Complaint> {
    let (stop, caught) = stopping()?;
    let bar = ByteBar::new(Audience::of(false, json));
    let tell = |event: serde_json::Value| {
        if json {
            // the files are what was asked for; the reader may go
            let _ = say::line(event);
        }
    };
    let mut label = String::new();
    let outcome = seed(&selection.files, (salt, scale), folder, &stop, &mut |event| match event {
        SeedEvent::Begun { wanted, bytes } => {
            label = wanted.label();
            bar.begin(&label, bytes);
        }
        SeedEvent::Wrote { bytes } => bar.more(&label, bytes),
        SeedEvent::Done { wanted, path } => {
            bar.line(format_args!("{}: seeded, {}", wanted.label(), path.display()));
            tell(json!({ "event": "seeded", "file": wanted.label(), "path": path.display().to_string() }));
        }
        SeedEvent::NoWeights { wanted } => {
            bar.line(format_args!("{}: left out, no weights", wanted.label()));
            tell(json!({ "event": "left_out", "file": wanted.label(), "why": "no weights" }));
        }
        SeedEvent::NotAtScale { wanted } => {
            bar.line(format_args!("{}: left out, there is none at this scale", wanted.label()));
            tell(json!({ "event": "left_out", "file": wanted.label(), "why": "not at this scale" }));
        }
        SeedEvent::Computed { wanted } => {
            bar.line(format_args!("{}: left out, computed from its keys", wanted.label()));
            tell(json!({ "event": "left_out", "file": wanted.label(), "why": "computed" }));
        }
    });
    drop(bar);
    ended(outcome.map(|()| ExitCode::SUCCESS), &caught)
}
