//! `resize_buckets`: buckets of many sizes, and pictures and masks fitted to the sizes of the outputs.

use candle_core::{Device, Tensor};
use golden::{Case, CaseError, Given, Outputs};
use pictures::{Picture, View};

use crate::picture::{Fit, Geometry, SizeClass};

pub struct Resize;

impl Case for Resize {
    fn components(&self) -> &[&str] {
        &["bucket choice, resize + centre crop"]
    }

    fn run(&self, given: &Given) -> Result<Outputs, CaseError> {
        let mut outputs = Outputs::new();
        let sizes: Vec<Vec<i64>> = given.input("in.sizes_hw")?.to_vec2()?;
        for (name, class) in [("bucket_480", SizeClass::Size480), ("bucket_720", SizeClass::Size720)] {
            let buckets = sizes.iter().flat_map(|size| {
                let (width, height) = class.bucket((size[1] as usize, size[0] as usize));
                [height as i64, width as i64]
            });
            outputs.out(name, Tensor::from_iter(buckets, &Device::Cpu)?.reshape((sizes.len(), 2))?);
        }
        for (name, _) in given.file.stored("out.img") {
            let name = name.trim_start_matches("out.");
            let from = given.input(&format!("in.{name}"))?;
            let (h, w, _) = from.dims3()?;
            let bytes: Vec<u8> = from.flatten_all()?.to_vec1()?;
            let (_, height, width) = given.file.tensor(&format!("out.{name}"))?.dims3()?;
            let mut to = Picture::blank((width, height))?;
            Fit::new((width, height)).fit(View::new(&bytes, (w, h))?, &mut to);
            let made = Tensor::from_slice(to.bytes(), (height, width, 3), &Device::Cpu)?;
            outputs.out(name, made.permute((2, 0, 1))?.contiguous()?);
        }
        for (name, _) in given.file.stored("out.mask") {
            let name = name.trim_start_matches("out.");
            let from = given.input(&format!("in.{name}"))?;
            let (_, h, w) = from.dims3()?;
            let (_, height, width) = given.file.tensor(&format!("out.{name}"))?.dims3()?;
            let picks = Geometry::new((w, h), (width, height)).nearest();
            let [columns, rows] = picks.map(|side| side.into_iter().map(|i| i as u32).collect::<Vec<_>>());
            let made = from.index_select(&Tensor::new(rows, &Device::Cpu)?, 1)?;
            outputs.out(name, made.index_select(&Tensor::new(columns, &Device::Cpu)?, 2)?);
        }
        Ok(outputs)
    }
}
