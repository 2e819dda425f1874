//! Sends a request as often as it makes sense, within one deadline: waits while a model is loaded, for as long as the provider asks, or a
//! jittered back-off. All of it happens inside one future, which is dropped when the take is not wanted any more: waits and sockets end with it.
//! A provider with a queue is told so then.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use contract::{Complaint, EngineError, Stage, Warning};
use reqwest::{Client, Response};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::answer::{self, Trouble};
use crate::forms::{self, Order};
use crate::http::{self, Ask};
use crate::remote::{Form, Remote, host};
use crate::{fal, waits, words};
use stagehand::{Cue, Stagehand};

/// Bytes by which a page or JSON is known that claims to be a video.
const HEAD: usize = 4096;
/// A take that ends waits so long at most for a provider to hear that its video is not wanted.
const FAREWELL: Duration = Duration::from_secs(2);

/// A provider's answer that may be a video.
pub struct Video {
    pub path: PathBuf,
    pub bytes: u64,
    /// Whose answer it is.
    pub host: String,
}

pub struct Caller<'a> {
    pub remote: &'a Remote,
    client: Client,
    stage: &'a Stagehand,
    deadline: Instant,
    /// What takes a request back that waits or is worked on at the provider.
    pub withdrawal: RefCell<Option<Ask>>,
}

/// Sends the order, until there is a video in `folder` or nobody waits for it any more.
pub async fn video(
    remote: &Remote,
    order: Order,
    folder: &Path,
    stage: &Stagehand,
    stopped: Arc<Notify>,
) -> Result<Video, EngineError> {
    let client = http::client(remote.means.proxy.as_ref())?;
    let deadline = Instant::now() + remote.means.deadline;
    let caller = Caller { remote, client, stage, deadline, withdrawal: RefCell::default() };
    let made = tokio::select! {
        biased;
        () = stopped.notified() => Err(EngineError::Stopped),
        made = caller.make(order, folder) => made,
    };
    if made.is_err() {
        caller.withdraw().await;
    }
    made
}

