//! Nouns of the contract in the form in which the record keeps them; `contract` itself knows no serde.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use contract::{
    FaceReport, Fps, LandmarkOrigin, Landmarks, Point, Settings, Size, Stage, Turns, Value, Warning, Weights,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// `with = "stored::<noun>"`: serialises through a stored form.
macro_rules! through {
    ($module:ident, $noun:ty, $form:ty) => {
        pub mod $module {
            use super::*;

            #[allow(clippy::ptr_arg, reason = "serde hands over what the field is")]
            pub fn serialize<S: Serializer>(noun: &$noun, out: S) -> Result<S::Ok, S::Error> {
                <$form>::from(noun.clone()).serialize(out)
            }

            pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<$noun, D::Error> {
                <$form>::deserialize(from)?.try_into().map_err(D::Error::custom)
            }
        }
    };
}

through!(fps, Option<Fps>, FpsForm);
through!(rate, Fps, RateForm);
through!(settings, Settings, SettingsForm);
through!(landmarks, Option<Landmarks>, LandmarksForm);
through!(resolved, Vec<(String, Value)>, ResolvedForm);
through!(face, Option<FaceReport>, FaceForm);
through!(size, Size, SizeForm);
through!(weights, Vec<Weights>, WeightsForm);
through!(seconds, Duration, SecondsForm);
through!(stage, Stage, StageForm);
through!(bytes, Vec<u8>, BytesForm);
through!(turns, Turns, TurnsForm);

/// base64
#[derive(Serialize, Deserialize)]
struct BytesForm(String);

impl From<Vec<u8>> for BytesForm {
    fn from(bytes: Vec<u8>) -> Self {
        Self(STANDARD.encode(bytes))
    }
}

impl TryFrom<BytesForm> for Vec<u8> {
    type Error = base64::DecodeError;

