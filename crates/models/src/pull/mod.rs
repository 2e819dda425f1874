//! `pull`: fetches what is missing into the models folder, in the official layout. A file gets its name when it is whole, its
//! checksum is right and it is on the disk; what a broken pull leaves is a part that the next one goes on with. One pull a
//! folder at a time. Refuses to replace a file it did not expect.

mod download;
mod patience;

use std::fs::File as DiskFile;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use contract::{Complaint, Stop};
use tokio::sync::watch;
use url::Url;

use crate::catalogue::{Component, File, Selection, Source, Wanted};
use crate::check::{glance, judge};
use crate::fresh::unwritable;
use crate::hub::{Access, Facts, Fault, Hub};
use crate::listed;
use crate::name::Name;
use crate::part::{Before, Identity, Part, usable_bytes};
use crate::places::{Found, Places};
use crate::receipt::Receipt;
use crate::room;
use crate::sum::{Sum, is_sha256};
use crate::whole;

use download::Download;
use patience::insist;

/// Below the models folder: the lock and the receipts.
pub const OWN_FOLDER: &str = ".talkie";

/// Times that a file is begun: one that changed on the way or came with a wrong checksum is fetched anew.
const STARTS: u32 = 2;

pub struct PullOrder {
    pub access: Access,
    pub connections: usize,
    pub existing: OnMisfit,
    pub checksums: Checksums,
}

/// What happens to a file that is there but is not the one that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnMisfit {
    Refuse,
    Replace,
}

/// Whose word counts where the hub's checksum or size is not the catalogue's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksums {
    Catalogue,
    Hub,
}

#[derive(Debug)]
pub enum PullEvent<'a> {
    /// It is there already, and nothing is wrong with it as far as was looked.
    Present {
        label: &'a str,
        found: &'a Found,
    },
    /// What its owner asks of whoever fetches and uses it.
    Terms(&'a Component),
    /// What will be fetched, and how many bytes of it are missing.
    Plan {
        files: usize,
        bytes: u64,
    },
    Begun {
        label: &'a str,
        bytes: u64,
        resumed: u64,
    },
    /// The unfinished part was of a file that has changed since.
    Changed {
        label: &'a str,
        why: &'a str,
    },
    Progress {
        label: &'a str,
        done: u64,
        of: u64,
    },
    Waiting {
        label: &'a str,
        why: &'a str,
        wait: Duration,
    },
    Mirror {
        label: &'a str,
        source: &'a str,
        why: &'a str,
    },
    Verifying {
        label: &'a str,
        bytes: u64,
    },
    Done {
        label: &'a str,
        path: &'a Path,
        bytes: u64,
        checked: Option<&'a Sum>,
    },
}

/// Whoever hears of events; called from several threads.
#[derive(Clone)]
pub struct Teller(Arc<dyn Fn(PullEvent<'_>) + Send + Sync>);

impl Teller {
    pub fn new(hear: impl Fn(PullEvent<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hear))
    }

    fn tell(&self, event: PullEvent<'_>) {
        (self.0)(event);
    }
}

/// Fetches what of the selection is missing; blocks until it is there, refused or stopped.
pub fn pull(
    selection: &Selection<'_>,
    places: &Places,
    order: &PullOrder,
    stop: &Stop,
    teller: Teller,
) -> Result<(), Complaint> {
    let wrong = |error: std::io::Error| unwritable(&places.root, &error);
    std::fs::create_dir_all(places.root.join(OWN_FOLDER)).map_err(wrong)?;
    let _lock = lock(&places.root)?;
    let hub = Arc::new(Hub::new(&order.access)?);
    // its own: nothing else waits for what is written here
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(wrong)?;
    let (stopped, stopping) = watch::channel(false);
    let _breaker = stop.on_stop(move || {
        // whoever waits has gone: then there is nothing to stop
        let _ = stopped.send(true);
    });
    let pull = Pull { places, order, stop, stopping, hub, teller };
    let outcome = runtime.block_on(pull.run(selection));
    runtime.shutdown_background();
    outcome
}

struct Pull<'a> {
    places: &'a Places,
    order: &'a PullOrder,
    stop: &'a Stop,
    stopping: watch::Receiver<bool>,
    hub: Arc<Hub>,
    teller: Teller,
}

