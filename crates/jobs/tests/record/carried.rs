//! Inputs that a request carries in itself: they go into the store, because a row holds words, not files.

use jobs::{Order, Refusal, Source, SubjectSpec, TakeSpec, VoiceSpec, Work};

use crate::both;
use crate::stage::*;

both![
    what_a_request_carries_is_kept_as_a_file,
    a_voice_is_called_a_voice,
    a_request_that_is_not_taken_leaves_nothing
];

fn carrying(url: &str) -> Order {
    let take = TakeSpec { subject: SubjectSpec::Picture(Source::Url(url.into())), ..take_spec() };
    Order { work: Work::Take(take), idempotency: Some("same".into()), ..order() }
}

async fn uploads(bed: &Bed) -> Vec<String> {
    bed.ask_sql("SELECT key FROM uploads").await
}

async fn what_a_request_carries_is_kept_as_a_file(bed: Bed) {
    let (desk, mut hand) = bed.open().await;
    hand.ready(W1, 1, 0);
    let id = submit(&desk, carrying("data:image/png;base64,aGVsbG8=")).await;
    let work = hand.assigned().await;
    let Work::Take(TakeSpec { subject: SubjectSpec::Picture(Source::Stored(key)), .. }) = &work.work else {
        panic!("{:?}", work.work)
    };
    assert_eq!(std::fs::read(bed.path(key)).unwrap(), b"hello");
    let rows = bed.ask_sql("SELECT work FROM jobs").await;
    assert!(!rows[0].contains("aGVsbG8"), "{rows:?}");
    // the same request again is the same job, and brings no second file
    assert_eq!(submit(&desk, carrying("data:image/png;base64,aGVsbG8=")).await, id);
    assert_eq!(uploads(&bed).await, [key.as_str()]);
    let other = desk.submit(carrying("data:image/png;base64,d29ybGQ=")).await;
    assert!(matches!(other, Err(Refusal::Mismatch(_))), "other bytes are other work");
    assert_eq!(uploads(&bed).await, [key.as_str()]);
}

/// In a complaint of it, too, whatever the person is.
async fn a_voice_is_called_a_voice(bed: Bed) {
    let (desk, mut hand) = bed.open().await;
    hand.ready(W1, 1, 0);
    let voice = || Source::Url("data:audio/wav;base64,aGVsbG8=".into());
    let take = TakeSpec {
        subject: SubjectSpec::Picture(Source::Path("/face.png".into())),
        voice: VoiceSpec::File { source: voice(), start: None, duration: None },
        ..take_spec()
    };
    submit(&desk, Order { work: Work::Take(take), ..order() }).await;
    let work = hand.assigned().await;
    let Work::Take(TakeSpec { voice: VoiceSpec::File { source: Source::Stored(key), .. }, .. }) = &work.work
    else {
        panic!("{:?}", work.work)
    };
    assert!(key.ends_with("data-url-of-the-voice"), "{key}");
}

async fn a_request_that_is_not_taken_leaves_nothing(bed: Bed) {
    let (desk, _hand) = bed.open_with(|config| config.queue_limit = 0).await;
    let full = desk.submit(carrying("data:,hello")).await;
    assert!(matches!(full, Err(Refusal::Busy { .. })));
    let broken = desk.submit(carrying("data:image/png;base64,???")).await;
    let Err(Refusal::Rejected(complaint)) = broken else { panic!("no base64") };
    assert!(complaint.message.contains("data: URL"), "{complaint}");
    assert_eq!(uploads(&bed).await, [] as [&str; 0]);
    let left = std::fs::read_dir(bed.folder.path().join("uploads")).map_or(0, Iterator::count);
    assert_eq!(left, 0);
}
