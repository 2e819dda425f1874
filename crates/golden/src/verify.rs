//! Runs a kit: cases, loader files and key inventories, one after the other, each to a line of the report. A case that fails or panics is
//! a failed case; the rest still runs.

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::time::Instant;

use candle_core::{DType, Device};
use layers::kernels::Profile;
use layers::weights::{Checkpoint, Inventory};

use crate::case::{Allowance, Case, Given, Outputs, Registry};
use crate::compare::{compare, compare_texts, neighbours_in_order, with_entry_within};
use crate::dump;
use crate::kit::{self, CaseFile, Kit, KitError};
use crate::report::{CaseReport, OutputReport, Report, Verdict};
use crate::tolerance::Tolerance;

pub struct Settings {
    /// The kit's folder.
    pub root: PathBuf,
    /// One area (`musetalk`, `loaders`, `keys`, …) instead of all.
    pub only: Option<String>,
    /// Only the cases that compute in it.
    pub dtype: Option<DType>,
    pub device: Device,
    /// What the kernels were configured with. Under the fast one the f32 cases are bounded as products of bf16 must be.
    pub profile: Profile,
    /// Where to write every `out.*` that was computed.
    pub dump: Option<PathBuf>,
}

/// `each` sees every case as it ends.
pub fn verify(
    settings: &Settings,
    registry: &Registry,
    each: &mut dyn FnMut(&CaseReport),
) -> Result<Report, KitError> {
    let kit = Kit::open(&settings.root)?;
    let wanted = |path: &Path| {
        let area = path.parent().and_then(Path::file_name).unwrap_or_default();
        settings.only.as_deref().is_none_or(|only| area == only)
    };
    let mut report = Report::default();
    let mut add = |case: CaseReport| {
        each(&case);
        report.cases.push(case);
    };
    for path in kit.cases.iter().filter(|path| wanted(path)) {
        let mut file = CaseFile::open(path)?;
        if settings.profile == Profile::Fast && file.dtype() == DType::F32 {
            let half = path.with_file_name(format!("{}_bf16.safetensors", file.name));
            let half = kit.cases.contains(&half).then(|| CaseFile::open(&half)).transpose()?;
            file.meta.tolerance =
                file.meta.tolerance.with_bf16_products(half.as_ref().map(|half| &half.meta.tolerance));
            if let Some(case) = registry.case(&file.meta.component) {
                file.meta.tolerance = bounded_by(case, &file)?;
            }
        }
        if settings.dtype.is_some_and(|dtype| dtype != file.dtype()) {
            continue;
        }
        let (case, outputs) = match registry.case(&file.meta.component) {
            Some(case) => run_case(case, &file, &settings.device),
            None => (blank(&file, Verdict::Missing), None),
        };
        if let (Some(folder), Some(outputs)) = (&settings.dump, outputs) {
            dump::write(folder, &file, &outputs)?;
        }
        add(case);
    }
    for path in kit.loaders.iter().filter(|path| wanted(path)) {
        add(load(path)?);
    }
    for path in kit.keys.iter().filter(|path| wanted(path)) {
        add(keys(path, registry)?);
    }
    Ok(report)
}

/// The file's tolerance, with what the case says of single outputs under bf16.
fn bounded_by(case: &dyn Case, file: &CaseFile) -> Result<Tolerance, KitError> {
    let mut tolerance = file.meta.tolerance.clone();
    for (name, _) in file.stored("out.") {
        let output = name.trim_start_matches("out.");
        if let Some(rel_l2) = case.under_bf16(output) {
            tolerance = tolerance.with_bound(output, file.tensor(name)?.dtype(), rel_l2);
        }
    }
    Ok(tolerance)
}

fn blank(file: &CaseFile, verdict: Verdict) -> CaseReport {
    CaseReport {
        area: file.area.clone(),
        case: file.name.clone(),
        component: file.meta.component.clone(),
        verdict,
        error: None,
        outputs: Vec::new(),
        first_diverging_probe: None,
        seconds: 0.0,
    }
}

/// One case, and what it computed where it got that far.
pub fn run_case(case: &dyn Case, file: &CaseFile, device: &Device) -> (CaseReport, Option<Outputs>) {
    let begin = Instant::now();
    let ran = std::panic::catch_unwind(AssertUnwindSafe(|| case.run(&Given::new(file, device))));
    let seconds = begin.elapsed().as_secs_f64();
    let failed = |error: String| CaseReport { error: Some(error), seconds, ..blank(file, Verdict::Failed) };
    match ran {
        Ok(Ok(outputs)) => match judge(case, file, &outputs) {
            Ok(report) => (CaseReport { seconds, ..report }, Some(outputs)),
            Err(error) => (failed(error.to_string()), Some(outputs)),
        },
        Ok(Err(error)) => (failed(error.to_string()), None),
        Err(_) => (failed("it panicked".into()), None),
    }
}

