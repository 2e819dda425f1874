//! What a user may set, by the official names. Read once, at the start; an unknown name or a value out of range is told then, with its range and
//! the remedy. What is left out depends on the weights and on the acceleration.

use contract::{Complaint, Fps, Sent, SettingCard, Settings, Value, bad_value};

use crate::picture::{PersonBox, SizeClass};
use crate::presets::{Acceleration, TEACACHE, Trained, Usual};
use crate::sampler::guidance::{Guidance, Projection};
use crate::sampler::schedule::{Schedule, Spacing};
use crate::sampler::teacache::{Fit, TeaCache};
use crate::sampler::{Anchor, ColourReference, Drift, SamplerError, Sampling};

/// InfiniteTalk's weights know no other.
pub const FPS: Fps = Fps::whole(25);
/// Wan's.
pub const WAN_FPS: Fps = Fps::whole(16);

/// Adaptive projected guidance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Apg {
    pub momentum: f64,
    pub norm_threshold: f64,
}

/// The settings of one session, resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    pub resolution: SizeClass,
    pub acceleration: Acceleration,
    pub steps: usize,
    pub shift: f64,
    pub text_guide_scale: f64,
    pub audio_guide_scale: f64,
    pub negative_prompt: Option<String>,
    /// Frames of a chunk, 4k + 1.
    pub frame_num: usize,
    /// Frames a chunk takes over from the one before, 4k + 1.
    pub motion_frame: usize,
    /// 0: none.
    pub color_correction_strength: f64,
    pub colour_reference: ColourReference,
    pub anchor: Anchor,
    /// Frames over which a chunk is faded in over the end of the one before, at most `motion_frame`.
    pub cross_fade: usize,
    pub teacache: Option<f64>,
    pub apg: Option<Apg>,
    /// Each scene of a clip begins anew.
    pub scene_seg: bool,
    /// One chunk only.
    pub clip: bool,
    /// Where the persons are; none: the halves of the picture.
    pub persons: Vec<PersonBox>,
    spacing: Spacing,
}

const STEPS: (i64, i64) = (1, 1000);
const SCALE: (f64, f64) = (0.0, 100.0);
const SHIFT: (f64, f64) = (0.01, 100.0);
const FRAMES: (i64, i64) = (5, 241);
const PROMPT: usize = 100_000;

