//! What the blocks of a diffusion transformer need beside products and attention, on every instruction set of this machine, against f64.

use kernels::{Config, Context, Isa, Pairs, Rms, Turn, add_gated, is_finite};

fn noise(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

fn contexts() -> Vec<Context> {
    let here = Isa::ALL.into_iter().filter(|isa| *isa <= Isa::detect());
    here.map(|isa| Context::new(Config { isa: Some(isa), threads: 2, ..Config::default() }).unwrap())
        .collect()
}

#[test]
fn heads_are_normed_and_turned() {
    for (items, positions, heads, dim) in
        [(1, 7, 3, 128), (2, 40, 40, 128), (3, 5, 2, 6), (1, 1, 1, 2), (2, 300, 2, 20)]
    {
        let (c, rows) = (heads * dim, items * positions);
        let (x, gamma) = (noise(rows * c, 1), noise(c, 2));
        let angles = noise(positions * dim / 2, 3);
        let cos: Vec<f32> = angles.iter().map(|a| (a * 9.0).cos()).collect();
        let sin: Vec<f32> = angles.iter().map(|a| (a * 9.0).sin()).collect();
        for norm in [None, Some(Rms { gamma: &gamma, eps: 1e-6 })] {
            for pairs in [Pairs::Neighbours, Pairs::Halves] {
                let mut want = vec![0f64; x.len()];
                for row in 0..rows {
                    let values: Vec<f64> = x[row * c..][..c].iter().map(|&v| f64::from(v)).collect();
                    let square = values.iter().map(|v| v * v).sum::<f64>() / c as f64;
                    let normed = |i: usize| match &norm {
                        Some(norm) => values[i] / (square + f64::from(norm.eps)).sqrt() * f64::from(gamma[i]),
                        None => values[i],
                    };
                    for head in 0..heads {
                        for pair in 0..dim / 2 {
                            let (a, b) = match pairs {
                                Pairs::Neighbours => (head * dim + 2 * pair, head * dim + 2 * pair + 1),
                                Pairs::Halves => (head * dim + pair, head * dim + dim / 2 + pair),
                            };
                            let at = row % positions * dim / 2 + pair;
                            let (cos, sin) = (f64::from(cos[at]), f64::from(sin[at]));
                            want[row * c + a] = normed(a) * cos - normed(b) * sin;
                            want[row * c + b] = normed(a) * sin + normed(b) * cos;
                        }
                    }
                }
                for ctx in contexts() {
                    let mut got = x.clone();
                    let turn = Turn { cos: &cos, sin: &sin, dim, pairs };
                    turn.run(&ctx, c, norm, &mut got).unwrap();
                    let far =
                        got.iter().zip(&want).map(|(g, w)| (f64::from(*g) - w).abs()).fold(0.0, f64::max);
                    assert!(
                        far < 2e-6,
                        "{far:e} for {heads} heads of {dim}, {pairs:?}, {}",
                        ctx.isa().name()
                    );
                }
            }
        }
    }
}

#[test]
fn gated_sums() {
    for (rows, c) in [(1, 1), (3, 17), (70, 1024), (1300, 5120)] {
        let (x, a, gate) = (noise(rows * c, 1), noise(rows * c, 2), noise(c, 3));
        for ctx in contexts() {
            let mut y = kernels::room(rows * c);
            add_gated(&ctx, [&x, &a], &gate, &mut y).unwrap();
            for (i, y) in y.iter().enumerate() {
                let want = f64::from(x[i]) + f64::from(a[i]) * f64::from(gate[i % c]);
                assert!((f64::from(*y) - want).abs() < 2e-7, "value {i} of {rows}x{c}, {}", ctx.isa().name());
            }
        }
    }
}

#[test]
fn one_bad_value_is_found_wherever_it_is() {
    for ctx in contexts() {
        for n in [0, 1, 31, 33, (1 << 17) + 5] {
            let mut x = noise(n, 1);
            x.iter_mut().for_each(|v| *v *= f32::MAX);
            assert!(is_finite(&ctx, &x));
            for at in [0, n / 2, n.saturating_sub(1)].into_iter().filter(|at| *at < n) {
                for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    let kept = std::mem::replace(&mut x[at], bad);
                    assert!(!is_finite(&ctx, &x), "{bad} at {at} of {n}, {}", ctx.isa().name());
                    x[at] = kept;
                }
            }
        }
    }
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    let ctx = Context::new(Config::default()).unwrap();
    let wave = noise(8, 1);
    let turn = |dim| Turn { cos: &wave, sin: &wave, dim, pairs: Pairs::Neighbours };
    let mut x = noise(64, 2);
    assert!(turn(4).run(&ctx, 16, None, &mut x).is_ok());
    assert!(turn(3).run(&ctx, 12, None, &mut x).is_err());
    assert!(turn(4).run(&ctx, 18, None, &mut x).is_err());
    assert!(turn(4).run(&ctx, 8, None, &mut x[..40]).is_err(), "five rows of four positions");
    assert!(turn(4).run(&ctx, 16, Some(Rms { gamma: &wave, eps: 0.0 }), &mut x).is_err());
    assert!(add_gated(&ctx, [&wave, &wave[..4]], &wave[..4], &mut x[..8]).is_err());
    assert!(add_gated(&ctx, [&wave, &wave], &wave[..3], &mut x[..8]).is_err());
}
