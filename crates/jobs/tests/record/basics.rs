//! A job's ordinary life: in, in order, seen, canceled, out.

use std::collections::BTreeMap;
use std::time::Duration;

use contract::{Fps, Settings, Stage, Value};
use jobs::crew::CrewEvent;
use jobs::{
    Canceling, Ending, Event, Level, Listing, Order, Refusal, Remark, Source, State, SubjectSpec, TakeSpec,
    VoiceSpec, Work,
};

use crate::both;
use crate::stage::*;

both![
    a_job_is_made_and_told,
    priority_goes_first_and_then_the_order_of_submission,
    what_cannot_be_done_is_refused_at_the_door,
    a_full_queue_says_when_to_come_again,
    a_waiting_job_is_canceled_at_once_and_a_running_one_by_its_worker,
    a_job_that_does_not_leave_costs_its_worker_but_no_bystander,
    a_listing_is_newest_first_and_by_owner,
    lines_of_the_log_have_no_gaps,
    an_upload_is_received_and_found,
    who_waits_is_told_when_the_queue_moves,
    an_upload_that_nobody_keeps_goes,
    a_name_with_a_nul_is_nobodys,
];

async fn a_job_is_made_and_told(bed: Bed) {
    let (desk, mut hand) = bed.open().await;
    let id = submit(&desk, order()).await;
    let waiting = desk.job(&id, None).await.unwrap().unwrap();
    assert_eq!((waiting.state, waiting.position, waiting.attempt), (State::Queued, Some(0), 0));
    assert_eq!(waiting.note, serde_json::json!({"field": "kept"}));
    assert!(desk.job(&id, Some("other")).await.unwrap().is_none(), "nobody sees another owner's jobs");
    hand.ready(W1, 1, 0);
    let work = hand.assigned().await;
    assert_eq!((work.job.as_str(), work.attempt, &work.work), (id.as_str(), 1, &order().work));
    let stage = |stage, done| Event::Stage { stage, done, of: 10, eta: Some(Duration::from_secs(3)) };
    for event in [stage(Stage::Preparing, 0), stage(Stage::Rendering, 1), stage(Stage::Rendering, 4)] {
        hand.tell(CrewEvent::Told { job: id.clone(), attempt: 1, event });
    }
    let view = until(&desk, &id, |view| view.progress.is_some_and(|p| p.done == 4)).await;
    let progress = view.progress.unwrap();
    assert_eq!((progress.stage, progress.of, progress.eta_ms), (Stage::Rendering, 10, Some(3000)));
    bed.step(Duration::from_secs(2));
    let key = bed.make(&hand, &work).await;
    let view = ended(&desk, &id).await;
    assert_eq!((view.state, view.attempt), (State::Done, 1));
    assert_eq!(view.ended_ms.unwrap() - view.created_ms, 2000);
    assert!(matches!(view.ending, Some(Ending::Made(made)) if made.key == key));
    assert_eq!(desk.open_take(&id).await.unwrap().unwrap().bytes, 4);
    let lines: Vec<_> = desk.log(&id, 0).await.unwrap().into_iter().map(|l| (l.n, l.message)).collect();
    let expected = ["queued", "running, attempt 1", "preparing", "rendering", "done"];
    assert_eq!(lines, (1..).zip(expected.map(str::to_owned)).collect::<Vec<_>>());
    assert_eq!(desk.log(&id, 4).await.unwrap().len(), 1);
}

async fn priority_goes_first_and_then_the_order_of_submission(bed: Bed) {
    let (desk, mut hand) = bed.open().await;
    let mut ids = Vec::new();
    for priority in [0, 5, -1, 5, 9, 0] {
        ids.push(submit(&desk, Order { priority, ..order() }).await);
    }
    let due = [4, 1, 3, 0, 5, 2].map(|i: usize| ids[i].clone());
    for (position, id) in (0u64..).zip(&due) {
        assert_eq!(desk.job(id, None).await.unwrap().unwrap().position, Some(position));
    }
    let listed: Vec<_> =
        desk.list(Listing::default()).await.unwrap().iter().map(|v| (v.id.clone(), v.position)).collect();
    assert_eq!(listed[0], (ids[5].clone(), Some(4)));
    hand.ready(W1, 1, 0);
    for id in &due {
        let work = hand.assigned().await;
        assert_eq!(&work.job, id);
        assert!(hand.said_already().is_none(), "one place, one job");
        bed.make(&hand, &work).await;
    }
    ended(&desk, &due[5]).await;
}

