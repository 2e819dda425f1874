//! What one process has found out spares the next one the trying out, as far as it fits.

use kernels::{Config, Context, Conv2d, ConvSpec, Finish, Padding, Size};

fn picked(context: &Context, spec: ConvSpec) -> &'static str {
    let weights: Vec<f32> = (0..spec.weights()).map(|i| ((i * 37 % 101) as f32 - 50.0) / 500.0).collect();
    let conv = Conv2d::new(context, spec, weights, None).unwrap();
    let input = Size { n: 1, h: 12, w: 12 };
    let x: Vec<f32> = (0..144 * spec.in_channels).map(|i| ((i * 13 % 97) as f32 - 48.0) / 50.0).collect();
    let mut y = vec![0.0; 144 * spec.out_channels];
    conv.forward(&x, input, &mut y, Finish::default()).unwrap();
    conv.variant().unwrap().name()
}

#[test]
fn a_later_process_takes_what_was_picked_and_nothing_that_does_not_fit() {
    let spec = ConvSpec { padding: Padding::all(1), ..ConvSpec::new(32, 32, [3, 3]) };
    let first = Context::new(Config::default()).unwrap();
    let was = picked(&first, spec);
    let lines = first.learned();
    assert_eq!(lines.lines().count(), 1, "{lines}");
    assert!(lines.starts_with(was), "{lines}");
    for (written, expected) in
        [("winograd-2x2-f32", Some("winograd-2x2-f32")), ("direct-f32", Some("direct-f32"))]
    {
        let later = Context::new(Config::default()).unwrap();
        later.learn(&lines.replace(was, written));
        assert_eq!(Some(picked(&later, spec)), expected);
        assert!(later.learned().starts_with(written));
    }
    for wrong in ["depthwise-f32", "direct-bf16", "guessed", ""] {
        let later = Context::new(Config::default()).unwrap();
        later.learn(&lines.replace(was, wrong));
        let picked = picked(&later, spec);
        assert!(picked != "depthwise-f32" && picked != "direct-bf16", "{wrong}: {picked}");
    }
}
