//! `image_ops`: what OpenCV and Pillow make of four pictures. The names of the outputs say which operation; their shapes say to which size.

use candle_core::Tensor;
use golden::{Case, CaseError, Given, Outputs};

use super::picture::{bytes, pixels};
use crate::mask::parsing::{cheek_element, jaw_element};
use pictures::gauss::Gauss;
use pictures::lanczos::Lanczos;
use pictures::linear::Linear;
use pictures::morphology::Morphology;
use pictures::pillow::{Filter, Pillow};
use pictures::warp::{Affine, warp};
use pictures::{Picture, Plane, Rect, Rgb};

pub struct ImageOps;

impl Case for ImageOps {
    fn components(&self) -> &[&str] {
        &["image ops"]
    }

    fn run(&self, given: &Given) -> Result<Outputs, CaseError> {
        let rgb = |name: &str| -> Result<Rgb, CaseError> { pixels(&given.input(name)?) };
        let plane = |name: &str| -> Result<Plane, CaseError> { pixels(&given.input(name)?) };
        let (photo, noise) = (rgb("in.photo")?, rgb("in.noise")?);
        let (gray, sparse) = (plane("in.gray")?, plane("in.sparse")?);
        let mut outputs = Outputs::new();
        for (name, _) in given.file.stored("out.") {
            let output = name.trim_start_matches("out.");
            let dims = given.file.tensor(name)?.dims().to_vec();
            let size = (dims[1], dims[0]);
            let of_rgb =
                if output.ends_with("noise") || output == "pil_bilinear_up" { &noise } else { &photo };
            let made = match output {
                "warp_affine" => {
                    let matrix: Vec<Vec<f64>> = given.input("in.affine_f64")?.to_vec2()?;
                    let forward = Affine(std::array::from_fn(|i| std::array::from_fn(|j| matrix[i][j])));
                    let mut out = Rgb::blank(size)?;
                    warp(photo.view(), &forward.inverse(), &mut out.view_mut());
                    bytes(&out)?
                }
                "dilate_jaw" => dilated(&gray)?,
                "dilate_sparse" => dilated(&sparse)?,
                "erode_cheek2" => eroded_twice(&gray)?,
                // in a picture that is nearly empty there is nothing to erode
                "erode_sparse" => eroded_twice(&inverted(&sparse)?)?,
                _ if output.starts_with("gauss_") => {
                    let mut out = Plane::blank(gray.size())?;
                    Gauss::new(output["gauss_".len()..].parse()?)?.blur(gray.view(), &mut out);
                    bytes(&out)?
                }
                _ if output.starts_with("linear_") => {
                    let mut out = Rgb::blank(size)?;
                    Linear::default().resize(of_rgb.view(), &mut out.view_mut());
                    bytes(&out)?
                }
                _ if output.starts_with("lanczos4_") => {
                    let mut out = Rgb::blank(size)?;
                    Lanczos::default().resize(of_rgb.view(), &mut out.view_mut());
                    bytes(&out)?
                }
                _ if output.starts_with("pil_bilinear_") => by_pillow(Filter::Bilinear, of_rgb, size)?,
                _ if output.starts_with("pil_") => by_pillow(Filter::Bicubic, &gray, size)?,
                _ => return Err(format!("no operation is known as `{output}`").into()),
            };
            outputs.out(output, made);
        }
        Ok(outputs)
    }
}

fn by_pillow<const C: usize>(
    filter: Filter,
    from: &Picture<C>,
    size: (usize, usize),
) -> Result<Tensor, CaseError> {
    let mut out = Picture::blank(size)?;
    Pillow::new(filter).resize(from.view(), size, Rect::of(size), &mut out);
    Ok(bytes(&out)?)
}

fn dilated(plane: &Plane) -> Result<Tensor, CaseError> {
    let mut plane = plane.clone();
    Morphology::default().dilate(&mut plane, &jaw_element()?);
    Ok(bytes(&plane)?)
}

fn eroded_twice(plane: &Plane) -> Result<Tensor, CaseError> {
    let (mut plane, mut morphology) = (plane.clone(), Morphology::default());
    for _ in 0..2 {
        morphology.erode(&mut plane, &cheek_element()?);
    }
    Ok(bytes(&plane)?)
}

fn inverted(plane: &Plane) -> Result<Plane, CaseError> {
    Ok(Plane::new(plane.bytes().iter().map(|v| 255 - v).collect(), plane.size())?)
}
