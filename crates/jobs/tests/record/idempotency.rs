//! The same order twice: by the client's own key, by the fingerprint of the request, and both at once from many sides.

use std::time::Duration;

use jobs::{Desk, Listing, Order, Refusal, State, Terms};

use crate::both;
use crate::stage::*;

both![
    the_same_key_with_the_same_work_is_the_same_job,
    a_twin_joins_while_the_job_lives_and_shortly_after,
    a_failure_that_may_pass_is_nobodys_answer,
    a_key_that_joined_a_twin_finds_it_for_good,
    thirty_two_equal_submits_at_once_are_one_job,
    a_clock_that_is_set_back_does_not_keep_a_twin_for_ever,
];

fn keyed(key: &str, seed: u64) -> Order {
    let take = jobs::TakeSpec { seed, ..take_spec() };
    Order { idempotency: Some(key.into()), work: jobs::Work::Take(take), ..order() }
}

fn twin(name: &str) -> Order {
    Order { twin: Some(name.into()), attach_s: 60, ..order() }
}

async fn fresh(desk: &Desk, order: Order) -> (String, bool) {
    let submitted = desk.submit(order).await.unwrap_or_else(|refusal| panic!("{refusal:?}"));
    (submitted.id, submitted.fresh)
}

async fn the_same_key_with_the_same_work_is_the_same_job(bed: Bed) {
    let (desk, mut hand) = bed.open().await;
    let (id, first) = fresh(&desk, keyed("a", 1)).await;
    assert!(first);
    assert_eq!(fresh(&desk, keyed("a", 1)).await, (id.clone(), false));
    assert!(fresh(&desk, keyed("b", 1)).await.1);
    assert!(
        fresh(&desk, Order { owner: "other".into(), ..keyed("a", 2) }).await.1,
        "keys are an owner's own"
    );
    assert!(fresh(&desk, Order { dialect: "svd", ..keyed("a", 2) }).await.1, "and a dialect's");
    let Err(Refusal::Mismatch(complaint)) = desk.submit(keyed("a", 2)).await else { panic!("other work") };
    assert_eq!(complaint.code, "idempotency_mismatch");
    // a request that is the same by its fingerprint is the same work, even if a seed was drawn anew
    let printed = |key: &str, seed, print: &str| Order { twin: Some(print.into()), ..keyed(key, seed) };
    let (id, _) = fresh(&desk, printed("p", 1, "x")).await;
    assert_eq!(fresh(&desk, printed("p", 2, "x")).await, (id.clone(), false));
    assert!(matches!(desk.submit(printed("p", 1, "y")).await, Err(Refusal::Mismatch(_))));
    // over the end of the job and a restart of the server
    desk.cancel(&id, None).await.unwrap();
    drop((desk, &mut hand));
    let (desk, _hand) = bed.open().await;
    assert_eq!(fresh(&desk, printed("p", 3, "x")).await, (id, false));
}

/// Of the machine, or of a deadline that another client had set.
async fn a_failure_that_may_pass_is_nobodys_answer(bed: Bed) {
    let (desk, mut hand) = bed.open().await;
    let by = bed.now_ms.load(std::sync::atomic::Ordering::SeqCst) + 300;
    let hurried = Order { terms: Terms { start_by_ms: Some(by), ..Terms::default() }, ..twin("t") };
    let (late, _) = fresh(&desk, hurried).await;
    bed.step(Duration::from_millis(301));
    assert_eq!(ended(&desk, &late).await.state, State::Failed);
    let (second, first) = fresh(&desk, twin("t")).await;
    assert!(first && second != late, "it has all the time there is");
    hand.ready(W1, 1, 0);
    let work = hand.assigned().await;
    assert_eq!(work.job, second);
    hand.ended(&work, failed("encode_failed"));
    assert_eq!(ended(&desk, &second).await.state, State::Failed);
    assert!(fresh(&desk, twin("t")).await.1, "the disk may have room by now");
}

