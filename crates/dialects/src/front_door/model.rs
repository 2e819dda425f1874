//! Request models as tables: one table reads a body, a form or a query as pydantic reads it (the same coercions, every
//! mistake told, in its words and its order) and describes itself in OpenAPI.

use serde_json::{Value, json};

use super::json::{Json, integer};

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Text,
    /// Bounds inclusive.
    Int {
        ge: Option<i64>,
        le: Option<i64>,
    },
    Float,
    Bool,
    /// One of these texts.
    Choice(&'static [&'static str]),
    /// A part of a form that is a file.
    File,
    Map(&'static Kind),
    Nested(&'static Model),
}

/// A value that is used where a field is not sent.
#[derive(Clone, Copy, Debug)]
pub enum Need {
    Required,
    Text(&'static str),
    Int(i64),
    Float(f64),
    Bool(bool),
    /// May be null, and is where it is not sent.
    Null,
    /// May be null, but is this where it is not sent.
    IntOrNull(i64),
}

#[derive(Clone, Copy, Debug)]
pub struct Field {
    pub name: &'static str,
    pub kind: Kind,
    pub need: Need,
    pub help: &'static str,
}

#[derive(Clone, Copy, Debug)]
pub struct Model {
    pub name: &'static str,
    pub fields: &'static [Field],
}

pub const INT: Kind = Kind::Int { ge: None, le: None };

/// One step on the way to a mistake.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Name(String),
    At(usize),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Mistake {
    pub kind: &'static str,
    pub loc: Vec<Step>,
    pub msg: String,
    pub input: Json,
    pub ctx: Option<Box<Json>>,
}

/// Where a mistake is, while it is looked for.
#[derive(Clone, Copy)]
pub enum Place<'a> {
    Root(&'static str),
    In(&'a Place<'a>, &'a str),
}

impl Place<'_> {
    fn steps(&self) -> Vec<Step> {
        match self {
            Place::Root(name) => vec![Step::Name((*name).to_owned())],
            Place::In(outer, name) => {
                let mut steps = outer.steps();
                steps.push(Step::Name((*name).to_owned()));
                steps
            }
        }
    }

    pub fn mistake(&self, kind: &'static str, msg: impl Into<String>, input: &Json) -> Mistake {
        Mistake { kind, loc: self.steps(), msg: msg.into(), input: input.clone(), ctx: None }
    }

    /// FastAPI's words for a value that crosses its field's limit, which goes by `key` there.
    pub fn beyond(
        &self,
        kind: &'static str,
        msg: impl Into<String>,
        (key, limit): (&str, i64),
        input: &Json,
    ) -> Mistake {
        let ctx = Some(Box::new(Json::Object(vec![(key.to_owned(), Json::Int(limit))])));
        Mistake { ctx, ..self.mistake(kind, msg, input) }
    }

    pub fn missing(&self, input: &Json) -> Mistake {
        self.mistake("missing", "Field required", input)
    }
}

/// A request that fits its model: every field is there, of its kind, sent or not.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitting(Vec<(String, Fit)>);

#[derive(Clone, Debug, PartialEq)]
enum Fit {
    Plain(Json),
    /// It was not sent.
    Default(Json),
    Map(Vec<(String, Fit)>),
    Nested(Fitting),
}

impl Fitting {
    fn plain(&self, name: &str) -> &Json {
        match self.0.iter().find(|(known, _)| known == name) {
            Some((_, Fit::Plain(value) | Fit::Default(value))) => value,
            _ => &Json::Null,
        }
    }

    /// Whether its value is the model's own.
    pub fn left_out(&self, name: &str) -> bool {
        self.0.iter().any(|(known, fit)| known == name && matches!(fit, Fit::Default(_)))
    }

    /// Empty where it is null.
    pub fn text(&self, name: &str) -> &str {
        self.optional(name).unwrap_or_default()
    }

    pub fn optional(&self, name: &str) -> Option<&str> {
        match self.plain(name) {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Integers beyond 64 bits are the nearest that fits.
    pub fn int(&self, name: &str) -> Option<i64> {
        match self.plain(name) {
            Json::Int(value) => Some(*value),
            Json::Big(digits) if digits.starts_with('-') => Some(i64::MIN),
            Json::Big(_) => Some(i64::MAX),
            _ => None,
        }
    }

    pub fn float(&self, name: &str) -> Option<f64> {
        match self.plain(name) {
            Json::Float(value) => Some(*value),
            _ => None,
        }
    }

    pub fn flag(&self, name: &str) -> bool {
        matches!(self.plain(name), Json::Bool(true))
    }

    /// A map of texts.
    pub fn texts(&self, name: &str) -> Vec<(String, String)> {
        let Some((_, Fit::Map(entries))) = self.0.iter().find(|(known, _)| known == name) else {
            return Vec::new();
        };
        let text = |(key, fit): &(String, Fit)| match fit {
            Fit::Plain(Json::Text(text)) => Some((key.clone(), text.clone())),
            _ => None,
        };
        entries.iter().filter_map(text).collect()
    }

    /// A map of models.
    pub fn models(&self, name: &str) -> Vec<(String, Fitting)> {
        let Some((_, Fit::Map(entries))) = self.0.iter().find(|(known, _)| known == name) else {
            return Vec::new();
        };
        let nested = |(key, fit): &(String, Fit)| match fit {
            Fit::Nested(fitting) => Some((key.clone(), fitting.clone())),
            _ => None,
        };
        entries.iter().filter_map(nested).collect()
    }

    /// As pydantic would dump it.
    pub fn dump(&self) -> Json {
        fn of(fit: &Fit) -> Json {
            match fit {
                Fit::Plain(value) | Fit::Default(value) => value.clone(),
                Fit::Map(entries) => {
                    Json::Object(entries.iter().map(|(name, fit)| (name.clone(), of(fit))).collect())
                }
                Fit::Nested(fitting) => fitting.dump(),
            }
        }
        Json::Object(self.0.iter().map(|(name, fit)| (name.clone(), of(fit))).collect())
    }
}

const NO_OBJECT: &str = "Input should be a valid dictionary or object to extract fields from";

impl Model {
    /// A JSON body, or part of one.
    pub fn read(&'static self, input: &Json, place: Place<'_>, mistakes: &mut Vec<Mistake>) -> Fitting {
        let mut fits = Vec::new();
        if !matches!(input, Json::Object(_)) {
            mistakes.push(place.mistake("model_attributes_type", NO_OBJECT, input));
            return Fitting(fits);
        }
        for field in self.fields {
            let at = Place::In(&place, field.name);
            let fit = match (input.get(field.name), field.need) {
                (Some(Json::Null), Need::Null | Need::IntOrNull(_)) | (None, Need::Null) => {
                    Some(Fit::Plain(Json::Null))
                }
                (Some(value), _) => field.kind.fit(value, at, mistakes),
                (None, Need::Required) => {
                    mistakes.push(at.missing(input));
                    None
                }
                (None, _) => Some(Fit::Default(field.need.value())),
            };
            fits.extend(fit.map(|fit| (field.name.to_owned(), fit)));
        }
        Fitting(fits)
    }

    /// Texts by name: a query, or the plain part of a form. The last of equal names counts.
    pub fn read_texts(
        &'static self,
        sent: impl Fn(&Field) -> Option<Sent>,
        place: Place<'_>,
        mistakes: &mut Vec<Mistake>,
    ) -> Fitting {
        let mut fits = Vec::new();
        for field in self.fields {
            let at = Place::In(&place, field.name);
            let fit = match (sent(field), field.kind) {
                (None, _) if matches!(field.need, Need::Required) => {
                    mistakes.push(at.missing(&Json::Null));
                    None
                }
                (None, _) => Some(Fit::Default(field.need.value())),
                (Some(Sent::File(_)), Kind::File) => Some(Fit::Plain(Json::Null)),
                (Some(Sent::Text(text)), Kind::File) => {
                    let msg = "Value error, Expected UploadFile, received: <class 'str'>";
                    let ctx = Json::Object(vec![("error".into(), Json::Object(Vec::new()))]);
                    let mistake = at.mistake("value_error", msg, &Json::Text(text));
                    mistakes.push(Mistake { ctx: Some(Box::new(ctx)), ..mistake });
                    None
                }
                (Some(Sent::Text(text)), kind) => kind.fit(&Json::Text(text), at, mistakes),
                (Some(Sent::File(name)), kind) => {
                    // no text: whatever the kind, told as pydantic tells of an object
                    let file = Json::Object(vec![("filename".into(), Json::Text(name))]);
                    kind.fit(&file, at, mistakes)
                }
            };
            fits.extend(fit.map(|fit| (field.name.to_owned(), fit)));
        }
        Fitting(fits)
    }

    /// JSON Schema.
    pub fn schema(&self) -> Value {
        let required: Vec<_> =
            self.fields.iter().filter(|f| matches!(f.need, Need::Required)).map(|f| f.name).collect();
        let properties: serde_json::Map<_, _> =
            self.fields.iter().map(|field| (field.name.to_owned(), field.schema())).collect();
        let mut schema = json!({ "title": self.name, "type": "object", "properties": properties });
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        schema
    }
}

/// What came under a name.
pub enum Sent {
    Text(String),
    /// By its name.
    File(String),
}

impl Need {
    fn value(self) -> Json {
        match self {
            Need::Required | Need::Null => Json::Null,
            Need::Text(text) => Json::Text(text.to_owned()),
            Need::Int(value) | Need::IntOrNull(value) => Json::Int(value),
            Need::Float(value) => Json::Float(value),
            Need::Bool(value) => Json::Bool(value),
        }
    }
}

impl Field {
    pub fn schema(&self) -> Value {
        let mut schema = self.kind.schema();
        match self.need {
            Need::Required => {}
            Need::Null => schema = json!({ "anyOf": [schema, { "type": "null" }] }),
            Need::IntOrNull(value) => {
                schema = json!({ "anyOf": [schema, { "type": "null" }], "default": value });
            }
            Need::Text(text) => schema["default"] = json!(text),
            Need::Int(value) => schema["default"] = json!(value),
            Need::Float(value) => schema["default"] = json!(value),
            Need::Bool(value) => schema["default"] = json!(value),
        }
        schema["title"] = json!(self.name);
        if !self.help.is_empty() {
            schema["description"] = json!(self.help);
        }
        schema
    }
}

impl Kind {
    fn schema(&self) -> Value {
        match self {
            Kind::Text => json!({ "type": "string" }),
            Kind::Int { ge, le } => {
                let mut schema = json!({ "type": "integer" });
                if let Some(ge) = ge {
                    schema["minimum"] = json!(ge);
                }
                if let Some(le) = le {
                    schema["maximum"] = json!(le);
                }
                schema
            }
            Kind::Float => json!({ "type": "number" }),
            Kind::Bool => json!({ "type": "boolean" }),
            Kind::Choice(known) => json!({ "type": "string", "enum": known }),
            Kind::File => json!({ "type": "string", "contentMediaType": "application/octet-stream" }),
            Kind::Map(inner) => json!({ "type": "object", "additionalProperties": inner.schema() }),
            Kind::Nested(model) => model.schema(),
        }
    }

    fn fit(&self, input: &Json, place: Place<'_>, mistakes: &mut Vec<Mistake>) -> Option<Fit> {
        let plain = match self {
            Kind::Text | Kind::File => match input {
                Json::Text(text) => Ok(Json::Text(text.clone())),
                _ => Err(place.mistake("string_type", "Input should be a valid string", input)),
            },
            Kind::Int { ge, le } => {
                int(input, place).and_then(|value| bounded(value, (*ge, *le), input, place))
            }
            Kind::Float => number(input, place),
            Kind::Bool => flag(input, place),
            Kind::Choice(known) => choice(known, input, place),
            Kind::Nested(model) => return Some(Fit::Nested(model.read(input, place, mistakes))),
            Kind::Map(inner) => {
                let Json::Object(entries) = input else {
                    mistakes.push(place.mistake("dict_type", "Input should be a valid dictionary", input));
                    return None;
                };
                let mut fits = Vec::new();
                for (name, value) in entries {
                    let fit = inner.fit(value, Place::In(&place, name), mistakes);
                    fits.extend(fit.map(|fit| (name.clone(), fit)));
                }
                return Some(Fit::Map(fits));
            }
        };
        plain.map(Fit::Plain).map_err(|mistake| mistakes.push(mistake)).ok()
    }
}

fn choice(known: &[&str], input: &Json, place: Place<'_>) -> Result<Json, Mistake> {
    if matches!(input, Json::Text(text) if known.contains(&text.as_str())) {
        return Ok(input.clone());
    }
    let quoted: Vec<_> = known.iter().map(|text| format!("'{text}'")).collect();
    let expected = match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    };
    let ctx = Json::Object(vec![("expected".to_owned(), Json::Text(expected.clone()))]);
    let mistake = place.mistake("literal_error", format!("Input should be {expected}"), input);
    Err(Mistake { ctx: Some(Box::new(ctx)), ..mistake })
}

fn int(input: &Json, place: Place<'_>) -> Result<Json, Mistake> {
    let parsing = "Input should be a valid integer, unable to parse string as an integer";
    match input {
        Json::Int(_) | Json::Big(_) => Ok(input.clone()),
        Json::Bool(flag) => Ok(Json::Int(i64::from(*flag))),
        Json::Float(value) if !value.is_finite() => {
            Err(place.mistake("finite_number", "Input should be a finite number", input))
        }
        Json::Float(value) if value.fract() != 0.0 => {
            let msg = "Input should be a valid integer, got a number with a fractional part";
            Err(place.mistake("int_from_float", msg, input))
        }
        Json::Float(value) if value.abs() < 9.2e18 => Ok(Json::Int(*value as i64)),
        Json::Float(_) => {
            let msg = "Unable to parse input string as an integer, exceeded maximum size";
            Err(place.mistake("int_parsing_size", msg, input))
        }
        Json::Text(text) => whole(text).ok_or_else(|| place.mistake("int_parsing", parsing, input)),
        Json::Null | Json::List(_) | Json::Object(_) => {
            Err(place.mistake("int_type", "Input should be a valid integer", input))
        }
    }
}

/// An integer as people write it: blanks around, a sign, single underscores between digits, zeros after a point.
fn whole(text: &str) -> Option<Json> {
    let text = text.trim();
    let (sign, digits) = match text.as_bytes().first() {
        Some(b'-') => ("-", &text[1..]),
        Some(b'+') => ("", &text[1..]),
        _ => ("", text),
    };
    let digits = match digits.split_once('.') {
        Some((digits, zeros)) if !zeros.is_empty() && zeros.bytes().all(|b| b == b'0') => digits,
        Some(_) => return None,
        None => digits,
    };
    let grouped = digits.starts_with('_') || digits.ends_with('_') || digits.contains("__");
    if grouped || digits.is_empty() {
        return None;
    }
    integer(&format!("{sign}{}", digits.replace('_', "")))
}

fn bounded(
    value: Json,
    (ge, le): (Option<i64>, Option<i64>),
    input: &Json,
    place: Place<'_>,
) -> Result<Json, Mistake> {
    let at = match &value {
        Json::Int(value) => *value,
        Json::Big(digits) if digits.starts_with('-') => i64::MIN,
        _ => i64::MAX,
    };
    let outside = |kind, word: &str, key: &str, limit: i64| {
        place.beyond(kind, format!("Input should be {word} than or equal to {limit}"), (key, limit), input)
    };
    match (ge, le) {
        (Some(ge), _) if at < ge => Err(outside("greater_than_equal", "greater", "ge", ge)),
        (_, Some(le)) if at > le => Err(outside("less_than_equal", "less", "le", le)),
        _ => Ok(value),
    }
}

/// Numbers must be finite: the originals take `NaN` in and fail when they answer with it.
fn number(input: &Json, place: Place<'_>) -> Result<Json, Mistake> {
    let value = match input {
        Json::Float(value) => *value,
        Json::Int(value) => *value as f64,
        Json::Big(digits) => digits.parse().unwrap_or(f64::INFINITY),
        Json::Bool(flag) => f64::from(u8::from(*flag)),
        Json::Text(text) => {
            let trimmed = text.trim();
            let grouped = trimmed.starts_with('_') || trimmed.ends_with('_') || trimmed.contains("__");
            let parsed = if grouped { None } else { trimmed.replace('_', "").parse().ok() };
            let msg = "Input should be a valid number, unable to parse string as a number";
            parsed.ok_or_else(|| place.mistake("float_parsing", msg, input))?
        }
        Json::Null | Json::List(_) | Json::Object(_) => {
            return Err(place.mistake("float_type", "Input should be a valid number", input));
        }
    };
    if value.is_finite() {
        Ok(Json::Float(value))
    } else {
        Err(place.mistake("finite_number", "Input should be a finite number", input))
    }
}

fn flag(input: &Json, place: Place<'_>) -> Result<Json, Mistake> {
    let parsing = || {
        let msg = "Input should be a valid boolean, unable to interpret input";
        Err(place.mistake("bool_parsing", msg, input))
    };
    match input {
        Json::Bool(_) => Ok(input.clone()),
        Json::Int(0) => Ok(Json::Bool(false)),
        Json::Int(1) => Ok(Json::Bool(true)),
        Json::Int(_) => parsing(),
        Json::Float(value) if *value == 0.0 || *value == 1.0 => Ok(Json::Bool(*value == 1.0)),
        Json::Float(value) if value.fract() == 0.0 && value.abs() < i64::MAX as f64 => parsing(),
        Json::Text(text) => match text.to_ascii_lowercase().as_str() {
            "0" | "off" | "f" | "false" | "n" | "no" => Ok(Json::Bool(false)),
            "1" | "on" | "t" | "true" | "y" | "yes" => Ok(Json::Bool(true)),
            _ => parsing(),
        },
        Json::Float(_) | Json::Big(_) | Json::Null | Json::List(_) | Json::Object(_) => {
            Err(place.mistake("bool_type", "Input should be a valid boolean", input))
        }
    }
}