impl Options {
    /// `defaults`: what is meant where nothing is sent.
    pub fn parse(settings: &Settings, defaults: Defaults) -> Result<Self, Complaint> {
        let known: Vec<&str> = cards(defaults).iter().map(|card| card.name).collect();
        let sent = Sent::to("infinitetalk", settings, &known)?;
        let resolution = sent.choice("resolution", SizeClass::Size480, "480 or 720", |name| {
            name.trim_end_matches('p').parse().ok()
        })?;
        let acceleration =
            sent.choice("acceleration", Acceleration::None, "none, regular or high", Acceleration::named)?;
        let usual = acceleration.over(defaults.trained.usual());
        let frame_num = sent.whole("frame_num", defaults.frame_num as i64, FRAMES)?;
        let frame_num = four_and_one("frame_num", frame_num)?;
        let motion = sent.whole("motion_frame", defaults.motion_frame as i64, (1, FRAMES.1))?;
        let motion_frame = four_and_one("motion_frame", motion)?;
        if motion_frame >= frame_num {
            return Err(bad_value(
                "motion_frame",
                &motion_frame.to_string(),
                &format!("less than frame_num, which is {frame_num}"),
            ));
        }
        let use_teacache = sent.switch("use_teacache", usual.teacache.is_some() || defaults.use_teacache)?;
        let threshold = sent.real("teacache_thresh", defaults.teacache_thresh, (0.0, 10.0))?;
        let apg = Apg {
            momentum: sent.real("apg_momentum", defaults.apg.momentum, (-1.0, 1.0))?,
            norm_threshold: sent.real("apg_norm_threshold", defaults.apg.norm_threshold, (0.0, 1e6))?,
        };
        // Wan's colours are its own
        let corrected = sent.switch("color_correction", defaults.hears)?;
        let strength = sent.real("color_correction_strength", 1.0, (0.0, 1.0))?;
        let negative_prompt = sent.text("negative_prompt");
        if let Some(long) = negative_prompt.as_ref().filter(|text| text.len() > PROMPT) {
            let message =
                format!("the negative prompt is {} bytes long, the limit is {PROMPT} bytes", long.len());
            return Err(Complaint::new("bad_setting", message, "shorten it"));
        }
        let options = Self {
            resolution,
            acceleration,
            steps: sent.whole("diffusion_steps", usual.steps as i64, STEPS)? as usize,
            shift: sent.real("shift", usual.shift.unwrap_or(shift_of(resolution)), SHIFT)?,
            text_guide_scale: sent.real("text_guide_scale", usual.text_guide_scale, SCALE)?,
            audio_guide_scale: sent.real("audio_guide_scale", usual.audio_guide_scale, SCALE)?,
            negative_prompt,
            frame_num,
            motion_frame,
            color_correction_strength: if corrected { strength } else { 0.0 },
            colour_reference: sent.choice(
                "color_reference",
                ColourReference::First,
                "first or anchor",
                |name| match name {
                    "first" => Some(ColourReference::First),
                    "anchor" => Some(ColourReference::Anchor),
                    _ => None,
                },
            )?,
            anchor: sent.choice(
                "anchor",
                // what hears nothing goes on from what it made
                usual_anchor(defaults),
                "source, first or previous",
                |name| match name {
                    "source" => Some(Anchor::Source),
                    "first" => Some(Anchor::First),
                    "previous" => Some(Anchor::Previous),
                    _ => None,
                },
            )?,
            cross_fade: sent.whole("cross_fade", 0, (0, motion_frame as i64))? as usize,
            teacache: use_teacache.then_some(threshold),
            apg: sent.switch("use_apg", defaults.use_apg)?.then_some(apg),
            scene_seg: sent.switch("scene_seg", false)?,
            clip: sent.choice("mode", defaults.clip, "clip or streaming", |name| match name {
                "clip" => Some(true),
                "streaming" => Some(false),
                _ => None,
            })?,
            persons: persons(&sent)?,
            spacing: usual.spacing,
        };
        // what only the sampler refuses is refused before anything is loaded for it
        options.sampling().map_err(|error| {
            Complaint::new("bad_setting", error.to_string(), "correct it, or leave it out")
        })?;
        Ok(options)
    }

    pub fn guidance(&self) -> Result<Guidance, SamplerError> {
        let guidance = Guidance::new(self.text_guide_scale, self.audio_guide_scale)?;
        match self.apg {
            None => Ok(guidance),
            Some(Apg { momentum, norm_threshold }) => {
                guidance.with_projection(Projection { momentum, norm_threshold })
            }
        }
    }

    pub fn sampling(&self) -> Result<Sampling, SamplerError> {
        let fit = match self.resolution {
            SizeClass::Size480 => Fit::P480,
            SizeClass::Size720 => Fit::P720,
        };
        Ok(Sampling {
            schedule: Schedule::new(self.spacing, self.steps, self.shift)?,
            guidance: self.guidance()?,
            teacache: self.teacache.map(|threshold| TeaCache::new(threshold, fit)).transpose()?,
        })
    }

    pub fn drift(&self) -> Drift {
        Drift {
            colour_strength: self.color_correction_strength as f32,
            colour_reference: self.colour_reference,
            anchor: self.anchor,
            cross_fade: self.cross_fade,
        }
    }

