//! What a user may set, by the official names. Read once, at the start; an unknown name or a value out of range is told then,
//! with its range and the remedy. What is left out depends on the version and the profile.

use contract::{Complaint, Fps, Sent, SettingCard, Settings, Value};

use crate::audio::ear::Hearing;
use crate::audio::windows::{MAX_PADDING, Padding};
use crate::mask::parsing::{CheekWidths, Parsing};

/// Which weights of the UNet, with what belongs to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    V1,
    V15,
}

impl Version {
    pub fn name(self) -> &'static str {
        match self {
            Version::V1 => "v1",
            Version::V15 => "v15",
        }
    }

    fn named(name: &str) -> Option<Self> {
        match name {
            "v1" | "v1.0" => Some(Version::V1),
            "v15" | "v1.5" => Some(Version::V15),
            _ => None,
        }
    }
}

/// Whose numbers and whose order of things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Better than the official code where it is known to be wrong or unsteady.
    Default,
    /// What the official code of today gives, its mistakes included.
    Strict,
    /// What the official code before v1.5 gave, with v1's weights.
    Classic,
}

impl Profile {
    pub fn name(self) -> &'static str {
        match self {
            Profile::Default => "default",
            Profile::Strict => "strict",
            Profile::Classic => "classic",
        }
    }

    pub fn hearing(self) -> Hearing {
        match self {
            Profile::Default => Hearing::Default,
            Profile::Strict => Hearing::Strict,
            Profile::Classic => Hearing::Classic,
        }
    }
}

/// What finds and parses the face.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DetectorKind {
    /// S3FD, DWPose and BiSeNet, as the official code: three more checkpoints.
    Official,
    /// The built-in classical detector: no checkpoint. The mouth's surroundings are drawn by geometry.
    Face,
}

/// Which of several faces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Whom the detector is surest of; in the profile `default`, the largest.
    Main,
    /// Counted from the left of the first frame with a face, from 1.
    Nth(u32),
}

/// The settings of one session or avatar, resolved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    pub version: Version,
    pub profile: Profile,
    pub detector: DetectorKind,
    pub face: Choice,
    pub bbox_shift: i32,
    pub extra_margin: i32,
    pub parsing: Parsing,
    pub padding: Padding,
    pub batch_size: usize,
    /// The mouth closes where the voice is silent; only in the profile `default`.
    pub silence: bool,
}

/// Frame rate where nobody names one; the weights were trained at it.
pub const DEFAULT_FPS: Fps = Fps::whole(25);

const SHIFT: i64 = 1000;
const MARGIN: i64 = 1000;
const BATCH: i64 = MOST_AT_ONCE as i64;
/// Largest `batch_size`.
pub const MOST_AT_ONCE: usize = 64;
/// Frames made at a time, as the official offline script does.
const DEFAULT_BATCH: i64 = 8;
const DEFAULT_MARGIN: i64 = 10;
const DEFAULT_PADDING: i64 = 2;
/// Pixels of the parser's picture from its middle.
const CHEEK: i64 = 256;
const FACES: i64 = 100;

