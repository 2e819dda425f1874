//! What nets over clips ask of the kernels, on every instruction set of this machine, against sums in f64: convolution over time, what is added to each clip or frame,
//! mixtures, and norms and linear layers that take such an addition in.

mod truth;

use kernels::*;
use truth::{contexts, noise, relative_rms};

fn frames64(clips: Clips, [o, c]: [usize; 2], x: &[f32], w: &[f32], bias: Option<&[f32]>) -> Vec<f64> {
    let Clips { n, frames, pixels } = clips;
    let mut y = Vec::with_capacity(n * frames * pixels * o);
    for clip in 0..n {
        for frame in 0..frames {
            for pixel in 0..pixels {
                for out in 0..o {
                    let mut sum = bias.map_or(0.0, |bias| f64::from(bias[out]));
                    for tap in 0..3 {
                        let Some(seen) = (frame + tap).checked_sub(1).filter(|seen| *seen < frames) else {
                            continue;
                        };
                        let at = ((clip * frames + seen) * pixels + pixel) * c;
                        for i in 0..c {
                            sum += f64::from(x[at + i]) * f64::from(w[(out * c + i) * 3 + tap]);
                        }
                    }
                    y.push(sum);
                }
            }
        }
    }
    y
}

#[test]
fn three_frames_become_one() {
    for (n, frames, pixels, o, c) in [
        (1, 4, 30, 48, 64),
        (2, 1, 17, 3, 3),
        (2, 2, 5, 40, 33),
        (1, 9, 20, 16, 320),
        (1, 9, 20, 48, 320),
        (2, 6, 70, 33, 65),
        (1, 8, 100, 160, 336),
        (2, 3, 210, 52, 96),
        (1, 3, 1, 64, 700),
    ] {
        let clips = Clips { n, frames, pixels };
        let rows = n * frames * pixels;
        let (x, w, bias) = (noise(rows * c, 1), noise(o * c * 3, 2), noise(o, 3));
        let addend = noise(rows * o, 4);
        for (profile, bound) in [(Profile::Strict, 3e-6), (Profile::Fast, 6e-3)] {
            for ctx in contexts(profile) {
                for bias in [None, Some(bias.clone())] {
                    let mut truth = frames64(clips, [o, c], &x, &w, bias.as_deref());
                    let conv = FrameConv::new(&ctx, [o, c], &w, bias).unwrap();
                    let mut y = vec![f32::NAN; rows * o];
                    conv.forward(&x, clips, &mut y, Finish::default()).unwrap();
                    let what = format!("{clips:?} {o} of {c} by {} on {}", conv.variant(), ctx.isa().name());
                    let error = relative_rms(&y, &truth);
                    assert!(error <= bound, "{what}: {error:e}");
                    conv.forward(&x, clips, &mut y, Finish::residual(&addend)).unwrap();
                    truth.iter_mut().zip(&addend).for_each(|(t, a)| *t += f64::from(*a));
                    let error = relative_rms(&y, &truth);
                    assert!(error <= bound, "{what} and an addend: {error:e}");
                    conv.forward(&x, clips, &mut y, Finish { act: Act::Silu, ..Finish::accumulate() })
                        .unwrap();
                    for (t, a) in truth.iter_mut().zip(&addend) {
                        let sum = 2.0 * *t - f64::from(*a);
                        *t = sum / (1.0 + (-sum).exp());
                    }
                    let error = relative_rms(&y, &truth);
                    assert!(error <= bound, "{what}, accumulated and activated: {error:e}");
                }
            }
        }
    }
}

#[test]
fn four_frames_at_a_time_where_that_spares_products_and_weights_have_room() {
    let (o, c) = (64, 48);
    let w = noise(o * c * 3, 1);
    let made = |weight_budget: usize, frames: usize| {
        let ctx = Context::new(Config { weight_budget, ..Config::default() }).unwrap();
        let conv = FrameConv::new(&ctx, [o, c], &w, None).unwrap();
        let clips = Clips { n: 1, frames, pixels: 5 };
        let mut y = vec![0.0; frames * 5 * o];
        conv.forward(&noise(frames * 5 * c, 2), clips, &mut y, Finish::default()).unwrap();
        let (variant, held) = (conv.variant(), ctx.transformed_bytes());
        drop(conv);
        assert_eq!(ctx.transformed_bytes(), 0);
        (variant, held)
    };
    let weights = 6 * o * c * size_of::<f32>();
    assert_eq!(made(weights, 4), ("frames-winograd-f32", weights));
    assert_eq!(made(weights - 1, 4), ("frames-f32", 0));
    assert_eq!(made(usize::MAX, 2), ("frames-f32", 0));
}

