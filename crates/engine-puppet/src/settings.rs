//! What a user may set: crop, size, amplitude, sway. Read once, at the start; an unknown name or a value out of range is told
//! then, with its range and the remedy.

use contract::{Complaint, Fps, Sent, SettingCard, Settings, Value};

const NAMES: [&str; 4] = ["crop", "size", "amplitude", "sway"];

/// Frame rate where nobody names one.
pub const DEFAULT_FPS: Fps = Fps::whole(25);
/// Longest side an explicit size may ask for, px.
pub const MAX_LONGEST: u32 = 1920;
/// Longest side of a whole picture where no size is asked for, px.
pub const DEFAULT_LONGEST: u32 = 1280;
/// The same for a face crop.
pub const DEFAULT_FACE_LONGEST: u32 = 512;
/// Shortest longest side, px.
const MIN_LONGEST: u32 = 64;
/// Largest factor on motion.
const MAX_GAIN: f64 = 1.5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crop {
    /// The whole picture comes out.
    Full,
    /// A square around the face.
    Face,
}

impl Crop {
    fn named(name: &str) -> Option<Self> {
        match name {
            "full" => Some(Self::Full),
            "face" => Some(Self::Face),
            _ => None,
        }
    }
}

/// The settings of one session, resolved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    pub crop: Crop,
    /// Longest side, px, if the user asked for one.
    pub size: Option<u32>,
    /// Factor on the mouth's motion.
    pub amplitude: f32,
    /// Factor on the head's motion.
    pub sway: f32,
}

impl Default for Options {
    fn default() -> Self {
        Self { crop: Crop::Full, size: None, amplitude: 1.0, sway: 1.0 }
    }
}

impl Options {
    pub fn parse(settings: &Settings) -> Result<Self, Complaint> {
        let sent = Sent::to("puppet", settings, &NAMES)?;
        let usual = Self::default();
        let gain = |name, usual: f32| sent.real(name, usual.into(), (0.0, MAX_GAIN)).map(|gain| gain as f32);
        Ok(Self {
            crop: sent.choice("crop", usual.crop, "full or face", Crop::named)?,
            size: sent.choice("size", usual.size, &sizes(), size)?,
            amplitude: gain("amplitude", usual.amplitude)?,
            sway: gain("sway", usual.sway)?,
        })
    }

    /// As the report shows them; `longest` is what the size came to.
    pub fn report(&self, longest: u32) -> Vec<(String, Value)> {
        let crop = match self.crop {
            Crop::Full => "full",
            Crop::Face => "face",
        };
        vec![
            ("crop".into(), Value::Text(crop.into())),
            ("size".into(), Value::Int(i64::from(longest))),
            ("amplitude".into(), Value::Float(f64::from(self.amplitude))),
            ("sway".into(), Value::Float(f64::from(self.sway))),
        ]
    }
}

pub fn cards() -> Vec<SettingCard> {
    vec![
        SettingCard {
            name: "crop",
            default: Value::Text("full".into()),
            help: "full: the whole picture, the face animated in place; face: a square around the face",
        },
        SettingCard {
            name: "size",
            default: Value::Int(0),
            help: "longest side of the output, 64 to 1920 px; 0: as the source, at most 1280 (512 for crop=face); full pictures are never enlarged",
        },
        SettingCard {
            name: "amplitude",
            default: Value::Float(1.0),
            help: "how far the mouth moves, 0 to 1.5",
        },
        SettingCard { name: "sway", default: Value::Float(1.0), help: "how far the head moves, 0 to 1.5" },
    ]
}

fn sizes() -> String {
    format!("0 (automatic) or {MIN_LONGEST} to {MAX_LONGEST} px")
}

fn size(text: &str) -> Option<Option<u32>> {
    match text.trim().parse().ok()? {
        0 => Some(None),
        px => (MIN_LONGEST..=MAX_LONGEST).contains(&px).then_some(Some(px)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(rows: &[(&str, Value)]) -> Settings {
        Settings { sent: rows.iter().map(|(k, v)| ((*k).into(), v.clone())).collect() }
    }

    #[test]
    fn values_are_read_as_clients_send_them() {
        let options = Options::parse(&sent(&[
            ("crop", Value::Text("face".into())),
            ("size", Value::Int(720)),
            ("amplitude", Value::Text("0.5".into())),
            ("sway", Value::Int(0)),
        ]));
        let expected = Options { crop: Crop::Face, size: Some(720), amplitude: 0.5, sway: 0.0 };
        assert_eq!(options, Ok(expected));
        assert_eq!(Options::parse(&sent(&[("size", Value::Int(0))])), Ok(Options::default()));
    }

    #[test]
    fn mistakes_name_value_and_range() {
        let rows = [
            (
                "crop",
                Value::Text("nose".into()),
                "crop is nose, it must be full or face; correct it, or leave it out",
            ),
            (
                "size",
                Value::Int(63),
                "size is 63, it must be 0 (automatic) or 64 to 1920 px; correct it, or leave it out",
            ),
            (
                "size",
                Value::Int(1921),
                "size is 1921, it must be 0 (automatic) or 64 to 1920 px; correct it, or leave it out",
            ),
            (
                "amplitude",
                Value::Float(1.6),
                "amplitude is 1.6, it must be a number from 0 to 1.5; correct it, or leave it out",
            ),
            (
                "sway",
                Value::Float(f64::NAN),
                "sway is NaN, it must be a number from 0 to 1.5; correct it, or leave it out",
            ),
            (
                "sway",
                Value::Bool(true),
                "sway is true, it must be a number from 0 to 1.5; correct it, or leave it out",
            ),
            (
                "steps",
                Value::Int(1),
                "puppet has no setting `steps`; puppet knows crop, size, amplitude, sway",
            ),
        ];
        for (name, value, expected) in rows {
            let complaint = Options::parse(&sent(&[(name, value)])).unwrap_err();
            assert_eq!(complaint.to_string(), expected);
        }
    }
}
