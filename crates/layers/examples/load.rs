//! `load FILE`: reads a weight file plainly and as tensors, in turns, and prints the seconds of each and their ratio. The file is in the
//! system's cache from the first turn on, which does not count: what is compared is our work, not the disk's.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::Instant;

use candle_core::{DType, Device};
use layers::weights::Checkpoint;

const TURNS: usize = 3;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).ok_or("name a weight file")?;
    let path = Path::new(&path);
    let (mut plain, mut tensors) = (Vec::new(), Vec::new());
    for turn in 0..=TURNS {
        let (read, loaded) = (plainly(path)?, as_tensors(path)?);
        if turn > 0 {
            plain.push(read);
            tensors.push(loaded);
        }
    }
    let best = |times: &[f64]| times.iter().copied().fold(f64::INFINITY, f64::min);
    let (plain, tensors) = (best(&plain), best(&tensors));
    let gib = std::fs::metadata(path)?.len() as f64 / f64::from(1 << 30);
    println!(
        "{gib:.2} GiB: plain read {plain:.2} s, as tensors {tensors:.2} s, ratio {:.2}",
        tensors / plain
    );
    Ok(())
}

/// Into memory of its own, as a program that wants the whole file would.
fn plainly(path: &Path) -> std::io::Result<f64> {
    let begun = Instant::now();
    let mut bytes = Vec::new();
    File::open(path)?.read_to_end(&mut bytes)?;
    std::hint::black_box(&bytes);
    Ok(begun.elapsed().as_secs_f64())
}

/// All of them, as a net holds them.
fn as_tensors(path: &Path) -> Result<f64, Box<dyn std::error::Error>> {
    let begun = Instant::now();
    let checkpoint = Checkpoint::open(path)?;
    let keys: Vec<String> = checkpoint.entries().keys().cloned().collect();
    let mut held = Vec::with_capacity(keys.len());
    for key in &keys {
        held.push(checkpoint.tensor(key, DType::F32, &Device::Cpu)?);
    }
    std::hint::black_box(&held);
    Ok(begun.elapsed().as_secs_f64())
}
