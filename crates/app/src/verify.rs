//! `talkie verify`: holds every net against reference values of its official implementation. Which nets there are is written here;
//! what is compared and how is `golden`'s.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use contract::Complaint;
use golden::{DType, KitError, Profile, Registry, Settings, Verdict};
use serde_json::json;

use crate::cli::{DtypeArg, MachineArgs, ProfileArg, VerifyArgs};
use crate::config::Config;
use crate::{device, say};

/// Where the kit lies in a checkout.
const HERE: &str = "goldens";

/// Every net that can be verified.
fn registry() -> Registry {
    let mut registry = Registry::default();
    encoders::register(&mut registry);
    engine_infinitetalk::register(&mut registry);
    engine_musetalk::register(&mut registry);
    engine_svd::register(&mut registry);
    registry
}

pub fn run(machine: &MachineArgs, args: &VerifyArgs) -> Result<ExitCode, Complaint> {
    let settings = settings(machine, args)?;
    let mut printed = Ok(());
    let report = golden::verify(&settings, &registry(), &mut |case| {
        if !args.json && printed.is_ok() {
            printed = say::line(case.lines());
        }
    });
    printed?;
    let report = report.map_err(complaint)?;
    if args.json {
        let [passed, failed, missing] =
            [Verdict::Passed, Verdict::Failed, Verdict::Missing].map(|verdict| report.count(verdict));
        let summary = json!({ "passed": passed, "failed": failed, "missing": missing });
        say::line(json!({ "summary": summary, "cases": report.cases }))?;
    } else {
        say::line(report.summary())?;
    }
    let missing = report.count(Verdict::Missing) > 0 && !args.allow_missing;
    let proven = report.count(Verdict::Passed) > 0 && report.count(Verdict::Failed) == 0 && !missing;
    Ok(if proven { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn settings(machine: &MachineArgs, args: &VerifyArgs) -> Result<Settings, Complaint> {
    let device = device::open(Some(args.device.into()))?;
    let profile = match args.profile {
        ProfileArg::Strict => Profile::Strict,
        ProfileArg::Fast => Profile::Fast,
    };
    Config::load(machine)?.compute.tell(profile)?;
    let root = match &args.goldens {
        Some(folder) => folder.clone(),
        None if Path::new(HERE).is_dir() => PathBuf::from(HERE),
        None => {
            return Err(Complaint::new(
                "no_goldens",
                format!("there is no folder ./{HERE} here"),
                "run it in a checkout of Talkie, or name the folder of a kit with --goldens",
            ));
        }
    };
    Ok(Settings {
        root,
        only: args.only.and_then(|area| area.to_possible_value()).map(|value| value.get_name().to_owned()),
        dtype: args.dtype.map(|dtype| match dtype {
            DtypeArg::F32 => DType::F32,
            DtypeArg::Bf16 => DType::BF16,
            DtypeArg::F16 => DType::F16,
        }),
        device,
        profile,
        dump: args.dump.clone(),
    })
}

fn complaint(error: KitError) -> Complaint {
    let (code, hint) = match &error {
        KitError::NoKit(_) => ("no_goldens", "goldens/README.md describes what a kit looks like"),
        KitError::Unreadable { .. } => ("unreadable", "check that the file exists and may be read"),
        KitError::NotGolden { .. } | KitError::Weights(_) => ("bad_golden", "fetch the kit again"),
        KitError::Unwritable { .. } => ("output_unwritable", "name another folder with --dump"),
    };
    Complaint::new(code, error.to_string(), hint)
}
