//! What kernels are held against in tests: inputs that repeat everywhere, every instruction set of this machine, and the distance from a sum in f64.

use kernels::*;

/// Values in -0.5..0.5 that repeat on every machine.
pub fn noise(len: usize, seed: u64) -> Vec<f32> {
    let mut s = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            s ^= s << 13;
            s ^= s >> 7;
            s ^= s << 17;
            (s >> 40) as f32 / (1u64 << 24) as f32 - 0.5
        })
        .collect()
}

pub fn contexts(profile: Profile) -> Vec<Context> {
    let best = Isa::detect();
    if best != Isa::Amx {
        println!("skipped on this machine, which has no AMX: products by its tiles");
    }
    Isa::ALL
        .into_iter()
        .filter(|isa| *isa <= best)
        .flat_map(|isa| [(isa, 1), (isa, 3)])
        .map(|(isa, threads)| {
            Context::new(Config { threads, isa: Some(isa), profile, ..Config::default() }).unwrap()
        })
        .collect()
}

/// sqrt(sum (y - truth)^2 / sum truth^2)
pub fn relative_rms(y: &[f32], truth: &[f64]) -> f64 {
    assert_eq!(y.len(), truth.len());
    assert!(y.iter().all(|v| v.is_finite()), "a result is not finite");
    let error: f64 = y.iter().zip(truth).map(|(y, t)| (f64::from(*y) - t).powi(2)).sum();
    let power: f64 = truth.iter().map(|t| t * t).sum();
    (error / power).sqrt()
}