impl Options {
    /// `version`: where none is sent.
    pub fn parse(settings: &Settings, version: Version) -> Result<Self, Complaint> {
        let known: Vec<&str> = cards(version).iter().map(|card| card.name).collect();
        let sent = Sent::to("musetalk", settings, &known)?;
        let version = sent.choice("version", version, "v1 or v15", Version::named)?;
        let profile = sent.choice("profile", Profile::Default, "default, strict or classic", |name| {
            [Profile::Default, Profile::Strict, Profile::Classic].into_iter().find(|p| p.name() == name)
        })?;
        if profile == Profile::Classic && version == Version::V15 {
            return Err(Complaint::new(
                "bad_setting",
                "the profile is classic, which is of before v1.5, but the version is v15",
                "set version=v1, or another profile",
            ));
        }
        let cheek = if version == Version::V1 { CheekWidths::V1 } else { CheekWidths::V15 };
        let cheeks = CheekWidths {
            left: sent.whole("left_cheek_width", i64::from(cheek.left), (0, CHEEK))? as i32,
            right: sent.whole("right_cheek_width", i64::from(cheek.right), (0, CHEEK))? as i32,
        };
        let parsing = match (version, profile) {
            (_, Profile::Classic) => Parsing::Classic,
            (Version::V1, _) => Parsing::Raw,
            (Version::V15, _) => Parsing::Jaw(cheeks),
        };
        let parsing = sent.choice("parsing_mode", parsing, "raw, neck or jaw", |name| match name {
            "raw" => Some(Parsing::Raw),
            "neck" => Some(Parsing::Neck),
            "jaw" => Some(Parsing::Jaw(cheeks)),
            _ => None,
        })?;
        let pad = |name| sent.whole(name, DEFAULT_PADDING, (0, MAX_PADDING as i64));
        let padding = Padding::new(
            pad("audio_padding_length_left")? as usize,
            pad("audio_padding_length_right")? as usize,
        )?;
        let face = match sent.text("face") {
            None => Choice::Main,
            Some(text) if text == "main" => Choice::Main,
            Some(_) => Choice::Nth(sent.whole("face", 1, (1, FACES))? as u32),
        };
        Ok(Self {
            version,
            profile,
            detector: sent.choice(
                "detector",
                DetectorKind::Official,
                "official or face",
                |name| match name {
                    "official" => Some(DetectorKind::Official),
                    "face" => Some(DetectorKind::Face),
                    _ => None,
                },
            )?,
            face,
            bbox_shift: sent.whole("bbox_shift", 0, (-SHIFT, SHIFT))? as i32,
            extra_margin: sent.whole("extra_margin", DEFAULT_MARGIN, (0, MARGIN))? as i32,
            parsing,
            padding,
            batch_size: sent.whole("batch_size", DEFAULT_BATCH, (1, BATCH))? as usize,
            silence: sent.switch("silence", true)?,
        })
    }

