//! `chunk_plan`: where chunks lie, and which rows of the sound's features their frames hear.

use candle_core::{Device, Tensor};
use golden::{Case, CaseError, Given, Outputs};
use serde::Deserialize;

use crate::sampler::plan::{Chunk, ChunkPlan, ChunkShape};

#[derive(Deserialize)]
struct Config {
    frame_num: usize,
    motion_frame: usize,
}

pub struct Chunks;

impl Case for Chunks {
    fn components(&self) -> &[&str] {
        &["streaming chunk plan + audio windows"]
    }

    fn run(&self, given: &Given) -> Result<Outputs, CaseError> {
        let cfg: Config = given.config()?;
        let shape = ChunkShape::new(cfg.frame_num, cfg.motion_frame)?;
        let mut outputs = Outputs::new();
        let summary: Vec<Vec<i32>> = given.file.tensor("out.summary")?.to_vec2()?;
        let mut rows = Vec::new();
        for row in summary {
            let (sound, limit) = (row[0], row[1]);
            let plan = ChunkPlan::new(shape, sound as u64, Some(limit as u64))?;
            let name = format!("n{sound}_max{limit}");
            let chunks: Vec<Chunk> = plan.iter().collect();
            let pad = |chunk: &Chunk| mirrored_rows(chunk, sound as u64);
            let of_chunk = |chunk: &Chunk| {
                [chunk.start, chunk.end, pad(chunk), chunk.fresh.start as u64]
                    .map(|value| value as i32)
                    .to_vec()
            };
            let table: Vec<Vec<i32>> = chunks.iter().map(of_chunk).collect();
            outputs.out(&format!("plan_{name}"), Tensor::new(table, &Device::Cpu)?);
            let heard: Vec<u32> = chunks.iter().flat_map(|chunk| plan.audio_rows(chunk)).flatten().collect();
            let heard = Tensor::from_vec(heard, (chunks.len(), cfg.frame_num, 5), &Device::Cpu)?;
            outputs.out(&format!("audio_index_{name}"), heard);
            let pads: u64 = chunks.iter().map(pad).sum();
            rows.push(vec![sound, limit, chunks.len() as i32, pads as i32, plan.frames() as i32]);
        }
        outputs.out("summary", Tensor::new(rows, &Device::Cpu)?);
        Ok(outputs)
    }
}

/// How many rows the reference puts behind the sound before the chunk: it does so once, before a later chunk that reaches the sound's
/// end, and takes three more than the chunk's frames need.
fn mirrored_rows(chunk: &Chunk, sound: u64) -> u64 {
    if chunk.index > 0 && chunk.end >= sound { chunk.end - sound + 3 } else { 0 }
}
