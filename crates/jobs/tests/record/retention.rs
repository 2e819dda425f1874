//! What goes and what stays.

use std::time::Duration;

use jobs::{Desk, Ending, Order, Retention, Source, State, SubjectSpec, Swept, TakeSpec, Work};

use crate::both;
use crate::stage::*;

both![
    takes_go_by_age_but_not_while_they_are_read,
    takes_go_oldest_first_until_the_rest_fits,
    what_cannot_be_removed_keeps_nothing_else,
    uploads_go_unless_a_living_job_names_them,
    records_go_by_age_when_nothing_is_left_of_them,
];

const HOUR: Duration = Duration::from_secs(3600);
const KEEP: Retention =
    Retention { takes_age: None, takes_bytes: None, uploads_age: None, records_age: None };

/// A job with a take of four bytes.
async fn done(bed: &Bed, (desk, hand): (&Desk, &mut Hand)) -> (String, String) {
    let id = submit(desk, order()).await;
    let work = hand.assigned().await;
    let key = bed.make(hand, &work).await;
    ended(desk, &id).await;
    (id, key)
}

async fn takes_go_by_age_but_not_while_they_are_read(bed: Bed) {
    let aged = Retention { takes_age: Some(HOUR), ..KEEP };
    let (desk, mut hand) = bed.open_with(|config| config.retention = aged.clone()).await;
    hand.ready(W1, 1, 0);
    let (old, old_key) = done(&bed, (&desk, &mut hand)).await;
    bed.step(HOUR - Duration::from_secs(1));
    let (young, _) = done(&bed, (&desk, &mut hand)).await;
    assert_eq!(desk.sweep().await.unwrap(), Swept::default());
    bed.step(Duration::from_secs(2));
    let reading = desk.open_take(&old).await.unwrap().unwrap();
    assert_eq!(desk.sweep().await.unwrap(), Swept::default(), "it is being read");
    assert!(bed.path(&old_key).exists());
    drop(reading);
    assert_eq!(desk.sweep().await.unwrap(), Swept { takes: 1, ..Swept::default() });
    assert!(!bed.path(&old_key).exists() && desk.open_take(&old).await.unwrap().is_none());
    let view = desk.job(&old, None).await.unwrap().unwrap();
    let Some(Ending::Made(made)) = &view.ending else { panic!("{view:?}") };
    assert!(view.state == State::Done && made.removed_ms.is_some(), "the record stays and says so");
    assert!(desk.open_take(&young).await.unwrap().is_some());
}

async fn what_cannot_be_removed_keeps_nothing_else(bed: Bed) {
    let aged = Retention { takes_age: Some(HOUR), uploads_age: Some(HOUR), records_age: Some(HOUR), ..KEEP };
    let (desk, mut hand) = bed.open_with(|config| config.retention = aged.clone()).await;
    hand.ready(W1, 1, 0);
    let mut takes = Vec::new();
    for _ in 0..3 {
        takes.push(done(&bed, (&desk, &mut hand)).await);
    }
    let mut upload = desk.receive("a", 100).await.unwrap();
    upload.write(b"bytes").await.unwrap();
    let upload = upload.finish().await.unwrap();
    let canceled = submit(&desk, order()).await;
    hand.assigned().await;
    let waiting = submit(&desk, order()).await;
    desk.cancel(&waiting, None).await.unwrap();
    // the store takes no such key
    bed.run_sql(&format!("UPDATE jobs SET take_key = '../x' WHERE id = '{}'", takes[1].0)).await;
    bed.step(HOUR * 2);
    assert_eq!(desk.sweep().await.unwrap_err().code, "bad_key");
    let there = |n: usize| bed.path(&takes[n].1).exists();
    assert_eq!([there(0), there(1), there(2)], [false, true, false]);
    assert!(!bed.path(&upload.key).exists(), "uploads go too");
    assert!(desk.job(&waiting, None).await.unwrap().is_none(), "and records");
    assert!(desk.job(&canceled, None).await.unwrap().is_some());
}