async fn what_cannot_be_done_is_refused_at_the_door(bed: Bed) {
    let (desk, _hand) = bed.open().await;
    let take = |change: fn(&mut TakeSpec)| {
        let mut take = take_spec();
        change(&mut take);
        Order { work: Work::Take(take), ..order() }
    };
    let rows = [
        ("unknown_engine", take(|t| t.engine = "pupet".into())),
        ("bad_fps", take(|t| t.fps = Fps::new(120, 1))),
        ("bad_fps", take(|t| t.fps = Fps::new(1, 1))),
        ("voice_required", take(|t| t.voice = VoiceSpec::Idle { seconds: 1.0 })),
        (
            "unknown_setting",
            take(|t| {
                let sent = BTreeMap::from([("siez".to_owned(), Value::Int(1))]);
                t.settings = Settings { sent };
            }),
        ),
        ("unknown_avatar", take(|t| t.subject = SubjectSpec::Avatar(avatar_name("nobody")))),
        (
            "upload_unknown",
            take(|t| t.subject = SubjectSpec::Picture(Source::Stored("uploads/x/y.png".into()))),
        ),
    ];
    for (code, order) in rows {
        match desk.submit(order).await {
            Err(Refusal::Rejected(complaint)) => {
                assert_eq!(complaint.code, code);
                assert!(!complaint.hint.is_empty());
            }
            Err(other) => panic!("{code}: {other:?}"),
            Ok(_) => panic!("{code}: taken"),
        }
    }
    assert!(desk.list(Listing::default()).await.unwrap().is_empty());
    assert!(desk.wait("no such job").await.unwrap().is_none());
}

async fn a_full_queue_says_when_to_come_again(bed: Bed) {
    let (desk, mut hand) = bed.open_with(|config| config.queue_limit = 2).await;
    submit(&desk, order()).await;
    submit(&desk, order()).await;
    let Err(Refusal::Busy { complaint, retry_s }) = desk.submit(order()).await else { panic!("it was full") };
    assert_eq!(
        (complaint.code, complaint.message.as_str()),
        ("queue_full", "2 jobs wait already, the limit is 2")
    );
    assert!(retry_s >= 1);
    hand.ready(W1, 1, 0);
    hand.assigned().await;
    submit(&desk, order()).await;
}

async fn a_waiting_job_is_canceled_at_once_and_a_running_one_by_its_worker(bed: Bed) {
    let (desk, mut hand) = bed.open().await;
    let (one, two) = (submit(&desk, order()).await, submit(&desk, order()).await);
    hand.ready(W1, 1, 0);
    let work = hand.assigned().await;
    assert!(matches!(desk.cancel(&two, Some("other")).await.unwrap(), Canceling::Unknown));
    assert!(matches!(desk.cancel(&two, Some("local")).await.unwrap(), Canceling::Canceled));
    assert_eq!(desk.job(&two, None).await.unwrap().unwrap().state, State::Canceled);
    assert!(matches!(desk.cancel(&two, None).await.unwrap(), Canceling::Ended));
    assert!(matches!(desk.cancel(&one, None).await.unwrap(), Canceling::Requested));
    assert!(matches!(hand.said().await, Said::Cancel(W1, job, 1) if job == one));
    assert!(matches!(desk.cancel(&one, None).await.unwrap(), Canceling::Requested), "twice is once");
    hand.ended(&work, Ending::Canceled);
    let view = ended(&desk, &one).await;
    assert_eq!((view.state, view.ending), (State::Canceled, Some(Ending::Canceled)));
    assert!(matches!(desk.cancel("unknown", None).await.unwrap(), Canceling::Unknown));
    // a failure of a job that was to end anyway is its end, and no place is lost
    let three = submit(&desk, order()).await;
    let work = hand.assigned().await;
    desk.cancel(&three, None).await.unwrap();
    hand.ended(&work, failed("broken_pipe"));
    assert_eq!(ended(&desk, &three).await.state, State::Canceled);
}

