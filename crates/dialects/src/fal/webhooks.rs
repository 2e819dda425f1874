//! Webhooks: when a request that named one has ended, its result is posted there, signed, until it is taken or two hours have
//! passed. The record keeps what is still to be sent, so a restart loses none; one that was sent in the moment of a crash is
//! sent again, and receivers know it by its request's id.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use axum::http::{HeaderMap, HeaderValue, header};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contract::Complaint;
use jobs::{JobView, Webhook};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;

use super::DIALECT;
use super::to_wire::output;
use crate::front_door::House;

/// In all, the first included.
const TRIES: i32 = 10;
/// Sent at a time: receivers that do not answer hold no others up.
const AT_ONCE: usize = 64;
/// Until a receiver must have answered.
const PATIENCE: Duration = Duration::from_secs(15);
/// After the record did not answer.
const BREATH: Duration = Duration::from_secs(5);

/// Until the first retry; doubled nine times less one it makes two hours.
pub const FIRST_RETRY: Duration = Duration::from_millis(7_200_000 / 511);

/// Signs as fal does: Ed25519 over the request, the user, the time and the body's hash.
pub struct Signer(Ed25519KeyPair);

impl Signer {
    pub fn new(seed: &[u8; 32]) -> Result<Self, Complaint> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed);
        let unusable =
            |error| Complaint::new("internal", format!("the webhooks' key cannot be used: {error}"), "");
        pair.map(Self).map_err(unusable)
    }

    fn public(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    /// What receivers check signatures with.
    pub fn jwks(&self) -> Value {
        let id = hex::encode(Sha256::digest(self.public()))[..16].to_owned();
        let x = URL_SAFE_NO_PAD.encode(self.public());
        json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": id, "x": x }] })
    }

    fn sign(&self, (request, user, timestamp): (&str, &str, i64), body: &[u8]) -> String {
        let message = format!("{request}\n{user}\n{timestamp}\n{}", hex::encode(Sha256::digest(body)));
        hex::encode(self.0.sign(message.as_bytes()).as_ref())
    }

    fn headers(&self, (request, user, timestamp): (&str, &str, i64), body: &[u8]) -> HeaderMap {
        let signature = self.sign((request, user, timestamp), body);
        let rows = [
            ("x-fal-webhook-request-id", request),
            ("x-fal-webhook-user-id", user),
            ("x-fal-webhook-timestamp", &timestamp.to_string()),
            ("x-fal-webhook-signature", &signature),
        ];
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in rows {
            headers.extend(
                HeaderValue::from_str(value).ok().map(|value| (header::HeaderName::from_static(name), value)),
            );
        }
        headers
    }
}

/// What is posted about a request that has ended.
fn letter(view: &JobView) -> Value {
    let mut letter = json!({ "request_id": view.id, "gateway_request_id": view.id });
    match output(view, None) {
        Ok((output, _)) => {
            letter["status"] = json!("OK");
            match serde_json::to_value(&output) {
                Ok(payload) => letter["payload"] = payload,
                Err(error) => {
                    letter["payload"] = Value::Null;
                    letter["payload_error"] = json!(error.to_string());
                }
            }
        }
        Err(no) => {
            letter["status"] = json!("ERROR");
            letter["error"] = json!(format!("Invalid status code: {}", no.status.as_u16()));
            letter["payload"] = no.body;
        }
    }
    letter
}

/// When to try again after so many tries; `None`: no more.
fn again(first: Duration, tries: i32, now_ms: i64) -> Option<i64> {
    if tries >= TRIES {
        return None;
    }
    let wait = first.saturating_mul(1 << (tries - 1).clamp(0, 30));
    Some(now_ms.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)))
}

