//! What an answer that is no video means: wait for the model, try again, or a complaint that names the provider's words, the variable of the
//! token, or the page on which a licence is accepted.

use std::time::{Duration, SystemTime};

use contract::Complaint;
use reqwest::Response;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use serde::Deserialize;

use crate::http::beginning;
use crate::remote::{Remote, host};
use crate::token::HOW_TO_GET_A_TOKEN;
use crate::waits;
use crate::words;

/// Of an answer that is no video, bytes that are looked at.
const LOOKED_AT: usize = 64 << 10;

/// Why there is no answer yet.
#[derive(Debug)]
pub enum Trouble {
    /// The provider loads the model, for so many seconds if it says so.
    Loading { estimated: Option<f64>, complaint: Complaint },
    /// It may pass: to be said if it does not.
    Later { complaint: Complaint, after: Option<Duration> },
    /// It will not get better.
    Refused(Complaint),
}

/// An answer without its connection.
#[derive(Debug)]
pub struct Said {
    pub host: String,
    pub status: u16,
    pub retry_after: Option<Duration>,
    /// Its beginning.
    pub body: Vec<u8>,
}

/// Of a 503.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Loading {
    error: serde_json::Value,
    estimated_time: serde_json::Value,
}

/// The answer itself where it succeeded.
pub async fn successful(mut answer: Response, remote: &Remote) -> Result<Response, Trouble> {
    if answer.status().is_success() {
        return Ok(answer);
    }
    let retry_after = answer.headers().get(RETRY_AFTER).and_then(|after| after.to_str().ok());
    let retry_after = retry_after.and_then(|after| waits::retry_after(after, SystemTime::now()));
    let said = Said {
        host: host(answer.url()).to_owned(),
        status: answer.status().as_u16(),
        retry_after,
        body: beginning(&mut answer, LOOKED_AT).await,
    };
    Err(judge(&said, remote))
}