/// A file whose source has answered.
struct Ready<'a> {
    wanted: Wanted<'a>,
    label: String,
    source: &'a Source,
    asked: Url,
    facts: Facts,
    bytes: u64,
}

impl Pull<'_> {
    async fn run(&self, selection: &Selection<'_>) -> Result<(), Complaint> {
        let listed = self.or_stopped(self.list(&selection.listings)).await?;
        let mut missing = Vec::new();
        for wanted in selection.with(&listed).files {
            if !self.is_present(wanted)? {
                missing.push(wanted);
            }
        }
        let mut told: Vec<&str> = Vec::new();
        for wanted in &missing {
            let component = wanted.component;
            if component.has_terms() && !told.contains(&component.name.as_str()) {
                told.push(&component.name);
                self.teller.tell(PullEvent::Terms(component));
            }
        }
        let mut plan = Vec::new();
        for wanted in missing {
            plan.push(self.or_stopped(self.ready(wanted)).await?);
        }
        // sizes are told by whoever answers: together they may be more than can be counted
        let needed =
            plan.iter().fold(0_u64, |sum, ready| sum.saturating_add(ready.bytes - self.usable(ready)));
        self.teller.tell(PullEvent::Plan { files: plan.len(), bytes: needed });
        room::check(&self.places.root, needed)?;
        for ready in &plan {
            self.fetch(ready).await?;
        }
        Ok(())
    }

    async fn or_stopped<T>(&self, work: impl Future<Output = Result<T, Complaint>>) -> Result<T, Complaint> {
        let mut stopping = self.stopping.clone();
        tokio::select! {
            outcome = work => outcome,
            _ = stopping.wait_for(|stopped| *stopped) => Err(canceled()),
        }
    }

    async fn list<'c>(&self, components: &[&'c Component]) -> Result<Vec<(&'c Component, File)>, Complaint> {
        let mut all = Vec::new();
        for &component in components {
            let (Source::Hub(repository), Some(folder)) = (&component.source, &component.listing) else {
                continue;
            };
            let revision = component.revision.as_deref().unwrap_or("main");
            let label = format!("{}/{folder}", component.name);
            let entries = insist(&label, &self.teller, async || {
                self.hub.tree(repository, revision, folder.as_str()).await
            });
            let entries = entries.await.map_err(|fault| self.told(fault, component))?;
            let mut files = Vec::new();
            for entry in entries {
                let path = Name::parse(&entry.path).map_err(|why| {
                    Complaint::new("bad_answer", format!("the listing of {repository} is refused: {why}"), "")
                })?;
                let inside =
                    path.as_str().strip_prefix(folder.as_str()).is_some_and(|rest| rest.starts_with('/'));
                if !inside {
                    let message =
                        format!("the listing of {repository} names {path}, which is not in {folder}");
                    return Err(Complaint::new("bad_answer", message, ""));
                }
                let mut file = component.listed(path);
                file.bytes = entry.lfs.as_ref().and(entry.size);
                file.sha256 = entry.lfs.map(|lfs| lfs.oid).filter(|oid| is_sha256(oid));
                files.push(file);
            }
            listed::write(&self.places.root, component, &files)?;
            all.extend(files.into_iter().map(|file| (component, file)));
        }
        Ok(all)
    }

    /// Whether the file need not be fetched. It is read whole only where a wrong one would be replaced.
    fn is_present(&self, wanted: Wanted<'_>) -> Result<bool, Complaint> {
        let Some(found) = self.places.find(wanted) else { return Ok(false) };
        let label = wanted.label();
        let wrong = match self.order.existing {
            OnMisfit::Refuse => glance(wanted, &found),
            OnMisfit::Replace => {
                self.teller.tell(PullEvent::Verifying { label: &label, bytes: found.bytes });
                let verdict = judge(wanted, &found, self.stop, &mut |_| {}).map_err(as_canceled)?;
                Some(verdict).filter(|verdict| !verdict.is_good())
            }
        };
        if wrong.is_none() && found.fits(wanted) {
            self.teller.tell(PullEvent::Present { label: &label, found: &found });
            return Ok(true);
        }
        let ours = found.path == wanted.file.place.under(&self.places.root);
        match wrong {
            Some(wrong) if ours && self.order.existing == OnMisfit::Refuse => {
                let message = format!("{} is not the file that was published: {wrong}", found.path.display());
                Err(Complaint::new("wrong_file", message, "remove it, or replace it with --replace"))
            }
            _ => Ok(false),
        }
    }

    /// Asks the source, then its mirrors, what the file is.
    async fn ready<'w>(&self, wanted: Wanted<'w>) -> Result<Ready<'w>, Complaint> {
        let label = wanted.label();
        let component = wanted.component;
        let mut mirrors = component.mirrors.iter();
        let mut source = &component.source;
        loop {
            match self.facts(wanted, source, &label).await {
                Ok(ready) => return Ok(ready),
                Err(fault) => {
                    let complaint = self.told(fault, component);
                    let Some(mirror) = mirrors.next() else { return Err(complaint) };
                    let name = source_name(mirror);
                    self.teller.tell(PullEvent::Mirror {
                        label: &label,
                        source: &name,
                        why: &complaint.message,
                    });
                    source = mirror;
                }
            }
        }
    }

    async fn facts<'w>(
        &self,
        wanted: Wanted<'w>,
        source: &'w Source,
        label: &str,
    ) -> Result<Ready<'w>, Fault> {
        // a commit is one of its own repository's
        let revision = if source == &wanted.component.source { wanted.revision() } else { "main" };
        let path = wanted.file.path.as_str();
        let asked = self.hub.address(source, revision, path)?;
        let mut facts = insist(label, &self.teller, async || self.hub.facts(asked.clone()).await).await?;
        let address = facts.address.get_or_insert_with(|| asked.clone()).clone();
        let bytes = match facts.bytes {
            Some(bytes) => bytes,
            None => download::size(&self.hub, &address, label, &self.teller).await?,
        };
        if let (Source::Hub(repository), None, None) = (source, &facts.sum, &wanted.file.sha256) {
            // a mirror that keeps the hub's headers to itself still has its listing
            let folder = path.rsplit_once('/').map(|(folder, _)| folder).unwrap_or_default();
            let listing =
                insist(label, &self.teller, async || self.hub.tree(repository, revision, folder).await);
            let entry = listing.await.ok().and_then(|all| all.into_iter().find(|entry| entry.path == path));
            facts.sum = entry.and_then(|entry| entry.lfs).map(|lfs| lfs.oid).filter(|oid| is_sha256(oid));
        }
        self.agree(wanted, bytes, &facts, label).map_err(Fault::Absent)?;
        Ok(Ready { wanted, label: label.to_owned(), source, asked, facts, bytes })
    }

    /// What the source offers must be what the catalogue knows, unless the user trusts the hub more.
    fn agree(&self, wanted: Wanted<'_>, bytes: u64, facts: &Facts, label: &str) -> Result<(), Complaint> {
        if self.order.checksums == Checksums::Hub {
            return Ok(());
        }
        let differs = |what: String| {
            let hint =
                "the file was replaced, or the catalogue is wrong; --hub-checksums takes the hub's word";
            Err(Complaint::new("other_file", format!("{label}: {what}"), hint))
        };
        if let Some(known) = wanted.file.bytes.filter(|known| *known != bytes) {
            return differs(format!("the source offers {bytes} bytes, the catalogue knows {known}"));
        }
        match (&wanted.file.sha256, &facts.sum) {
            (Some(known), Some(told)) if is_sha256(told) && !told.starts_with(known.as_str()) => {
                differs(format!("the source offers the checksum {told}, the catalogue knows {known}"))
            }
            _ => Ok(()),
        }
    }

    fn usable(&self, ready: &Ready<'_>) -> u64 {
        usable_bytes(&ready.wanted.file.place.under(&self.places.root), &identity(ready)).min(ready.bytes)
    }

    async fn fetch(&self, ready: &Ready<'_>) -> Result<(), Complaint> {
        let label = &ready.label;
        let name = ready.wanted.file.place.under(&self.places.root);
        let mut starts = 0;
        let mut facts = ready.facts.clone();
        loop {
            let (part, before) =
                Part::open(&name, &Identity { etag: facts.etag.clone(), bytes: ready.bytes })?;
            let resumed = match before {
                Before::Bytes(bytes) => bytes,
                Before::Another => {
                    let why = "the part that is there is of another file";
                    self.teller.tell(PullEvent::Changed { label, why });
                    0
                }
                Before::Nothing => 0,
            };
            self.teller.tell(PullEvent::Begun { label, bytes: ready.bytes, resumed });
            let download = Arc::new(Download {
                hub: Arc::clone(&self.hub),
                part,
                label: label.clone(),
                asked: ready.asked.clone(),
                address: Mutex::new(facts.address.clone().unwrap_or_else(|| ready.asked.clone())),
                bytes: ready.bytes,
                teller: self.teller.clone(),
            });
            let mut stopping = self.stopping.clone();
            let outcome = tokio::select! {
                outcome = Arc::clone(&download).run(self.order.connections) => Some(outcome),
                _ = stopping.wait_for(|stopped| *stopped) => None,
            };
            let fault = match outcome {
                Some(Ok(())) => match self.finish(ready, download, &facts).await? {
                    Finished::Yes => return Ok(()),
                    Finished::WrongChecksum(complaint) => Fault::Refused(complaint),
                },
                Some(Err(fault)) => {
                    download.part.save()?;
                    fault
                }
                None => {
                    download.part.save()?;
                    return Err(canceled());
                }
            };
            let why = match &fault {
                Fault::Changed(why) => Some(why.as_str()),
                Fault::Refused(complaint) if complaint.code == "wrong_checksum" => {
                    Some(complaint.message.as_str())
                }
                Fault::Refused(_) | Fault::Absent(_) | Fault::Later { .. } => None,
            };
            starts += 1;
            match why {
                Some(why) if starts < STARTS => self.teller.tell(PullEvent::Changed { label, why }),
                _ => return Err(self.told(fault, ready.wanted.component)),
            }
            let anew = self.or_stopped(async {
                self.facts(ready.wanted, ready.source, label)
                    .await
                    .map_err(|fault| self.told(fault, ready.wanted.component))
            });
            let anew = anew.await?;
            if anew.bytes != ready.bytes {
                let message =
                    format!("{label}: the file changed from {} to {} bytes", ready.bytes, anew.bytes);
                return Err(Complaint::new("other_file", message, "run the same command again"));
            }
            facts = anew.facts;
            // nothing of what came before is believed
            Part::open(&name, &Identity { etag: facts.etag.clone(), bytes: ready.bytes })?.0.forget()?;
        }
    }

    /// Checks the whole part and gives it its name.
    async fn finish(
        &self,
        ready: &Ready<'_>,
        download: Arc<Download>,
        facts: &Facts,
    ) -> Result<Finished, Complaint> {
        let part = sole(download)?;
        let label = &ready.label;
        let file = ready.wanted.file;
        let sum = expected(file, facts, self.order.checksums);
        if let Some(sum) = &sum {
            self.teller.tell(PullEvent::Verifying { label, bytes: ready.bytes });
            let is = match sum.of(part.path(), self.stop, &mut |_| {}) {
                Err(complaint) if complaint.code == "canceled" => {
                    part.save()?;
                    return Err(canceled());
                }
                is => is?,
            };
            if !sum.agrees(&is) {
                let message = format!("{label}: the checksum is {is}, it should be {}", sum.text());
                part.discard()?;
                let hint = "the file was damaged on the way or is another one; nothing of it was kept";
                return Ok(Finished::WrongChecksum(Complaint::new("wrong_checksum", message, hint)));
            }
        }
        let path = file.place.under(&self.places.root);
        if let Err(why) = whole::check_as(part.path(), &path) {
            let message = format!("{label} came as it was published, but {why}");
            part.discard()?;
            let hint = "what answers there is not the file that its name says; nothing of it was kept";
            return Err(Complaint::new("damaged", message, hint));
        }
        part.finish()?;
        let receipt = Receipt {
            source: format!("{} {}", source_name(ready.source), ready.wanted.revision()),
            commit: facts.commit.clone(),
            bytes: ready.bytes,
            changed: std::fs::metadata(&path).ok().map(|is| (is.mtime(), is.mtime_nsec())),
            sum: facts.sum.clone().or_else(|| file.sha256.clone().filter(|sum| is_sha256(sum))),
            trusted: self.order.checksums == Checksums::Hub,
        };
        receipt.write(&self.places.root, &file.place)?;
        self.teller.tell(PullEvent::Done { label, path: &path, bytes: ready.bytes, checked: sum.as_ref() });
        Ok(Finished::Yes)
    }

    /// A fault as the user hears it: what a gated model needs is known here.
    fn told(&self, fault: Fault, component: &Component) -> Complaint {
        match fault {
            Fault::Refused(complaint) if complaint.code == "gated" => {
                let token = "make a token at https://huggingface.co/settings/tokens";
                let hint = if self.hub.has_token() {
                    format!(
                        "accept the licence at {} with the account that the token belongs to",
                        component.page()
                    )
                } else {
                    format!(
                        "accept the licence at {}, {token} and give it as HF_TOKEN, or in the file that HF_TOKEN_PATH names",
                        component.page()
                    )
                };
                Complaint { hint, ..complaint }
            }
            Fault::Refused(complaint) | Fault::Absent(complaint) => complaint,
            Fault::Later { why, .. } => Complaint::new("unreachable", why, "run the same command again"),
            Fault::Changed(why) => {
                let message = format!("a file of {} changes while it is fetched: {why}", component.name);
                Complaint::new("other_file", message, "run the same command again")
            }
        }
    }
}