    /// As the report shows them.
    pub fn report(&self) -> Vec<(String, Value)> {
        let text = |text: &str| Value::Text(text.to_owned());
        let whole = |number: usize| Value::Int(number as i64);
        let mut rows = vec![
            ("resolution", text(self.resolution.name())),
            ("acceleration", text(self.acceleration.name())),
            ("diffusion_steps", whole(self.steps)),
            ("shift", Value::Float(self.shift)),
            ("text_guide_scale", Value::Float(self.text_guide_scale)),
            ("audio_guide_scale", Value::Float(self.audio_guide_scale)),
            ("frame_num", whole(self.frame_num)),
            ("motion_frame", whole(self.motion_frame)),
            ("color_correction", Value::Bool(self.color_correction_strength > 0.0)),
            ("color_correction_strength", Value::Float(self.color_correction_strength)),
            (
                "color_reference",
                text(match self.colour_reference {
                    ColourReference::First => "first",
                    ColourReference::Anchor => "anchor",
                }),
            ),
            ("anchor", text(anchor_name(self.anchor))),
            ("cross_fade", whole(self.cross_fade)),
            ("use_teacache", Value::Bool(self.teacache.is_some())),
            ("use_apg", Value::Bool(self.apg.is_some())),
            ("scene_seg", Value::Bool(self.scene_seg)),
            ("mode", text(if self.clip { "clip" } else { "streaming" })),
        ];
        if let Some(threshold) = self.teacache {
            rows.push(("teacache_thresh", Value::Float(threshold)));
        }
        if let Some(apg) = self.apg {
            rows.push(("apg_momentum", Value::Float(apg.momentum)));
            rows.push(("apg_norm_threshold", Value::Float(apg.norm_threshold)));
        }
        if let Some(prompt) = &self.negative_prompt {
            rows.push(("negative_prompt", text(prompt)));
        }
        for (name, person) in ["person1", "person2"].into_iter().zip(&self.persons) {
            let PersonBox { left, top, right, bottom } = person;
            rows.push((name, Value::Text(format!("left={left},top={top},right={right},bottom={bottom}"))));
        }
        rows.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// What is meant where nothing is sent: of the weights, and of whoever runs this machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Defaults {
    pub trained: Trained,
    /// Whether somebody speaks. Wan alone hears nothing, and its colours are its own.
    pub hears: bool,
    pub frame_num: usize,
    pub motion_frame: usize,
    pub use_teacache: bool,
    pub teacache_thresh: f64,
    pub use_apg: bool,
    pub apg: Apg,
    pub clip: bool,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            trained: Trained::Base,
            hears: true,
            frame_num: 81,
            motion_frame: 9,
            use_teacache: false,
            teacache_thresh: TEACACHE,
            use_apg: false,
            apg: Apg { momentum: -0.75, norm_threshold: 55.0 },
            clip: false,
        }
    }
}

/// The video VAE makes four frames of a latent frame, and one of the first.
fn four_and_one(name: &str, frames: i64) -> Result<usize, Complaint> {
    if frames % 4 != 1 {
        let (below, above) = ((frames - 1) / 4 * 4 + 1, (frames - 1) / 4 * 4 + 5);
        let known = format!("4k + 1, such as {below} or {above}");
        return Err(bad_value(name, &frames.to_string(), &known));
    }
    Ok(frames as usize)
}

/// Both or none.
fn persons(sent: &Sent) -> Result<Vec<PersonBox>, Complaint> {
    let mut persons = Vec::new();
    for name in ["person1", "person2"] {
        let Some(text) = sent.text(name) else { continue };
        let person: Result<PersonBox, _> = text.parse();
        persons.push(person.map_err(|error| {
            Complaint::new("bad_setting", format!("{name}: {error}"), "correct it, or leave it out")
        })?);
    }
    match persons.len() {
        1 => Err(bad_value(
            if sent.has("person1") { "person1" } else { "person2" },
            "given alone",
            "given together with the other; a single person needs no box",
        )),
        _ => Ok(persons),
    }
}

fn shift_of(resolution: SizeClass) -> f64 {
    match resolution {
        SizeClass::Size480 => 7.0,
        SizeClass::Size720 => 11.0,
    }
}

/// What hears nothing goes on from what it made.
fn usual_anchor(defaults: Defaults) -> Anchor {
    if defaults.hears { Anchor::Source } else { Anchor::Previous }
}

fn anchor_name(anchor: Anchor) -> &'static str {
    match anchor {
        Anchor::Source => "source",
        Anchor::First => "first",
        Anchor::Previous => "previous",
    }
}

