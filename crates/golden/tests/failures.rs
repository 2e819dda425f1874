//! What verification is for: a net with a wrong key, a transposed weight, a wrong shape or a missing output must fail, and the report must say
//! where. The kit is made here, of a small net whose reference values are computed in f64 by other code.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use golden::{
    Case, CaseError, Given, Net, Outputs, Profile, Registry, Report, Seeded, Settings, Verdict, verify,
};
use layers::weights::Outline;
use layers::{Bias, Linear, Probe};

const N: usize = 6;

#[derive(Clone, Copy, PartialEq, Debug)]
enum Fault {
    None,
    Key,
    Transposed,
    Shape,
    NoBias,
    Forgotten,
    Panic,
    NotANumber,
}

/// h = W1 x + b1; y = W2 relu(h)
struct Small(Fault);

#[derive(serde::Deserialize)]
struct Config {
    width: usize,
}

impl Case for Small {
    fn components(&self) -> &[&str] {
        &["small net"]
    }

    fn run(&self, given: &Given) -> Result<Outputs, CaseError> {
        let Config { width } = given.config()?;
        let vb = given.weights()?;
        let name = if self.0 == Fault::Key { "fc_1" } else { "fc1" };
        let bias = if self.0 == Fault::NoBias { Bias::No } else { Bias::Yes };
        let first = Linear::load(width, width, bias, vb.pp(name))?;
        let weight = vb.pp("fc2").get((width, width), "weight")?;
        let second = match self.0 {
            Fault::Transposed => Linear::new(weight.t()?, None)?,
            _ => Linear::new(weight, None)?,
        };
        let probe = Probe::on();
        let hidden = first.forward(&given.float_input("in.x")?)?;
        probe.note("hidden", &hidden);
        let y = second.forward(&hidden.relu()?)?;
        let mut outputs = Outputs::new();
        outputs.probes(probe, |_, value| value.narrow(1, 0, 2))?;
        match self.0 {
            Fault::Panic => panic!("the net fell over"),
            Fault::Forgotten => {}
            Fault::Shape => outputs.out("y", y.t()?),
            Fault::NotANumber => outputs.out("y", (y * f64::NAN)?),
            _ => outputs.out("y", y),
        }
        Ok(outputs)
    }
}

fn rows(tensor: &Tensor) -> Vec<Vec<f64>> {
    tensor.to_dtype(DType::F64).unwrap().to_vec2().unwrap()
}

/// a b^T + bias, in f64
fn product(a: &[Vec<f64>], b: &[Vec<f64>], bias: &[f64]) -> Vec<Vec<f64>> {
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    a.iter()
        .map(|row| b.iter().enumerate().map(|(o, w)| dot(row, w) + bias.get(o).unwrap_or(&0.0)).collect())
        .collect()
}

fn f32_tensor(values: &[Vec<f64>]) -> Tensor {
    let flat: Vec<f32> = values.iter().flatten().map(|&v| v as f32).collect();
    Tensor::from_vec(flat, (values.len(), values[0].len()), &Device::Cpu).unwrap()
}