enum Finished {
    Yes,
    WrongChecksum(Complaint),
}

/// The checksum a file must have: the catalogue's whole one, else the hub's, else the beginning that the catalogue knows.
fn expected(file: &File, facts: &Facts, whose: Checksums) -> Option<Sum> {
    let catalogue = file.sha256.clone().map(Sum::Sha256);
    let hub = facts.sum.clone().map(|sum| if is_sha256(&sum) { Sum::Sha256(sum) } else { Sum::GitBlob(sum) });
    match whose {
        Checksums::Hub => hub.or(catalogue),
        Checksums::Catalogue if file.sha256.as_deref().is_some_and(is_sha256) => catalogue,
        Checksums::Catalogue => hub.or(catalogue),
    }
}

fn identity(ready: &Ready<'_>) -> Identity {
    Identity { etag: ready.facts.etag.clone(), bytes: ready.bytes }
}

/// The part, once every worker has gone.
fn sole(download: Arc<Download>) -> Result<Part, Complaint> {
    let message = "a worker still holds the download that it finished";
    Ok(Arc::try_unwrap(download).map_err(|_| Complaint::new("internal", message, ""))?.part)
}

fn source_name(source: &Source) -> String {
    match source {
        Source::Hub(repository) => repository.clone(),
        Source::Url(base) => base.clone(),
    }
}

fn canceled() -> Complaint {
    Complaint::new("canceled", "canceled; what is there already stays", "the same command goes on from here")
}

/// A reading that was broken off, in the words of a pull.
fn as_canceled(complaint: Complaint) -> Complaint {
    if complaint.code == "canceled" { canceled() } else { complaint }
}

/// Held until it is dropped.
fn lock(root: &Path) -> Result<DiskFile, Complaint> {
    let path = root.join(OWN_FOLDER).join("lock");
    let file = DiskFile::options().write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(|error| unwritable(&path, &error))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let message = format!("another pull is at work in {}", root.display());
            Err(Complaint::new("busy", message, "wait for it, or name another folder with --models"))
        }
        Err(error) => Err(unwritable(&path, &error.into())),
    }
}
