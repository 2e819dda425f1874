//! Servers and workers that go away, come back late, or say things twice: nothing is lost, and one result counts.

use jobs::crew::CrewEvent;
use jobs::{Ending, State};

use crate::both;
use crate::stage::*;

both![
    a_restart_puts_running_jobs_back_without_blame,
    a_late_answer_of_an_attempt_that_is_over_does_not_count,
    an_answer_that_comes_twice_keeps_the_take,
    what_a_dead_attempt_left_is_removed_before_the_next,
    who_was_there_when_a_worker_died_is_tried_alone,
    out_of_memory_costs_one_attempt_of_three,
    a_job_that_was_to_end_does_not_come_back,
    a_worker_that_gives_up_unasked_is_a_death,
    what_a_killed_server_left_in_scratch_goes_at_the_next_start,
];

async fn a_restart_puts_running_jobs_back_without_blame(bed: Bed) {
    let (mut desk, mut hand) = bed.open().await;
    let (one, two) = (submit(&desk, order()).await, submit(&desk, order()).await);
    for attempt in 1..=5 {
        hand.ready(W1, 2, 0);
        let works = [hand.assigned().await, hand.assigned().await];
        assert!(works.iter().map(|work| &work.job).eq([&one, &two]), "together, in their old order");
        assert!(works.iter().all(|work| work.attempt == attempt));
        drop((desk, hand));
        (desk, hand) = bed.open().await;
    }
    assert_eq!(bed.ask_sql("SELECT id FROM jobs WHERE deaths > 0").await, [] as [&str; 0]);
    let _ = (desk, hand);
}

async fn a_late_answer_of_an_attempt_that_is_over_does_not_count(bed: Bed) {
    let (desk, mut hand) = bed.open().await;
    hand.ready(W1, 1, 0);
    let id = submit(&desk, order()).await;
    let late = hand.assigned().await;
    hand.gone(W1);
    until(&desk, &id, is_queued_again).await;
    let late_key = bed.make(&hand, &late).await; // while it waits
    eventually("the loser's file goes", || async { !bed.path(&late_key).exists() }).await;
    hand.ready(W2, 1, 0);
    let work = hand.assigned().await;
    let late_key = bed.make(&hand, &late).await; // while another attempt runs
    eventually("the loser's file goes", || async { !bed.path(&late_key).exists() }).await;
    hand.ended(&late, failed("late"));
    assert_eq!(desk.job(&id, None).await.unwrap().unwrap().state, State::Running);
    let key = bed.make(&hand, &work).await;
    assert_eq!(ended(&desk, &id).await.state, State::Done);
    let late_key = bed.make(&hand, &late).await; // after the end
    eventually("the loser's file goes", || async { !bed.path(&late_key).exists() }).await;
    assert!(bed.path(&key).is_file());
    let dones = desk.log(&id, 0).await.unwrap().into_iter().filter(|line| line.message == "done").count();
    assert_eq!(dones, 1);
}

async fn an_answer_that_comes_twice_keeps_the_take(bed: Bed) {
    let (desk, mut hand) = bed.open().await;
    hand.ready(W1, 1, 0);
    let id = submit(&desk, order()).await;
    let work = hand.assigned().await;
    let key = bed.make(&hand, &work).await;
    hand.ended(&work, made(&key));
    hand.ended(&work, failed("after all"));
    hand.ended(&work, made(&key));
    ended(&desk, &id).await;
    // what comes after them has been heard: so have they
    let next = submit(&desk, order()).await;
    let work = hand.assigned().await;
    bed.make(&hand, &work).await;
    ended(&desk, &next).await;
    desk.sweep().await.unwrap();
    assert_eq!(desk.job(&id, None).await.unwrap().unwrap().state, State::Done);
    assert!(desk.open_take(&id).await.unwrap().is_some());
}

async fn what_a_dead_attempt_left_is_removed_before_the_next(bed: Bed) {
    let (desk, mut hand) = bed.open().await;
    hand.ready(W1, 1, 0);
    let id = submit(&desk, order()).await;
    hand.assigned().await;
    let orphan = format!("takes/{id}/1-x.mp4");
    bed.write(&orphan, b"nobody's").await;
    drop((desk, hand)); // between the file and the record
    let (desk, mut hand) = bed.open().await;
    hand.ready(W1, 1, 0);
    let work = hand.assigned().await;
    assert!(!bed.path(&orphan).exists());
    let orphan = format!("takes/{id}/2-x.mp4");
    bed.write(&orphan, b"nobody's").await;
    hand.ended(&work, failed("no_face"));
    ended(&desk, &id).await;
    eventually("a failed job leaves nothing", || async { !bed.path(&orphan).exists() }).await;
}

