//! `POST {url}/v1/audio/speech` as OpenAI's API has it: `{model, input, voice, response_format}` -> sound.
//! Refuses redirects (the key would travel with them) and answers of more than 64 MiB. What comes back is only stored;
//! a caged decoder reads it.

use std::sync::mpsc;
use std::time::Duration;

use contract::Stop;
use serde::Serialize;

use super::TtsEndpoint;
use crate::MediaError;
use crate::error::machine;

const CONNECT: Duration = Duration::from_secs(10);
const WHOLE: Duration = Duration::from_secs(300);
const ANSWER_BYTES: u64 = 64 << 20;

#[derive(Serialize)]
struct Request {
    model: String,
    input: String,
    voice: String,
    response_format: &'static str,
}

pub(super) fn speak(
    endpoint: &TtsEndpoint,
    voice: &str,
    text: &str,
    stop: &Stop,
) -> Result<Vec<u8>, MediaError> {
    let request = Request {
        model: endpoint.model.clone(),
        input: text.to_owned(),
        voice: voice.to_owned(),
        response_format: "wav",
    };
    let endpoint = endpoint.clone();
    // a blocked socket cannot be broken off from outside: the thread is left to its time limit when the job stops
    let (sender, outcome) = mpsc::channel();
    let stopper = sender.clone();
    let _breaker = stop.on_stop(move || drop(stopper.send(Err(MediaError::Stopped))));
    let thread = std::thread::Builder::new().name("media-endpoint".into());
    thread
        .spawn(move || drop(sender.send(post(&endpoint, &request))))
        .map_err(|e| machine("cannot start a thread", &e))?;
    outcome.recv().unwrap_or_else(|_| Err(failed(&"its thread ended without an answer")))
}

fn post(endpoint: &TtsEndpoint, request: &Request) -> Result<Vec<u8>, MediaError> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_connect(Some(CONNECT))
        .timeout_global(Some(WHOLE))
        .max_redirects(0)
        .http_status_as_error(false)
        .proxy(None)
        .build()
        .into();
    let mut call = agent.post(address(&endpoint.url));
    if let Some(key) = &endpoint.api_key {
        call = call.header("Authorization", format!("Bearer {key}"));
    }
    let mut answer = call.send_json(request).map_err(|e| failed(&e))?;
    let status = answer.status();
    let body = answer.body_mut().with_config().limit(ANSWER_BYTES).read_to_vec().map_err(|e| failed(&e))?;
    if !status.is_success() {
        let said = String::from_utf8_lossy(&body);
        let said: String = said.chars().map(|c| if c.is_control() { ' ' } else { c }).take(160).collect();
        return Err(failed(&format!("it answered {} {said}", status.as_u16())));
    }
    if body.is_empty() {
        return Err(failed(&"it answered with 0 bytes of sound"));
    }
    Ok(body)
}

fn failed(why: &dyn std::fmt::Display) -> MediaError {
    MediaError::new(
        "tts_failed",
        format!("the speech endpoint failed: {why}"),
        "check [tts] url, model and key, or choose another with --tts",
    )
}

/// People write the server, its `/v1` or the whole address.
fn address(url: &str) -> String {
    let url = url.trim_end_matches('/');
    if url.ends_with("/audio/speech") {
        url.to_owned()
    } else if url.ends_with("/v1") {
        format!("{url}/audio/speech")
    } else {
        format!("{url}/v1/audio/speech")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_however_it_is_written() {
        for url in
            ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/", "http://h:1/v1/audio/speech"]
        {
            assert_eq!(address(url), "http://h:1/v1/audio/speech", "{url}");
        }
    }
}
