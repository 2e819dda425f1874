//! The JSON that the commands print and read. Its keys are public: programs depend on them.

use std::path::Path;

use contract::{Complaint, FaceReport, LandmarkOrigin, Landmarks, Point, Value};
use jobs::{Fault, Take};
use score::{Gate, Scores};
use serde::Deserialize;
use serde_json::{Map, json};

/// What `talkie generate --json` prints. Lengths in seconds, places in pixels of the user's picture.
pub fn take(take: &Take, path: Option<&Path>) -> serde_json::Value {
    let timings: Map<_, _> = take
        .timings
        .iter()
        .map(|timing| (timing.phase.clone(), json!(round(timing.elapsed.as_secs_f64(), 4))))
        .collect();
    json!({
        "path": path.map(|path| path.display().to_string()),
        "duration": round(take.duration_s, 6),
        "frames": take.frames,
        "fps": round(take.fps.as_f64(), 6),
        "size": { "width": take.size.width, "height": take.size.height },
        "engine": take.engine,
        "weights": take.weights.iter().map(|w| json!({ "name": w.name, "sha256": w.sha256 })).collect::<Vec<_>>(),
        "encoder": take.encoder,
        "seed": take.seed,
        "settings": named(&take.settings),
        "measured": named(&take.measured),
        "speech": take.speech.as_ref().map(|(backend, voice)| json!({ "backend": backend, "voice": voice })),
        "landmarks": take.face.as_ref().map(landmarks),
        "warnings": take.warnings.iter().map(|w| json!({ "code": w.code, "message": w.message })).collect::<Vec<_>>(),
        "timings": timings,
        "first_frame": take.first_frame_s.map(|seconds| round(seconds, 4)),
    })
}

fn named(values: &[(String, Value)]) -> Map<String, serde_json::Value> {
    values.iter().map(|(name, v)| (name.clone(), value(v))).collect()
}

pub fn fault(fault: &Fault) -> serde_json::Value {
    let (message, hint) = match fault {
        Fault::Rejected(complaint) => (complaint.message.clone(), complaint.hint.clone()),
        Fault::Canceled | Fault::Failed { .. } => (fault.to_string(), String::new()),
    };
    json!({ "error": { "code": fault.code(), "message": message, "hint": hint } })
}

pub fn complaint(complaint: &Complaint) -> serde_json::Value {
    fault(&Fault::Rejected(complaint.clone()))
}

/// What `talkie score --json` prints; `null` where an input is missing or something cannot be measured.
pub fn scores(scores: &Scores, gates: Option<&[Gate]>) -> serde_json::Value {
    let number = |value: Option<f32>| value.map(|value| round(f64::from(value), 4));
    let gates = gates.map(|gates| {
        let row = |gate: &Gate| {
            json!({
                "name": gate.name, "value": number(gate.value), "limit": gate.limit.to_string(), "passed": gate.passed
            })
        };
        gates.iter().map(row).collect::<Vec<_>>()
    });
    json!({
        "sync_r": number(scores.sync_r),
        "sync_r_shifted": scores.sync_r_shifted.map(|c| json!({ "mean": number(Some(c.mean)), "sd": number(Some(c.sd)) })),
        "sync_offset_ms": number(scores.sync_offset_ms),
        "sync_reference": scores.sync_reference.map(|reference| reference.name()),
        "sync_series": scores.sync_series.map(|series| series.name()),
        "closure_hit": number(scores.closure_hit),
        "closure_control": number(scores.closure_control),
        "closures": scores.closures,
        "upper_face_psnr_db": number(scores.upper_face_psnr_db),
        "upper_face_nose_psnr_db": number(scores.upper_face_nose_psnr_db),
        "background_psnr_db": number(scores.background_psnr_db),
        "flicker": number(scores.flicker),
        "jerk": number(scores.jerk),
        "silence_aperture": number(scores.silence_aperture),
        "frames": scores.frames,
        "fps": round(scores.fps, 6),
        "notes": scores.notes,
        "gates": gates,
    })
}

pub fn value(value: &Value) -> serde_json::Value {
    match value {
        Value::Bool(v) => json!(v),
        Value::Int(v) => json!(v),
        Value::Float(v) => json!(v),
        Value::Text(v) => json!(v),
    }
}

fn landmarks(face: &FaceReport) -> serde_json::Value {
    let point = |p: Point| json!([round(f64::from(p.x), 2), round(f64::from(p.y), 2)]);
    json!({
        "left_eye": point(face.landmarks.left_eye),
        "right_eye": point(face.landmarks.right_eye),
        "mouth_left": point(face.landmarks.mouth_left),
        "mouth_right": point(face.landmarks.mouth_right),
        "mouth_center": point(face.landmarks.mouth_center),
        "confidence": round(f64::from(face.confidence), 3),
        "origin": match face.origin {
            LandmarkOrigin::Found => "found",
            LandmarkOrigin::Given => "given",
        },
    })
}

fn round(value: f64, digits: i32) -> f64 {
    let factor = 10f64.powi(digits);
    (value * factor).round() / factor
}

/// The object under `landmarks`; confidence and origin may stand in it.
#[derive(Deserialize)]
#[serde(rename = "an object with five points")]
struct LandmarksWire {
    left_eye: [f32; 2],
    right_eye: [f32; 2],
    mouth_left: [f32; 2],
    mouth_right: [f32; 2],
    mouth_center: [f32; 2],
}

/// Reads the object itself, or a whole report that has it.
pub fn parse_landmarks(text: &str) -> Result<Landmarks, String> {
    let json: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let object = json.get("landmarks").unwrap_or(&json).clone();
    let wire = match serde_json::from_value::<LandmarksWire>(object) {
        Ok(wire) => wire,
        Err(error) => return Err(error.to_string()),
    };
    let point = |[x, y]: [f32; 2]| Point { x, y };
    Ok(Landmarks {
        left_eye: point(wire.left_eye),
        right_eye: point(wire.right_eye),
        mouth_left: point(wire.mouth_left),
        mouth_right: point(wire.mouth_right),
        mouth_center: point(wire.mouth_center),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BARE: &str = r#"{"left_eye":[1,2],"right_eye":[3,4],"mouth_left":[5,6],"mouth_right":[7,8],"mouth_center":[9,10.5]}"#;

    #[test]
    fn what_is_printed_can_be_given_back() {
        let given = parse_landmarks(BARE).unwrap();
        let report = FaceReport { landmarks: given, confidence: 0.5, origin: LandmarkOrigin::Given };
        let printed = landmarks(&report).to_string();
        assert_eq!(parse_landmarks(&printed).unwrap(), given);
        assert_eq!(parse_landmarks(&format!("{{\"landmarks\":{printed},\"frames\":3}}")).unwrap(), given);
    }

    #[test]
    fn a_missing_point_is_named() {
        let error = parse_landmarks(&BARE.replace("mouth_left", "mouth_lft")).unwrap_err();
        assert!(error.contains("mouth_left"), "{error}");
        assert!(parse_landmarks("{").is_err());
    }
}