async fn who_was_there_when_a_worker_died_is_tried_alone(bed: Bed) {
    let (desk, mut hand) = bed.open().await;
    hand.ready(W1, 3, 0);
    let (one, two) = (submit(&desk, order()).await, submit(&desk, order()).await);
    hand.assigned().await;
    hand.assigned().await;
    hand.gone(W1);
    until(&desk, &two, is_queued_again).await;
    let three = submit(&desk, order()).await;
    hand.ready(W2, 3, 0);
    let work = hand.assigned().await;
    assert_eq!(work.job, one);
    // the end of the first is heard before anything else is handed out
    bed.make(&hand, &work).await;
    ended(&desk, &one).await;
    let work = hand.assigned().await;
    assert_eq!(work.job, two, "the other suspect, alone again");
    assert_eq!(desk.job(&three, None).await.unwrap().unwrap().state, State::Queued);
    hand.gone(W2);
    hand.ready(W1, 3, 0);
    let work = hand.assigned().await;
    assert_eq!((work.job.as_str(), work.attempt), (two.as_str(), 3));
    hand.gone(W1);
    assert_eq!(code(&ended(&desk, &two).await), "poison");
    hand.ready(W2, 3, 0);
    assert_eq!(hand.assigned().await.job, three);
}

async fn out_of_memory_costs_one_attempt_of_three(bed: Bed) {
    let (desk, mut hand) = bed.open().await;
    hand.ready(W1, 2, 0);
    let id = submit(&desk, order()).await;
    for attempt in 1..=3 {
        let work = hand.assigned().await;
        assert_eq!(work.attempt, attempt);
        hand.ended(&work, failed("out_of_memory"));
    }
    assert_eq!(code(&ended(&desk, &id).await), "out_of_memory");
    let id = submit(&desk, order()).await;
    let work = hand.assigned().await;
    hand.ended(&work, failed("out_of_memory"));
    let work = hand.assigned().await;
    bed.make(&hand, &work).await;
    assert_eq!(ended(&desk, &id).await.attempt, 2);
}

async fn a_job_that_was_to_end_does_not_come_back(bed: Bed) {
    let (desk, mut hand) = bed.open().await;
    hand.ready(W1, 1, 0);
    let id = submit(&desk, order()).await;
    hand.assigned().await;
    desk.cancel(&id, None).await.unwrap();
    hand.gone(W1);
    assert_eq!(ended(&desk, &id).await.state, State::Canceled);
    let id = submit(&desk, order()).await;
    hand.ready(W1, 1, 0);
    while !matches!(hand.said().await, Said::Assigned(..)) {}
    desk.cancel(&id, None).await.unwrap();
    drop((desk, hand));
    let (desk, _hand) = bed.open().await;
    assert_eq!(ended(&desk, &id).await.state, State::Canceled, "nor after a restart");
}

async fn a_worker_that_gives_up_unasked_is_a_death(bed: Bed) {
    let (desk, mut hand) = bed.open().await;
    hand.ready(W1, 1, 0);
    let id = submit(&desk, order()).await;
    for _ in 0..3 {
        let work = hand.assigned().await;
        hand.tell(CrewEvent::Ended { job: work.job, attempt: work.attempt, ending: Ending::Canceled });
    }
    assert_eq!(code(&ended(&desk, &id).await), "poison");
}

async fn what_a_killed_server_left_in_scratch_goes_at_the_next_start(bed: Bed) {
    drop(bed.store().await); // makes the folders
    let scratch = bed.path("scratch");
    std::fs::write(scratch.join(".tmpUpload"), b"half an upload").unwrap();
    for folder in [".tmpDarkroom", ".tmpDead", ".tmpAtWork"] {
        std::fs::create_dir(scratch.join(folder)).unwrap();
        std::fs::write(scratch.join(folder).join("picture.png"), b"x").unwrap();
    }
    std::fs::write(scratch.join(".tmpDead/.held"), b"").unwrap();
    let held = std::fs::File::create(scratch.join(".tmpAtWork/.held")).unwrap();
    held.lock().unwrap();
    let (_desk, _hand) = bed.open().await;
    let left: Vec<_> = std::fs::read_dir(&scratch).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [".tmpAtWork"]);
}
