//! Forms in: files go straight into the store as they arrive, under a limit each; what breaks off leaves nothing behind,
//! because an upload that is not finished is removed when it is dropped.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, BodyDataStream};
use axum::extract::multipart::Field as Part;
use axum::extract::{DefaultBodyLimit, FromRequest, Multipart};
use axum::http::{Request, header};
use bytes::Bytes;
use futures_util::Stream;
use jobs::{Desk, Held, Received, Upload};

use super::body;
use super::model::{Field, Fitting, Kind, Model, Place, Sent};
use super::pace::Pace;
use super::refused::Refused;

/// A plain field holds a word or a number.
const TEXT_LIMIT: usize = 64 << 10;
/// All of them, with what separates parts.
const TEXTS_LIMIT: u64 = 1 << 20;
/// What stands before a part: its boundary and its head, which the parser holds as a whole and reads anew with each piece.
const BETWEEN_LIMIT: u64 = 64 << 10;
/// Bytes that tell what a file is.
const HEAD: usize = 32;

const BROKEN: &str = "Invalid multipart data.";
const NAMELESS: &str = "The Content-Disposition header field \"name\" must be provided.";
/// More parts than any form of ours has; Starlette's own limit.
const PARTS: usize = 1000;

/// A form that fits its model, with its files on hold: dropped, they are gone.
pub struct Form {
    pub fields: Fitting,
    files: Vec<(String, Incoming)>,
}

/// A file that has arrived but was not accepted yet.
pub struct Incoming {
    upload: Upload,
    file_name: String,
}

/// What a file says of itself before it is stored.
pub struct Arriving {
    /// As the client named it, its folders cut off; may be empty.
    pub file_name: String,
    pub content_type: Option<String>,
    /// Its first bytes, at most 32.
    pub head: Vec<u8>,
}

/// Where files go, and how large one may be.
pub struct Intake<'a> {
    pub desk: &'a Desk,
    pub limit: u64,
    /// The name under which it is stored, or why it is not.
    pub name: fn(&Arriving) -> Result<String, Refused>,
}

/// By the client's own name.
pub fn own_name(arriving: &Arriving) -> Result<String, Refused> {
    let name = &arriving.file_name;
    Ok(if name.is_empty() { "upload".to_owned() } else { name.clone() })
}

impl Incoming {
    /// Keeps a new JPEG of the picture that it is.
    pub async fn accept_picture(self) -> Result<Received, Refused> {
        self.upload.finish_picture().await.map_err(|complaint| Refused::complaint(&complaint))
    }

    /// In the store until this is dropped, or for good if it is kept.
    pub async fn hold(self) -> Result<Held, Refused> {
        self.upload.hold().await.map_err(|complaint| Refused::complaint(&complaint))
    }

    /// Keeps it.
    pub async fn accept(self) -> Result<Received, Refused> {
        self.upload.finish().await.map_err(|complaint| Refused::complaint(&complaint))
    }
}

impl Form {
    /// The file of a required field.
    pub fn file(&mut self, name: &str) -> Result<Incoming, Refused> {
        let place = self.files.iter().position(|(known, _)| known == name);
        let place = place.ok_or_else(|| {
            Refused::Invalid(vec![Place::In(&Place::Root("body"), name).missing(&super::json::Json::Null)])
        })?;
        Ok(self.files.swap_remove(place).1)
    }
}

enum Entry {
    Text(String),
    File(Box<Incoming>),
}

/// Reads the form of `model`.
pub async fn read(
    intake: Intake<'_>,
    request: Request<Body>,
    model: &'static Model,
) -> Result<Form, Refused> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.unwrap_or_default().to_ascii_lowercase();
    let entries = match kind.split(';').next().unwrap_or_default().trim() {
        "multipart/form-data" => multipart(&intake, request, model).await?,
        "application/x-www-form-urlencoded" => {
            let bytes = body::bytes(request.into_body(), body::JSON_LIMIT).await?;
            url::form_urlencoded::parse(&bytes)
                .map(|(name, value)| (name.into_owned(), Entry::Text(value.into_owned())))
                .collect()
        }
        _ => Vec::new(),
    };
    // an empty text, like no text at all, is not there
    let sent = |field: &Field| match entries.iter().rev().find(|(name, _)| name == field.name)? {
        (_, Entry::Text(text)) if text.is_empty() => None,
        (_, Entry::Text(text)) => Some(Sent::Text(text.clone())),
        (_, Entry::File(file)) => Some(Sent::File(file.file_name.clone())),
    };
    let mut mistakes = Vec::new();
    let fields = model.read_texts(sent, Place::Root("body"), &mut mistakes);
    if !mistakes.is_empty() {
        return Err(Refused::Invalid(mistakes));
    }
    let file = |(name, entry)| match entry {
        Entry::File(file) => Some((name, *file)),
        Entry::Text(_) => None,
    };
    let files = entries.into_iter().filter_map(file).collect();
    Ok(Form { fields, files })
}

