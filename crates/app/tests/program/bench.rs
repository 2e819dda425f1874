//! `talkie bench`: figures of a take as it was asked for.

use crate::stage::Stage;
use serde_json::Value;

/// The rows of both sizes, each with figures that a take has.
fn rows(told: &Value) -> Vec<(&str, &str)> {
    let rows = told["sizes"].as_array().unwrap();
    for row in rows {
        for figure in
            ["engine_ms_cpu_per_frame", "first_frame_ms", "pipeline_cpu_per_second", "times_real_time"]
        {
            assert!(row[figure].as_f64().unwrap() > 0.0, "{figure} of {row}");
        }
        assert!(
            row["peak_mib"].as_u64().unwrap() <= row["peak_with_children_mib"].as_u64().unwrap(),
            "{row}"
        );
    }
    rows.iter().map(|row| (row["size"].as_str().unwrap(), row["take_size"].as_str().unwrap())).collect()
}

#[test]
fn settings_are_those_of_the_measured_takes() {
    let stage = Stage::new();
    let run = stage.run(["bench", "--seconds", "0.4", "--set", "size=256", "--json"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let told = run.json();
    assert_eq!(rows(&told), [("512x512", "256x256"), ("1280x720", "256x144")]);
    assert_eq!((&told["engine"], &told["seconds"]), (&"puppet".into(), &0.4.into()));
    // what a take keeps needs no other name
    let text = String::from_utf8(stage.run(["bench", "--seconds", "0.4"]).stdout).unwrap();
    assert!(text.starts_with("512x512 on cpu\n") && text.contains("\n1280x720 on cpu\n"), "{text}");
    stage.run(["bench", "--set", "colour=red"]).assert_refused(&["colour", "crop, size, amplitude, sway"]);
    stage.run(["bench", "--set", "size=9000"]).assert_refused(&["9000", "1920"]);
    stage.run(["bench", "--set", "size"]).assert_refused(&["--set size", "name=value"]);
}

/// An engine that hears nobody, and asks for more memory than most machines have unless it is told to make less.
#[cfg(feature = "neural")]
#[test]
fn an_engine_without_a_voice_is_measured() {
    let stage = Stage::new();
    let weights = stage.path("weights");
    let seeded =
        stage.run(["models", "seed", "svd-xt", "--scale", "tiny", "--out", weights.to_str().unwrap()]);
    assert_eq!(seeded.code, 0, "{}", seeded.stderr);
    let mut bench = stage.command(["bench", "svd", "--seconds", "1", "--json"]);
    bench.env("SVD_DIR", weights.join("stable-video-diffusion-img2vid-xt"));
    for setting in ["size=256", "num_frames=2", "num_inference_steps=1"] {
        bench.args(["--set", setting]);
    }
    let run = crate::stage::Run::of(bench.output().unwrap());
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(rows(&run.json()), [("512x512", "256x256"), ("1280x720", "256x128")]);
}
