//! Nobody wants the take any more: whatever the engine is at ends at once.

use std::time::{Duration, Instant};

use contract::{EngineError, Stage};
use engine_huggingface::Form;

use crate::server::{Answer, Provider, json, video};
use crate::stage::{Told, act, film, run_until, setup};

const SOON: Duration = Duration::from_secs(3);

fn check(provider: &Provider, what: &str, stop: impl Fn(&Told) -> bool + Send + 'static) {
    let begun = Instant::now();
    let (outcome, _) = run_until(setup(Form::Router, &provider.url), act(&[]), stop);
    assert!(matches!(outcome, Err(EngineError::Stopped)), "{what}: {outcome:?}");
    assert!(begun.elapsed() < SOON, "{what}: {:?}", begun.elapsed());
}

#[test]
fn while_the_provider_computes() {
    let provider = Provider::start(|_, _| Answer::Hang);
    // told again and again while nothing comes
    check(&provider, "hanging", |told| {
        told.stages.iter().filter(|stage| **stage == Stage::Denoising).count() > 3
    });
    provider.wait_left();
}

#[test]
fn while_a_model_is_loaded() {
    let provider = Provider::start(|_, _| json(503, "{\"error\":\"loading\",\"estimated_time\":50}"));
    check(&provider, "loading", |told| {
        told.stages.iter().filter(|stage| **stage == Stage::Loading).count() > 2
    });
    assert_eq!(provider.seen().len(), 1);
}

#[test]
fn while_it_is_to_be_asked_again() {
    let busy = || Answer::Whole(429, vec![("retry-after", "50".into())], Vec::new());
    let provider = Provider::start(move |_, _| busy());
    check(&provider, "waiting", |told| !told.warnings.is_empty());
    assert_eq!(provider.seen().len(), 1);
}

#[test]
fn while_frames_come() {
    let provider = Provider::start(|_, _| video(film()));
    check(&provider, "decoding", |told| told.frames == 3);
}
