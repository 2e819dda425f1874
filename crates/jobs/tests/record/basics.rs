//! A job's ordinary life: in, out, in order, seen, canceled.

use std::time::Duration;

use contract::Stage;
use jobs::crew::CrewEvent;
use jobs::{Ending, Event, Listing, Order, Refusal, State};

use crate::both;
use crate::stage::*;

both![a_job_is_made_and_told];

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
    let _ = (Listing::default(), Order { ..order() }, Refusal::Rejected);
}