/// One case, one inventory, one loader file.
fn kit(folder: &Path) {
    let weight = |key: &str, shape: &[usize]| {
        Seeded::new("mine").tensor(key, shape, DType::F32, &Device::Cpu).unwrap()
    };
    let x = golden::affine("mine", "input.x", &[4, N], (0.0, 1.0)).unwrap();
    let b1: Vec<f64> = weight("fc1.bias", &[N]).to_dtype(DType::F64).unwrap().to_vec1().unwrap();
    let hidden = product(&rows(&x), &rows(&weight("fc1.weight", &[N, N])), &b1);
    let relu: Vec<Vec<f64>> = hidden.iter().map(|row| row.iter().map(|v| v.max(0.0)).collect()).collect();
    let y = product(&relu, &rows(&weight("fc2.weight", &[N, N])), &[]);

    std::fs::create_dir_all(folder.join("small")).unwrap();
    let golden = format!(
        r#"{{"component": "small net", "config": {{"width": {N}}}, "salt": "mine", "dtype_policy": "f32 weights",
            "tolerance": {{"rel_l2": 1e-6, "max_abs": 1e-5}}, "notes": "probe.hidden: the first two channels",
            "seeded_inputs": {{"in.x": {{"key": "input.x", "shape": [4, {N}], "offset": 0.0, "amp": 1.0}}}}}}"#
    );
    let hidden = f32_tensor(&hidden).narrow(1, 0, 2).unwrap().contiguous().unwrap();
    let tensors = HashMap::from([("out.y", f32_tensor(&y)), ("probe.hidden", hidden)]);
    let metadata = HashMap::from([("golden".to_owned(), golden)]);
    safetensors::serialize_to_file(&tensors, Some(metadata), &folder.join("small/case.safetensors")).unwrap();

    std::fs::create_dir_all(folder.join("keys")).unwrap();
    let keys = r#"{"entries": [["fc1.weight", [6, 6], "F32"], ["fc1.bias", [6], "F32"], ["fc2.weight", [6, 6], "F32"],
        ["ema.decay", [], "F32"]]}"#;
    std::fs::write(folder.join("keys/small.json"), keys).unwrap();

    std::fs::create_dir_all(folder.join("loaders")).unwrap();
    for (name, w) in [("given.safetensors", 1f32), ("given.expected.safetensors", 1.0)] {
        let metadata = r#"{"component": "weight loader", "file": "given.safetensors"}"#.to_owned();
        let tensors = HashMap::from([("w", Tensor::new(&[w, 2.0], &Device::Cpu).unwrap())]);
        let metadata = HashMap::from([("golden".to_owned(), metadata)]);
        safetensors::serialize_to_file(&tensors, Some(metadata), &folder.join("loaders").join(name)).unwrap();
    }
}

fn run(folder: &Path, registry: &Registry, dump: Option<&Path>) -> Report {
    let settings = Settings {
        root: folder.to_owned(),
        only: None,
        dtype: None,
        device: Device::Cpu,
        profile: Profile::Strict,
        dump: dump.map(Path::to_owned),
    };
    verify(&settings, registry, &mut |_| {}).unwrap()
}

fn registry(case: &'static Small, nets: Vec<Net>) -> Registry {
    Registry { cases: vec![case], nets }
}

#[test]
fn the_right_net_passes_and_every_fault_fails() {
    let folder = tempfile::tempdir().unwrap();
    kit(folder.path());
    static RIGHT: Small = Small(Fault::None);
    let report = run(folder.path(), &registry(&RIGHT, Vec::new()), None);
    assert_eq!(report.cases[0].verdict, Verdict::Passed, "{}", report.cases[0].lines());

    static KEY: Small = Small(Fault::Key);
    static TRANSPOSED: Small = Small(Fault::Transposed);
    static SHAPE: Small = Small(Fault::Shape);
    static NO_BIAS: Small = Small(Fault::NoBias);
    static FORGOTTEN: Small = Small(Fault::Forgotten);
    static PANIC: Small = Small(Fault::Panic);
    static NOT_A_NUMBER: Small = Small(Fault::NotANumber);
    for (case, said) in [
        (&KEY, "leave the reference is probe.hidden"),
        (&TRANSPOSED, "first at [0, 0]"),
        (&SHAPE, "the axes are in another order"),
        (&NO_BIAS, "leave the reference is probe.hidden"),
        (&FORGOTTEN, "out.y; it was not computed"),
        (&PANIC, "it panicked"),
        (&NOT_A_NUMBER, "NaN at value 0"),
    ] {
        let report = run(folder.path(), &registry(case, Vec::new()), None);
        assert_eq!(report.cases[0].verdict, Verdict::Failed, "{:?}", case.0);
        let lines = report.cases[0].lines();
        assert!(lines.contains(said), "{:?}: `{lines}` does not say `{said}`", case.0);
        if case.0 == Fault::Transposed {
            assert!(!lines.contains("probe"), "what comes before the fault agrees: {lines}");
        }
    }
}

