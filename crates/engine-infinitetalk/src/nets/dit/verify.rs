//! The DiT's golden cases and the keys of its full-size nets. A case holds the f32 result and the one under the official dtype policy.

use candle_core::{DType, Result, Tensor};
use golden::{Case, CaseError, Given, Net, Outputs, Registry, every};
use layers::Probe;
use layers::weights::{Inventory, Outline};

use super::{Dit, DitConfig, Loading, Pass, Persons, Step, Watch};

/// Rows of a probe, about.
const PROBE_ROWS: usize = 24;

pub fn register(registry: &mut Registry) {
    registry.cases.push(&DitCase);
    registry.nets.push(Net { inventory: "wan_i2v_14b_dit", unused: &[], outline: base });
    registry.nets.push(Net { inventory: "infinitetalk_audio", unused: &[], outline: speech });
}

fn base() -> Result<Inventory> {
    let outline = Outline::new();
    Dit::load(&DitConfig::wan_i2v_14b(), &Loading::default(), outline.builder())?;
    Ok(outline.inventory())
}

/// What InfiniteTalk adds.
fn speech() -> Result<Inventory> {
    let outline = Outline::new();
    Dit::load(&DitConfig::infinitetalk_14b(), &Loading::default(), outline.builder())?;
    let (all, base) = (outline.inventory(), base()?);
    let of_base: std::collections::HashSet<&str> = base.iter().map(|(key, _)| key).collect();
    let added = all.iter().filter(|(key, _)| !of_base.contains(key));
    Ok(Inventory::of_shapes(added.map(|(key, shape)| (key.to_owned(), shape.to_vec()))))
}

struct DitCase;

impl DitCase {
    fn forward(given: &Given, dtype: DType, probe: &Probe) -> std::result::Result<Tensor, CaseError> {
        let cfg: DitConfig = given.config()?;
        let net = Dit::load(&cfg, &Loading::of(dtype), given.weights()?.to_dtype(dtype))?;
        velocity(given, (&cfg, &net), probe)
    }
}

/// What a net makes of the inputs of a case.
pub(crate) fn velocity(
    given: &Given,
    (cfg, net): (&DitConfig, &Dit),
    probe: &Probe,
) -> std::result::Result<Tensor, CaseError> {
    let text = net.embed_text(&given.input("in.context")?)?;
    probe.note("text_emb", &text);
    let picture = net.embed_picture(&given.input("in.clip_fea")?)?;
    probe.note("img_emb", &picture);
    let audio = net.embed_audio(&given.input("in.audio")?)?;
    let (_, t, tokens, width) = audio.dims4()?;
    let persons = tokens / cfg.context_tokens;
    // stored as the reference makes it, person by person
    let by_person = audio.reshape((t, persons, cfg.context_tokens, width))?.transpose(0, 1)?;
    probe.note("audio_proj", &by_person.contiguous()?);
    let persons = Persons::new(&given.input("in.ref_target_masks")?)?;
    let step = Step {
        latents: &given.input("in.x")?,
        condition: &given.input("in.y")?.squeeze(0)?,
        timestep: f64::from(given.input("in.t")?.get(0)?.to_scalar::<f32>()?),
        text: &text,
        picture: &picture,
        audio: Some(&audio),
        persons: Some(&persons),
    };
    Ok(net.forward(&step, Pass::Whole, &Watch { stop: &|| false, probe })?.velocity)
}

impl Case for DitCase {
    fn components(&self) -> &[&str] {
        &["Wan2.1 I2V DiT + audio cross attention"]
    }

    fn run(&self, given: &Given) -> std::result::Result<Outputs, CaseError> {
        let probe = Probe::on();
        let mut outputs = Outputs::new();
        outputs.out("pred", Self::forward(given, given.dtype(), &probe)?);
        for (name, value) in probe.into_taken() {
            // modules inside the first block are called so
            let inside = matches!(name.as_str(), "self_attn" | "cross_attn" | "audio_attn" | "ref_map");
            let name = if inside { format!("b0_{name}") } else { name };
            let rows = value.reshape(((), value.dim(candle_core::D::Minus1)?))?;
            outputs.probe(&name, every((rows.dim(0)? / PROBE_ROWS).max(1), &rows, 0)?);
        }
        outputs.out("pred_bf16_policy", Self::forward(given, DType::BF16, &Probe::off())?);
        Ok(outputs)
    }
}