impl Caller<'_> {
    async fn make(&self, order: Order, folder: &Path) -> Result<Video, EngineError> {
        let ask = match self.remote.form {
            Form::Router => forms::router(self.remote, &order),
            Form::Classic => forms::classic(self.remote, &order),
            Form::Fal => return fal::video(self, &order, folder).await,
        };
        drop(order);
        let path = folder.join("answer");
        self.insist(&ask, async |answer: Response| {
            let mut answer = answer::successful(answer, self.remote).await?;
            if !answer::may_be_video(&answer::kind(&answer)) {
                return Err(answer::no_video(answer, self.remote).await);
            }
            let host = host(answer.url()).to_owned();
            let bytes = http::save(&mut answer, &path, self.remote.means.answer_bytes).await?;
            let video = Video { path: path.clone(), bytes, host };
            self.look(&video).await.map_err(Trouble::Refused)?;
            Ok(video)
        })
        .await
    }

    /// The take has ended as it has, whatever the provider says to this.
    async fn withdraw(&self) {
        if let Some(ask) = self.withdrawal.take() {
            let _ = timeout(FAREWELL, http::send(&self.client, self.remote, &ask)).await;
        }
    }

    /// Until `read` has made something of an answer, or it is of no use to try again.
    pub async fn insist<T>(
        &self,
        ask: &Ask,
        read: impl AsyncFn(Response) -> Result<T, Trouble>,
    ) -> Result<T, EngineError> {
        let (mut failures, mut loadings) = (0, 0);
        loop {
            self.tell(Cue::Stage(Stage::Denoising, 0, 0))?;
            let attempt = async { read(http::send(&self.client, self.remote, ask).await?).await };
            let trouble = match timeout_at(self.deadline, attempt).await {
                Ok(Ok(made)) => return Ok(made),
                Ok(Err(trouble)) => trouble,
                Err(_) => return Err(self.too_late(host(&ask.url)).into()),
            };
            let (wait, complaint) = match trouble {
                Trouble::Refused(complaint) => return Err(complaint.into()),
                Trouble::Loading { estimated, complaint } => {
                    let wait = waits::loading(estimated, loadings);
                    if loadings == 0 {
                        let message =
                            format!("{} loads the model, about {:.0} s", host(&ask.url), wait.as_secs_f64());
                        self.tell(Cue::Warning(Warning::new("provider_loading", message)))?;
                    }
                    loadings += 1;
                    self.tell(Cue::Stage(Stage::Loading, 0, wait.as_secs_f64().ceil() as u64))?;
                    (wait, complaint)
                }
                Trouble::Later { complaint, after } => {
                    failures += 1;
                    if failures >= self.remote.means.tries {
                        return Err(given_up(complaint, failures).into());
                    }
                    let wait = match after {
                        Some(asked) => waits::after(asked, (self.remote.means.chance)()),
                        None => waits::back_off(failures, (self.remote.means.chance)()),
                    };
                    self.retrying(&complaint, failures, wait)?;
                    (wait, complaint)
                }
            };
            self.pause(wait, complaint).await?;
        }
    }

    /// Waits, unless that is longer than the deadline allows.
    async fn pause(&self, wait: Duration, complaint: Complaint) -> Result<(), EngineError> {
        if Instant::now() + wait >= self.deadline {
            let message = format!(
                "{}; it would be asked again in {:.0} s, and the take has {:.0} s in all",
                complaint.message,
                wait.as_secs_f64(),
                self.remote.means.deadline.as_secs_f64()
            );
            return Err(Complaint { message, ..complaint }.into());
        }
        sleep(wait).await;
        Ok(())
    }

    /// Between two questions about a request that is being worked on.
    pub async fn rest(&self, wait: Duration, whose: &str) -> Result<(), EngineError> {
        timeout_at(self.deadline, sleep(wait)).await.map_err(|_| self.too_late(whose).into())
    }

    /// A file that a provider named, fetched without any header of ours.
    pub async fn download(&self, url: &str, folder: &Path) -> Result<Video, EngineError> {
        self.tell(Cue::Stage(Stage::Fetching, 0, 0))?;
        let means = &self.remote.means;
        let mut failures = 0;
        let path = loop {
            let complaint = match timeout_at(self.deadline, means.downloads.download(url, folder)).await {
                Ok(Ok(path)) => break path,
                Ok(Err(complaint)) => complaint,
                Err(_) => return Err(self.too_late("the provider's store of videos").into()),
            };
            let passes =
                matches!(complaint.code, "url_broken" | "url_busy" | "url_timeout" | "url_unreachable");
            let complaint = Complaint {
                // the address is the provider's words
                message: words::plain(
                    &format!("the provider's video: {}", complaint.message),
                    self.remote.token.as_ref(),
                ),
                hint: "the address is the provider's: try again, or choose another; allowed_networks in [fetch] opens private networks".to_owned(),
                ..complaint
            };
            failures += 1;
            if !passes {
                return Err(complaint.into());
            }
            if failures >= means.tries {
                return Err(given_up(complaint, failures).into());
            }
            let wait = waits::back_off(failures, (means.chance)());
            self.retrying(&complaint, failures, wait)?;
            self.pause(wait, complaint).await?;
        };
        let bytes = tokio::fs::metadata(&path).await.map(|metadata| metadata.len());
        let bytes =
            bytes.map_err(|error| EngineError::Failed(format!("a fetched video is gone: {error}")))?;
        let video = Video { path, bytes, host: "the provider".to_owned() };
        self.look(&video).await?;
        Ok(video)
    }

    /// What is plainly no video is told in its own words, not in the decoder's.
    async fn look(&self, video: &Video) -> Result<(), Complaint> {
        if video.bytes == 0 {
            let message = format!("{} answered with an empty body instead of a video", video.host);
            return Err(Complaint::new(
                "answer_is_empty",
                message,
                "try again; if it stays so, the provider is at fault",
            ));
        }
        let read = async {
            use tokio::io::AsyncReadExt;
            let mut head = Vec::new();
            tokio::fs::File::open(&video.path).await?.take(HEAD as u64).read_to_end(&mut head).await?;
            Ok::<_, std::io::Error>(head)
        };
        let head = read.await.unwrap_or_default(); // the decoder says what is wrong with a file that cannot be read
        match head.trim_ascii_start().first() {
            Some(b'<' | b'{') => Err(answer::strange(&video.host, "", &head, self.remote)),
            _ => Ok(()),
        }
    }

    fn retrying(&self, complaint: &Complaint, failures: u32, wait: Duration) -> Result<(), EngineError> {
        let message = format!(
            "{}; try {} of {} in {:.1} s",
            complaint.message,
            failures + 1,
            self.remote.means.tries,
            wait.as_secs_f64()
        );
        self.tell(Cue::Warning(Warning::new("provider_retry", message)))
    }

    fn too_late(&self, whose: &str) -> Complaint {
        let message = format!(
            "{whose} gave no answer within {:.0} s, the deadline of the take",
            self.remote.means.deadline.as_secs_f64()
        );
        Complaint::new("provider_timeout", message, "try again, or raise huggingface.deadline_seconds")
    }

    pub fn tell(&self, cue: Cue) -> Result<(), EngineError> {
        Ok(self.stage.tell(cue)?)
    }
}

fn given_up(complaint: Complaint, failures: u32) -> Complaint {
    let message = format!("{} (tried {failures} times)", complaint.message);
    Complaint { message, ..complaint }
}