async fn a_job_that_does_not_leave_costs_its_worker_but_no_bystander(bed: Bed) {
    let (desk, mut hand) = bed.open_with(|config| config.cancel_grace = Duration::from_millis(50)).await;
    hand.ready(W1, 2, 0);
    let (stuck, bystander) = (submit(&desk, order()).await, submit(&desk, order()).await);
    hand.assigned().await;
    hand.assigned().await;
    desk.cancel(&stuck, None).await.unwrap();
    assert!(matches!(hand.said().await, Said::Cancel(..)));
    assert!(matches!(hand.said().await, Said::Kill(W1, why) if why.contains("canceled")));
    hand.gone(W1);
    assert_eq!(ended(&desk, &stuck).await.state, State::Canceled);
    hand.ready(W2, 2, 0);
    let again = hand.assigned().await;
    assert_eq!((again.job.as_str(), again.attempt), (bystander.as_str(), 2));
    let third = submit(&desk, order()).await;
    assert_eq!(hand.assigned().await.job, third, "the bystander is no suspect: it has company");
}

async fn a_listing_is_newest_first_and_by_owner(bed: Bed) {
    let (desk, mut hand) = bed.open().await;
    let mine = submit(&desk, order()).await;
    let other = submit(&desk, Order { owner: "key-2".into(), dialect: "svd", ..order() }).await;
    hand.ready(W1, 1, 0);
    let work = hand.assigned().await;
    bed.make(&hand, &work).await;
    ended(&desk, &mine).await;
    let ids = async |listing: Listing| -> Vec<String> {
        desk.list(listing).await.unwrap().into_iter().map(|view| view.id).collect()
    };
    assert_eq!(ids(Listing::default()).await, [other.clone(), mine.clone()]);
    assert_eq!(ids(Listing { limit: 1, ..Listing::default() }).await, std::slice::from_ref(&other));
    assert_eq!(
        ids(Listing { owner: Some("local".into()), ..Listing::default() }).await,
        std::slice::from_ref(&mine)
    );
    assert_eq!(
        ids(Listing { dialect: Some("svd".into()), ..Listing::default() }).await,
        std::slice::from_ref(&other)
    );
    assert_eq!(ids(Listing { state: Some(State::Done), ..Listing::default() }).await, [mine]);
}

