//! The traps that the queue libraries of this field fall into, each as a test of the property (trap 1, syncing turned off, is
//! tested beside the connection's options).

use std::time::Duration;

use jobs::crew::WorkerId;
use jobs::{Listing, Order, Refusal, State};

use crate::both;
use crate::stage::*;

both![
    trap_2_a_poison_job_does_not_loop_for_ever,
    trap_3_servers_that_start_at_once_do_not_both_migrate,
    trap_4_our_migrations_have_a_table_of_their_own,
    trap_5_a_restart_within_the_lease_has_a_name_of_its_own,
    trap_6_nothing_is_locked_ahead,
    trap_8_a_hung_job_on_a_live_worker_is_killed,
    trap_9_order_and_ticket_are_one_write,
    trap_10_a_server_that_goes_down_gives_its_jobs_back,
    trap_11_nothing_waits_while_a_worker_idles,
    trap_12_plain_rights_are_enough,
];

async fn trap_2_a_poison_job_does_not_loop_for_ever(bed: Bed) {
    let (mut desk, mut hand) = bed.open().await;
    let poison = submit(&desk, order()).await;
    for death in 1..=3 {
        hand.ready(WorkerId(death), 2, 0);
        let work = hand.assigned().await;
        assert_eq!((work.job.as_str(), u64::from(work.attempt)), (poison.as_str(), death));
        hand.gone(WorkerId(death));
        if death < 3 {
            until(&desk, &poison, is_queued_again).await;
            // deaths are counted in the record: a restart does not forgive them
            drop((desk, hand));
            (desk, hand) = bed.open().await;
        }
    }
    let view = ended(&desk, &poison).await;
    assert_eq!((view.state, code(&view)), (State::Failed, "poison"));
    hand.ready(W1, 1, 0);
    let next = submit(&desk, order()).await;
    assert_eq!(hand.assigned().await.job, next, "the queue goes on");
}

async fn trap_3_servers_that_start_at_once_do_not_both_migrate(bed: Bed) {
    if bed.kind == Kind::Sqlite {
        let (_desk, _hand) = bed.open().await;
        let config = bed.config().await;
        let (crew, _hand, events) = crew();
        let complaint = jobs::Desk::open(config, crew, events).await.err().expect("it is refused");
        assert_eq!(complaint.code, "data_in_use");
        assert!(
            complaint.message.contains("talkie.lock") && complaint.hint.contains("--data"),
            "{complaint}"
        );
        return;
    }
    let servers = (0..6).map(|_| {
        let url = bed.url.clone();
        tokio::spawn(async move {
            let own = Bed { url, ..Bed::new(Kind::Sqlite).await };
            let (desk, hand) = own.open().await;
            submit(&desk, order()).await;
            (own, desk, hand)
        })
    });
    let mut open = Vec::new();
    for server in servers.collect::<Vec<_>>() {
        open.push(server.await.unwrap());
    }
    assert_eq!(open[0].1.list(Listing::default()).await.unwrap().len(), 6);
}

async fn trap_4_our_migrations_have_a_table_of_their_own(bed: Bed) {
    drop(bed.open().await);
    let tables = bed
        .ask_sql(match bed.kind {
            Kind::Sqlite => "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name",
            Kind::Postgres => {
                "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"
            }
        })
        .await;
    let ours: Vec<_> =
        tables.iter().map(String::as_str).filter(|name| !name.starts_with("sqlite_")).collect();
    let known =
        ["avatars", "doomed", "job_aliases", "job_log", "jobs", "talkie_migrations", "uploads", "webhooks"];
    assert_eq!(ours, known);
}

async fn trap_5_a_restart_within_the_lease_has_a_name_of_its_own(bed: Bed) {
    let mut boots = Vec::new();
    let mut attempt = 0;
    for _ in 0..3 {
        let (desk, mut hand) = bed.open().await;
        if attempt == 0 {
            submit(&desk, order()).await;
        }
        hand.ready(W1, 1, 0);
        let work = hand.assigned().await;
        attempt += 1;
        assert_eq!(work.attempt, attempt, "the same worker's name, another attempt");
        boots.extend(bed.ask_sql("SELECT boot FROM jobs WHERE state = 'running'").await);
    }
    boots.sort();
    boots.dedup();
    assert_eq!(boots.len(), 3);
}

async fn trap_6_nothing_is_locked_ahead(bed: Bed) {
    let (desk, mut hand) = bed.open().await;
    hand.ready(W1, 1, 0);
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(submit(&desk, order()).await);
    }
    assert_eq!(hand.assigned().await.job, ids[0]);
    for (position, id) in (0..).zip(&ids[1..]) {
        let view = desk.job(id, None).await.unwrap().unwrap();
        assert_eq!((view.state, view.position), (State::Queued, Some(position)));
    }
    hand.ready(W2, 1, 0);
    let (worker, work) = hand.assigned_to().await;
    assert_eq!((worker, &work.job), (W2, &ids[1]), "a long job holds nobody hostage");
}

