//! Many orders at once: each is taken in once and answered when it is in the record, whatever comes in beside it, and the places
//! that are told without asking the record are those that it has.

use std::collections::{BTreeMap, BTreeSet};

use jobs::{Desk, JobView, Listing, Order, Refusal, State};

use crate::both;
use crate::stage::*;

both![
    a_crowd_goes_in_once_each_and_no_further_than_the_limit,
    what_does_not_go_in_keeps_nobody_else_out,
    places_are_those_of_the_record,
    who_hangs_up_has_ordered_all_the_same,
    who_hangs_up_has_canceled_all_the_same,
];

async fn all(desk: &Desk) -> Vec<JobView> {
    desk.list(Listing::default()).await.unwrap()
}

/// Everybody is told what the record has.
async fn agrees(desk: &Desk) {
    for listed in all(desk).await {
        // twice: as it is read, and as it is kept
        for _ in 0..2 {
            assert_eq!(desk.job(&listed.id, None).await.unwrap().as_deref(), Some(&listed));
        }
    }
}

async fn a_crowd_goes_in_once_each_and_no_further_than_the_limit(bed: Bed) {
    let (desk, _hand) = bed.open_with(|config| config.queue_limit = 40).await;
    // of every three requests two are twins
    let tasks: Vec<_> = (0..90)
        .map(|n| {
            let (desk, twin) = (desk.clone(), (n % 3 < 2).then(|| format!("t{}", n / 3)));
            let order = Order { twin, attach_s: 60, priority: n % 2, ..order() };
            tokio::spawn(async move { (n, desk.submit(order).await) })
        })
        .collect();
    let (mut fresh, mut twins, mut full) = (BTreeSet::new(), BTreeMap::<_, BTreeSet<_>>::new(), 0);
    for task in tasks {
        match task.await.unwrap() {
            (n, Ok(met)) => {
                if n % 3 < 2 {
                    twins.entry(n / 3).or_default().insert(met.id.clone());
                }
                if met.fresh {
                    assert!(fresh.insert(met.id));
                } else {
                    assert!(n % 3 < 2, "{n} is nobody's twin");
                }
            }
            (_, Err(Refusal::Busy { complaint, .. })) => {
                assert_eq!(complaint.code, "queue_full");
                full += 1;
            }
            (n, Err(refusal)) => panic!("{n}: {refusal:?}"),
        }
    }
    assert!(twins.values().all(|ids| ids.len() == 1), "twins are one job: {twins:?}");
    let listed: BTreeSet<String> = all(&desk).await.into_iter().map(|view| view.id).collect();
    assert_eq!(listed, fresh, "what was answered is there, and nothing else");
    if matches!(bed.kind, Kind::Sqlite) {
        assert_eq!(listed.len(), 40, "{full} were refused");
    }
    agrees(&desk).await;
    // each that leaves makes room for one
    desk.cancel(listed.first().unwrap(), None).await.unwrap();
    if matches!(bed.kind, Kind::Sqlite) {
        submit(&desk, order()).await;
        assert!(matches!(desk.submit(order()).await, Err(Refusal::Busy { .. })));
    }
    agrees(&desk).await;
}

async fn what_does_not_go_in_keeps_nobody_else_out(bed: Bed) {
    let (desk, _hand) = bed.open().await;
    let missing = |n: u64| {
        let source = jobs::Source::Stored(format!("uploads/01J/{n}.wav"));
        let voice = jobs::VoiceSpec::File { source, start: None, duration: None };
        Order { work: jobs::Work::Take(jobs::TakeSpec { voice, seed: n, ..take_spec() }), ..order() }
    };
    let tasks: Vec<_> = (0..30)
        .map(|n| {
            let (desk, order) = (desk.clone(), if n % 2 == 0 { missing(n) } else { order() });
            tokio::spawn(async move { (n % 2, desk.submit(order).await) })
        })
        .collect();
    for task in tasks {
        match task.await.unwrap() {
            (0, Err(Refusal::Rejected(complaint))) => assert_eq!(complaint.code, "upload_unknown"),
            (1, Ok(met)) => assert!(met.fresh),
            (n, met) => panic!("{n}: {:?}", met.map(|met| met.id)),
        }
    }
    assert_eq!(all(&desk).await.len(), 15);
    agrees(&desk).await;
}

async fn places_are_those_of_the_record(bed: Bed) {
    let (desk, mut hand) = bed.open().await;
    let mut ids = Vec::new();
    for priority in [0, 0, -1, 0, 3, -1, 0] {
        ids.push(submit(&desk, Order { priority, ..order() }).await);
        agrees(&desk).await;
    }
    desk.cancel(&ids[3], None).await.unwrap();
    agrees(&desk).await;
    hand.ready(W1, 1, 0);
    let work = hand.assigned().await;
    assert_eq!(work.job, ids[4]);
    agrees(&desk).await;
    // back into the line, behind nobody
    hand.gone(W1);
    until(&desk, &work.job, is_queued_again).await;
    agrees(&desk).await;
    let again = desk.job(&work.job, None).await.unwrap().unwrap();
    assert_eq!(again.position, Some(0));
}

async fn who_hangs_up_has_ordered_all_the_same(bed: Bed) {
    let (desk, mut hand) = bed.open().await;
    hand.ready(W1, 1, 0);
    {
        let mut submit = std::pin::pin!(desk.submit(order()));
        let once = std::future::poll_fn(|cx| std::task::Poll::Ready(submit.as_mut().poll(cx).is_pending()));
        assert!(once.await, "it is answered when it is committed");
    }
    let work = hand.assigned().await;
    assert_eq!(all(&desk).await.first().map(|view| view.id.clone()), Some(work.job));
}

async fn who_hangs_up_has_canceled_all_the_same(bed: Bed) {
    let (desk, mut hand) = bed.open().await;
    hand.ready(W1, 1, 0);
    let (running, waiting) = (submit(&desk, order()).await, submit(&desk, order()).await);
    let work = hand.assigned().await;
    assert_eq!(work.job, running);
    // so that both have a view that is kept
    agrees(&desk).await;
    for id in [&waiting, &running] {
        let mut cancel = std::pin::pin!(desk.cancel(id, None));
        let once = std::future::poll_fn(|cx| std::task::Poll::Ready(cancel.as_mut().poll(cx).is_pending()));
        assert!(once.await, "it is answered when it is committed");
    }
    assert_eq!(desk.wait(&waiting).await.unwrap().unwrap().state, State::Canceled);
    assert!(matches!(hand.said().await, Said::Cancel(W1, job, 1) if job == running));
    agrees(&desk).await;
}