    /// As the report shows them: those that have an effect.
    pub fn report(&self) -> Vec<(String, Value)> {
        let text = |text: &str| Value::Text(text.to_owned());
        let (mode, cheeks) = match self.parsing {
            Parsing::Raw => ("raw", None),
            Parsing::Neck => ("neck", None),
            Parsing::Jaw(cheeks) => ("jaw", Some(cheeks)),
            Parsing::Classic => ("classic", None),
        };
        let mut rows = vec![
            ("version", text(self.version.name())),
            ("profile", text(self.profile.name())),
            ("detector", text(if self.detector == DetectorKind::Face { "face" } else { "official" })),
            (
                "face",
                match self.face {
                    Choice::Main => text("main"),
                    Choice::Nth(n) => Value::Int(i64::from(n)),
                },
            ),
            match self.version {
                Version::V1 => ("bbox_shift", Value::Int(i64::from(self.bbox_shift))),
                Version::V15 => ("extra_margin", Value::Int(i64::from(self.extra_margin))),
            },
            ("parsing_mode", text(mode)),
        ];
        if let Some(cheeks) = cheeks {
            rows.push(("left_cheek_width", Value::Int(i64::from(cheeks.left))));
            rows.push(("right_cheek_width", Value::Int(i64::from(cheeks.right))));
        }
        rows.push(("audio_padding_length_left", Value::Int(self.padding.left() as i64)));
        rows.push(("audio_padding_length_right", Value::Int(self.padding.right() as i64)));
        rows.push(("batch_size", Value::Int(self.batch_size as i64)));
        rows.push(("silence", Value::Bool(self.silence && self.profile == Profile::Default)));
        rows.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// `version`: what is used where none is sent.
pub fn cards(version: Version) -> Vec<SettingCard> {
    let card = |name, default, help| SettingCard { name, default, help };
    let text = |text: &str| Value::Text(text.to_owned());
    vec![
        card("version", text(version.name()), "v1 or v15: which UNet"),
        card(
            "profile",
            text("default"),
            "default; strict: what the official code of today gives; classic: what it gave before v1.5",
        ),
        card(
            "detector",
            text("official"),
            "official: S3FD, DWPose and BiSeNet; face: the built-in detector, which needs no checkpoint",
        ),
        card("face", text("main"), "main, or a number: which face, counted from the left of the first frame"),
        card(
            "bbox_shift",
            Value::Int(0),
            "pixels, positive down: moves the middle of the face's box; v1 only",
        ),
        card("extra_margin", Value::Int(DEFAULT_MARGIN), "pixels below the chin, 0 to 1000; v15 only"),
        card("parsing_mode", text(if version == Version::V1 { "raw" } else { "jaw" }), "raw, neck or jaw"),
        card("left_cheek_width", Value::Int(90), "0 to 256, for parsing_mode=jaw; 80 with v1"),
        card("right_cheek_width", Value::Int(90), "0 to 256, for parsing_mode=jaw; 80 with v1"),
        card(
            "audio_padding_length_left",
            Value::Int(DEFAULT_PADDING),
            "feature rows of 20 ms before a frame, in pairs",
        ),
        card(
            "audio_padding_length_right",
            Value::Int(DEFAULT_PADDING),
            "feature rows of 20 ms after a frame, in pairs",
        ),
        card("batch_size", Value::Int(DEFAULT_BATCH), "frames the nets make at a time, 1 to 64"),
        card(
            "silence",
            Value::Bool(true),
            "the mouth closes where the voice is silent; profile default only",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(rows: &[(&str, Value)]) -> Result<Options, String> {
        let sent = rows.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Options::parse(&Settings { sent }, Version::V15).map_err(|complaint| complaint.message)
    }

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    #[test]
    fn what_is_left_out_depends_on_the_version() {
        let plain = parse(&[]).unwrap();
        assert_eq!((plain.version, plain.parsing), (Version::V15, Parsing::Jaw(CheekWidths::V15)));
        let v1 = parse(&[("version", text("v1"))]).unwrap();
        assert_eq!((v1.version, v1.parsing), (Version::V1, Parsing::Raw));
        let jaw = parse(&[("version", text("v1.0")), ("parsing_mode", text("jaw"))]).unwrap();
        assert_eq!(jaw.parsing, Parsing::Jaw(CheekWidths::V1));
        let classic = parse(&[("version", text("v1")), ("profile", text("classic"))]).unwrap();
        assert_eq!(classic.parsing, Parsing::Classic);
        let wide = parse(&[("left_cheek_width", Value::Int(20)), ("face", Value::Int(2))]).unwrap();
        assert_eq!(
            (wide.parsing, wide.face),
            (Parsing::Jaw(CheekWidths { left: 20, right: 90 }), Choice::Nth(2))
        );
        // of two settings the other version knows each one alone
        for (options, without) in [(wide, "bbox_shift"), (jaw, "extra_margin")] {
            let names: Vec<String> = options.report().into_iter().map(|(name, _)| name).collect();
            let missing: Vec<_> = cards(Version::V15)
                .iter()
                .map(|card| card.name)
                .filter(|name| !names.iter().any(|n| n == name))
                .collect();
            assert_eq!(missing, [without]);
        }
    }

    #[test]
    fn a_mistake_is_told_with_its_value_and_its_range() {
        let rows = [
            (("version", text("v2")), "version is v2, it must be v1 or v15"),
            (("batch_size", Value::Int(0)), "batch_size is 0, it must be a whole number from 1 to 64"),
            (("bbox_shift", Value::Float(0.5)), "bbox_shift is 0.5, it must be a whole number"),
            (("face", text("mine")), "face is mine, it must be a whole number from 1 to 100"),
            (("silence", Value::Int(3)), "silence is 3, it must be true or false"),
            (("bbox", Value::Int(3)), "musetalk has no setting `bbox`"),
            (("profile", text("classic")), "the profile is classic"),
        ];
        for (row, told) in rows {
            let message = parse(std::slice::from_ref(&row)).unwrap_err();
            assert!(message.contains(told), "{message}");
        }
    }
}