/// `video/mp4`, in lower case, without parameters; empty where it is not told.
pub fn kind(answer: &Response) -> String {
    let told = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    told.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether an answer of this kind may be a video.
pub fn may_be_video(kind: &str) -> bool {
    kind.starts_with("video/") || matches!(kind, "" | "application/octet-stream" | "binary/octet-stream")
}

/// A success that is no video.
pub async fn no_video(mut answer: Response, remote: &Remote) -> Trouble {
    let (host, kind) = (host(answer.url()).to_owned(), kind(&answer));
    let body = beginning(&mut answer, LOOKED_AT).await;
    Trouble::Refused(strange(&host, &kind, &body, remote))
}

/// What came in a video's place. `body`: its beginning.
pub fn strange(host: &str, kind: &str, body: &[u8], remote: &Remote) -> Complaint {
    let reason = words::reason(body, remote.token.as_ref());
    let quoted = if reason.is_empty() { String::new() } else { format!(": `{reason}`") };
    let another = "check huggingface.base_url and huggingface.form, or choose another model or provider";
    if words::is_page(body) || kind == "text/html" {
        let message = format!("{host} answered with an HTML page instead of a video{quoted}");
        return Complaint::new("answer_is_html", message, another);
    }
    if kind == "application/json" || body.trim_ascii_start().starts_with(b"{") {
        let message = format!("{host} answered with JSON instead of a video{quoted}");
        return Complaint::new("answer_is_json", message, another);
    }
    let kind = words::plain(kind, remote.token.as_ref());
    Complaint::new("answer_not_video", format!("{host} answered with {kind} instead of a video"), another)
}

pub fn judge(said: &Said, remote: &Remote) -> Trouble {
    let Said { host, status, retry_after, body } = said;
    let reason = words::reason(body, remote.token.as_ref());
    let quoted = if reason.is_empty() { String::new() } else { format!(": `{reason}`") };
    let what = format!("{host} answers {status}{quoted}");
    let refused = |code, message, hint: String| Trouble::Refused(Complaint::new(code, message, hint));
    let later = |code, hint: &str| Trouble::Later {
        complaint: Complaint::new(code, what.clone(), hint),
        after: *retry_after,
    };
    match (status, &remote.token) {
        (401, None) => refused("token_missing", format!("{what}; no token was sent"), HOW_TO_GET_A_TOKEN.into()),
        (401, Some(token)) => refused(
            "token_refused",
            format!("{what}; the token of {} was refused", token.from()),
            HOW_TO_GET_A_TOKEN.into(),
        ),
        (403, token) => {
            let whose = token.as_ref().map_or("no token was sent".to_owned(), |token| {
                format!("the token of {} may not use {}", token.from(), remote.model)
            });
            let hint = format!(
                "if the model is gated, accept its licence on {} with the account of the token; else give the token the right to call inference providers",
                remote.page()
            );
            refused("gated", format!("{what}; {whose}"), hint)
        }
        (402, _) => refused("payment_required", what, "https://huggingface.co/settings/billing shows what is left".into()),
        (404 | 410, _) => refused(
            "model_not_served",
            format!("{what}; {} is not served there", remote.model),
            "choose a model that a provider serves: https://huggingface.co/models?pipeline_tag=image-to-video&inference_provider=all".into(),
        ),
        (413, _) => refused("picture_refused", what, "send a smaller picture".into()),
        (429, _) => later("rate_limited", "wait, or use an account with a higher limit"),
        (503, _) => match loading(body) {
            Some(estimated) => Trouble::Loading {
                estimated: estimated.or_else(|| said.retry_after.map(|after| after.as_secs_f64())),
                complaint: Complaint::new("provider_loading", what, "try again in a few minutes, or raise huggingface.deadline_seconds"),
            },
            None => later("provider_failed", "try again later"),
        },
        (408 | 425 | 500.., _) => later("provider_failed", "try again later, or choose another model or provider"),
        _ => refused("provider_refused", what, "correct what it complains about".into()),
    }
}

/// Whether a 503 says that the model is being loaded, and for how long.
fn loading(body: &[u8]) -> Option<Option<f64>> {
    let told: Loading = serde_json::from_slice(body).ok()?;
    let named = told.error.as_str().is_some_and(|error| error.to_ascii_lowercase().contains("loading"));
    // some write the number as a text
    let estimated = match &told.estimated_time {
        serde_json::Value::String(text) => text.trim().parse().ok(),
        other => other.as_f64(),
    };
    (named || estimated.is_some()).then_some(estimated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::Setup;
    use crate::remote::tests::setup;

    fn remote(token: Option<&str>) -> Remote {
        Remote::check(Setup { base: Some("https://router.example".into()), ..setup(token) }).unwrap()
    }

    fn said(status: u16, body: &str) -> Said {
        let retry_after = Some(Duration::from_secs(3));
        Said { host: "router.example".into(), status, retry_after, body: body.into() }
    }

    #[test]
    fn each_refusal_names_its_remedy_and_never_the_token() {
        let token = "hf_Secret1";
        let rows = [
            (401, None, r#"{"error":"Unauthorized"}"#, "token_missing", "HF_TOKEN"),
            (401, Some(token), r#"{"error":"Invalid hf_Secret1"}"#, "token_refused", "HUGGING_FACE_TOKEN"),
            (
                403,
                Some(token),
                r#"{"error":"gated repo"}"#,
                "gated",
                "https://huggingface.co/stabilityai/stable-video-diffusion-img2vid-xt",
            ),
            (402, Some(token), "", "payment_required", "billing"),
            (404, Some(token), "", "model_not_served", "image-to-video"),
            (413, Some(token), "", "picture_refused", "smaller"),
            (400, Some(token), r#"{"error":["bad \u001b[31mframes"]}"#, "provider_refused", "correct"),
            (422, Some(token), r#"{"detail":[{"msg":"Input should be 1"}]}"#, "provider_refused", "correct"),
        ];
        for (status, token, body, code, told) in rows {
            let Trouble::Refused(complaint) = judge(&said(status, body), &remote(token)) else {
                panic!("{status} is not to be tried again")
            };
            let shown = complaint.to_string();
            assert_eq!(complaint.code, code);
            assert!(shown.contains(told) && shown.contains("router.example"), "{shown}");
            assert!(!shown.contains("Secret1") && !shown.contains('\u{1b}'), "{shown}");
        }
        let Trouble::Refused(refused) = judge(&said(401, ""), &remote(Some(token))) else { panic!() };
        assert!(refused.message.contains("the token of HF_TOKEN was refused"), "{refused}");
    }

    #[test]
    fn what_may_pass_is_waited_for() {
        for (status, code) in [
            (429, "rate_limited"),
            (500, "provider_failed"),
            (502, "provider_failed"),
            (408, "provider_failed"),
        ] {
            let Trouble::Later { complaint, after } = judge(&said(status, "{}"), &remote(None)) else {
                panic!("{status}")
            };
            assert_eq!((complaint.code, after), (code, Some(Duration::from_secs(3))), "{status}");
        }
        let rows = [
            (r#"{"error":"Model x is currently loading","estimated_time":20.5}"#, Some(Some(20.5))),
            // as Retry-After has it
            (r#"{"error":"Model x is currently loading"}"#, Some(Some(3.0))),
            (r#"{"estimated_time":3}"#, Some(Some(3.0))),
            (r#"{"error":"Model x is currently loading","estimated_time":"20"}"#, Some(Some(20.0))),
            (r#"{"error":"Service Unavailable"}"#, None),
            (r#"{"error":["loading"]}"#, None),
            ("<html>", None),
            ("", None),
        ];
        for (body, expected) in rows {
            let found = match judge(&said(503, body), &remote(None)) {
                Trouble::Loading { estimated, .. } => Some(estimated),
                _ => None,
            };
            assert_eq!(found, expected, "{body}");
        }
    }

    #[test]
    fn what_comes_in_a_videos_place_is_named() {
        let rows: [(&str, &[u8], &str, &str); 5] = [
            ("text/html", b"<html><title>Sign in</title>", "answer_is_html", "`Sign in`"),
            ("video/mp4", b"<!doctype html>", "answer_is_html", "HTML page"),
            ("application/json", b"{\"error\":\"no\"}", "answer_is_json", "`no`"),
            ("application/octet-stream", b"{\"error\":\"no\"}", "answer_is_json", "`no`"),
            ("image/png", b"\x89PNG", "answer_not_video", "image/png"),
        ];
        for (kind, body, code, told) in rows {
            let complaint = strange("h", kind, body, &remote(None));
            assert!(complaint.code == code && complaint.message.contains(told), "{complaint}");
        }
        for (kind, may) in [
            ("video/webm", true),
            ("application/octet-stream", true),
            ("", true),
            ("text/html", false),
            ("image/gif", false),
        ] {
            assert_eq!(may_be_video(kind), may, "{kind}");
        }
    }
}
