//! Results so large that they are written past the caches are the same, bit for bit, as when they are made in parts that are not.

use kernels::*;

fn noise(len: usize, seed: u64) -> Vec<f32> {
    let mut s = seed;
    (0..len)
        .map(|_| {
            s = s.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (s >> 40) as f32 / (1u64 << 24) as f32 - 0.5
        })
        .collect()
}

/// Only what begins at a whole line is written so: a part of `room` that does.
fn lines(room: &mut [f32], len: usize) -> &mut [f32] {
    let skip = room.as_ptr().align_offset(64);
    &mut room[skip..skip + len]
}

fn check(what: &str, parts: usize, values: usize, make: &dyn Fn(std::ops::Range<usize>, &mut [f32])) {
    assert!(parts * values * 4 >= 24 << 20, "{what} is too small to be written past the caches");
    let mut whole = vec![f32::NAN; parts * values + 16];
    let whole = lines(&mut whole, parts * values);
    make(0..parts, whole);
    let mut part = vec![f32::NAN; values];
    for (i, whole) in whole.chunks_exact(values).enumerate() {
        make(i..i + 1, &mut part);
        assert!(part == whole, "{what}: part {i} differs");
    }
}

#[test]
fn large_results_are_those_of_their_parts() {
    for (isa, profile) in Isa::ALL.into_iter().flat_map(|isa| [(isa, Profile::Strict), (isa, Profile::Fast)])
    {
        if isa > Isa::detect() {
            println!("skipped on this machine: {}", isa.name());
            continue;
        }
        let ctx = Context::new(Config { threads: 2, isa: Some(isa), profile, ..Config::default() }).unwrap();
        let at = |what: &str| format!("{what} on {} {profile:?}", isa.name());

        let (parts, rows, inputs, outputs) = (10, 640, 32, 1024);
        let x = noise(parts * rows * inputs, 1);
        let linear = Linear::new(
            &ctx,
            [outputs, inputs],
            Weight::F32(&noise(outputs * inputs, 2)),
            Some(noise(outputs, 3)),
        )
        .unwrap();
        check(&at("linear"), parts, rows * outputs, &|range, y| {
            let x = &x[range.start * rows * inputs..range.end * rows * inputs];
            linear.forward(x, y, Finish::act(Act::Relu)).unwrap();
        });

        let (parts, pixels, c) = (26, 64 * 64, 64);
        let x = noise(parts * pixels * c, 4);
        let norm = GroupNorm::new(8, 1e-5, noise(c, 5), noise(c, 6)).unwrap();
        check(&at("group norm"), parts, pixels * c, &|range, y| {
            let n = range.len();
            norm.forward(&ctx, (n, Act::Silu), &x[range.start * pixels * c..range.end * pixels * c], y)
                .unwrap();
        });

        let (parts, side, c, o) = (13, 64, 8, 128);
        let spec = ConvSpec::new(c, o, [3, 3]).padding(Padding::all(1));
        let (x, weights) = (noise(parts * side * side * c, 7), noise(spec.weights(), 8));
        let residual = noise(parts * side * side * o, 9);
        for variant in [Variant::DirectF32, Variant::TiledAmx] {
            let Ok(conv) = Conv2d::forced(&ctx, spec, &weights, Some(noise(o, 10)), variant) else {
                continue;
            };
            check(&at(variant.name()), parts, side * side * o, &|range, y| {
                let input = Size::new(range.len(), side, side);
                let x = &x[range.start * side * side * c..range.end * side * side * c];
                let rows = &residual[range.start * side * side * o..range.end * side * side * o];
                conv.forward(x, input, y, Finish::residual(rows)).unwrap();
            });
        }
    }
}
