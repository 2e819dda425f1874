//! `masks_blend`, `masks_blend_offline`, `masks_blend_out_of_frame` and `classic_v1_blend`: labels to masks, masks to soft masks, and faces laid
//! over frames. The frames are blue first; nothing here depends on the order.

use candle_core::{Device, Tensor};
use golden::{Case, CaseError, CaseFile, Given, Outputs};
use serde::Deserialize;

use super::picture::{bytes, every, numbers, pixels, rect};
use crate::blend::Paster;
use crate::mask::parsing::{CheekWidths, Parser, Parsing, SIDE, cheek_element, jaw_element};
use crate::mask::{MaskMaker, MaskRule, SoftMask};
use pictures::linear::Linear;
use pictures::{Plane, Rect, Rgb};

/// Every second pixel of the labels is stored.
const STORED: usize = SIDE / 2;

#[derive(Deserialize)]
struct Config {
    left_cheek: i32,
    right_cheek: i32,
}

pub struct Blending;

/// A frame, its labels, and a face of the net's size for a box in the frame.
struct Scene {
    frame: Rgb,
    labels: Plane,
    face: Rgb,
    place: Rect,
}

impl Scene {
    fn open(file: &CaseFile) -> Result<Self, CaseError> {
        Ok(Self {
            frame: pixels(&file.tensor("in.frame_bgr_u8")?)?,
            labels: doubled(&pixels(&file.tensor("in.labels256_u8")?)?)?,
            face: pixels(&file.tensor("in.face128_bgr_u8")?)?,
            place: rect(&file.tensor("in.bbox")?)?,
        })
    }

    fn soft_mask(&self, rule: MaskRule) -> Result<SoftMask, CaseError> {
        Ok(MaskMaker::new(rule)?.make(self.labels.view(), self.place)?)
    }

    fn resized(&self) -> Result<Rgb, CaseError> {
        let mut out = Rgb::blank((self.place.width() as usize, self.place.height() as usize))?;
        Linear::default().resize(self.face.view(), &mut out.view_mut());
        Ok(out)
    }

    fn blended(&self, mask: &SoftMask) -> Rgb {
        let mut frame = self.frame.clone();
        Paster::default().paste(&mut frame.view_mut(), self.face.view(), self.place, mask);
        frame
    }
}

fn doubled(labels: &Plane) -> Result<Plane, CaseError> {
    if labels.size() != (STORED, STORED) {
        return Err(format!("labels are stored at {STORED}x{STORED}, not {:?}", labels.size()).into());
    }
    let mut out = Plane::blank((SIDE, SIDE))?;
    let mut view = out.view_mut();
    for y in 0..SIDE {
        let row = labels.view().row(y / 2);
        view.row_mut(y).iter_mut().enumerate().for_each(|(x, to)| *to = row[x / 2]);
    }
    Ok(out)
}

/// `raw`, `neck` or `jaw`
fn parsing(name: &str, cheeks: CheekWidths) -> Result<Parsing, CaseError> {
    match name {
        "raw" => Ok(Parsing::Raw),
        "neck" => Ok(Parsing::Neck),
        "jaw" => Ok(Parsing::Jaw(cheeks)),
        other => Err(format!("no parsing mode is known as `{other}`").into()),
    }
}

/// Eight pixels a byte, the first in its highest bit.
fn packed(plane: &Plane) -> Result<Tensor, CaseError> {
    let bits = |byte: &[u8]| byte.iter().fold(0, |bits, &v| bits << 1 | u8::from(v > 0));
    let bytes: Vec<u8> = plane.bytes().chunks_exact(8).map(bits).collect();
    let (w, h) = plane.size();
    Ok(Tensor::from_vec(bytes, (h, w / 8), &Device::Cpu)?)
}

fn parsed(labels: &Plane, how: Parsing) -> Result<Plane, CaseError> {
    let mut out = labels.clone();
    Parser::new(how)?.parse(labels.view(), &mut out)?;
    Ok(out)
}

fn of_rect(rect: Rect) -> Result<Tensor, CaseError> {
    Ok(Tensor::new(&numbers(rect), &Device::Cpu)?)
}

