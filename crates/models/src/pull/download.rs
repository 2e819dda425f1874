//! One file from its source into its part: pieces in parallel where the server has ranges, one stream where it has not.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use contract::Complaint;
use reqwest::{Response, StatusCode};
use tokio::task::JoinSet;
use url::Url;

use super::patience::{Patience, insist};
use super::{PullEvent, Teller};
use crate::hub::{Fault, Hub, broken, content_range, strong_etag};
use crate::part::Part;

/// Bytes asked for at a time: a lost connection costs at most so much of one server's work.
const PIECE: u64 = 16 << 20;
/// Between two writings of the part's state, and two reports.
const SAVE: Duration = Duration::from_secs(3);
const REPORT: Duration = Duration::from_millis(200);

pub struct Download {
    pub hub: Arc<Hub>,
    pub part: Part,
    pub label: String,
    /// Asked anew when the address has expired.
    pub asked: Url,
    pub address: Mutex<Url>,
    pub bytes: u64,
    pub teller: Teller,
}

/// How an answer to a range is to be read.
enum Answer {
    Piece(Response),
    /// The server sends the whole file, whatever it was asked for.
    Whole(Response),
}

impl Download {
    /// Fetches what is missing over `connections`. When this is dropped, what is there can be saved.
    pub async fn run(self: Arc<Self>, connections: usize) -> Result<(), Fault> {
        let watch = self.watch();
        let fetch = self.fetch(connections);
        tokio::select! {
            outcome = fetch => outcome,
            error = watch => Err(Fault::Refused(error)),
        }
    }

    /// Saves and reports until it is dropped; ends only where saving fails.
    async fn watch(&self) -> Complaint {
        let mut since_saved = Duration::ZERO;
        loop {
            self.teller.tell(PullEvent::Progress {
                label: &self.label,
                done: self.part.bytes(),
                of: self.bytes,
            });
            tokio::time::sleep(REPORT).await;
            since_saved += REPORT;
            if since_saved >= SAVE {
                since_saved = Duration::ZERO;
                if let Err(complaint) = self.part.save() {
                    return complaint;
                }
            }
        }
    }

