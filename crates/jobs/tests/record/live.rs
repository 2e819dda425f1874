//! Live sessions: packets over a real socket, places, hang-ups on either side.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use jobs::crew::{Assignment, Form, LiveForm};
use jobs::{Ending, LiveOrder, Refusal, Source, State, SubjectSpec, TakeSpec, Work};

use crate::both;
use crate::stage::*;

both![
    a_session_plays_to_its_end,
    what_an_order_carries_lies_in_a_file_while_it_is_played,
    a_session_that_breaks_off_says_why,
    hanging_up_cancels_the_session,
    who_finds_no_place_waits_his_turn_and_then_is_refused,
    a_session_ends_with_its_server,
    a_session_without_a_sign_of_life_is_given_up,
];

fn live() -> LiveOrder {
    LiveOrder {
        dialect: "musetalk",
        owner: "local".into(),
        take: take_spec(),
        form: LiveForm::Mp4,
        note: serde_json::Value::Null,
    }
}

/// The worker's end of the session that is assigned next.
async fn stage(hand: &mut Hand) -> (Assignment, UnixStream) {
    let mut work = hand.assigned().await;
    match std::mem::replace(&mut work.form, Form::File) {
        Form::Live { live: LiveForm::Mp4, stream } => (work, UnixStream::from(stream)),
        other => panic!("{other:?}"),
    }
}

fn send(stream: &mut UnixStream, packet: &[u8]) {
    stream.write_all(&(packet.len() as u32).to_le_bytes()).unwrap();
    stream.write_all(packet).unwrap();
}

async fn a_session_plays_to_its_end(bed: Bed) {
    let (desk, mut hand) = bed.open().await;
    hand.ready(W1, 0, 1);
    let mut session = desk.open_live(live()).await.ok().unwrap();
    let (work, mut stream) = stage(&mut hand).await;
    let view = desk.job(&session.id, Some("local")).await.unwrap().unwrap();
    assert_eq!((view.state, view.work.clone(), view.attempt), (State::Running, None, 1));
    eventually("it is counted", || async { desk.vitals().live == 1 }).await;
    let packets: Vec<Vec<u8>> = [1, 3, 70_000, 1 << 20].map(|n| vec![n as u8; n]).into();
    let sent = packets.clone();
    let sender = std::thread::spawn(move || {
        sent.iter().for_each(|packet| send(&mut stream, packet));
        send(&mut stream, b"");
    });
    for packet in &packets {
        assert_eq!(session.next().await.unwrap().unwrap(), packet);
    }
    assert!(session.next().await.is_none() && session.next().await.is_none());
    sender.join().unwrap();
    hand.ended(&work, made(""));
    let id = session.id.clone();
    drop(session);
    assert_eq!(ended(&desk, &id).await.state, State::Done);
    assert!(matches!(desk.open_take(&id).await, Ok(None)), "what it showed was kept nowhere");
    assert!(hand.said_already().is_none(), "the end is no hang-up");
    eventually("it is not counted any more", || async { desk.vitals().live == 0 }).await;
}

async fn what_an_order_carries_lies_in_a_file_while_it_is_played(bed: Bed) {
    let (desk, mut hand) = bed.open_with(|config| config.live_wait = Duration::from_millis(50)).await;
    let carrying = || {
        let subject = SubjectSpec::Picture(Source::Url("data:image/png;base64,aGVsbG8=".into()));
        LiveOrder { take: TakeSpec { subject, ..take_spec() }, ..live() }
    };
    assert!(matches!(desk.open_live(carrying()).await, Err(Refusal::Busy { .. })), "no worker yet");
    hand.ready(W1, 0, 1);
    let session = desk.open_live(carrying()).await.ok().unwrap();
    let (work, _stream) = stage(&mut hand).await;
    let Work::Take(TakeSpec { subject: SubjectSpec::Picture(Source::Stored(key)), .. }) = &work.work else {
        panic!("{:?}", work.work)
    };
    assert_eq!(std::fs::read(bed.path(key)).unwrap(), b"hello");
    assert!(!bed.ask_sql("SELECT work FROM jobs").await.concat().contains("aGVsbG8"));
    drop(session);
    eventually("nothing of it is left", || async { bed.ask_sql("SELECT key FROM uploads").await.is_empty() })
        .await;
    assert!(!bed.path(key).exists());
}

