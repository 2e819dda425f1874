//! What an order agrees on besides its work: by when it must begin, how long its file is kept, and where its end is told.

use std::time::Duration;

use jobs::{Blame, Desk, Ending, FailedOrder, Failure, Order, State, Terms};

use crate::both;
use crate::stage::*;

both![
    what_does_not_begin_in_time_has_failed,
    what_began_in_time_may_be_put_back,
    a_failure_may_name_any_value,
    a_file_goes_when_its_time_has_come,
    webhooks_are_due_when_their_job_has_ended_and_are_claimed_once,
    a_request_that_was_wrong_is_told_of_like_one_that_failed,
];

fn start_within(bed: &Bed, span: Duration) -> Order {
    let by = bed.now_ms.load(std::sync::atomic::Ordering::SeqCst) + span.as_millis() as i64;
    Order { terms: Terms { start_by_ms: Some(by), ..Terms::default() }, ..order() }
}

async fn code_of(desk: &Desk, id: &str) -> String {
    match ended(desk, id).await.ending {
        Some(Ending::Failed(failure)) => failure.code,
        other => panic!("{other:?}"),
    }
}

async fn what_does_not_begin_in_time_has_failed(bed: Bed) {
    let (desk, mut hand) = bed.open().await;
    // by the wall clock, which this one follows: nobody submits or ends anything meanwhile
    let short = submit(&desk, start_within(&bed, Duration::from_millis(300))).await;
    let long = submit(&desk, start_within(&bed, Duration::from_secs(3600))).await;
    bed.step(Duration::from_millis(301));
    assert_eq!(code_of(&desk, &short).await, "start_timeout");
    assert_eq!(desk.job(&long, None).await.unwrap().unwrap().state, State::Queued);
    hand.ready(W1, 1, 0);
    assert_eq!(hand.assigned().await.job, long, "what is over is not handed out");
}

/// A NUL, too, which Postgres takes in no text.
async fn a_failure_may_name_any_value(bed: Bed) {
    let (desk, mut hand) = bed.open().await;
    hand.ready(W1, 1, 0);
    let id = submit(&desk, order()).await;
    let work = hand.assigned().await;
    let Ending::Failed(failure) = failed("bad_setting") else { panic!() };
    let fault = jobs::Fault::failed("bad_setting", "parsing_mode is `a\0b`");
    hand.ended(&work, Ending::Failed(Failure { hint: failure.hint, ..fault.into() }));
    let Some(Ending::Failed(told)) = ended(&desk, &id).await.ending else { panic!() };
    assert_eq!(told.message, "parsing_mode is `a\u{fffd}b`");
    let lines = desk.log(&id, 0).await.unwrap();
    assert!(lines.iter().all(|line| !line.message.contains('\0')), "{lines:?}");
}

async fn what_began_in_time_may_be_put_back(bed: Bed) {
    let (desk, mut hand) = bed.open().await;
    hand.ready(W1, 1, 0);
    let id = submit(&desk, start_within(&bed, Duration::from_secs(5))).await;
    hand.assigned().await;
    hand.gone(W1);
    bed.step(Duration::from_secs(60));
    hand.ready(W2, 1, 0);
    let again = hand.assigned().await;
    assert_eq!((again.job, again.attempt), (id, 2), "it kept its word");
}

async fn a_file_goes_when_its_time_has_come(bed: Bed) {
    let (desk, mut hand) = bed.open().await;
    hand.ready(W1, 1, 0);
    let mut ids = Vec::new();
    for keep_ms in [Some(60_000), None] {
        let terms = Terms { keep_ms, ..Terms::default() };
        let id = submit(&desk, Order { terms, ..order() }).await;
        let work = hand.assigned().await;
        bed.make(&hand, &work).await;
        ended(&desk, &id).await;
        ids.push(id);
    }
    let mut upload = desk.receive("kept.png", 10).await.unwrap();
    upload.write(b"x").await.unwrap();
    let key = upload.finish().await.unwrap().key;
    let at = bed.now_ms.load(std::sync::atomic::Ordering::SeqCst) + 60_000;
    desk.expire_upload(&key, at).await.unwrap();
    bed.step(Duration::from_secs(59));
    desk.sweep().await.unwrap();
    assert!(
        desk.open_take(&ids[0]).await.unwrap().is_some() && desk.open_upload(&key).await.unwrap().is_some()
    );
    bed.step(Duration::from_secs(2));
    let swept = desk.sweep().await.unwrap();
    assert_eq!((swept.takes, swept.uploads), (1, 1));
    assert!(
        desk.open_take(&ids[0]).await.unwrap().is_none() && desk.open_upload(&key).await.unwrap().is_none()
    );
    assert!(desk.open_take(&ids[1]).await.unwrap().is_some(), "nothing was said of the other");
}