/// Sends what is due, as long as the desk is there.
pub async fn courier(house: Arc<House>) {
    let mut under_way = JoinSet::new();
    loop {
        while under_way.len() >= AT_ONCE {
            under_way.join_next().await;
        }
        let now_ms = house.clock.now_ms();
        let due = match house.desk.webhooks_due(DIALECT, now_ms, AT_ONCE as u64).await {
            Ok(due) => due,
            Err(complaint) => {
                tracing::warn!(%complaint, "webhooks cannot be looked up");
                tokio::time::sleep(BREATH).await;
                continue;
            }
        };
        if due.is_empty() {
            house.desk.webhooks_wait(DIALECT, now_ms).await;
            continue;
        }
        for webhook in due {
            let next_ms = again(house.fal.first_retry, webhook.tries + 1, now_ms);
            match house.desk.claim_webhook(&webhook, next_ms.map(|next| unheard(next, now_ms))).await {
                Ok(true) => {
                    under_way.spawn(deliver(Arc::clone(&house), webhook, next_ms));
                }
                Ok(false) => {} // another server was faster
                Err(complaint) => {
                    tracing::warn!(%complaint, "a webhook cannot be claimed");
                    tokio::time::sleep(BREATH).await;
                }
            }
        }
        while under_way.try_join_next().is_some() {}
    }
}

/// Until when nobody else begins the next try: this one has ended by then, and says when that is to be, unless its server is gone.
fn unheard(next_ms: i64, now_ms: i64) -> i64 {
    let ended = PATIENCE + Duration::from_secs(5);
    next_ms.max(now_ms.saturating_add(ended.as_millis() as i64))
}

async fn deliver(house: Arc<House>, webhook: Webhook, next_ms: Option<i64>) {
    let Ok(Some(view)) = house.desk.job(&webhook.job, None).await else { return };
    let body = letter(&view).to_string();
    let timestamp = house.clock.now_ms().div_euclid(1000);
    let headers = house.fal.signer.headers((&view.id, &view.owner, timestamp), body.as_bytes());
    let posted = house.desk.post(&webhook.url, headers, (body.into(), PATIENCE)).await;
    let (outcome, kept) = match posted {
        Ok(status) if (200..300).contains(&status) => {
            ("taken".to_owned(), house.desk.webhook_delivered(&webhook).await)
        }
        Ok(status) => {
            (format!("answered with {status}"), house.desk.webhook_put_off(&webhook, next_ms).await)
        }
        Err(complaint) => (complaint.to_string(), house.desk.webhook_put_off(&webhook, next_ms).await),
    };
    tracing::info!(job = %view.id, tries = webhook.tries + 1, outcome, "webhook sent");
    if let Err(complaint) = kept {
        tracing::warn!(job = %view.id, %complaint, "what came of a webhook could not be kept");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with an independent implementation.
    #[test]
    fn signatures_are_those_of_the_test_vector() {
        let seed: [u8; 32] = std::array::from_fn(|n| n as u8);
        let signer = Signer::new(&seed).unwrap();
        assert_eq!(signer.jwks()["keys"][0]["x"], "A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg");
        let body = br#"{"request_id":"r1","gateway_request_id":"r1","status":"OK","payload":{"seed":42}}"#;
        assert_eq!(
            signer.sign(("r1", "user-1", 1_700_000_000), body),
            "2d6de59251b3f3acc78b29ee547b0858ff3ec816bbf60f2ed689e8d5cf8607bb\
             8a1123e8f82ce211d1e1be69f4abd42d0ac0025d6c9a3224991430d679c6be0d"
        );
    }

    #[test]
    fn a_try_has_ended_before_the_next_begins() {
        for next in [100, 14_090, 60_000] {
            assert!(unheard(next, 0) >= next && unheard(next, 0) > PATIENCE.as_millis() as i64, "{next}");
        }
    }

    #[test]
    fn ten_tries_take_two_hours() {
        let mut at = 0;
        let mut tries = 1;
        while let Some(next) = again(FIRST_RETRY, tries, at) {
            assert!(next > at);
            (at, tries) = (next, tries + 1);
        }
        assert_eq!(tries, TRIES);
        assert!((7_190_000..7_210_000).contains(&at), "{at}");
    }
}