    fn try_from(form: BytesForm) -> Result<Self, Self::Error> {
        STANDARD.decode(form.0)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum TurnsForm {
    Together,
    InTurn,
}

impl From<Turns> for TurnsForm {
    fn from(turns: Turns) -> Self {
        match turns {
            Turns::Together => Self::Together,
            Turns::InTurn => Self::InTurn,
        }
    }
}

impl From<TurnsForm> for Turns {
    fn from(form: TurnsForm) -> Self {
        match form {
            TurnsForm::Together => Self::Together,
            TurnsForm::InTurn => Self::InTurn,
        }
    }
}

/// `num/den`
#[derive(Serialize, Deserialize)]
struct RateForm(u32, u32);

impl From<Fps> for RateForm {
    fn from(fps: Fps) -> Self {
        Self(fps.num(), fps.den())
    }
}

impl TryFrom<RateForm> for Fps {
    type Error = String;

    fn try_from(RateForm(num, den): RateForm) -> Result<Self, String> {
        Fps::new(num, den).ok_or_else(|| format!("{num}/{den} is no frame rate"))
    }
}

#[derive(Serialize, Deserialize)]
struct FpsForm(Option<RateForm>);

impl From<Option<Fps>> for FpsForm {
    fn from(fps: Option<Fps>) -> Self {
        Self(fps.map(RateForm::from))
    }
}

impl TryFrom<FpsForm> for Option<Fps> {
    type Error = String;

    fn try_from(form: FpsForm) -> Result<Self, String> {
        form.0.map(Fps::try_from).transpose()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ValueForm {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
}

impl From<Value> for ValueForm {
    fn from(value: Value) -> Self {
        match value {
            Value::Bool(v) => Self::Bool(v),
            Value::Int(v) => Self::Int(v),
            Value::Float(v) => Self::Float(v),
            Value::Text(v) => Self::Text(v),
        }
    }
}

impl From<ValueForm> for Value {
    fn from(form: ValueForm) -> Self {
        match form {
            ValueForm::Bool(v) => Self::Bool(v),
            ValueForm::Int(v) => Self::Int(v),
            ValueForm::Float(v) => Self::Float(v),
            ValueForm::Text(v) => Self::Text(v),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct SettingsForm {
    sent: Vec<(String, ValueForm)>,
}

impl From<Settings> for SettingsForm {
    fn from(settings: Settings) -> Self {
        let sent = settings.sent.into_iter().map(|(name, value)| (name, value.into())).collect();
        Self { sent }
    }
}

impl From<SettingsForm> for Settings {
    fn from(form: SettingsForm) -> Self {
        let sent = form.sent.into_iter().map(|(name, value)| (name, value.into())).collect();
        Self { sent }
    }
}

#[derive(Serialize, Deserialize)]
struct ResolvedForm(Vec<(String, ValueForm)>);

impl From<Vec<(String, Value)>> for ResolvedForm {
    fn from(settings: Vec<(String, Value)>) -> Self {
        Self(settings.into_iter().map(|(name, value)| (name, value.into())).collect())
    }
}

impl From<ResolvedForm> for Vec<(String, Value)> {
    fn from(form: ResolvedForm) -> Self {
        form.0.into_iter().map(|(name, value)| (name, value.into())).collect()
    }
}

/// Left eye, right eye, mouth left, mouth right, mouth centre.
#[derive(Serialize, Deserialize)]
struct LandmarksForm(Option<[[f32; 2]; 5]>);

fn points(l: Landmarks) -> [[f32; 2]; 5] {
    [l.left_eye, l.right_eye, l.mouth_left, l.mouth_right, l.mouth_center].map(|p| [p.x, p.y])
}

fn marks(points: [[f32; 2]; 5]) -> Landmarks {
    let [left_eye, right_eye, mouth_left, mouth_right, mouth_center] = points.map(|[x, y]| Point { x, y });
    Landmarks { left_eye, right_eye, mouth_left, mouth_right, mouth_center }
}

impl From<Option<Landmarks>> for LandmarksForm {
    fn from(landmarks: Option<Landmarks>) -> Self {
        Self(landmarks.map(points))
    }
}

impl From<LandmarksForm> for Option<Landmarks> {
    fn from(form: LandmarksForm) -> Self {
        form.0.map(marks)
    }
}

#[derive(Serialize, Deserialize)]
struct FaceForm(Option<FaceFields>);

#[derive(Serialize, Deserialize)]
struct FaceFields {
    points: [[f32; 2]; 5],
    confidence: f32,
    given: bool,
}

impl From<Option<FaceReport>> for FaceForm {
    fn from(face: Option<FaceReport>) -> Self {
        Self(face.map(|face| FaceFields {
            points: points(face.landmarks),
            confidence: face.confidence,
            given: match face.origin {
                LandmarkOrigin::Given => true,
                LandmarkOrigin::Found => false,
            },
        }))
    }
}

impl From<FaceForm> for Option<FaceReport> {
    fn from(form: FaceForm) -> Self {
        form.0.map(|face| FaceReport {
            landmarks: marks(face.points),
            confidence: face.confidence,
            origin: if face.given { LandmarkOrigin::Given } else { LandmarkOrigin::Found },
        })
    }
}

#[derive(Serialize, Deserialize)]
struct SizeForm(u32, u32);

impl From<Size> for SizeForm {
    fn from(size: Size) -> Self {
        Self(size.width, size.height)
    }
}

impl From<SizeForm> for Size {
    fn from(SizeForm(width, height): SizeForm) -> Self {
        Size::new(width, height)
    }
}

#[derive(Serialize, Deserialize)]
struct WeightsForm(Vec<WeightsFields>);

#[derive(Serialize, Deserialize)]
struct WeightsFields {
    name: String,
    sha256: String,
    embedded: bool,
}

impl From<Vec<Weights>> for WeightsForm {
    fn from(weights: Vec<Weights>) -> Self {
        let fields = |w: Weights| WeightsFields { name: w.name, sha256: w.sha256, embedded: w.embedded };
        Self(weights.into_iter().map(fields).collect())
    }
}

impl From<WeightsForm> for Vec<Weights> {
    fn from(form: WeightsForm) -> Self {
        let noun = |w: WeightsFields| Weights { name: w.name, sha256: w.sha256, embedded: w.embedded };
        form.0.into_iter().map(noun).collect()
    }
}

#[derive(Serialize, Deserialize)]
struct SecondsForm(f64);

impl From<Duration> for SecondsForm {
    fn from(duration: Duration) -> Self {
        Self(duration.as_secs_f64())
    }
}

impl TryFrom<SecondsForm> for Duration {
    type Error = String;

    fn try_from(SecondsForm(seconds): SecondsForm) -> Result<Self, String> {
        Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
    }
}

#[derive(Serialize, Deserialize)]
struct StageForm(String);

impl From<Stage> for StageForm {
    fn from(stage: Stage) -> Self {
        Self(stage.name().to_owned())
    }
}

impl TryFrom<StageForm> for Stage {
    type Error = String;

    fn try_from(StageForm(name): StageForm) -> Result<Self, String> {
        stage_named(&name).ok_or_else(|| format!("`{name}` is no stage"))
    }
}

/// A remark about a take; codes of warnings are free words once they are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remark {
    pub code: String,
    pub message: String,
}

impl From<Warning> for Remark {
    fn from(warning: Warning) -> Self {
        Self { code: warning.code.to_owned(), message: warning.message }
    }
}

const STAGES: [Stage; 8] = [
    Stage::Fetching,
    Stage::Loading,
    Stage::Preparing,
    Stage::Conditioning,
    Stage::Denoising,
    Stage::Decoding,
    Stage::Rendering,
    Stage::Finishing,
];

pub fn stage_named(name: &str) -> Option<Stage> {
    STAGES.into_iter().find(|stage| stage.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Everything {
        #[serde(with = "fps")]
        fps: Option<Fps>,
        #[serde(with = "settings")]
        settings: Settings,
        #[serde(with = "landmarks")]
        landmarks: Option<Landmarks>,
        #[serde(with = "resolved")]
        resolved: Vec<(String, Value)>,
        #[serde(with = "face")]
        face: Option<FaceReport>,
        #[serde(with = "size")]
        size: Size,
        #[serde(with = "weights")]
        weights: Vec<Weights>,
        #[serde(with = "seconds")]
        elapsed: Duration,
    }

    #[test]
    fn what_is_kept_is_found_again() {
        let landmarks = marks([[1.0, 2.5], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0], [9.0, 10.0]]);
        let values = [
            ("b", Value::Bool(true)),
            ("f", Value::Float(1.0)),
            ("i", Value::Int(i64::MIN)),
            ("t", Value::Text("7".into())),
        ]
        .map(|(name, value)| (name.to_owned(), value));
        let kept = Everything {
            fps: Fps::new(30000, 1001),
            settings: Settings { sent: values.clone().into() },
            landmarks: Some(landmarks),
            resolved: values.into(),
            face: Some(FaceReport { landmarks, confidence: 0.25, origin: LandmarkOrigin::Given }),
            size: Size::new(512, 768),
            weights: vec![Weights { name: "n".into(), sha256: "0f".into(), embedded: true }],
            elapsed: Duration::from_millis(1234),
        };
        let text = serde_json::to_string(&kept).unwrap();
        assert_eq!(serde_json::from_str::<Everything>(&text).unwrap(), kept, "{text}");
        assert!(serde_json::from_str::<Everything>(&text.replace("[30000,1001]", "[30000,0]")).is_err());
    }

    #[test]
    fn every_stage_is_found_by_its_name() {
        assert!(STAGES.into_iter().all(|stage| stage_named(stage.name()) == Some(stage)));
        assert_eq!(stage_named("lunch"), None);
    }
}