pub fn cards(defaults: Defaults) -> Vec<SettingCard> {
    let card = |name, default, help| SettingCard { name, default, help };
    let text = |text: &str| Value::Text(text.to_owned());
    let Usual { steps, shift, text_guide_scale, audio_guide_scale, .. } = defaults.trained.usual();
    let mut cards = vec![
        card("resolution", Value::Int(480), "480 or 720: the nearest of its sizes to the picture's shape"),
        card(
            "acceleration",
            text("none"),
            "none; regular: TeaCache leaves out steps that change little; high: half the steps besides",
        ),
        card("diffusion_steps", Value::Int(steps as i64), "denoising steps a chunk, 1 to 1000"),
        card("shift", Value::Float(shift.unwrap_or(7.0)), "of the schedule; 11 at 720"),
        card(
            "text_guide_scale",
            Value::Float(text_guide_scale),
            "how much the prompt counts; 1: a third less work",
        ),
        card(
            "audio_guide_scale",
            Value::Float(audio_guide_scale),
            "how much the voice counts; 3 to 5 is usual",
        ),
        card("negative_prompt", text(""), "what is not to be seen, instead of the official text"),
        card("frame_num", Value::Int(defaults.frame_num as i64), "frames a chunk, 4k + 1, 5 to 241"),
        card(
            "motion_frame",
            Value::Int(defaults.motion_frame as i64),
            "frames a chunk takes over from the one before, 4k + 1",
        ),
        card("color_correction", Value::Bool(defaults.hears), "draws the colours back to the input's"),
        card("color_correction_strength", Value::Float(1.0), "0 to 1"),
        card(
            "color_reference",
            text("first"),
            "first: the colours of the input's first picture; anchor: of what each chunk goes on from",
        ),
        card(
            "anchor",
            text(anchor_name(usual_anchor(defaults))),
            "what a chunk is made after: source, the input at its time; first, the input's first picture; previous, the last frame made",
        ),
        card("cross_fade", Value::Int(0), "frames over which a chunk is faded in, 0 to motion_frame"),
        card("use_teacache", Value::Bool(defaults.use_teacache), "leave out steps that change little"),
        card("teacache_thresh", Value::Float(defaults.teacache_thresh), "0 to 10: how much change is little"),
        card(
            "use_apg",
            Value::Bool(defaults.use_apg),
            "adaptive projected guidance: less saturation at high scales",
        ),
        card("apg_momentum", Value::Float(defaults.apg.momentum), "-1 to 1"),
        card("apg_norm_threshold", Value::Float(defaults.apg.norm_threshold), "longest guidance"),
        card("scene_seg", Value::Bool(false), "begin anew at each cut of a clip"),
        card(
            "mode",
            text(if defaults.clip { "clip" } else { "streaming" }),
            "streaming: as long as the voice; clip: one chunk",
        ),
        card(
            "person1",
            text(""),
            "left=L,top=T,right=R,bottom=B of the first of two persons, pixels of the picture",
        ),
        card("person2", text(""), "the same of the second person"),
    ];
    if !defaults.hears {
        cards.retain(|card| !OF_SPEECH.contains(&card.name));
    }
    cards
}

