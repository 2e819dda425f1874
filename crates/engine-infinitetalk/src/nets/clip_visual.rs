//! What Wan's image-to-video model sees of its picture: the vision tower of XLM-RoBERTa CLIP (ViT-H/14), with the resize that comes
//! before it. Reference: InfiniteTalk 0107cd9, `wan/modules/clip.py`.

use candle_core::{Device, Result, Tensor, bail};
use candle_nn::VarBuilder;
use encoders::clip_vision::{ClipVision, ClipVisionConfig};
use golden::{Case, CaseError, Given, Net, Outputs, Registry, every};
use layers::weights::{Inventory, Outline};
use serde::Deserialize;

/// Of CLIP's training pictures, red, green, blue, on [0, 1].
const MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const DEVIATION: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

/// PyTorch's free parameter of the cubic convolution.
const A: f32 = -0.75;

#[derive(Clone, Debug)]
pub struct ClipVisual {
    vision: ClipVision,
}

impl ClipVisual {
    /// `vb` holds the keys of the released file; the text tower, the last block and what follows it are not asked for.
    pub fn load(cfg: &ClipVisionConfig, vb: VarBuilder) -> Result<Self> {
        Ok(Self { vision: ClipVision::load_wan(cfg, vb.pp("visual"))? })
    }

    /// frame: (b, h, w, 3) on [-1, 1], of any size -> (b, 257, 1280)
    pub fn forward(&self, frame: &Tensor) -> Result<Tensor> {
        self.vision.forward(&self.pixel_values(frame)?)
    }

    /// Made square, whatever the aspect, and normalised. frame: (b, h, w, 3) on [-1, 1] -> (b, 224, 224, 3)
    pub fn pixel_values(&self, frame: &Tensor) -> Result<Tensor> {
        let size = self.vision.image_size();
        let unit = ((resize_bicubic(frame, size, size)? * 0.5)? + 0.5)?; // overshoot is not clamped
        let channels = |values: &[f32; 3]| Tensor::new(values, frame.device())?.to_dtype(frame.dtype());
        unit.broadcast_sub(&channels(&MEAN)?)?.broadcast_div(&channels(&DEVIATION)?)
    }
}

/// PyTorch's `interpolate(mode="bicubic", align_corners=False)`: no antialiasing. x: (b, h, w, c) -> (b, height, width, c)
fn resize_bicubic(x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let (b, h, w, c) = x.dims4()?;
    if h == 0 || w == 0 {
        bail!("a picture of {h}x{w} cannot be resized");
    }
    let taps = |from, to| cubic(from, to, x.device())?.to_dtype(x.dtype());
    let rows = taps(h, height)?.broadcast_matmul(&x.reshape((b, h, w * c))?)?; // (b, height, w * c)
    taps(w, width)?
        .broadcast_matmul(&rows.reshape((b * height, w, c))?)? // (b * height, width, c)
        .reshape((b, height, width, c))
}

/// The weight of each of `from` values in each of `to`: (to, from)
fn cubic(from: usize, to: usize, device: &Device) -> Result<Tensor> {
    let mut weights = vec![0f32; to * from];
    let scale = from as f32 / to as f32;
    for (i, row) in weights.chunks_mut(from).enumerate() {
        let at = scale * (i as f32 + 0.5) - 0.5;
        let t = at - at.floor();
        let near = |x: f32| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0; // Keys 1981, for distances up to 1
        let far = |x: f32| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A; // and up to 2
        for (tap, weight) in [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)].into_iter().enumerate() {
            let index = (at.floor() as i64 + tap as i64 - 1).clamp(0, from as i64 - 1); // the edge goes on
            row[index as usize] += weight;
        }
    }
    Tensor::from_vec(weights, (to, from), device)
}

pub fn register(registry: &mut Registry) {
    registry.cases.push(&ClipVisualCase);
    registry.nets.push(Net {
        inventory: "clip_xlm_roberta",
        unused: &["log_scale", "textual.", "visual.transformer.31.", "visual.post_norm.", "visual.head"],
        outline,
    });
}

fn outline() -> Result<Inventory> {
    let outline = Outline::new();
    ClipVisual::load(&ClipVisionConfig::vit_h_14(), outline.builder())?;
    Ok(outline.inventory())
}

struct ClipVisualCase;

/// The arguments of Wan's `VisionTransformer`, as the kit gives them.
#[derive(Deserialize)]
struct CaseConfig {
    image_size: usize,
    patch_size: usize,
    dim: usize,
    mlp_ratio: f64,
    num_heads: usize,
    num_layers: usize,
    layers_used: usize,
}

impl Case for ClipVisualCase {
    fn components(&self) -> &[&str] {
        &["XLM-R CLIP ViT-H visual"]
    }

    fn run(&self, given: &Given) -> std::result::Result<Outputs, CaseError> {
        let case: CaseConfig = given.config()?;
        if case.layers_used + 1 != case.num_layers {
            return Err(format!("{} of {} layers are used", case.layers_used, case.num_layers).into());
        }
        let cfg = ClipVisionConfig {
            hidden_size: case.dim,
            intermediate_size: (case.dim as f64 * case.mlp_ratio) as usize,
            num_hidden_layers: case.num_layers,
            num_attention_heads: case.num_heads,
            patch_size: case.patch_size,
            image_size: case.image_size,
            ..ClipVisionConfig::vit_h_14()
        };
        let net = ClipVisual::load(&cfg, given.weights()?)?;
        let frame = given.float_input("in.img")?.squeeze(2)?.permute((0, 2, 3, 1))?.contiguous()?; // (b, h, w, 3)
        let pixels = net.pixel_values(&frame)?;
        let mut outputs = Outputs::new();
        let every_fourth = every(4, &every(4, &pixels, 1)?, 2)?;
        outputs.probe("pixel_values_sub4", every_fourth.permute((0, 3, 1, 2))?.contiguous()?);
        outputs.out("feat_sub8", every(8, &net.vision.forward(&pixels)?, 2)?);
        Ok(outputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cubic_keeps_a_line_and_the_edges() {
        let line: Vec<f32> = (0..8).map(|i| i as f32).collect();
        let x = Tensor::from_vec(line, (1, 1, 8, 1), &Device::Cpu).unwrap();
        let y: Vec<f32> = resize_bicubic(&x, 1, 16).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        // away from the edges, a = -0.75 bends a line by (a + 0.5) * t * (1 - t) * (2 t - 1) at most
        for (i, &got) in y.iter().enumerate().skip(4).take(8) {
            let want = (i as f32 + 0.5) * 0.5 - 0.5;
            let t = want - want.floor();
            let bend = (A + 0.5) * 2.0 * t * (1.0 - t) * (2.0 * t - 1.0);
            assert!((got - want - bend).abs() < 1e-5, "{i}: {got} is not {want} {bend}");
        }
        let same: Vec<f32> = resize_bicubic(&x, 1, 8).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        assert_eq!(same, (0..8).map(|i| i as f32).collect::<Vec<_>>());
    }
}