async fn a_twin_joins_while_the_job_lives_and_shortly_after(bed: Bed) {
    let (desk, mut hand) = bed.open().await;
    hand.ready(W1, 1, 0);
    let (id, _) = fresh(&desk, twin("t")).await;
    assert_eq!(fresh(&desk, twin("t")).await, (id.clone(), false));
    assert!(fresh(&desk, Order { owner: "other".into(), ..twin("t") }).await.1);
    let work = hand.assigned().await;
    assert_eq!(fresh(&desk, twin("t")).await, (id.clone(), false), "while it runs");
    hand.ended(&work, failed("no_face"));
    assert_eq!(ended(&desk, &id).await.state, State::Failed);
    bed.step(Duration::from_secs(59));
    assert_eq!(fresh(&desk, twin("t")).await, (id.clone(), false), "a failure is an answer too");
    bed.step(Duration::from_secs(2));
    let (second, first) = fresh(&desk, twin("t")).await;
    assert!(first && second != id, "a minute later it is a new request");
    // nobody joins a job that somebody has canceled, running or ended
    hand.assigned().await;
    let (third, _) = fresh(&desk, twin("u")).await;
    desk.cancel(&third, None).await.unwrap();
    assert!(fresh(&desk, twin("u")).await.1);
    desk.cancel(&second, None).await.unwrap();
    assert!(fresh(&desk, twin("t")).await.1);
}

async fn a_key_that_joined_a_twin_finds_it_for_good(bed: Bed) {
    let aged = |config: &mut jobs::DeskConfig| {
        config.retention.records_age = Some(Duration::from_secs(86_400));
    };
    let (desk, mut hand) = bed.open_with(aged).await;
    hand.ready(W1, 1, 0);
    let keyed = |key: &str| Order { idempotency: Some(key.into()), ..twin("t") };
    let (id, _) = fresh(&desk, twin("t")).await;
    assert_eq!(fresh(&desk, keyed("living")).await, (id.clone(), false));
    let work = hand.assigned().await;
    hand.ended(&work, failed("no_face"));
    ended(&desk, &id).await;
    assert_eq!(fresh(&desk, keyed("ended")).await, (id.clone(), false));
    bed.step(Duration::from_secs(3600));
    for key in ["living", "ended"] {
        assert_eq!(fresh(&desk, keyed(key)).await, (id.clone(), false), "{key}");
        let other = Order { twin: Some("u".into()), ..keyed(key) };
        assert!(matches!(desk.submit(other).await, Err(Refusal::Mismatch(_))), "{key} with other work");
        let other = Order { owner: "other".into(), ..keyed(key) };
        desk.cancel(&fresh(&desk, other).await.0, None).await.unwrap();
    }
    // the key goes with the record of its job
    bed.step(Duration::from_secs(200_000));
    desk.sweep().await.unwrap();
    assert_eq!(bed.ask_sql("SELECT idempotency FROM job_aliases").await, [] as [&str; 0]);
    assert!(fresh(&desk, keyed("living")).await.1);
}

async fn thirty_two_equal_submits_at_once_are_one_job(bed: Bed) {
    let (desk, _hand) = bed.open().await;
    for (round, order) in
        [keyed("k", 1), twin("t"), Order { twin: Some("b".into()), ..keyed("b", 1) }].into_iter().enumerate()
    {
        let tasks = (0..32).map(|_| {
            let (desk, order) = (desk.clone(), order.clone());
            tokio::spawn(async move { fresh(&desk, order).await })
        });
        let mut answers = Vec::new();
        for task in tasks.collect::<Vec<_>>() {
            answers.push(task.await.unwrap());
        }
        assert_eq!(answers.iter().filter(|(_, fresh)| *fresh).count(), 1, "round {round}");
        assert!(answers.iter().all(|(id, _)| *id == answers[0].0), "round {round}");
        assert_eq!(desk.list(Listing::default()).await.unwrap().len(), round + 1);
    }
}

async fn a_clock_that_is_set_back_does_not_keep_a_twin_for_ever(bed: Bed) {
    let (desk, mut hand) = bed.open().await;
    hand.ready(W1, 1, 0);
    let (id, _) = fresh(&desk, twin("t")).await;
    let work = hand.assigned().await;
    bed.make(&hand, &work).await;
    ended(&desk, &id).await;
    bed.now_ms.fetch_sub(86_400_000, std::sync::atomic::Ordering::SeqCst);
    assert!(fresh(&desk, twin("t")).await.1);
}
