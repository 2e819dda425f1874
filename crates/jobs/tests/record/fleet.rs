//! Several servers on one Postgres (trap 7: leases that are not what they seem; here they are counted, not timed).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jobs::{Canceling, State};

use crate::stage::*;

/// Another server on the same database, with a folder and a clock of its own.
async fn server(bed: &Bed) -> Bed {
    let own = Bed::new(Kind::Sqlite).await;
    own.now_ms.store(bed.now_ms.load(Ordering::SeqCst), Ordering::SeqCst);
    Bed { url: bed.url.clone(), kind: Kind::Postgres, ..own }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trap_7_a_lease_that_lives_is_respected_and_one_that_ended_is_taken_over() {
    let a = Bed::new(Kind::Postgres).await;
    let b = server(&a).await;
    let (desk_a, mut hand_a) = a.open().await;
    let (desk_b, mut hand_b) = b.open().await;
    hand_a.ready(W1, 1, 1);
    let id = submit(&desk_a, order()).await;
    let first = hand_a.assigned().await;
    hand_b.ready(W1, 2, 1);
    b.step(Duration::from_secs(86_400)); // by b's clock everything is long over
    let other = submit(&desk_a, order()).await;
    assert_eq!(hand_b.assigned().await.job, other, "what waits is taken by who has room");
    tokio::time::sleep(Duration::from_millis(2000)).await; // more than three leases
    assert!(hand_b.said_already().is_none(), "a lives, its job is its own");
    let spied = Arc::new(first);
    drop((desk_a, hand_a));
    let again = hand_b.assigned().await;
    assert_eq!((again.job.as_str(), again.attempt), (id.as_str(), 2));
    let key = b.make(&hand_b, &again).await;
    let view = ended(&desk_b, &id).await;
    assert_eq!((view.state, view.attempt), (State::Done, 2));
    // a comes back, and its worker too late
    let (desk_a, hand_a) = a.open().await;
    let late = a.make(&hand_a, &spied).await;
    eventually("the loser's file goes", || async { !a.path(&late).exists() }).await;
    assert!(b.path(&key).exists());
    assert_eq!(*desk_a.job(&id, None).await.unwrap().unwrap(), view);
    assert_eq!(a.ask_sql("SELECT id FROM jobs WHERE deaths > 0").await, [] as [&str; 0], "nobody is blamed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_server_runs_is_seen_and_canceled_through_another() {
    let a = Bed::new(Kind::Postgres).await;
    let b = server(&a).await;
    let (_desk_a, mut hand_a) = a.open().await;
    let (desk_b, _hand_b) = b.open().await;
    hand_a.ready(W1, 1, 0);
    let id = submit(&desk_b, order()).await;
    let work = hand_a.assigned().await;
    let waits = tokio::spawn({
        let (desk, id) = (desk_b.clone(), id.clone());
        async move { ended(&desk, &id).await }
    });
    assert!(matches!(desk_b.cancel(&id, None).await.unwrap(), Canceling::Requested));
    assert!(matches!(hand_a.said().await, Said::Cancel(W1, job, 1) if job == id));
    hand_a.ended(&work, jobs::Ending::Canceled);
    assert_eq!(waits.await.unwrap().state, State::Canceled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_asleep_for_its_lease_gives_way() {
    let a = Bed::new(Kind::Postgres).await;
    let (desk, mut hand) = a.open().await;
    hand.ready(W1, 1, 0);
    let id = submit(&desk, order()).await;
    let work = hand.assigned().await;
    // what another server does meanwhile
    a.run_sql("UPDATE jobs SET boot = 'another', attempt = 2").await;
    assert!(
        matches!(hand.said().await, Said::Cancel(W1, job, 1) if job == id),
        "its attempt is asked to leave"
    );
    let late = a.make(&hand, &work).await;
    eventually("the loser's file goes", || async { !a.path(&late).exists() }).await;
    let view = desk.job(&id, None).await.unwrap().unwrap();
    assert_eq!((view.state, view.attempt), (State::Running, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_was_committed_unheard_waits_again() {
    let a = Bed::new(Kind::Postgres).await;
    let (desk, mut hand) = a.open().await;
    hand.ready(W1, 1, 0);
    submit(&desk, order()).await;
    let first = hand.assigned().await;
    let id = submit(&desk, order()).await;
    // the connection broke between the commit and its answer: running, in the name of this very server
    a.run_sql(
        "UPDATE jobs SET state = 'running', attempt = 1, boot = (SELECT boot FROM jobs WHERE state = 'running') \
         WHERE state = 'queued'",
    )
    .await;
    a.make(&hand, &first).await;
    let again = hand.assigned().await;
    assert_eq!((again.job.as_str(), again.attempt), (id.as_str(), 2));
    assert_eq!(a.ask_sql("SELECT id FROM jobs WHERE deaths > 0").await, [] as [&str; 0], "nobody is blamed");
}