async fn takes_go_oldest_first_until_the_rest_fits(bed: Bed) {
    let small = Retention { takes_bytes: Some(9), ..KEEP };
    let (desk, mut hand) = bed.open_with(|config| config.retention = small.clone()).await;
    hand.ready(W1, 1, 0);
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(done(&bed, (&desk, &mut hand)).await.0);
        bed.step(HOUR);
    }
    let waiting = submit(&desk, order()).await;
    assert_eq!(desk.sweep().await.unwrap().takes, 2, "two of four bytes fit into nine");
    for (id, there) in ids.iter().zip([false, false, true, true]) {
        assert_eq!(desk.open_take(id).await.unwrap().is_some(), there);
    }
    assert_eq!(desk.sweep().await.unwrap(), Swept::default());
    // a file that somebody removed by hand is marked, and does not count
    let (id, key) = {
        let work = hand.assigned().await;
        (waiting, bed.make(&hand, &work).await)
    };
    ended(&desk, &id).await;
    std::fs::remove_file(bed.path(&key)).unwrap();
    assert!(desk.open_take(&id).await.unwrap().is_none());
    desk.sweep().await.unwrap();
}

async fn uploads_go_unless_a_living_job_names_them(bed: Bed) {
    let aged = Retention { uploads_age: Some(HOUR), ..KEEP };
    let (desk, mut hand) = bed.open_with(|config| config.retention = aged.clone()).await;
    let mut keys = Vec::new();
    for name in ["used", "unused"] {
        let mut upload = desk.receive(name, 100).await.unwrap();
        upload.write(b"bytes").await.unwrap();
        keys.push(upload.finish().await.unwrap().key);
    }
    let take = TakeSpec { subject: SubjectSpec::Picture(Source::Stored(keys[0].clone())), ..take_spec() };
    let with_upload = Order { work: Work::Take(take), ..order() };
    let id = submit(&desk, with_upload.clone()).await;
    bed.step(HOUR * 2);
    // by this sweep, or by the desk's own first one if that came late
    desk.sweep().await.unwrap();
    assert!(desk.open_upload(&keys[0]).await.unwrap().is_some());
    assert!(desk.open_upload(&keys[1]).await.unwrap().is_none() && !bed.path(&keys[1]).exists());
    hand.ready(W1, 1, 0);
    let work = hand.assigned().await;
    bed.make(&hand, &work).await;
    ended(&desk, &id).await;
    let reading = desk.open_upload(&keys[0]).await.unwrap();
    assert_eq!(desk.sweep().await.unwrap(), Swept::default(), "it is being read");
    assert!(desk.open_upload(&keys[0]).await.unwrap().is_some());
    drop(reading);
    assert_eq!(desk.sweep().await.unwrap().uploads, 1);
    assert!(matches!(
        desk.submit(with_upload).await,
        Err(jobs::Refusal::Rejected(complaint)) if complaint.code == "upload_unknown"
    ));
}

async fn records_go_by_age_when_nothing_is_left_of_them(bed: Bed) {
    let aged = Retention { records_age: Some(HOUR), ..KEEP };
    let (desk, mut hand) = bed.open_with(|config| config.retention = aged.clone()).await;
    let canceled = submit(&desk, order()).await;
    desk.cancel(&canceled, None).await.unwrap();
    hand.ready(W1, 1, 0);
    let (kept, _) = done(&bed, (&desk, &mut hand)).await;
    let running = submit(&desk, order()).await;
    let waiting = submit(&desk, order()).await;
    bed.step(HOUR * 2);
    assert_eq!(desk.sweep().await.unwrap(), Swept { records: 1, ..Swept::default() });
    assert!(desk.job(&canceled, None).await.unwrap().is_none());
    assert!(desk.log(&canceled, 0).await.unwrap().is_empty());
    for id in [&kept, &running, &waiting] {
        assert!(desk.job(id, None).await.unwrap().is_some());
    }
    assert_eq!(
        bed.ask_sql("SELECT message FROM job_log WHERE message = 'canceled while it waited'").await,
        [] as [&str; 0]
    );
}
