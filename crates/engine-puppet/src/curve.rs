//! Curves of motion and shape: cheap, smooth, and equal to the last bit on every machine.
//! Nothing here calls the system's libm, whose last digit depends on the CPU.

/// 0 below `a`, 1 above `b`, smooth between; `a > b` falls instead of rising.
#[inline(always)]
pub fn smooth(a: f32, b: f32, x: f32) -> f32 {
    let t = ((x - a) / (b - a)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// Close to `exp(-x2)`, but exactly 0 from `x2 = 4` on.
#[inline(always)]
pub fn bump(x2: f32) -> f32 {
    let f = (1.0 - 0.25 * x2).max(0.0);
    (f * f) * (f * f)
}

#[inline(always)]
pub fn mix(a: f32, b: f32, t: f32) -> f32 {
    a + (b - a) * t
}

/// Sine of `turns` full turns, to 1e-6.
pub fn wave(turns: f64) -> f64 {
    let t = turns - turns.round(); // -0.5..0.5
    let folded = if t.abs() > 0.25 { 0.5f64.copysign(t) - t } else { t };
    let x = folded * std::f64::consts::TAU;
    let x2 = x * x;
    x * (1.0 - x2 / 6.0 * (1.0 - x2 / 20.0 * (1.0 - x2 / 42.0 * (1.0 - x2 / 72.0 * (1.0 - x2 / 110.0)))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waves_are_sines_and_bumps_end() {
        for i in -400..400 {
            let turns = f64::from(i) / 130.0;
            assert!((wave(turns) - (turns * std::f64::consts::TAU).sin()).abs() < 1e-6, "{turns}");
        }
        assert_eq!((bump(0.0), bump(4.0), bump(9.0)), (1.0, 0.0, 0.0));
        assert!((0..40).all(|i| (bump(i as f32 * 0.1) - (-i as f32 * 0.1).exp()).abs() < 0.09));
    }

    #[test]
    fn smooth_rises_and_falls() {
        assert_eq!((smooth(1.0, 2.0, 0.5), smooth(1.0, 2.0, 1.5), smooth(1.0, 2.0, 3.0)), (0.0, 0.5, 1.0));
        assert_eq!((smooth(2.0, 1.0, 0.5), smooth(2.0, 1.0, 3.0)), (1.0, 0.0));
    }
}
