//! One attempt at one job, as a worker makes it: inputs are brought here, the work is done in a private folder, and what came
//! of it is put into the store and delivered, whole or not at all.

use std::path::Path;
use std::sync::Arc;

use contract::{Complaint, Engine, Stop};
use store::{Draft, Existing};

use crate::crew::AvatarAsset;
use crate::live::Live;
use crate::prepare;
use crate::reel::{Other, ReelPlace};
use crate::resolve::{Larder, LocalVoice};
use crate::scratch::Scratch;
use crate::worker::Shop;
use crate::{Delivery, Ending, Fault, JobId, Made, Target, VoiceSpec, Watcher, Work, recipe, reel};

pub struct Attempt {
    pub name: (JobId, u32),
    pub work: Work,
    pub deliver: Delivery,
    pub avatar: Option<AvatarAsset>,
    pub live: Option<Live>,
}

pub fn run(shop: &Shop, attempt: Attempt, watcher: &Arc<dyn Watcher>, stop: &Stop) -> Ending {
    match fulfil(shop, attempt, watcher, stop) {
        Ok(ending) => ending,
        Err(Fault::Canceled) => Ending::Canceled,
        // what breaks because everything is being broken off is not worth telling
        Err(_) if stop.is_stopped() => Ending::Canceled,
        Err(fault) => Ending::Failed(fault.into()),
    }
}

fn fulfil(shop: &Shop, attempt: Attempt, watcher: &Arc<dyn Watcher>, stop: &Stop) -> Result<Ending, Fault> {
    let engine = engine(shop, attempt.work.engine())?;
    let scratch = Scratch::new(&shop.store).map_err(ours)?;
    let larder = Larder {
        store: &shop.store,
        runtime: &shop.runtime,
        scratch: &scratch,
        stop,
        watcher: watcher.as_ref(),
    };
    match attempt.work {
        Work::Prepare(spec) => {
            prepare::make(&shop.studio, engine, (&spec, &larder), &attempt.name.0, watcher)
                .map(Ending::Prepared)
        }
        Work::Take(spec) => {
            let person =
                attempt.avatar.map(|asset| prepare::fetch(&asset, &spec.engine, &larder)).transpose()?;
            let mut locals = larder.bring(&spec, person)?;
            match attempt.live {
                Some(mut live) => {
                    if let VoiceSpec::Arriving = spec.voice {
                        locals.voice = live.voice().map(LocalVoice::Arriving);
                    }
                    let target = Target::Live(live.form, live.packets());
                    let take = recipe::film(&shop.studio, engine, (spec, locals, target), watcher, stop)?;
                    let bytes = live.end()?;
                    Ok(Ending::Made(Made {
                        take,
                        key: String::new(),
                        bytes,
                        sha256: String::new(),
                        path: None,
                        s3: None,
                        removed_ms: None,
                    }))
                }
                None => {
                    let file = scratch.path().join("take.mp4");
                    let (job, attempt_no) = &attempt.name;
                    let reel = ReelPlace { folder: reel::folder(&shop.store, job), other: Other::Discard };
                    let existing = Existing::Replace;
                    let target = Target::File { path: file.clone(), existing, reel: Some(reel.clone()) };
                    let take = recipe::film(&shop.studio, engine, (spec, locals, target), watcher, stop)?;
                    let random = ulid::Ulid::new().to_string().to_lowercase();
                    let key = format!("takes/{job}/{attempt_no}-{random}.mp4");
                    let made = keep(&larder, &file, (take, key), attempt.deliver)?;
                    // not before: a worker that dies while it is stored leaves the pieces to its successor
                    reel::remove(&reel);
                    Ok(Ending::Made(made))
                }
            }
        }
    }
}

fn engine<'a>(shop: &'a Shop, name: &str) -> Result<&'a dyn Engine, Fault> {
    let found = shop.engines.iter().find(|engine| engine.card().name == name);
    found.map(AsRef::as_ref).ok_or_else(|| {
        let message = format!("there is no engine `{name}`");
        Complaint::new("unknown_engine", message, "`talkie engines` lists them").into()
    })
}

/// The store first, then what others see: a job that failed shows nothing.
fn keep(
    larder: &Larder<'_>,
    file: &Path,
    (take, key): (crate::Take, String),
    deliver: Delivery,
) -> Result<Made, Fault> {
    let draft = deliver.path.as_deref().map(|path| beside(file, path)).transpose()?;
    let stored = larder.wait(async { larder.store.put(file, &key).await.map_err(ours) })?;
    if let Err(fault) = show(larder, &key, draft, deliver.s3.as_deref()) {
        let _ = larder.runtime.block_on(larder.store.remove(&key));
        return Err(fault);
    }
    let Delivery { path, s3 } = deliver;
    Ok(Made { take, key, bytes: stored.bytes, sha256: stored.sha256, path, s3, removed_ms: None })
}

/// To where the request wants it. The bucket first, because it is the one that refuses.
fn show(larder: &Larder<'_>, key: &str, draft: Option<Draft>, s3: Option<&str>) -> Result<(), Fault> {
    if let Some(s3) = s3 {
        larder.wait(async {
            let kept;
            let from = match &draft {
                Some(draft) => draft.path(),
                None => {
                    kept = larder.store.local(key, larder.scratch.path()).await.map_err(ours)?;
                    kept.as_path()
                }
            };
            larder.store.upload(from, s3).await.map_err(ours)
        })?;
    }
    draft.map_or(Ok(()), |draft| draft.commit().map_err(ours))
}

/// A copy under a hidden name beside its target: a link would let whoever edits the one change the other.
fn beside(file: &Path, target: &Path) -> Result<Draft, Fault> {
    let draft = Draft::create(target, Existing::Replace).map_err(ours)?;
    std::fs::copy(file, draft.path()).map_err(|error| ours(crate::scratch::failed(target, &error)))?;
    Ok(draft)
}

/// A complaint about our own store or disk is not about the request.
fn ours(complaint: Complaint) -> Fault {
    Fault::Failed { code: complaint.code, message: complaint.to_string() }
}
