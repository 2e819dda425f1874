//! Full-size blocks of InfiniteTalk's DiT from seeded weights, streamed through memory one after the other: `BLOCKS FORM FRAMES HEIGHT WIDTH` with a form of
//! f32, bf16 or q8_0 and a size in latents. Prints seconds and the process's peak memory. `THREADS PROFILE` may follow.

use std::time::Instant;

use candle_core::{DType, Device, Error, Result};
use engine_infinitetalk::nets::dit::{Dit, DitConfig, Form, Loading, Pass, Residency, Step, Watch};
use golden::{Seeded, affine};
use layers::Probe;
use layers::kernels::{Config, Profile};

/// The allocator of the programs that users run.
#[global_allocator]
static ALLOCATOR: allocator::MiMalloc = allocator::MiMalloc;

/// Most memory the process has held so far, in GiB.
fn peak() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) / f64::from(1 << 20)
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [blocks, form, frames, height, width, rest @ ..] = args.as_slice() else {
        return Err("known is `BLOCKS FORM FRAMES HEIGHT WIDTH [THREADS PROFILE]`".into());
    };
    let (dtype, form) = match form.as_str() {
        "f32" => (DType::F32, Form::Plain),
        "bf16" => (DType::BF16, Form::Plain),
        "q8_0" => (DType::BF16, Form::Q8_0),
        other => return Err(format!("forms are f32, bf16 and q8_0, not {other}").into()),
    };
    let profile = if rest.get(1).is_some_and(|p| p == "fast") { Profile::Fast } else { Profile::Strict };
    let threads = rest.first().map_or(Ok(2), |threads| threads.parse())?;
    layers::configure(Config { threads, profile, ..Config::default() })?;
    let _steps = layers::Steps::begin(); // as in a take
    let size = [frames.parse()?, height.parse()?, width.parse()?];
    run(DitConfig { num_layers: blocks.parse()?, ..DitConfig::infinitetalk_14b() }, (dtype, form), size)?;
    Ok(())
}

fn run(cfg: DitConfig, (dtype, form): (DType, Form), [frames, height, width]: [usize; 3]) -> Result<()> {
    let how = Loading { form, residency: Residency::NONE, ..Loading::default() };
    let begin = Instant::now();
    let net = Dit::load(&cfg, &how, Seeded::new("full").builder(dtype, &Device::Cpu))?;
    println!("what is not in blocks: {:.1} s, peak {:.2} GiB", begin.elapsed().as_secs_f64(), peak());
    let given = |key: &str, shape: &[usize]| affine("full", key, shape, (0.0, 1.0));
    let text = net.embed_text(&given("text", &[40, 4096])?).map_err(Error::wrap)?;
    let picture = net.embed_picture(&given("picture", &[1, 257, 1280])?).map_err(Error::wrap)?;
    let speech = given("speech", &[1, 4 * frames - 3, 5, 12, 768])?;
    let audio = net.embed_audio(&speech).map_err(Error::wrap)?;
    let step = Step {
        latents: &given("latents", &[16, frames, height, width])?,
        condition: &given("condition", &[20, frames, height, width])?,
        timestep: 937.5,
        text: &text,
        picture: &picture,
        audio: Some(&audio),
        persons: None,
    };
    let tokens = frames * height * width / 4;
    for pass in ["first", "second"] {
        let begin = Instant::now();
        let stop = || {
            println!("  a block begins at {:.1} s, peak {:.2} GiB", begin.elapsed().as_secs_f64(), peak());
            false
        };
        let watch = Watch { stop: &stop, probe: &Probe::off() };
        let velocity = net.forward(&step, Pass::Whole, &watch).map_err(Error::wrap)?.velocity;
        let strength = velocity.sqr()?.mean_all()?.to_scalar::<f32>()?.sqrt();
        println!(
            "{pass} forward of {tokens} tokens through {} blocks: {:.1} s, peak {:.2} GiB, root mean square {strength:.4}",
            cfg.num_layers,
            begin.elapsed().as_secs_f64(),
            peak()
        );
    }
    Ok(())
}
