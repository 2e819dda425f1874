//! `end_to_end`: the official offline and realtime paths on frames whose boxes and labels are given, through the parts that a session uses: what the
//! voice gives each frame (`audio`), latents (`material`), the nets (`generator`), masks and pasting.

use std::io::Cursor;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use contract::{Fps, Pcm};
use encoders::kl_vae::{KlDecoder, KlEncoder, KlVaeConfig};
use golden::{Case, CaseError, Given, Outputs, every};
use layers::Probe;
use serde::Deserialize;

use super::picture::{bytes, channels_first, pixels, rect};
use crate::audio::RATE_HZ;
use crate::audio::ear::{Ear, Hearing, Plan};
use crate::audio::live::Pace;
use crate::audio::windows::Padding;
use crate::blend::Paster;
use crate::checkpoints::Encoder;
use crate::face_box::{BoxRule, FacePoints};
use crate::face_crop::{FaceCropper, SIDE};
use crate::generator::{Generator, LATENT_CHANNELS, LATENT_SIDE};
use crate::mask::parsing::{CheekWidths, Parsing};
use crate::mask::{MaskMaker, MaskRule, SoftMask};
use crate::nets::unet::{Unet, UnetConfig};
use crate::nets::whisper::{WhisperConfig, WhisperEncoder};
use crate::roll::{Turning, place};
use pictures::{Plane, Rect, Rgb, View};

#[derive(Deserialize)]
struct Config {
    unet: UnetConfig,
    vae: KlVaeConfig,
    whisper: WhisperConfig,
    fps: u32,
    extra_margin: i32,
    frame_stride: usize,
    n_output_frames: u64,
}

/// The realtime path is stored of the output frames whose number leaves this rest.
const REALTIME: (u64, u64) = (12, 1);
/// Of these outputs the nets' own results are stored.
const PROBED: usize = 2;
/// The oldest names of the VAE's attention are the released file's.
const NEW_NAME: &str = "to_q";

pub struct EndToEnd;

struct Nets {
    generator: Generator,
    encoder: Encoder,
    whisper: Arc<WhisperEncoder>,
}

impl Nets {
    fn load(cfg: &Config, given: &Given) -> Result<Self, CaseError> {
        let vae: VarBuilder = given.weights_as(|seeded| seeded.without(NEW_NAME))?;
        let decoder = KlDecoder::load(&cfg.vae, vae.clone())?;
        let encoder = KlEncoder::load(&cfg.vae, vae)?;
        let scaling = cfg.vae.scaling_factor;
        let unet = Unet::load(&cfg.unet, given.weights()?)?;
        Ok(Self {
            generator: Generator::new(unet, (decoder, scaling)),
            encoder: Encoder { net: encoder, scaling },
            whisper: Arc::new(WhisperEncoder::load(&cfg.whisper, given.weights()?)?),
        })
    }
}

/// One version's parameters.
struct Way {
    name: &'static str,
    parsing: Parsing,
    /// Below the chin.
    margin: i32,
}

impl Case for EndToEnd {
    fn components(&self) -> &[&str] {
        &["MuseTalk offline + realtime paths"]
    }

    fn run(&self, given: &Given) -> Result<Outputs, CaseError> {
        let cfg: Config = given.config()?;
        let nets = Nets::load(&cfg, given)?;
        let frames = frames(&given.input("in.frames_bgr_u8")?)?;
        let boxes = given.input("in.bbox")?; // (frames, 4)
        let boxes = (0..frames.len()).map(|i| rect(&boxes.get(i)?)).collect::<Result<Vec<_>, CaseError>>()?;
        let labels = labels(&pixels(&given.input("in.labels_u8")?)?)?;
        let contexts = contexts(&nets, given, &cfg)?;
        let ways = [
            Way { name: "v1", parsing: Parsing::Raw, margin: 0 },
            Way { name: "v15", parsing: Parsing::Jaw(CheekWidths::V15), margin: cfg.extra_margin },
        ];
        let mut outputs = Outputs::new();
        for way in ways {
            let boxes: Vec<Rect> =
                boxes.iter().map(|rect| way.with_margin(*rect, frames[0].size().1)).collect();
            way.run((&nets, given.device), (&frames, &boxes, &labels), (&contexts, &cfg), &mut outputs)?;
        }
        Ok(outputs)
    }
}

impl Way {
    /// By the rule that a session uses, to which the given box is one by points.
    fn with_margin(&self, given: Rect, height: usize) -> Rect {
        let rule = if self.margin == 0 { BoxRule::v1(0) } else { BoxRule::v15(self.margin) };
        // no points: the detector's box is taken as it is
        let none: FacePoints = [[0; 2]; 68];
        rule.face_box(&none, given, height as i32).rect
    }

