//! Reads what was sent, setting by setting. A name the engine does not have and a value out of range are told with the range and the remedy.

use crate::{Complaint, Settings, Value};

pub struct Sent<'a> {
    settings: &'a Settings,
}

impl<'a> Sent<'a> {
    /// Refuses names that `engine` does not have; `known` are those it has.
    pub fn to(engine: &str, settings: &'a Settings, known: &[&str]) -> Result<Self, Complaint> {
        match settings.sent.keys().find(|name| !known.contains(&name.as_str())) {
            None => Ok(Self { settings }),
            Some(name) => Err(Complaint::new(
                "unknown_setting",
                format!("{engine} has no setting `{}`", shown(name)),
                format!("{engine} knows {}", known.join(", ")),
            )),
        }
    }

    pub fn has(&self, name: &str) -> bool {
        self.settings.sent.contains_key(name)
    }

    /// A number or a switch reads as its text.
    pub fn text(&self, name: &str) -> Option<String> {
        self.settings.sent.get(name).map(ToString::to_string)
    }

    /// `known`: the names there are, for whoever chose another.
    pub fn choice<T>(
        &self,
        name: &str,
        default: T,
        known: &str,
        named: impl Fn(&str) -> Option<T>,
    ) -> Result<T, Complaint> {
        match self.text(name) {
            None => Ok(default),
            Some(text) => named(&text).ok_or_else(|| bad_value(name, &text, known)),
        }
    }

    /// `least` and `most` are both allowed.
    pub fn whole(&self, name: &str, default: i64, (least, most): (i64, i64)) -> Result<i64, Complaint> {
        let Some(value) = self.settings.sent.get(name) else { return Ok(default) };
        let whole = match value {
            Value::Int(v) => Some(*v),
            Value::Float(v) if v.fract() == 0.0 => Some(*v as i64),
            Value::Text(text) => text.trim().parse().ok(),
            Value::Float(_) | Value::Bool(_) => None,
        };
        let range = || format!("a whole number from {least} to {most}");
        whole
            .filter(|v| (least..=most).contains(v))
            .ok_or_else(|| bad_value(name, &value.to_string(), &range()))
    }

    /// `least` and `most` are both allowed.
    pub fn real(&self, name: &str, default: f64, (least, most): (f64, f64)) -> Result<f64, Complaint> {
        let Some(value) = self.settings.sent.get(name) else { return Ok(default) };
        let real = match value {
            Value::Int(v) => Some(*v as f64),
            Value::Float(v) => Some(*v),
            Value::Text(text) => text.trim().parse().ok(),
            Value::Bool(_) => None,
        };
        let range = || format!("a number from {least} to {most}");
        real.filter(|v| (least..=most).contains(v))
            .ok_or_else(|| bad_value(name, &value.to_string(), &range()))
    }

    pub fn switch(&self, name: &str, default: bool) -> Result<bool, Complaint> {
        self.choice(name, default, "true or false", |text| text.parse().ok())
    }
}

/// `known`: what would have been right.
pub fn bad_value(name: &str, value: &str, known: &str) -> Complaint {
    Complaint::new(
        "bad_setting",
        format!("{name} is {}, it must be {known}", shown(value)),
        "correct it, or leave it out",
    )
}

/// As much of what was sent as a line bears.
fn shown(text: &str) -> std::borrow::Cow<'_, str> {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}… ({} characters)", &text[..end], text.chars().count()).into(),
        None => text.into(),
    }
}