/// Settings that mean nothing where nobody speaks.
const OF_SPEECH: [&str; 8] =
    ["audio_guide_scale", "motion_frame", "anchor", "cross_fade", "scene_seg", "mode", "person1", "person2"];

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(rows: &[(&str, Value)]) -> Result<Options, String> {
        let sent = rows.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Options::parse(&Settings { sent }, Defaults::default()).map_err(|complaint| complaint.message)
    }

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    #[test]
    fn what_is_left_out_is_official() {
        let plain = parse(&[]).unwrap();
        assert_eq!((plain.steps, plain.shift, plain.motion_frame, plain.frame_num), (40, 7.0, 9, 81));
        assert_eq!((plain.text_guide_scale, plain.audio_guide_scale), (5.0, 4.0));
        assert_eq!((plain.color_correction_strength, plain.teacache, plain.apg), (1.0, None, None));
        let large =
            parse(&[("resolution", text("infinitetalk-720")), ("acceleration", text("high"))]).unwrap();
        assert_eq!((large.shift, large.steps, large.teacache), (11.0, 20, Some(0.2)));
        let own = parse(&[("acceleration", text("high")), ("diffusion_steps", Value::Int(30))]).unwrap();
        assert_eq!(own.steps, 30);
        let off = parse(&[("color_correction", Value::Bool(false))]).unwrap();
        assert_eq!(off.color_correction_strength, 0.0);
        let names: Vec<String> = own.report().into_iter().map(|(name, _)| name).collect();
        for name in ["resolution", "diffusion_steps", "shift", "teacache_thresh", "mode"] {
            assert!(names.contains(&name.to_owned()), "{names:?}");
        }
    }

    #[test]
    fn every_setting_has_a_card_that_tells_its_default() {
        for (hears, trained) in [(true, Trained::Base), (true, Trained::FourSteps), (false, Trained::Wan)] {
            let defaults =
                Defaults { hears, trained, use_teacache: true, use_apg: true, ..Defaults::default() };
            let cards = cards(defaults);
            let options = Options::parse(&Settings::default(), defaults).unwrap();
            for (name, value) in options.report() {
                // the strength of a correction that is off is none
                let off = name == "color_correction_strength" && !hears;
                if off || !hears && OF_SPEECH.contains(&name.as_str()) {
                    continue;
                }
                let card = cards.iter().find(|card| card.name == name);
                let card = card.unwrap_or_else(|| panic!("{name} cannot be set"));
                assert_eq!(card.default.to_string(), value.to_string(), "{name}, {trained:?}");
            }
        }
    }

    #[test]
    fn what_only_the_sampler_refuses_is_refused_at_once() {
        let rows = [
            [("use_teacache", Value::Bool(true)), ("teacache_thresh", Value::Float(0.0))],
            [("use_apg", Value::Bool(true)), ("apg_norm_threshold", Value::Float(0.0))],
        ];
        for row in rows {
            assert!(parse(&row).is_err(), "{row:?}");
        }
        assert!(parse(&[("teacache_thresh", Value::Float(0.0))]).is_ok(), "it is not used");
        let colours = parse(&[("color_reference", text("anchor")), ("anchor", text("first"))]).unwrap();
        assert_eq!((colours.colour_reference, colours.anchor), (ColourReference::Anchor, Anchor::First));
    }

    /// Forwards of the net for one chunk, and the second timestep.
    #[test]
    fn forwards_of_the_known_ways() {
        for (trained, sent, forwards, second) in [
            (Trained::Base, vec![], 120, 996.26),
            (Trained::Base, vec![("resolution", Value::Int(720))], 120, 997.62),
            (Trained::EightSteps, vec![], 16, 923.16),
            (Trained::FourSteps, vec![], 8, 800.24),
            (Trained::FourStepsUnguided, vec![], 4, 954.55),
            (Trained::FourStepsUnguided, vec![("diffusion_steps", Value::Int(8))], 8, 980.0),
            (Trained::Wan, vec![], 80, 991.53),
        ] {
            let sent = sent.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            let defaults = Defaults { trained, ..Defaults::default() };
            let options = Options::parse(&Settings { sent }, defaults).unwrap();
            let sampling = options.sampling().unwrap();
            let passes = sampling.guidance.branches().len();
            assert_eq!(sampling.schedule.steps() * passes, forwards, "{trained:?}");
            assert!((sampling.schedule.timestep(1) - second).abs() < 0.01, "{sampling:?}");
        }
    }

    #[test]
    fn a_mistake_is_told_with_its_value_and_its_range() {
        let rows: [(&[(&str, Value)], &str); 10] = [
            (&[("resolution", Value::Int(512))], "resolution is 512, it must be 480 or 720"),
            (&[("motion_frame", Value::Int(8))], "motion_frame is 8, it must be 4k + 1, such as 5 or 9"),
            (&[("frame_num", Value::Int(80))], "frame_num is 80, it must be 4k + 1, such as 77 or 81"),
            (&[("motion_frame", Value::Int(81))], "less than frame_num, which is 81"),
            (&[("diffusion_steps", Value::Int(0))], "diffusion_steps is 0, it must be a whole number from 1"),
            (&[("text_guide_scale", Value::Float(f64::NAN))], "text_guide_scale is NaN"),
            (&[("person1", text("1,2,3")), ("person2", text("0,0,5,9"))], "person1: `1,2,3` is no box"),
            (&[("person2", text("0,0,5,9"))], "person2 is given alone"),
            (&[("anchor", text("last"))], "anchor is last, it must be source, first or previous"),
            (&[("steps", Value::Int(4))], "infinitetalk has no setting `steps`"),
        ];
        for (row, told) in rows {
            let message = parse(row).unwrap_err();
            assert!(message.contains(told), "{message}");
        }
    }
}