#[test]
fn a_case_without_a_net_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    kit(folder.path());
    let report = run(folder.path(), &Registry::default(), None);
    let verdicts: Vec<_> =
        report.cases.iter().map(|case| (case.case.as_str(), case.verdict.clone())).collect();
    assert_eq!(
        verdicts,
        [("case", Verdict::Missing), ("given", Verdict::Passed), ("small", Verdict::Missing)]
    );
    assert_eq!(report.summary(), "1 passed, 0 failed, 2 missing");
}

#[test]
fn a_net_must_ask_for_the_released_keys() {
    fn outline(name: &str, width: usize) -> candle_core::Result<layers::weights::Inventory> {
        let outline = Outline::new();
        let vb = outline.builder();
        Linear::load(width, width, Bias::Yes, vb.pp(name))?;
        Linear::load(width, width, Bias::No, vb.pp("fc2"))?;
        Ok(outline.inventory())
    }
    let folder = tempfile::tempdir().unwrap();
    kit(folder.path());
    static RIGHT: Small = Small(Fault::None);
    let net = |unused, outline| Net { inventory: "small", unused, outline };
    for (net, said) in [
        (net(&["ema."], || outline("fc1", 6)), None),
        (net(&["ema.decay"], || outline("fc1", 6)), None),
        (net(&[], || outline("fc1", 6)), Some("`ema.decay` [] is in it")),
        (
            net(&["ema."], || outline("fc_1", 6)),
            Some("`fc_1.weight` is missing (expected [6, 6]); there is `fc"),
        ),
        (net(&["ema."], || outline("fc1", 5)), Some("`fc1.weight` is [6, 6], expected [5, 5]")),
    ] {
        let report = run(folder.path(), &registry(&RIGHT, vec![net]), None);
        let keys = &report.cases[2];
        assert_eq!(
            keys.verdict,
            if said.is_some() { Verdict::Failed } else { Verdict::Passed },
            "{}",
            keys.lines()
        );
        assert!(keys.lines().contains(said.unwrap_or("")), "{}", keys.lines());
    }
}

#[test]
fn a_loader_file_must_give_exactly_its_tensors() {
    let folder = tempfile::tempdir().unwrap();
    kit(folder.path());
    let given = folder.path().join("loaders/given.safetensors");
    for (tensors, said) in [
        (vec![("w", vec![1f32, 3.0])], "`w` differs from byte 6 on"),
        (vec![("v", vec![1f32, 2.0])], "`w` is missing (expected [2]); there is `v`"),
        (vec![("w", vec![1f32, 2.0, 3.0])], "`w` is [3], expected [2]"),
        (vec![("w", vec![1f32, 2.0]), ("x", vec![0.0])], "`x` [1] is in it"),
    ] {
        let tensors: HashMap<&str, Tensor> =
            tensors.into_iter().map(|(name, v)| (name, Tensor::new(v, &Device::Cpu).unwrap())).collect();
        safetensors::serialize_to_file(&tensors, None, &given).unwrap();
        let report = run(folder.path(), &Registry::default(), None);
        assert_eq!(report.cases[1].verdict, Verdict::Failed);
        assert!(report.cases[1].lines().contains(said), "{}", report.cases[1].lines());
    }
}

#[test]
fn what_was_computed_can_be_had() {
    let (folder, dump) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    kit(folder.path());
    static RIGHT: Small = Small(Fault::None);
    run(folder.path(), &registry(&RIGHT, Vec::new()), Some(dump.path()));
    let open = |root: &Path| {
        candle_core::safetensors::load(root.join("small/case.safetensors"), &Device::Cpu).unwrap()
    };
    let (ours, theirs) = (open(dump.path()), open(folder.path()));
    assert_eq!(ours.keys().collect::<Vec<_>>(), ["out.y"]);
    let (have, want) = (rows(&ours["out.y"]), rows(&theirs["out.y"]));
    assert!(have.iter().flatten().zip(want.iter().flatten()).all(|(h, w)| (h - w).abs() < 1e-5));
}