async fn a_session_that_breaks_off_says_why(bed: Bed) {
    let (desk, mut hand) = bed.open().await;
    hand.ready(W1, 0, 1);
    for (ending, expected, state) in [
        (Some(failed("no_face")), "no_face", State::Failed),
        (None, "worker_died", State::Failed),
        (Some(Ending::Canceled), "canceled", State::Canceled),
    ] {
        let mut session = desk.open_live(live()).await.ok().unwrap();
        let (work, mut stream) = stage(&mut hand).await;
        send(&mut stream, b"one");
        stream.write_all(&[200, 0, 0, 0, 1, 2, 3]).unwrap(); // a part of a packet
        assert_eq!(session.next().await.unwrap().unwrap(), b"one"[..]);
        drop(stream);
        match ending {
            Some(ending) => hand.ended(&work, ending),
            None => {
                hand.gone(W1);
                hand.ready(W1, 0, 1);
            }
        }
        assert_eq!(session.next().await.unwrap().unwrap_err().code, expected);
        assert!(session.next().await.is_none());
        assert_eq!(ended(&desk, &session.id).await.state, state);
    }
    let mut session = desk.open_live(live()).await.ok().unwrap();
    let (_work, mut stream) = stage(&mut hand).await;
    stream.write_all(&u32::MAX.to_le_bytes()).unwrap();
    let failure = session.next().await.unwrap().unwrap_err();
    assert_eq!((failure.code.as_str(), failure.message.contains("16777216")), ("internal", true));
    assert!(matches!(hand.said().await, Said::Cancel(..)));
}

async fn hanging_up_cancels_the_session(bed: Bed) {
    let (desk, mut hand) = bed.open().await;
    hand.ready(W1, 0, 1);
    let session = desk.open_live(live()).await.ok().unwrap();
    let (work, _stream) = stage(&mut hand).await;
    let id = session.id.clone();
    drop(session);
    assert!(matches!(hand.said().await, Said::Cancel(W1, job, 1) if job == id));
    hand.ended(&work, failed("broken_pipe"));
    assert_eq!(ended(&desk, &id).await.state, State::Canceled);
    drop((desk, hand));
    // and by the desk, where one that does not leave is made to
    let (desk, mut hand) = bed.open_with(|config| config.cancel_grace = Duration::from_millis(50)).await;
    hand.ready(W1, 0, 1);
    let mut session = desk.open_live(live()).await.ok().unwrap();
    let (_work, stream) = stage(&mut hand).await;
    desk.cancel(&session.id, None).await.unwrap();
    assert!(matches!(hand.said().await, Said::Cancel(..)));
    assert!(matches!(hand.said().await, Said::Kill(..)), "it did not leave");
    drop(stream);
    hand.gone(W1);
    assert_eq!(session.next().await.unwrap().unwrap_err().code, "canceled");
}

async fn who_finds_no_place_waits_his_turn_and_then_is_refused(bed: Bed) {
    let (desk, hand) = bed.open_with(|config| config.live_wait = Duration::from_millis(50)).await;
    let Err(Refusal::Busy { complaint, .. }) = desk.open_live(live()).await else { panic!("no worker") };
    assert_eq!(complaint.code, "no_live_slot");
    drop((desk, hand));
    let (desk, mut hand) = bed.open_with(|config| config.live_wait = LONG).await;
    hand.ready(W1, 1, 1);
    submit(&desk, order()).await;
    assert!(matches!(hand.assigned().await.form, Form::File), "places for jobs are others");
    let first = desk.open_live(live()).await.ok().unwrap();
    let (work, _stream) = stage(&mut hand).await;
    let mut waiting = Vec::new();
    for owner in ["a", "b"] {
        let desk = desk.clone();
        let order = LiveOrder { owner: owner.into(), ..live() };
        let mut task = Box::pin(async move { desk.open_live(order).await.ok().unwrap() });
        // polled once, it has asked
        assert!(futures_util::poll!(&mut task).is_pending());
        waiting.push(tokio::spawn(task));
    }
    hand.ended(&work, made(""));
    for (task, owner) in waiting.into_iter().zip(["a", "b"]) {
        let session = task.await.unwrap();
        let (work, _stream) = stage(&mut hand).await;
        assert_eq!(desk.job(&session.id, None).await.unwrap().unwrap().owner, owner);
        hand.ended(&work, made(""));
        ended(&desk, &session.id).await;
    }
    drop(first);
}

async fn a_session_ends_with_its_server(bed: Bed) {
    let (desk, mut hand) = bed.open().await;
    hand.ready(W1, 0, 1);
    let session = desk.open_live(live()).await.ok().unwrap();
    let (_work, _stream) = stage(&mut hand).await;
    let id = session.id.clone();
    std::mem::forget(session); // a killed server drops nothing
    drop((desk, hand));
    let (desk, _hand) = bed.open().await;
    assert_eq!(code(&ended(&desk, &id).await), "server_restarted");
}

async fn a_session_without_a_sign_of_life_is_given_up(bed: Bed) {
    let (desk, mut hand) = bed.open_with(|config| config.stall = Duration::from_millis(100)).await;
    hand.ready(W1, 0, 1);
    let mut session = desk.open_live(live()).await.ok().unwrap();
    let (_work, _stream) = stage(&mut hand).await;
    assert_eq!(session.next().await.unwrap().unwrap_err().code, "stalled");
    assert!(matches!(hand.said().await, Said::Cancel(..)));
}
