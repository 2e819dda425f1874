//! A database that is locked or full, and clocks that jump: errors are told, nothing is lost, and the server goes on.

use std::sync::atomic::Ordering;
use std::time::Duration;

use jobs::{Listing, Refusal, State};
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, SqliteTransactionMode, TransactionOptions, TransactionTrait,
};

use crate::both;
use crate::stage::*;

both![
    a_lock_of_another_program_is_waited_for,
    a_lock_that_stays_is_told_and_nothing_is_lost,
    a_full_disk_is_told_and_an_end_is_kept_until_it_can_be_written,
    clocks_may_jump,
    a_row_that_cannot_be_read_fails_and_nothing_else_does,
];

/// Another program's lock on the whole record.
async fn lock(bed: &Bed) -> DatabaseTransaction {
    let options = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Exclusive),
        ..TransactionOptions::default()
    };
    let lock = bed.db().await.begin_with_options(options).await.unwrap();
    if bed.kind == Kind::Postgres {
        lock.execute_unprepared("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE").await.unwrap();
    }
    lock
}

async fn a_lock_of_another_program_is_waited_for(bed: Bed) {
    let (desk, mut hand) = bed.open().await;
    hand.ready(W1, 1, 0);
    let id = submit(&desk, order()).await;
    let work = hand.assigned().await;
    let lock = lock(&bed).await;
    let mut waiting = Box::pin(desk.submit(order()));
    hand.ended(&work, failed("no_face"));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    lock.rollback().await.unwrap();
    assert!(waiting.await.is_ok_and(|submitted| submitted.fresh));
    assert_eq!(ended(&desk, &id).await.state, State::Failed);
    hand.assigned().await;
}

async fn a_lock_that_stays_is_told_and_nothing_is_lost(bed: Bed) {
    let (desk, mut hand) = bed.open().await;
    hand.ready(W1, 1, 0);
    let id = submit(&desk, order()).await;
    let work = hand.assigned().await;
    let lock = lock(&bed).await;
    let key = bed.make(&hand, &work).await;
    let Err(Refusal::Broken(complaint)) = desk.submit(order()).await else { panic!("it cannot be written") };
    assert_eq!(complaint.code, "record_unavailable");
    assert!(complaint.hint.contains("lock"), "{complaint}");
    lock.rollback().await.unwrap();
    assert_eq!(ended(&desk, &id).await.state, State::Done);
    assert!(bed.path(&key).is_file());
    assert_eq!(desk.list(Listing::default()).await.unwrap().len(), 1);
    submit(&desk, order()).await;
    hand.assigned().await;
}

async fn a_full_disk_is_told_and_an_end_is_kept_until_it_can_be_written(bed: Bed) {
    let (desk, mut hand) = bed.open().await;
    hand.ready(W1, 1, 0);
    let id = submit(&desk, order()).await;
    let waiting = submit(&desk, order()).await;
    let work = hand.assigned().await;
    bed.refuse("INSERT", "jobs").await;
    bed.refuse("UPDATE", "jobs").await;
    let Err(Refusal::Broken(complaint)) = desk.submit(order()).await else { panic!("it cannot be written") };
    assert_eq!(complaint.code, "disk_full");
    assert_eq!(desk.cancel(&waiting, None).await.err().map(|complaint| complaint.code), Some("disk_full"));
    let key = bed.make(&hand, &work).await;
    eventually("its place is free", || async { desk.vitals().running == 0 }).await;
    assert_eq!(
        desk.job(&id, None).await.unwrap().unwrap().state,
        State::Running,
        "as far as the record knows"
    );
    hand.ended(&work, failed("again")); // not yet written, and said twice
    bed.accept("UPDATE", "jobs").await;
    bed.accept("INSERT", "jobs").await;
    assert_eq!(ended(&desk, &id).await.state, State::Done);
    assert!(bed.path(&key).is_file());
    assert_eq!(hand.assigned().await.job, waiting, "and the queue goes on by itself");
}

async fn clocks_may_jump(bed: Bed) {
    let year = 365 * 86_400_000;
    let (mut desk, mut hand) = bed.open_with(|config| config.stall = Duration::from_secs(10)).await;
    let mut ids = Vec::new();
    hand.ready(W1, 1, 0);
    for jump in [year, -2 * year, year] {
        let id = submit(&desk, order()).await;
        let work = hand.assigned().await;
        bed.now_ms.fetch_add(jump, Ordering::SeqCst);
        let queued = submit(&desk, order()).await;
        desk.sweep().await.unwrap();
        // on Postgres: longer than the lease, renewals go on
        tokio::time::sleep(Duration::from_millis(if bed.kind == Kind::Postgres { 900 } else { 0 })).await;
        assert!(hand.said_already().is_none(), "nobody is killed or taken over for a clock");
        bed.make(&hand, &work).await;
        assert_eq!(ended(&desk, &id).await.attempt, 1);
        let work = hand.assigned().await;
        assert_eq!(work.job, queued);
        bed.now_ms.fetch_add(-jump, Ordering::SeqCst);
        drop((desk, hand));
        (desk, hand) = bed.open().await;
        hand.ready(W1, 1, 0);
        let work = hand.assigned().await;
        assert_eq!((work.job.as_str(), work.attempt), (queued.as_str(), 2));
        bed.make(&hand, &work).await;
        assert_eq!(ended(&desk, &queued).await.state, State::Done);
        ids.extend([id, queued]);
    }
    let listed = desk.list(Listing::default()).await.unwrap();
    assert!(listed.iter().map(|view| &view.id).eq(ids.iter().rev()), "order is by number, not by time");
}

async fn a_row_that_cannot_be_read_fails_and_nothing_else_does(bed: Bed) {
    let (desk, mut hand) = bed.open().await;
    let damaged = submit(&desk, order()).await;
    let sound = submit(&desk, order()).await;
    bed.run_sql(&format!("UPDATE jobs SET work = '{{\"lunch\":1}}', note = 'x' WHERE id = '{damaged}'"))
        .await;
    hand.ready(W1, 1, 0);
    let work = hand.assigned().await;
    assert_eq!(work.job, sound, "the queue goes on");
    let view = ended(&desk, &damaged).await;
    assert_eq!((view.state, code(&view)), (State::Failed, "record_damaged"));
    // now one that runs, over a restart; and an ended one
    bed.run_sql(&format!("UPDATE jobs SET work = '' WHERE id = '{sound}'")).await;
    bed.run_sql(&format!("UPDATE jobs SET ending = '?' WHERE id = '{damaged}'")).await;
    drop((desk, hand));
    let (desk, mut hand) = bed.open().await;
    hand.ready(W1, 1, 0);
    assert_eq!(code(&ended(&desk, &sound).await), "record_damaged");
    assert_eq!(desk.list(Listing::default()).await.unwrap().len(), 2);
    assert_eq!(code(&ended(&desk, &damaged).await), "record_damaged");
    desk.sweep().await.unwrap();
    let next = submit(&desk, order()).await;
    assert_eq!(hand.assigned().await.job, next);
}