fn judge(case: &dyn Case, file: &CaseFile, outputs: &Outputs) -> Result<CaseReport, crate::CaseError> {
    let tolerance = &file.meta.tolerance;
    let mut report = blank(file, Verdict::Passed);
    for (name, _) in file.stored("out.") {
        let Some(got) = outputs.get(name) else {
            report.outputs.push(OutputReport::absent(name));
            continue;
        };
        let output = name.trim_start_matches("out.");
        let expected = file.tensor(name)?;
        let got = got.to_device(&Device::Cpu)?;
        let (got, rows) = match case.allowance(output) {
            Allowance::None => (got, 0),
            Allowance::Rows(rows) => (got, rows),
            Allowance::Neighbours => (neighbours_in_order(&expected, &got)?, 0),
            Allowance::Entry { axis, index, max_abs } => {
                (with_entry_within(&expected, &got, (axis, index), max_abs)?, 0)
            }
        };
        let mut comparison = compare(&expected, &got, tolerance.bound(output, expected.dtype()), rows)?;
        let in_f32 = format!("probe.f32_{output}");
        if !comparison.passed
            && let Some(bound) = tolerance.against_f32()
            && file.stored(&in_f32).any(|(name, _)| name == in_f32)
        {
            let other = compare(&file.tensor(&in_f32)?, &got, bound, rows)?;
            if other.passed {
                comparison = other;
            }
        }
        report.outputs.push(OutputReport::of(name, comparison));
    }
    for (name, texts) in outputs.columns() {
        report.outputs.push(OutputReport::of(name, compare_texts(&file.texts(name)?, texts)));
    }
    if report.outputs.is_empty() {
        return Err("the file has no outputs to compare".into());
    }
    if report.outputs.iter().any(|output| !output.passed) {
        report.verdict = Verdict::Failed;
        report.first_diverging_probe = diverging(file, outputs)?;
    }
    Ok(report)
}

/// In the order in which the net noted them; the order in the file is alphabetical.
fn diverging(file: &CaseFile, outputs: &Outputs) -> Result<Option<(String, f64)>, crate::CaseError> {
    let bound = file.meta.tolerance.probe();
    for (name, got) in outputs.iter().filter(|(name, _)| name.starts_with("probe.")) {
        if !file.stored(name).any(|(stored, _)| stored == name) {
            continue;
        }
        let limits = crate::Bound::Floats { rel_l2: Some(bound), max_abs: None };
        let comparison = compare(&file.tensor(name)?, &got.to_device(&Device::Cpu)?, limits, 0)?;
        if !comparison.passed {
            return Ok(Some((name.to_owned(), comparison.rel_l2)));
        }
    }
    Ok(None)
}

/// A weight file must give exactly the tensors beside it: names, dtypes, shapes and bits.
fn load(path: &Path) -> Result<CaseReport, KitError> {
    let file = CaseFile::open(path)?;
    let begin = Instant::now();
    let name = file.name.trim_end_matches(".expected").to_owned();
    let mut report = CaseReport { case: name, ..blank(&file, Verdict::Passed) };
    let wanted = file.meta.file.as_deref().unwrap_or_default();
    let outcome = match path.parent() {
        Some(folder) if !wanted.is_empty() => same_weights(&folder.join(wanted), path),
        _ => Err("its metadata names no `file`".to_owned()),
    };
    if let Err(error) = outcome {
        (report.verdict, report.error) = (Verdict::Failed, Some(error));
    }
    report.seconds = begin.elapsed().as_secs_f64();
    Ok(report)
}

fn same_weights(found: &Path, expected: &Path) -> Result<(), String> {
    let open = |path: &Path| Checkpoint::open(path).map_err(|e| e.to_string());
    let (found, expected) = (open(found)?, open(expected)?);
    let file = found.path().display().to_string();
    Inventory::of_checkpoint(&expected)
        .check(&Inventory::of_checkpoint(&found), &[], (&file, "what is expected of it"))
        .map_err(|e| e.to_string())?;
    for key in expected.entries().keys() {
        let read =
            |checkpoint: &Checkpoint| checkpoint.read(key).map(|b| b.into_owned()).map_err(|e| e.to_string());
        let (have, want) = (read(&found)?, read(&expected)?);
        if let Some(at) = have.iter().zip(&want).position(|(h, w)| h != w) {
            return Err(format!("`{key}` differs from byte {at} on"));
        }
    }
    Ok(())
}

/// The keys a net asks for at full size are those of the released file, but for those it says it does not use.
fn keys(path: &Path, registry: &Registry) -> Result<CaseReport, KitError> {
    let begin = Instant::now();
    let released = kit::inventory(path)?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut report = CaseReport {
        area: "keys".into(),
        case: name.clone(),
        component: "key inventory".into(),
        verdict: Verdict::Missing,
        error: None,
        outputs: Vec::new(),
        first_diverging_probe: None,
        seconds: 0.0,
    };
    if let Some(net) = registry.net(&name) {
        let outcome = (net.outline)().map_err(|e| e.to_string()).and_then(|asked| {
            asked
                .check(&released, net.unused, ("the released file", "what the net asks for"))
                .map_err(|e| e.to_string())
        });
        (report.verdict, report.error) = match outcome {
            Ok(()) => (Verdict::Passed, None),
            Err(error) => (Verdict::Failed, Some(error)),
        };
        report.seconds = begin.elapsed().as_secs_f64();
    }
    Ok(report)
}
