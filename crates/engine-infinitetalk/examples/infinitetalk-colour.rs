//! What the colour correction of one frame costs: `infinitetalk-colour SIDE THREADS RUNS`, in milliseconds of wall time, the best of all runs.

use std::time::Instant;

use engine_infinitetalk::picture::ColourMatch;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>());
    let mut next = |default| arguments.next().unwrap_or(Ok(default));
    let (side, threads, runs) = (next(640)?, next(1)?, next(20)?);
    layers::configure(layers::kernels::Config { threads, ..layers::kernels::Config::default() })?;
    let frame = |seed: usize| -> Vec<f32> {
        let value = |i: usize| ((i * 2_654_435_761 + seed * 40_503) >> 7) % 2_001;
        (0..3 * side * side).map(|i| value(i) as f32 / 1_000.0 - 1.0).collect()
    };
    let mut colours = ColourMatch::new(&frame(1), 1.0)?;
    let mut best = f64::INFINITY;
    for run in 0..runs {
        let mut frame = frame(run + 2);
        let begin = Instant::now();
        colours.apply(&mut frame)?;
        best = best.min(begin.elapsed().as_secs_f64() * 1e3);
    }
    println!("{best:.2} ms for a frame of {side}x{side} on {threads} threads");
    Ok(())
}