    async fn fetch(self: &Arc<Self>, connections: usize) -> Result<(), Fault> {
        let mut patience = Patience::new(&self.label, &self.teller);
        // the first piece shows whether the server has ranges
        loop {
            let Some(piece) = self.part.missing(PIECE).next() else { return Ok(()) };
            let fault = match self.ask(&piece).await {
                Ok(Answer::Piece(answer)) => {
                    match self.read_on(answer, &mut piece.clone(), &mut patience).await {
                        Ok(()) => break,
                        Err(fault) => fault,
                    }
                }
                Ok(Answer::Whole(answer)) => {
                    self.part.forget().map_err(Fault::Refused)?;
                    // of a stream without ranges nothing can be used again: that is no progress
                    let mut unheeded = Patience::new(&self.label, &self.teller);
                    match self.read_on(answer, &mut (0..self.bytes), &mut unheeded).await {
                        Ok(()) => return Ok(()),
                        Err(fault) => fault,
                    }
                }
                Err(fault) => fault,
            };
            self.again(fault, &mut patience).await?;
        }
        let queue = Arc::new(Mutex::new(self.part.missing(PIECE)));
        let mut workers = JoinSet::new();
        for _ in 0..connections {
            let (own, queue) = (Arc::clone(self), Arc::clone(&queue));
            workers.spawn(async move {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                    match next {
                        Some(piece) => own.piece(piece).await?,
                        None => return Ok(()),
                    }
                }
            });
        }
        while let Some(outcome) = workers.join_next().await {
            let outcome = outcome.map_err(|error| Fault::Later { why: error.to_string(), after: None });
            if let Err(fault) = outcome.and_then(|outcome| outcome) {
                // nobody writes into the part any more when the next start begins
                workers.shutdown().await;
                return Err(fault);
            }
        }
        Ok(())
    }

    async fn piece(&self, mut piece: Range<u64>) -> Result<(), Fault> {
        let mut patience = Patience::new(&self.label, &self.teller);
        while !piece.is_empty() {
            let fault = match self.ask(&piece).await {
                Ok(Answer::Piece(answer)) => match self.read_on(answer, &mut piece, &mut patience).await {
                    Ok(()) => return Ok(()),
                    Err(fault) => fault,
                },
                // it had ranges a moment ago
                Ok(Answer::Whole(_)) => Fault::Changed("the server has no ranges any more".to_owned()),
                Err(fault) => fault,
            };
            self.again(fault, &mut patience).await?;
        }
        Ok(())
    }

    async fn ask(&self, piece: &Range<u64>) -> Result<Answer, Fault> {
        let address = self.address.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let entity = self.part.entity();
        let answer = self.hub.bytes(&address, piece.clone(), entity.as_deref()).await;
        let answer = match answer {
            // a signed address that has expired; the hub gives another
            Err(Fault::Refused(complaint)) if complaint.code == "gated" && address != self.asked => {
                let facts = self.hub.facts(self.asked.clone()).await?;
                let fresh = facts.address.unwrap_or_else(|| self.asked.clone());
                *self.address.lock().unwrap_or_else(PoisonError::into_inner) = fresh.clone();
                self.hub.bytes(&fresh, piece.clone(), entity.as_deref()).await?
            }
            answer => answer?,
        };
        let told = strong_etag(answer.headers());
        match (&entity, &told) {
            (Some(before), Some(now)) if before != now => {
                return Err(Fault::Changed(format!("its ETag was {before} and is {now}")));
            }
            (None, Some(_)) => self.part.set_entity(told),
            _ => {}
        }
        if answer.status() != StatusCode::PARTIAL_CONTENT {
            return match answer.content_length() {
                Some(bytes) if bytes != self.bytes => Err(self.other_size(bytes)),
                _ => Ok(Answer::Whole(answer)),
            };
        }
        match content_range(answer.headers()) {
            Some((_, total)) if total != self.bytes => Err(self.other_size(total)),
            Some((range, _)) if range.start == piece.start && range.end <= piece.end => {
                Ok(Answer::Piece(answer))
            }
            _ => Err(Fault::Later {
                why: "the server sent another range than it was asked for".to_owned(),
                after: None,
            }),
        }
    }

    /// Writes what comes; `rest` is what is still missing when the connection breaks.
    async fn read_on(
        &self,
        mut answer: Response,
        rest: &mut Range<u64>,
        patience: &mut Patience<'_>,
    ) -> Result<(), Fault> {
        while let Some(chunk) = answer.chunk().await.map_err(broken)? {
            if chunk.len() as u64 > rest.end - rest.start {
                return Err(Fault::Changed("the server sent more than it was asked for".to_owned()));
            }
            self.part.write(rest.start, &chunk).map_err(Fault::Refused)?;
            rest.start += chunk.len() as u64;
            patience.renew();
        }
        if rest.is_empty() {
            return Ok(());
        }
        Err(Fault::Later {
            why: format!("the server stopped {} bytes early", rest.end - rest.start),
            after: None,
        })
    }

    async fn again(&self, fault: Fault, patience: &mut Patience<'_>) -> Result<(), Fault> {
        match fault {
            Fault::Later { why, after } => patience.wait(&why, after).await.map_err(Fault::Refused),
            fault => Err(fault),
        }
    }

    fn other_size(&self, is: u64) -> Fault {
        Fault::Changed(format!("the server sends {is} bytes, the file has {}", self.bytes))
    }
}

/// The size of a file that HEAD did not tell: asked with a range, read from its answer.
pub async fn size(hub: &Hub, address: &Url, label: &str, teller: &Teller) -> Result<u64, Fault> {
    insist(label, teller, async || {
        let answer = hub.bytes(address, 0..1, None).await?;
        let told = match answer.status() {
            StatusCode::PARTIAL_CONTENT => content_range(answer.headers()).map(|(_, total)| total),
            _ => answer.content_length(),
        };
        told.ok_or_else(|| {
            let message = format!("{label}: the server does not tell how large the file is");
            Fault::Refused(Complaint::new("bad_answer", message, "try a mirror"))
        })
    })
    .await
}