impl Case for Blending {
    fn components(&self) -> &[&str] {
        &["parsing masks + paste"]
    }

    fn run(&self, given: &Given) -> Result<Outputs, CaseError> {
        let cfg: Config = given.config()?;
        let cheeks = CheekWidths { left: cfg.left_cheek, right: cfg.right_cheek };
        // the other two files have frame and labels of the first, and only a box and a face of their own
        let whole = given.file.stored("in.").any(|(name, _)| name == "in.frame_bgr_u8");
        let mut scene = if whole {
            Scene::open(given.file)?
        } else {
            Scene::open(&CaseFile::open(&given.file.path().with_file_name("masks_blend.safetensors"))?)?
        };
        if given.file.stored("in.").any(|(name, _)| name == "in.oob_bbox") {
            scene.place = rect(&given.input("in.oob_bbox")?)?;
            scene.face = pixels(&given.input("in.oob_face_u8")?)?;
        }
        let row = |cheeks: CheekWidths| Tensor::new(&cheeks.row(), &Device::Cpu);
        let realtime = |mode: &str| scene.soft_mask(MaskRule::realtime(parsing(mode, cheeks)?));
        let offline = |mode: &str| scene.soft_mask(MaskRule::offline(parsing(mode, cheeks)?));
        let mut outputs = Outputs::new();
        for (name, _) in given.file.stored("out.") {
            let output = name.trim_start_matches("out.");
            // without what is before the name of a mode
            let mode = |prefix: &str| output.strip_prefix(prefix);
            let made = match output {
                "kernel_jaw" => bytes(&jaw_element()?.picture()?)?,
                "kernel_cheek" => bytes(&cheek_element()?.picture()?)?,
                "cheek_mask_row" => row(cheeks)?,
                "cheek_mask_v1_row" => row(CheekWidths::V1)?,
                "crop_box" | "oob_crop_box" => of_rect(realtime("jaw")?.area())?,
                "face_resized_u8" => bytes(&scene.resized()?)?,
                "oob_mask_u8" => bytes(realtime("jaw")?.alpha())?,
                "oob_blend_u8" => bytes(&scene.blended(&realtime("jaw")?))?,
                "oob_blend_offline_raw_u8" => bytes(&scene.blended(&offline("raw")?))?,
                _ => match (mode("parse_"), mode("mask_rt_"), mode("blend_rt_"), mode("blend_offline_")) {
                    (Some(mode), ..) => packed(&parsed(&scene.labels, parsing(mode, cheeks)?)?)?,
                    (_, Some(mode), ..) => bytes(realtime(mode)?.alpha())?,
                    (_, _, Some(mode), _) => bytes(&scene.blended(&realtime(mode)?))?,
                    (.., Some(mode)) => bytes(&scene.blended(&offline(mode)?))?,
                    _ => return Err(format!("no mask or picture is known as `{output}`").into()),
                },
            };
            outputs.out(output, made);
        }
        Ok(outputs)
    }
}

pub struct ClassicBlending;

impl Case for ClassicBlending {
    fn components(&self) -> &[&str] {
        &["pre-1.5 masks + paste"]
    }

    fn run(&self, given: &Given) -> Result<Outputs, CaseError> {
        let scene = Scene::open(given.file)?;
        let mask = scene.soft_mask(MaskRule::classic())?;
        let blended = scene.blended(&mask);
        let outside = "the square of this case lies in its frame";
        let square = bytes(&blended.view().cut(mask.area()).ok_or(outside)?.to_picture())?;
        let mut outputs = Outputs::new();
        let parsed = bytes(&parsed(&scene.labels, Parsing::Classic)?)?;
        outputs.out("parsing512_u8_sub2", every(&every(&parsed, 2, 0)?, 2, 1)?);
        outputs.out("crop_box", of_rect(mask.area())?);
        outputs.out("face_resized_u8", bytes(&scene.resized()?)?);
        outputs.out("mask_u8", bytes(mask.alpha())?);
        outputs.out("offline_crop_bgr_u8", square.clone());
        outputs.out("realtime_crop_bgr_u8", square);
        Ok(outputs)
    }
}