#[test]
fn a_convolution_over_time_refuses_what_does_not_fit() {
    let ctx = &contexts(Profile::Strict)[0];
    let said = FrameConv::new(ctx, [4, 2], &[0.0; 23], None).map(drop).unwrap_err().to_string();
    assert!(said.contains("weights of a convolution over time holds 23 values"), "{said}");
    let conv = FrameConv::new(ctx, [4, 2], &[0.0; 24], None).unwrap();
    let clips = Clips { n: 1, frames: 2, pixels: 3 };
    let mut y = [0.0; 24];
    assert!(conv.forward(&[0.0; 11], clips, &mut y, Finish::default()).is_err());
    assert!(conv.forward(&[0.0; 12], clips, &mut y[..23], Finish::default()).is_err());
}

#[test]
fn norms_of_what_something_is_added_to() {
    for (clips, frames, pixels, c, groups) in [(2, 3, 40, 64, 32), (1, 1, 33, 96, 32), (3, 2, 700, 24, 3)] {
        let n = clips * frames;
        let x = noise(n * pixels * c, 1);
        let added: Vec<f32> = noise(clips * c, 2).iter().map(|v| 3.0 * v).collect();
        let norm = GroupNorm::new(groups, 1e-5, noise(c, 3), noise(c, 4)).unwrap();
        let sum: Vec<f32> =
            x.iter().enumerate().map(|(i, x)| x + added[i / (frames * pixels * c) * c + i % c]).collect();
        for ctx in contexts(Profile::Strict) {
            for act in [Act::Identity, Act::Silu] {
                let (mut whole, mut apart) = (vec![f32::NAN; x.len()], vec![f32::NAN; x.len()]);
                norm.forward(&ctx, (n, act), &sum, &mut apart).unwrap();
                let pictures = Pictures { n, act, added: Some(&added) };
                norm.forward_of(&ctx, pictures, &x, &mut whole).unwrap();
                let apart: Vec<f64> = apart.into_iter().map(f64::from).collect();
                let error = relative_rms(&whole, &apart);
                assert!(error <= 2e-6, "{clips} {frames} {pixels} {c} on {}: {error:e}", ctx.isa().name());
            }
        }
    }
    let norm = GroupNorm::new(1, 1e-5, vec![1.0; 4], vec![0.0; 4]).unwrap();
    let pictures = Pictures { n: 3, act: Act::Identity, added: Some(&[0.0; 8]) };
    let (ctx, mut y) = (&contexts(Profile::Strict)[0], [0.0; 12]);
    let said = norm.forward_of(ctx, pictures, &[0.0; 12], &mut y).unwrap_err().to_string();
    assert!(said.contains("pictures of a norm is 3"), "{said}");
}

#[test]
fn sums_with_a_row_for_each_group_and_mixtures() {
    for (groups, rows, c) in [(1, 1, 1), (2, 33, 48), (3, 5000, 20), (25, 7, 1280), (2, 4000, 320)] {
        let (x, z, added) = (noise(groups * rows * c, 1), noise(groups * rows * c, 2), noise(groups * c, 3));
        let sums: Vec<f32> =
            x.iter().enumerate().map(|(i, x)| x + added[i / (rows * c) * c + i % c]).collect();
        let share = 0.3f32;
        let mixed: Vec<f32> = x.iter().zip(&z).map(|(x, z)| x * share + z * (1.0 - share)).collect();
        for ctx in contexts(Profile::Strict) {
            let mut y = vec![f32::NAN; x.len()];
            add_each(&ctx, &x, (&added, c), &mut y).unwrap();
            assert_eq!(y, sums, "{groups} {rows} {c} on {}", ctx.isa().name());
            mix(&ctx, [&x, &z], share, &mut y).unwrap();
            assert_eq!(y, mixed, "{groups} {rows} {c} on {}", ctx.isa().name());
        }
    }
    let ctx = &contexts(Profile::Strict)[0];
    assert!(add_each(ctx, &[0.0; 7], (&[0.0; 4], 2), &mut [0.0; 7]).is_err());
    assert!(mix(ctx, [&[0.0; 7], &[0.0; 6]], 0.5, &mut [0.0; 7]).is_err());
}

#[test]
fn a_linear_layer_with_another_bias() {
    let (rows, i, o) = (7, 40, 24);
    let (w, x, other) = (noise(o * i, 1), noise(rows * i, 2), noise(o, 3));
    for profile in [Profile::Strict, Profile::Fast] {
        for ctx in contexts(profile) {
            let linear = |bias| Linear::new(&ctx, [o, i], Weight::F32(&w), bias).unwrap();
            let run = |linear: &Linear, bias: Option<&[f32]>| {
                let mut y = vec![f32::NAN; rows * o];
                linear.forward_biased(&x, &mut y, bias, Finish::default()).unwrap();
                y
            };
            let (one, another) = (linear(Some(noise(o, 4))), linear(Some(other.clone())));
            assert_eq!(run(&one, Some(&other)), run(&another, another.bias()));
            assert_eq!(run(&one, None), run(&linear(None), None));
        }
    }
}
