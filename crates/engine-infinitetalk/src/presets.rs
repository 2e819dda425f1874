//! What belongs together: how many steps, how much guidance, which shift. A preset is what the weights were made for or what trades quality for
//! time; whatever a user sends counts above it.

use crate::sampler::schedule::Spacing;

/// How the model is sampled where nobody says otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usual {
    pub steps: usize,
    pub spacing: Spacing,
    /// Of the flow's schedule; `None`: 7 at 480, 11 at 720.
    pub shift: Option<f64>,
    /// 1: the prompt is heeded, no branch without it is computed.
    pub text_guide_scale: f64,
    /// 1, with a text scale of 1: one forward a step.
    pub audio_guide_scale: f64,
    /// Threshold of TeaCache; `None`: every step is computed.
    pub teacache: Option<f64>,
}

/// Of the official command line.
const OFFICIAL: Usual = Usual {
    steps: 40,
    spacing: Spacing::DownToOne,
    shift: None,
    text_guide_scale: 5.0,
    audio_guide_scale: 4.0,
    teacache: None,
};

/// What an adapter or a distilled checkpoint was trained for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trained {
    /// Neither: 40 steps of three forwards.
    #[default]
    Base,
    /// Wan alone, which hears nothing: 40 steps of two forwards.
    Wan,
    /// A step-distilling adapter for 8 steps, as FusionX.
    EightSteps,
    /// One for 4 steps, as lightx2v.
    FourSteps,
    /// A distilled model that needs no guidance at all.
    FourStepsUnguided,
}

impl Trained {
    pub fn usual(self) -> Usual {
        match self {
            Trained::Base => OFFICIAL,
            Trained::Wan => WAN,
            Trained::EightSteps => Usual { steps: 8, ..DISTILLED },
            Trained::FourSteps => Usual { steps: 4, ..DISTILLED },
            Trained::FourStepsUnguided => Usual {
                steps: 4,
                spacing: Spacing::Even,
                shift: Some(7.0),
                audio_guide_scale: 1.0,
                ..DISTILLED
            },
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Trained::Base => "base",
            Trained::Wan => "wan",
            Trained::EightSteps => "8-steps",
            Trained::FourSteps => "4-steps",
            Trained::FourStepsUnguided => "4-steps-unguided",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        [Self::Base, Self::EightSteps, Self::FourSteps, Self::FourStepsUnguided]
            .into_iter()
            .find(|trained| trained.name() == name)
    }

    /// By the names under which the known ones are published.
    pub fn of_file(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        let has = |part: &str| name.contains(part);
        match () {
            () if has("fusionx") || has("fusion_x") => Self::EightSteps,
            () if has("lightx2v") && has("lora") || has("cfg_step_distill") => Self::FourSteps,
            () if has("lightx2v_4step") || has("distill") && has("4step") => Self::FourStepsUnguided,
            () => Self::Base,
        }
    }
}

/// Wan2.1's README at 480p; Euler's method where Wan has UniPC.
const WAN: Usual = Usual {
    steps: 40,
    spacing: Spacing::Even,
    shift: Some(3.0),
    text_guide_scale: 5.0,
    audio_guide_scale: 1.0,
    teacache: None,
};

/// As the official README has it for distilling adapters: two forwards a step.
const DISTILLED: Usual = Usual {
    steps: 8,
    spacing: Spacing::DownToOne,
    shift: Some(2.0),
    text_guide_scale: 1.0,
    audio_guide_scale: 2.0,
    teacache: None,
};

/// fal's word for how much quality may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acceleration {
    #[default]
    None,
    Regular,
    High,
}

impl Acceleration {
    pub fn name(self) -> &'static str {
        match self {
            Acceleration::None => "none",
            Acceleration::Regular => "regular",
            Acceleration::High => "high",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        [Self::None, Self::Regular, Self::High].into_iter().find(|level| level.name() == name)
    }

    /// `none` is what the weights were made for. `regular` lets TeaCache skip steps whose time embedding has hardly changed, at the official
    /// threshold. `high` also halves the steps. Weights that need few steps are left as they are: there is nothing to skip.
    pub fn over(self, usual: Usual) -> Usual {
        if usual.steps < FEWEST_TO_SKIP {
            return usual;
        }
        match self {
            Acceleration::None => usual,
            Acceleration::Regular => Usual { teacache: Some(TEACACHE), ..usual },
            Acceleration::High => Usual { steps: usual.steps / 2, teacache: Some(TEACACHE), ..usual },
        }
    }
}

/// Official threshold of TeaCache.
pub const TEACACHE: f64 = 0.2;
/// Below it TeaCache, which computes the first five steps in any case, saves next to nothing.
const FEWEST_TO_SKIP: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_adapters_are_known_by_their_names() {
        for (file, trained) in [
            ("Wan2.1_I2V_14B_FusionX_LoRA.safetensors", Trained::EightSteps),
            ("Wan21_T2V_14B_lightx2v_cfg_step_distill_lora_rank32.safetensors", Trained::FourSteps),
            ("lightx2v_I2V_14B_480p_cfg_step_distill_rank64_bf16.safetensors", Trained::FourSteps),
            ("wan2.1_i2v_480p_lightx2v_4step.safetensors", Trained::FourStepsUnguided),
            ("my_style.safetensors", Trained::Base),
        ] {
            assert_eq!(Trained::of_file(file), trained, "{file}");
        }
    }

    #[test]
    fn acceleration_spares_what_is_short_already() {
        let base = Trained::Base.usual();
        assert_eq!(Acceleration::None.over(base), base);
        assert_eq!(Acceleration::High.over(base).steps, 20);
        let four = Trained::FourSteps.usual();
        assert_eq!(Acceleration::High.over(four), four);
        assert_eq!((four.text_guide_scale, four.audio_guide_scale, four.shift), (1.0, 2.0, Some(2.0)));
    }
}