    fn run(
        &self,
        (nets, device): (&Nets, &Device),
        (frames, boxes, labels): (&[Rgb], &[Rect], &Plane),
        (contexts, cfg): (&[Tensor], &Config),
        outputs: &mut Outputs,
    ) -> Result<(), CaseError> {
        let mut cropper = FaceCropper::default();
        let latents = frames.iter().zip(boxes).map(|(frame, place)| {
            let face = cropper.crop(frame.view(), *place).ok_or("a box outside its frame")?;
            Ok(nets.encoder.latents(face, device)?)
        });
        let latents = latents.collect::<Result<Vec<_>, CaseError>>()?;
        let of_second =
            Tensor::from_slice(&latents[1], (1, LATENT_SIDE, LATENT_SIDE, LATENT_CHANNELS), device)?;
        outputs.probe(&format!("{}_latents8", self.name), channels_first(&of_second)?);

        let mut offline = Masks::new(MaskRule::offline(self.parsing), labels)?;
        let mut realtime = Masks::new(MaskRule::realtime(self.parsing), labels)?;
        let mut paster = Paster::default();
        let (mut stored, mut stored_realtime, mut predictions) = (Vec::new(), Vec::new(), Vec::new());
        for at in 0..cfg.n_output_frames {
            let (offline_here, realtime_here) =
                (at.is_multiple_of(cfg.frame_stride as u64), at % REALTIME.0 == REALTIME.1);
            if !offline_here && !realtime_here {
                continue;
            }
            let index = place(Turning::Twice, at, frames.len() as u64) as usize;
            let predicted =
                nets.generator.predict(&[&latents[index]], &[&contexts[at as usize]], &Probe::off())?;
            if predictions.len() < PROBED {
                predictions.push(predicted.clone());
            }
            let face = nets.generator.decode(&predicted)?.remove(0);
            if (self.name, at) == ("v15", 1) {
                let bgr = Tensor::from_slice(&face, (SIDE, SIDE, 3), &Device::Cpu)?.flip(&[2])?;
                outputs.probe("v15_face_u8_sub4", every(4, &every(4, &bgr, 0)?, 1)?);
            }
            let mut paste = |mask: &SoftMask| -> Result<Tensor, CaseError> {
                let mut frame = frames[index].clone();
                paster.paste(&mut frame.view_mut(), View::new(&face, (SIDE, SIDE))?, boxes[index], mask);
                Ok(bytes(&frame)?.flip(&[2])?)
            };
            if offline_here {
                stored.push(paste(&offline.of(boxes[index])?)?);
            }
            if realtime_here {
                stored_realtime.push(paste(&realtime.of(boxes[index])?)?);
            }
        }
        outputs.probe(&format!("{}_pred", self.name), channels_first(&Tensor::cat(&predictions, 0)?)?);
        outputs.out(&format!("{}_frames_bgr_u8", self.name), Tensor::stack(&stored, 0)?);
        outputs.out(&format!("{}_realtime_bgr_u8", self.name), Tensor::stack(&stored_realtime, 0)?);
        Ok(())
    }
}

struct Masks<'a> {
    maker: MaskMaker,
    labels: &'a Plane,
}

impl<'a> Masks<'a> {
    fn new(rule: MaskRule, labels: &'a Plane) -> Result<Self, CaseError> {
        Ok(Self { maker: MaskMaker::new(rule)?, labels })
    }

    fn of(&mut self, face: Rect) -> Result<SoftMask, CaseError> {
        Ok(self.maker.make(self.labels.view(), face)?)
    }
}

/// (frames, h, w, 3) in BGR -> pictures in RGB
fn frames(all: &Tensor) -> Result<Vec<Rgb>, CaseError> {
    (0..all.dim(0)?).map(|i| pixels(&all.get(i)?.flip(&[2])?)).collect()
}

/// Each pixel twice in each direction: the parser's picture from a stored one of half its side.
fn labels(half: &Plane) -> Result<Plane, CaseError> {
    let (w, h) = half.size();
    let mut doubled = Vec::with_capacity(4 * w * h);
    for row in half.view().rows() {
        let wide: Vec<u8> = row.iter().flat_map(|&label| [label, label]).collect();
        doubled.extend_from_slice(&wide);
        doubled.extend(wide);
    }
    Ok(Plane::new(doubled, (2 * w, 2 * h))?)
}

/// What each output frame hears, as the ear of a strict session gives it.
fn contexts(nets: &Nets, given: &Given, cfg: &Config) -> Result<Vec<Tensor>, CaseError> {
    let pcm: Vec<f32> = given.input("in.pcm_i16")?.to_dtype(DType::F32)?.to_vec1()?;
    let samples = pcm.into_iter().map(|sample| sample / 32768.0).collect();
    let voice = Box::new(Cursor::new(Pcm { rate_hz: RATE_HZ, samples }));
    let plan = Plan {
        hearing: Hearing::Strict,
        fps: Fps::whole(cfg.fps),
        padding: Padding::default(),
        pace: Pace::default(),
    };
    let mut ear = Ear::open(Arc::clone(&nets.whisper), voice, &plan)?;
    let mut contexts = Vec::new();
    while let Some(heard) = ear.hear()? {
        contexts.push(heard.context);
    }
    if contexts.len() as u64 != cfg.n_output_frames {
        return Err(format!("the voice lasts {} frames, not {}", contexts.len(), cfg.n_output_frames).into());
    }
    Ok(contexts)
}
