//! fal's queue behind the router: the provider's name of the model from the hub, a request, its status until it is done, its result, and the
//! video at the address that the result names. Of addresses in answers only the path is used, but for the video's, which is fetched under the
//! guard and without the token.

use std::path::Path;
use std::time::Duration;

use contract::{Complaint, EngineError, Warning};
use reqwest::Response;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use crate::answer::{self, Trouble};
use crate::call::{Caller, Video};
use crate::forms::{self, Order, QUEUE, below};
use crate::http::{self, Ask};
use crate::remote::{Remote, host};
use crate::words;
use stagehand::Cue;

const TASK: &str = "image-to-video";
/// The hub's own client asks this often.
const FIRST_REST: Duration = Duration::from_millis(500);
const LONGEST_REST: Duration = Duration::from_secs(5);
const REST_GROWS: f64 = 1.3;
/// Of an answer in JSON, which is held in memory; a video may be in it as a `data:` URL.
const JSON_BYTES: usize = 64 << 20;

#[derive(Deserialize)]
struct ModelInfo {
    /// An object by provider, or a list with the provider in each entry.
    #[serde(rename = "inferenceProviderMapping", default)]
    mapping: Value,
}

#[derive(Debug, Deserialize)]
struct Offer {
    #[serde(rename = "providerId")]
    provider_id: String,
    task: String,
    #[serde(default)]
    status: String,
}

#[derive(Deserialize)]
struct Submitted {
    response_url: String,
}

#[derive(Deserialize)]
struct Status {
    status: String,
}

#[derive(Deserialize)]
struct Made {
    video: File,
}

#[derive(Deserialize)]
struct File {
    url: String,
}

pub async fn video(caller: &Caller<'_>, order: &Order, folder: &Path) -> Result<Video, EngineError> {
    let remote = caller.remote;
    let offer = offer(caller).await?;
    let ask = forms::fal(remote, &offer.provider_id, order);
    let submitted: Submitted = json(caller, &ask).await?;
    let place = place(remote, &submitted.response_url)?;
    let queue = |mut url: Url| {
        url.set_query(Some(QUEUE));
        url
    };
    *caller.withdrawal.borrow_mut() = Some(Ask::put(queue(below(&place, "cancel"))));
    let (status, result) = (Ask::get(queue(below(&place, "status"))), Ask::get(queue(place)));
    let mut rest = FIRST_REST;
    loop {
        let told: Status = json(caller, &status).await?;
        match told.status.as_str() {
            "COMPLETED" => {
                caller.withdrawal.take();
                break;
            }
            "IN_QUEUE" | "IN_PROGRESS" => {}
            other => {
                let told = words::plain(other, remote.token.as_ref());
                let message = format!(
                    "{} knows the request's state as `{told}`, which fal's queue does not have",
                    host(&remote.base)
                );
                return Err(Complaint::new("provider_failed", message, "try again later").into());
            }
        }
        caller.rest(rest, host(&remote.base)).await?;
        rest = rest.mul_f64(REST_GROWS).min(LONGEST_REST);
    }
    let made: Made = json(caller, &result).await?;
    caller.download(&made.video.url, folder).await
}

/// Where a request is asked about: the path of `response_url` below the router. Its escapes stay as they are.
fn place(remote: &Remote, response_url: &str) -> Result<Url, Complaint> {
    let told = remote.base.join(response_url).ok().filter(|url| !url.cannot_be_a_base());
    let told = told.ok_or_else(|| {
        let shown = words::plain(response_url, remote.token.as_ref());
        let message =
            format!("{} tells an address of the request that is none: `{shown}`", host(&remote.base));
        Complaint::new("bad_answer", message, "choose another model or provider")
    })?;
    let mut place = remote.base.clone();
    place.set_path(&format!("{}/fal-ai{}", remote.base.path().trim_end_matches('/'), told.path()));
    Ok(place)
}

/// What the hub says of the model at this provider.
async fn offer(caller: &Caller<'_>) -> Result<Offer, EngineError> {
    let remote = caller.remote;
    let mut url = below(&remote.hub, &format!("api/models/{}", remote.model));
    url.set_query(Some("expand=inferenceProviderMapping"));
    let info: ModelInfo = json(caller, &Ask::get(url)).await?;
    let offer = find(info.mapping, remote)?;
    if matches!(offer.status.as_str(), "staging" | "error") {
        let message = format!(
            "the hub calls {} at {} `{}`: it may fail",
            remote.model,
            remote.form.provider(),
            offer.status
        );
        caller.tell(Cue::Warning(Warning::new("provider_status", message)))?;
    }
    Ok(offer)
}