async fn multipart(
    intake: &Intake<'_>,
    request: Request<Body>,
    model: &'static Model,
) -> Result<Vec<(String, Entry)>, Refused> {
    let files = model.fields.iter().filter(|field| matches!(field.kind, Kind::File)).count() as u64;
    let most = intake.limit.saturating_mul(files.max(1)).saturating_add(TEXTS_LIMIT);
    let told = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if told.and_then(|length| length.parse::<u64>().ok()).is_some_and(|bytes| bytes > most) {
        return Err(Refused::too_large("the upload", intake.limit));
    }
    let coming = Coming::begin();
    let mut request = request.map(|body| {
        Body::from_stream(Sips { data: body.into_data_stream(), gauge: Arc::clone(&coming.gauge), most })
    });
    DefaultBodyLimit::disable().apply(&mut request); // ours counts files apart
    let form = Multipart::from_request(request, &()).await;
    let form = form.map_err(|_| Refused::bad("Missing boundary in multipart."))?;
    let entries = entries((intake, &coming), form, model).await;
    if coming.bytes() > most {
        return Err(Refused::too_large("the upload", intake.limit));
    }
    entries
}

async fn entries(
    (intake, coming): (&Intake<'_>, &Coming),
    mut form: Multipart,
    model: &'static Model,
) -> Result<Vec<(String, Entry)>, Refused> {
    let mut entries = Vec::new();
    let mut texts = 0;
    for _ in 0..PARTS {
        let part = match coming.between(form.next_field()).await? {
            Ok(Some(part)) => part,
            Ok(None) => return Ok(entries),
            Err(_) if coming.gauge.is_over() => {
                let kib = BETWEEN_LIMIT >> 10;
                let detail = format!("More than {kib}KB stand before a part; send the form without them.");
                return Err(Refused::bad(detail));
            }
            Err(error) => {
                let text = error.body_text();
                let nothing = entries.is_empty() && coming.bytes() > 0;
                return if nothing { Err(Refused::bad(BROKEN)) } else { broken_off(&text, entries) };
            }
        };
        coming.gauge.enough.store(u64::MAX, Ordering::Relaxed);
        let Some(name) = part.name().map(str::to_owned) else {
            return Err(Refused::bad(NAMELESS));
        };
        let known = model.fields.iter().find(|field| field.name == name);
        match part.file_name().map(bare) {
            Some(file_name) => {
                let wanted = known.is_some_and(|field| matches!(field.kind, Kind::File));
                if wanted {
                    if let Some(file) = file((intake, coming), part, file_name).await? {
                        // the last of a name counts: those before it go at once
                        entries.retain(|(other, entry)| *other != name || matches!(entry, Entry::Text(_)));
                        entries.push((name, Entry::File(Box::new(file))));
                    }
                } else if !passed(coming, part, intake.limit).await? {
                    return Ok(entries);
                }
            }
            None => {
                let Some(bytes) = small(coming, part).await? else { return Ok(entries) };
                texts += bytes.len() as u64;
                if texts > TEXTS_LIMIT {
                    return Err(Refused::too_large("the form's text", TEXTS_LIMIT));
                }
                // a text that is no UTF-8 is read as Latin 1, as Starlette does
                let text = String::from_utf8(bytes)
                    .unwrap_or_else(|error| error.as_bytes().iter().map(|&byte| char::from(byte)).collect());
                entries.push((name, Entry::Text(text)));
            }
        }
    }
    Err(Refused::bad(format!("Too many fields. Maximum number of fields is {PARTS}.")))
}

/// How a form comes.
struct Coming {
    pace: Pace,
    gauge: Arc<Gauge>,
}

/// What the reader of a form and the stream below it tell each other.
struct Gauge {
    counted: AtomicU64,
    /// After so many bytes no further piece is taken.
    enough: AtomicU64,
    /// Polls that give nothing: first let what is there be parsed, so that a piece is taken only when the parser cannot go on
    /// without. Two after each piece, for before the first boundary it asks twice before it parses.
    rest: AtomicU8,
}

impl Gauge {
    fn is_over(&self) -> bool {
        self.counted.load(Ordering::Relaxed) > self.enough.load(Ordering::Relaxed)
    }
}

impl Coming {
    fn begin() -> Self {
        let (counted, enough) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
        Self { pace: Pace::begin(), gauge: Arc::new(Gauge { counted, enough, rest: AtomicU8::new(0) }) }
    }

    fn bytes(&self) -> u64 {
        self.gauge.counted.load(Ordering::Relaxed)
    }

    /// What comes before a part: beyond the piece that is there, only so much more of it.
    async fn between<T>(&self, next: impl Future<Output = T>) -> Result<T, Refused> {
        self.gauge.enough.store(self.bytes() + BETWEEN_LIMIT, Ordering::Relaxed);
        self.patient(next).await
    }

    async fn patient<T>(&self, piece: impl Future<Output = T>) -> Result<T, Refused> {
        self.gauge.rest.store(1, Ordering::Relaxed);
        self.pace.next(self.bytes(), piece).await
    }
}

/// One piece of a body at a time: the parser takes whatever is ready into memory, which from a quick client is everything.
struct Sips {
    data: BodyDataStream,
    gauge: Arc<Gauge>,
    /// Bytes that are enough of any form.
    most: u64,
}

impl Stream for Sips {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let rest = self.gauge.rest.load(Ordering::Relaxed);
        if rest > 0 {
            self.gauge.rest.store(rest - 1, Ordering::Relaxed);
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.gauge.is_over() {
            return Poll::Ready(Some(Err(axum::Error::new("more than may stand before a part"))));
        }
        let next = Pin::new(&mut self.data).poll_next(context);
        if let Poll::Ready(Some(Ok(piece))) = &next {
            let bytes = piece.len() as u64;
            if self.gauge.counted.fetch_add(bytes, Ordering::Relaxed) + bytes > self.most {
                return Poll::Ready(Some(Err(axum::Error::new("larger than its limit"))));
            }
            self.gauge.rest.store(2, Ordering::Relaxed);
        }
        next
    }
}

/// A form that ends too early has the parts that were complete; anything else is no form.
fn broken_off(error: &str, entries: Vec<(String, Entry)>) -> Result<Vec<(String, Entry)>, Refused> {
    if error.contains("incomplete") { Ok(entries) } else { Err(Refused::bad(BROKEN)) }
}

/// `None` if the form ended within it.
async fn small(coming: &Coming, mut part: Part<'_>) -> Result<Option<Vec<u8>>, Refused> {
    let mut bytes = Vec::new();
    loop {
        match coming.patient(part.chunk()).await? {
            Ok(Some(chunk)) if bytes.len() + chunk.len() > TEXT_LIMIT => {
                let kib = TEXT_LIMIT >> 10;
                return Err(Refused::bad(format!("Part exceeded maximum size of {kib}KB.")));
            }
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => return Ok(Some(bytes)),
            Err(error) => return broken_off(&error.body_text(), Vec::new()).map(|_| None),
        }
    }
}

/// Reads past a part that nobody asked for; false if the form ended within it.
async fn passed(coming: &Coming, mut part: Part<'_>, limit: u64) -> Result<bool, Refused> {
    let mut bytes = 0;
    loop {
        match coming.patient(part.chunk()).await? {
            Ok(Some(chunk)) => bytes += chunk.len() as u64,
            Ok(None) => return Ok(true),
            Err(error) => return broken_off(&error.body_text(), Vec::new()).map(|_| false),
        }
        if bytes > limit {
            return Err(Refused::too_large("the upload", limit));
        }
    }
}

/// Streams a part into the store. `None` if the form ended within it, or if the field was left empty in a browser.
async fn file(
    (intake, coming): (&Intake<'_>, &Coming),
    mut part: Part<'_>,
    file_name: String,
) -> Result<Option<Incoming>, Refused> {
    let content_type = part.content_type().map(str::to_owned);
    let mut arriving = Arriving { file_name, content_type, head: Vec::new() };
    let (mut upload, mut waiting, mut bytes) = (None, Vec::new(), 0u64);
    loop {
        let chunk = match coming.patient(part.chunk()).await? {
            Ok(chunk) => chunk,
            Err(error) => return broken_off(&error.body_text(), Vec::new()).map(|_| None),
        };
        let ended = chunk.is_none();
        let chunk = chunk.unwrap_or_default();
        bytes += chunk.len() as u64;
        if bytes > intake.limit {
            return Err(Refused::too_large("the upload", intake.limit));
        }
        if ended && bytes == 0 && arriving.file_name.is_empty() {
            return Ok(None);
        }
        arriving.head.extend(chunk.iter().take(HEAD.saturating_sub(arriving.head.len())));
        let complaint = |complaint| Refused::complaint(&complaint);
        match &mut upload {
            None if arriving.head.len() < HEAD && !ended => waiting.extend_from_slice(&chunk),
            None => {
                let name = (intake.name)(&arriving)?;
                let mut begun = intake.desk.receive(&name, intake.limit).await.map_err(complaint)?;
                begun.write(&waiting).await.map_err(complaint)?;
                begun.write(&chunk).await.map_err(complaint)?;
                upload = Some(begun);
            }
            Some(upload) => upload.write(&chunk).await.map_err(complaint)?,
        }
        if ended {
            let file_name = arriving.file_name;
            return Ok(upload.map(|upload| Incoming { upload, file_name }));
        }
    }
}

/// The last part of a name, whatever separates its folders.
fn bare(name: &str) -> String {
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let name: String = name.chars().filter(|c| !c.is_control()).collect();
    if matches!(name.as_str(), "." | "..") { String::new() } else { name }
}
