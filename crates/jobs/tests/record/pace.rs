//! How fast the record is: printed, not judged (`cargo test --release -p jobs --test record pace -- --ignored --nocapture`).

use std::time::Instant;

use crate::stage::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn submits_claims_and_reads() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        measure(&Bed::new(kind).await).await;
    }
}

async fn measure(bed: &Bed) {
    let (desk, mut hand) = bed.open().await;
    const N: u32 = 500;
    let rate = |what: &str, begun: Instant| {
        println!("{:?}: {what} {:.0}/s", bed.kind, f64::from(N) / begun.elapsed().as_secs_f64());
    };
    let begun = Instant::now();
    let mut id = String::new();
    for _ in 0..N {
        id = submit(&desk, order()).await;
    }
    rate("submits, one after the other", begun);
    let begun = Instant::now();
    for _ in 0..N {
        desk.job(&id, None).await.unwrap();
    }
    rate("reads of a queued job", begun);
    hand.ready(W1, 4, 0);
    let begun = Instant::now();
    for _ in 0..N {
        let work = hand.assigned().await;
        hand.ended(&work, failed("no_face"));
    }
    ended(&desk, &id).await;
    rate("claims and ends", begun);
}