fn find(mapping: Value, remote: &Remote) -> Result<Offer, Complaint> {
    let provider = remote.form.provider();
    let (names, entry) = match mapping {
        Value::Object(mut all) => (all.keys().cloned().collect::<Vec<_>>(), all.remove(provider)),
        Value::Array(all) => {
            let name = |entry: &Value| entry["provider"].as_str().map(str::to_owned);
            (
                all.iter().filter_map(name).collect(),
                all.into_iter().find(|entry| entry["provider"] == provider),
            )
        }
        _ => (Vec::new(), None),
    };
    let offer = entry.and_then(|entry| serde_json::from_value::<Offer>(entry).ok());
    let Some(offer) = offer else {
        let names = words::plain(&names.join(", "), remote.token.as_ref());
        let others = if names.is_empty() { "by nobody".to_owned() } else { format!("by {names}") };
        let message = format!("{} is not served by {provider}, but {others}", remote.model);
        let hint = "https://huggingface.co/models?pipeline_tag=image-to-video&inference_provider=fal-ai lists what is";
        return Err(Complaint::new("model_not_served", message, hint));
    };
    if offer.task != TASK {
        let task = words::plain(&offer.task, remote.token.as_ref());
        let message = format!("{} is served by {provider} for {task}, not for {TASK}", remote.model);
        return Err(Complaint::new(
            "model_not_served",
            message,
            "choose a model that makes videos of pictures",
        ));
    }
    Ok(offer)
}

async fn json<T: DeserializeOwned>(caller: &Caller<'_>, ask: &Ask) -> Result<T, EngineError> {
    let remote = caller.remote;
    caller
        .insist(ask, async |answer: Response| {
            let mut answer = answer::successful(answer, remote).await?;
            let host = host(answer.url()).to_owned();
            let body = http::whole(&mut answer, JSON_BYTES).await?;
            serde_json::from_slice(&body).map_err(|error| {
                let reason = words::reason(&body[..body.len().min(4096)], remote.token.as_ref());
                let quoted = if reason.is_empty() { String::new() } else { format!(" (`{reason}`)") };
                // serde repeats what it did not expect, however long it is
                let error = words::plain(&error.to_string(), remote.token.as_ref());
                let message =
                    format!("{host} answered with something that is no answer of its API{quoted}: {error}");
                Trouble::Refused(Complaint::new(
                    "bad_answer",
                    message,
                    "check huggingface.base_url, or choose another model or provider",
                ))
            })
        })
        .await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::remote::{Form, Setup, tests::setup};

    #[test]
    fn the_hubs_mapping_is_read_in_both_of_its_shapes() {
        let remote = Remote::check(Setup { form: Form::Fal, ..setup(Some("hf_x")) }).unwrap();
        let entry = json!({ "providerId": "fal-ai/fast-svd", "task": "image-to-video", "status": "live" });
        let mut listed = entry.clone();
        listed["provider"] = json!("fal-ai");
        for mapping in
            [json!({ "together": {}, "fal-ai": entry }), json!([{ "provider": "together" }, listed])]
        {
            assert_eq!(find(mapping, &remote).unwrap().provider_id, "fal-ai/fast-svd");
        }
        let rows = [
            (json!({ "hf_x": {} }), "but by …"),
            (json!({ "together": {}, "wavespeed": {} }), "by together, wavespeed"),
            (json!([]), "by nobody"),
            (json!(null), "by nobody"),
            (json!({ "fal-ai": { "providerId": "x", "task": "text-to-video" } }), "for text-to-video"),
        ];
        for (mapping, told) in rows {
            let complaint = find(mapping, &remote).unwrap_err();
            assert!(complaint.code == "model_not_served" && complaint.message.contains(told), "{complaint}");
        }
    }
    #[test]
    fn a_request_is_asked_about_below_the_router_whatever_host_its_address_names() {
        let base = Some("https://h.example/x/".to_owned());
        let remote = Remote::check(Setup { form: Form::Fal, base, ..setup(Some("hf_x")) }).unwrap();
        let rows = [
            ("https://queue.fal.run/fal-ai/ltx/requests/r1", Some("/x/fal-ai/fal-ai/ltx/requests/r1")),
            ("/fal-ai/ltx/requests/r1", Some("/x/fal-ai/fal-ai/ltx/requests/r1")),
            ("https://other.example/a/requests/%C3%A9%2F1?b=c", Some("/x/fal-ai/a/requests/%C3%A9%2F1")),
            ("https://other.example/a/../../../b", Some("/x/fal-ai/b")),
            ("data:text/plain,hf_x", None),
            ("https://[", None),
        ];
        for (told, expected) in rows {
            match (place(&remote, told), expected) {
                (Ok(url), Some(path)) => assert_eq!((url.path(), url.query()), (path, None), "{told}"),
                (Err(complaint), None) => {
                    assert!(
                        complaint.code == "bad_answer" && !complaint.message.contains("hf_x"),
                        "{complaint}"
                    );
                }
                (other, _) => panic!("{told}: {other:?}"),
            }
        }
    }
}