async fn webhooks_are_due_when_their_job_has_ended_and_are_claimed_once(bed: Bed) {
    let (desk, mut hand) = bed.open().await;
    hand.ready(W1, 1, 0);
    let terms = Terms { webhook: Some("https://example.com/hook".into()), ..Terms::default() };
    let id = submit(&desk, Order { terms, ..order() }).await;
    let now = || bed.now_ms.load(std::sync::atomic::Ordering::SeqCst);
    let work = hand.assigned().await;
    assert!(desk.webhooks_due("musetalk", now(), 9).await.unwrap().is_empty(), "it still runs");
    let waits = tokio::spawn({
        let (desk, now) = (desk.clone(), now());
        async move { desk.webhooks_wait("musetalk", now).await }
    });
    bed.make(&hand, &work).await;
    ended(&desk, &id).await;
    waits.await.unwrap();
    let due = desk.webhooks_due("musetalk", now(), 9).await.unwrap();
    assert_eq!(due.iter().map(|due| (due.job.as_str(), due.tries)).collect::<Vec<_>>(), [(id.as_str(), 0)]);
    assert!(desk.webhooks_due("svd", now(), 9).await.unwrap().is_empty(), "it is another dialect's");
    // two servers look at the same time: one sends it
    assert!(desk.claim_webhook(&due[0], Some(now() + 1000)).await.unwrap());
    assert!(!desk.claim_webhook(&due[0], Some(now() + 1000)).await.unwrap());
    assert!(desk.webhooks_due("musetalk", now(), 9).await.unwrap().is_empty());
    desk.webhook_put_off(&due[0], Some(now() + 500)).await.unwrap();
    bed.step(Duration::from_millis(500));
    let again = desk.webhooks_due("musetalk", now(), 9).await.unwrap();
    assert_eq!(again[0].tries, 1);
    // a restart loses none
    drop((desk, hand));
    let (desk, _hand) = bed.open().await;
    let again = desk.webhooks_due("musetalk", now(), 9).await.unwrap();
    assert!(desk.claim_webhook(&again[0], None).await.unwrap());
    desk.webhook_delivered(&again[0]).await.unwrap();
    // whoever looked before it was taken does not send it again
    let stale = desk.webhooks_due("musetalk", i64::MAX - 1, 9).await.unwrap();
    assert!(stale.is_empty());
    let mut taken = again[0].clone();
    taken.tries = 2;
    assert!(!desk.claim_webhook(&taken, Some(now())).await.unwrap());
    bed.step(Duration::from_secs(86_400));
    assert!(desk.webhooks_due("musetalk", now(), 9).await.unwrap().is_empty());
}

async fn a_request_that_was_wrong_is_told_of_like_one_that_failed(bed: Bed) {
    let (desk, mut hand) = bed.open().await;
    hand.ready(W1, 1, 0);
    let failure = Failure {
        blame: Blame::Client,
        code: "bad_input".into(),
        message: "num_frames is 3".into(),
        hint: String::new(),
    };
    let failed = FailedOrder {
        dialect: "musetalk",
        owner: "local".into(),
        note: serde_json::json!({ "wrong": 1 }),
        webhook: Some("https://example.com/hook".into()),
        failure: failure.clone(),
    };
    let id = desk.submit_failed(failed).await.unwrap_or_else(|refusal| panic!("{refusal:?}"));
    let view = desk.job(&id, Some("local")).await.unwrap().unwrap();
    assert_eq!((view.state, view.ending.clone()), (State::Failed, Some(Ending::Failed(failure))));
    assert_eq!(view.note["wrong"], 1);
    let due = desk.webhooks_due("musetalk", i64::MAX - 1, 9).await.unwrap();
    assert_eq!(due.len(), 1);
    assert!(hand.said_already().is_none(), "nobody works on it");
}
