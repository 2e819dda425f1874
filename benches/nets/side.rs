//! What our sides of `benches/nets` have in common, taken in by each as a module. `THREADS PROFILE` configure the kernels; then lines come on standard input, each with
//! one line as its answer: a net and its numbers load the net and run it once, `go N` runs it N times and tells the CPU time of each run in milliseconds, `out FILE`
//! writes the last result as f32 values.

use std::io::{BufRead, Write};

use candle_core::{Result, Tensor};
use layers::kernels::{Config, Profile};

/// The allocator of the programs that users run.
#[global_allocator]
static ALLOCATOR: allocator::MiMalloc = allocator::MiMalloc;

/// A net with its inputs, ready to run.
pub type Job = Box<dyn Fn() -> Result<Tensor>>;

/// CPU time of the process, in milliseconds.
fn cpu_ms() -> f64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    t.tv_sec as f64 * 1e3 + t.tv_nsec as f64 * 1e-6
}

/// Answers until standard input ends; `job` knows the nets.
pub fn serve(job: impl Fn(&[&str]) -> Result<Job>) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let profile = match args[2].as_str() {
        "fast" => Profile::Fast,
        _ => Profile::Strict,
    };
    layers::configure(Config { threads: args[1].parse()?, profile, ..Config::default() })?;
    let _steps = layers::Steps::begin(); // as in a take
    let mut current: Option<Job> = None;
    let mut last = None;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        match (words.as_slice(), &current) {
            (["go", runs], Some(run)) => {
                for _ in 0..runs.parse::<usize>()? {
                    let start = cpu_ms();
                    last = Some(run()?);
                    print!("{:.3} ", cpu_ms() - start);
                }
                println!();
            }
            (["out", file], _) => {
                let values: Vec<f32> = last.as_ref().ok_or("nothing ran")?.flatten_all()?.to_vec1()?;
                std::fs::write(file, values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())?;
                println!("written");
            }
            (words, _) => {
                drop(current.take()); // its weights go before the next ones come
                let run = job(words)?;
                let start = cpu_ms();
                last = Some(run()?);
                println!("first {:.0} ms", cpu_ms() - start);
                current = Some(run);
            }
        }
        std::io::stdout().flush()?;
    }
    Ok(())
}
