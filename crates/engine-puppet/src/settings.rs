//! What a user may set: crop, size, amplitude, sway. Read once, at the start; an unknown name or a value out of range is told
//! then, with its range and the remedy.

use contract::{Complaint, Fps, SettingCard, Settings, Value};

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
        let mut options = Self::default();
        for (name, value) in &settings.sent {
            match name.as_str() {
                "crop" => options.crop = crop(value)?,
                "size" => options.size = size(value)?,
                "amplitude" => options.amplitude = gain("amplitude", value)?,
                "sway" => options.sway = gain("sway", value)?,
                _ => {
                    return Err(Complaint::new(
                        "unknown_setting",
                        format!("puppet has no setting `{name}`"),
                        "puppet knows crop, size, amplitude and sway",
                    ));
                }
            }
        }
        Ok(options)
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

fn crop(value: &Value) -> Result<Crop, Complaint> {
    match value {
        Value::Text(text) if text == "full" => Ok(Crop::Full),
        Value::Text(text) if text == "face" => Ok(Crop::Face),
        _ => Err(bad_value("crop", value, "full or face")),
    }
}

fn size(value: &Value) -> Result<Option<u32>, Complaint> {
    let bad = || bad_value("size", value, &format!("0 (automatic) or {MIN_LONGEST} to {MAX_LONGEST} px"));
    match whole(value).ok_or_else(bad)? {
        0 => Ok(None),
        px if (i64::from(MIN_LONGEST)..=i64::from(MAX_LONGEST)).contains(&px) => Ok(Some(px as u32)),
        _ => Err(bad()),
    }
}

fn gain(name: &str, value: &Value) -> Result<f32, Complaint> {
    match number(value) {
        Some(v) if (0.0..=MAX_GAIN).contains(&v) => Ok(v as f32),
        _ => Err(bad_value(name, value, &format!("a number from 0 to {MAX_GAIN}"))),
    }
}

fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::Int(v) => Some(*v),
        Value::Float(v) if v.fract() == 0.0 => Some(*v as i64),
        Value::Text(text) => text.parse().ok(),
        Value::Float(_) | Value::Bool(_) => None,
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(v) => Some(*v as f64),
        Value::Float(v) => Some(*v),
        Value::Text(text) => text.parse().ok(),
        Value::Bool(_) => None,
    }
}

fn bad_value(name: &str, value: &Value, range: &str) -> Complaint {
    Complaint::new("bad_setting", format!("{name} is `{value}`"), format!("{name} takes {range}"))
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
            ("crop", Value::Text("nose".into()), "crop is `nose`; crop takes full or face"),
            ("size", Value::Int(63), "size is `63`; size takes 0 (automatic) or 64 to 1920 px"),
            ("size", Value::Int(1921), "size is `1921`; size takes 0 (automatic) or 64 to 1920 px"),
            ("amplitude", Value::Float(1.6), "amplitude is `1.6`; amplitude takes a number from 0 to 1.5"),
            ("sway", Value::Float(f64::NAN), "sway is `NaN`; sway takes a number from 0 to 1.5"),
            ("sway", Value::Bool(true), "sway is `true`; sway takes a number from 0 to 1.5"),
            (
                "steps",
                Value::Int(1),
                "puppet has no setting `steps`; puppet knows crop, size, amplitude and sway",
            ),
        ];
        for (name, value, expected) in rows {
            let complaint = Options::parse(&sent(&[(name, value)])).unwrap_err();
            assert_eq!(complaint.to_string(), expected);
        }
    }
}
