//! A job as a handler sees it: handed in, waited for, and what came of it.

use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode};
use jobs::{Ending, Held, JobView, Made, Order, Prepared, Refusal, Source, Submitted, is_data_uri};
use sha2::{Digest, Sha256};
use tracing::Instrument;

use super::house::Room;
use super::refused::{Refused, broken};

/// What is kept of the name of an input: of one that carries its bytes in itself, only what tells it from others.
pub fn noted(input: &str) -> String {
    match is_data_uri(input) {
        true => format!("data: with sha256 {}", hex::encode(Sha256::digest(input))),
        false => input.to_owned(),
    }
}

impl Room {
    /// The folder it is delivered to is made, if it is not there.
    pub async fn submit(&self, order: Order) -> Result<Submitted, Refused> {
        if let Some(folder) = order.deliver.path.as_ref().and_then(|path| path.parent()) {
            let failed = |error| {
                let detail = format!("the output folder {} cannot be made: {error}", folder.display());
                Refused::said(StatusCode::INTERNAL_SERVER_ERROR, detail)
            };
            tokio::fs::create_dir_all(folder).await.map_err(failed)?;
        }
        let submitted = self.house.desk.submit(order).await?;
        tracing::Span::current().record("job", &submitted.id);
        Ok(submitted)
    }

    /// Hands in an order that came with files: they go again if no new job needs them.
    pub async fn submit_with(&self, order: Order, uploads: Vec<Held>) -> Result<Submitted, Refused> {
        let desk = self.house.desk.clone();
        // on a task of its own: whoever hangs up in between must leave neither a file without a job nor a job without its file
        let work = async move {
            let submitted = desk.submit(order).await;
            let needed = match &submitted {
                Ok(submitted) => submitted.fresh,
                // the record may have it all the same
                Err(Refusal::Broken(_)) => true,
                Err(_) => false,
            };
            for upload in uploads {
                if needed {
                    upload.keep();
                    continue;
                }
                let key = upload.key.clone();
                if let Err(complaint) = upload.discard().await {
                    tracing::warn!(key, %complaint, "an upload that nobody needs could not be removed");
                }
            }
            submitted
        };
        let submitted = tokio::spawn(work.in_current_span()).await.map_err(|_| {
            Refused::said(StatusCode::INTERNAL_SERVER_ERROR, "the order broke off; send it again")
        })??;
        tracing::Span::current().record("job", &submitted.id);
        Ok(submitted)
    }

    /// Waits for its end.
    pub async fn ended(&self, job: &str) -> Result<Arc<JobView>, Refused> {
        let view = self.house.desk.wait(job).await.map_err(broken)?;
        view.ok_or_else(|| Refused::later(format!("the record no longer has job {job}"), 1))
    }
}

/// The take of a job that has ended; `opening` are the dialect's words before a reason (`Inference failed: `).
pub fn made(opening: &str, view: &JobView) -> Result<Made, Refused> {
    match &view.ending {
        Some(Ending::Made(made)) => Ok(made.clone()),
        other => Err(unmade(opening, view, other.as_ref())),
    }
}

pub fn prepared(opening: &str, view: &JobView) -> Result<Prepared, Refused> {
    match &view.ending {
        Some(Ending::Prepared(prepared)) => Ok(prepared.clone()),
        other => Err(unmade(opening, view, other.as_ref())),
    }
}

fn unmade(opening: &str, view: &JobView, ending: Option<&Ending>) -> Refused {
    match ending {
        Some(Ending::Failed(failure)) => Refused::failure(opening, failure),
        Some(Ending::Canceled) => {
            Refused::said(StatusCode::CONFLICT, format!("{opening}job {} was canceled", view.id))
        }
        Some(Ending::Made(_) | Ending::Prepared(_)) | None => {
            let detail = format!("{opening}job {} ended as something else", view.id);
            Refused::said(StatusCode::INTERNAL_SERVER_ERROR, detail)
        }
    }
}

/// Of an idempotency key, in characters.
const KEY_LIMIT: usize = 255;

/// The client's own key for its request. One that cannot be heeded is refused: its client counts on it.
pub fn idempotency(headers: &HeaderMap) -> Result<Option<String>, Refused> {
    let Some(key) = headers.get("idempotency-key").filter(|key| !key.is_empty()) else { return Ok(None) };
    let key = key.to_str().map_err(|_| {
        Refused::bad("the Idempotency-Key is not of visible ASCII characters; send another, like a UUID")
    })?;
    if key.len() > KEY_LIMIT {
        let length = key.len();
        let detail = format!(
            "the Idempotency-Key has {length} characters, the limit is {KEY_LIMIT}; send a shorter one"
        );
        return Err(Refused::bad(detail));
    }
    Ok(Some(key.to_owned()))
}

/// What makes two requests the same: their words, and of files their place, size and time.
pub async fn fingerprint(dialect: &str, words: &str, sources: &[&Source]) -> String {
    let mut text = format!("{dialect}\n{words}");
    for source in sources {
        text.push('\n');
        if let Source::Path(path) = source {
            let meta = tokio::fs::metadata(path).await.ok();
            let size = meta.as_ref().map_or(0, std::fs::Metadata::len);
            let changed = meta.and_then(|meta| meta.modified().ok());
            text.push_str(&format!("{} {size} {changed:?}", path.display()));
        } else {
            text.push_str(&format!("{source:?}"));
        }
    }
    hex::encode(Sha256::digest(text.as_bytes()))
}