async fn trap_8_a_hung_job_on_a_live_worker_is_killed(bed: Bed) {
    let (desk, mut hand) = bed.open_with(|config| config.stall = Duration::from_millis(150)).await;
    hand.ready(W1, 1, 0);
    let id = submit(&desk, order()).await;
    for attempt in 1..=3 {
        let work = hand.assigned().await;
        assert_eq!(work.attempt, attempt);
        assert!(matches!(hand.said().await, Said::Kill(_, why) if why.contains("no progress for")));
        hand.gone(W1);
        hand.ready(W1, 1, 0);
    }
    let view = ended(&desk, &id).await;
    assert_eq!(code(&view), "poison");
}

async fn trap_9_order_and_ticket_are_one_write(bed: Bed) {
    let (desk, mut hand) = bed.open().await;
    submit(&desk, order()).await;
    // the last statement of the submit fails: nothing of it is left
    bed.refuse_inserts_into("webhooks").await;
    let terms =
        jobs::Terms { webhook: Some("https://example.com/told".to_owned()), ..jobs::Terms::default() };
    assert!(matches!(desk.submit(Order { terms, ..order() }).await, Err(Refusal::Broken(_))));
    assert_eq!(desk.list(Listing::default()).await.unwrap().len(), 1);
    bed.accept_inserts_into("webhooks").await;
    let second = submit(&desk, order()).await;
    hand.ready(W1, 2, 0);
    hand.assigned().await;
    assert_eq!(hand.assigned().await.job, second);
}

async fn trap_10_a_server_that_goes_down_gives_its_jobs_back(bed: Bed) {
    let (desk, mut hand) = bed.open().await;
    hand.ready(W1, 2, 0);
    let (quick, slow) = (submit(&desk, order()).await, submit(&desk, order()).await);
    let work = hand.assigned().await;
    hand.assigned().await;
    let closing = tokio::spawn({
        let desk = desk.clone();
        async move { desk.drain(Duration::from_millis(300)).await }
    });
    assert!(matches!(hand.said().await, Said::Dismissed));
    assert!(matches!(desk.submit(order()).await, Err(Refusal::Busy { .. })));
    let waiting = [&quick, &slow].map(|id| {
        let (desk, id) = (desk.clone(), id.clone());
        tokio::spawn(async move { desk.wait(&id).await })
    });
    let key = bed.make(&hand, &work).await;
    closing.await.unwrap();
    let [quickly, slowly] = waiting;
    assert_eq!(quickly.await.unwrap().unwrap().unwrap().state, State::Done);
    assert_eq!(slowly.await.unwrap().unwrap_err().code, "closing");
    assert_eq!(desk.wait(&quick).await.unwrap().unwrap().state, State::Done, "until the record is closed");
    desk.close().await;
    drop((desk, hand));
    let (desk, mut hand) = bed.open().await;
    let view = desk.job(&quick, None).await.unwrap().unwrap();
    assert!(view.state == State::Done && bed.path(&key).is_file(), "what ends within the grace is kept");
    hand.ready(W1, 1, 0);
    let again = hand.assigned().await;
    assert_eq!((again.job.as_str(), again.attempt), (slow.as_str(), 2));
}

async fn trap_11_nothing_waits_while_a_worker_idles(bed: Bed) {
    let (desk, mut hand) = bed.open().await;
    hand.ready(W1, 2, 0);
    hand.ready(W2, 1, 0);
    let submitting = tokio::spawn({
        let desk = desk.clone();
        async move {
            for _ in 0..200 {
                submit(&desk, order()).await;
                tokio::task::yield_now().await;
            }
        }
    });
    for _ in 0..200 {
        // no deadline of the desk is near: if a submit or an end did not wake it, this would wait for ever
        let work = hand.assigned().await;
        hand.ended(&work, failed("whatever"));
    }
    submitting.await.unwrap();
    assert_eq!(desk.list(Listing { state: Some(State::Queued), ..Listing::default() }).await.unwrap(), []);
}

async fn trap_12_plain_rights_are_enough(bed: Bed) {
    if bed.kind == Kind::Postgres {
        bed.run_sql("CREATE ROLE plain LOGIN; GRANT ALL ON SCHEMA public TO plain").await;
        let url = bed.url.replace("talkie@", "plain@");
        let own = Bed { url, ..Bed::new(Kind::Sqlite).await };
        let (desk, _hand) = own.open().await;
        submit(&desk, order()).await;
        assert_eq!(bed.ask_sql("SELECT extname::text FROM pg_extension").await, ["plpgsql"]);
    } else {
        drop(bed.open().await);
        use std::os::unix::fs::PermissionsExt;
        let mode = bed.path("talkie.db").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o111, 0, "a plain file of ours");
    }
}