async fn lines_of_the_log_have_no_gaps(bed: Bed) {
    let (desk, mut hand) = bed.open().await;
    hand.ready(W1, 1, 0);
    let id = submit(&desk, order()).await;
    let work = hand.assigned().await;
    let warnings = async {
        for n in 0..40 {
            let remark = Remark { code: "c".into(), message: format!("warning {n}") };
            hand.tell(CrewEvent::Told { job: id.clone(), attempt: 1, event: Event::Warning(remark) });
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(warnings, async { assert!(desk.cancel(&id, None).await.is_ok()) });
    hand.ended(&work, Ending::Canceled);
    ended(&desk, &id).await;
    let lines = desk.log(&id, 0).await.unwrap();
    assert!(lines.iter().map(|line| line.n).eq(1..=lines.len() as u64), "{lines:?}");
    assert_eq!(lines.len(), 44, "queued, running, forty warnings, asked to stop, canceled");
    assert_eq!(lines.iter().filter(|line| line.level == Level::Warn).count(), 40);
}

async fn an_upload_is_received_and_found(bed: Bed) {
    let (desk, _hand) = bed.open().await;
    let mut upload = desk.receive("../my voice.wav", 10).await.unwrap();
    upload.write(b"01234").await.unwrap();
    upload.write(b"56789").await.unwrap();
    let received = upload.finish().await.unwrap();
    assert!(received.key.starts_with("uploads/") && received.key.ends_with("/my_voice.wav"), "{received:?}");
    assert_eq!((received.bytes, std::fs::read(&received.path).unwrap().as_slice()), (10, &b"0123456789"[..]));
    assert_eq!(received.sha256, "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882");
    assert_eq!(desk.open_upload(&received.key).await.unwrap().unwrap().bytes, 10);
    assert!(desk.open_upload("uploads/../talkie.db").await.unwrap().is_none());
    // one that was sent again, because its end did not arrive
    let mut again = desk.receive_as(&received.key, 10).await.unwrap();
    again.write(b"other").await.unwrap();
    again.finish().await.unwrap();
    assert_eq!(desk.open_upload(&received.key).await.unwrap().unwrap().bytes, 5);
    let take = TakeSpec { subject: SubjectSpec::Picture(received.source), ..take_spec() };
    submit(&desk, Order { work: Work::Take(take), ..order() }).await;
    let mut long = desk.receive("x", 10).await.unwrap();
    assert_eq!(long.write(&[0; 11]).await.unwrap_err().code, "file_too_large");
    drop(desk.receive("half", 10).await.unwrap());
}

async fn an_upload_that_nobody_keeps_goes(bed: Bed) {
    let (desk, _hand) = bed.open().await;
    let there = || {
        let mut found = Vec::new();
        let mut folders = vec![bed.path("uploads")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { found.push(path) }
            }
        }
        !found.is_empty()
    };
    let until = |some: bool| async move {
        let limit = tokio::time::Instant::now() + LONG;
        while there() != some {
            assert!(tokio::time::Instant::now() < limit, "{some}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let begin = || async {
        let mut upload = desk.receive("a.png", 100).await.unwrap();
        upload.write(b"\x89PNG\r\n\x1a\n").await.unwrap();
        upload
    };
    let held = begin().await.hold().await.unwrap();
    assert!(held.path.exists());
    drop(held);
    until(false).await;
    let kept = begin().await.hold().await.unwrap().keep();
    assert!(kept.path.exists());
    desk.discard(&kept.key).await.unwrap();
    until(false).await;
    // the client hangs up while its picture is looked at
    let upload = begin().await;
    tokio::select! {
        biased;
        _ = upload.finish_picture() => {}
        () = until(true) => {}
    }
    until(false).await;
    // the row goes after the file
    let limit = tokio::time::Instant::now() + LONG;
    while !bed.ask_sql("SELECT key FROM uploads").await.is_empty() {
        assert!(tokio::time::Instant::now() < limit, "the row stays");
    }
}

async fn a_name_with_a_nul_is_nobodys(bed: Bed) {
    let (desk, _hand) = bed.open().await;
    let nul = "a\0b";
    let avatar = jobs::AvatarName { dialect: "musetalk".into(), owner: "local".into(), name: nul.to_owned() };
    assert_eq!(desk.job(nul, None).await, Ok(None));
    assert_eq!(desk.job("x", Some(nul)).await, Ok(None));
    for listing in [
        Listing { dialect: Some(nul.into()), ..Listing::default() },
        Listing { owner: Some(nul.into()), ..Listing::default() },
    ] {
        assert_eq!(desk.list(listing).await, Ok(Vec::new()));
    }
    assert!(matches!(desk.cancel(nul, None).await, Ok(Canceling::Unknown)));
    assert_eq!(desk.avatar(&avatar).await, Ok(None));
    assert_eq!(desk.avatars(Some(nul), None).await, Ok(Vec::new()));
    assert_eq!(desk.delete_avatar(&avatar).await, Ok(false));
}

async fn who_waits_is_told_when_the_queue_moves(bed: Bed) {
    let (desk, mut hand) = bed.open().await;
    let first = submit(&desk, order()).await;
    let second = submit(&desk, order()).await;
    let last = submit(&desk, order()).await;
    let mut bell = desk.watch(&last);
    let place = || async { desk.job(&last, None).await.unwrap().unwrap().position };
    assert_eq!(place().await, Some(2));
    desk.cancel(&second, None).await.unwrap();
    tokio::time::timeout(LONG, bell.changed()).await.expect("news of the cancellation").unwrap();
    assert_eq!(place().await, Some(1));
    hand.ready(W1, 1, 0);
    assert_eq!(hand.assigned().await.job, first);
    tokio::time::timeout(LONG, bell.changed()).await.expect("news of the claim").unwrap();
    assert_eq!(place().await, Some(0));
}
