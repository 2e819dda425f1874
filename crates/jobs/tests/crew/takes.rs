//! Takes into the store, and the ends a worker can come to.

use jobs::{Blame, Delivery, Ending, Work};

use crate::stage::Stage;

#[test]
fn a_take_is_made_kept_and_delivered() {
    let mut stage = Stage::new();
    let delivered = stage.path("out/wanted.mp4");
    std::fs::create_dir(stage.path("out")).unwrap();
    std::fs::write(&delivered, b"older").unwrap();
    let deliver = Delivery { path: Some(delivered.clone()), s3: None };
    stage.assign("one", Work::Take(stage.take("frames=5")), deliver);
    let made = stage.made("one");
    assert_eq!((made.take.frames, made.take.engine.as_str()), (5, "actor"));
    assert!(made.key.starts_with("takes/one/1-") && made.key.ends_with(".mp4"), "{}", made.key);
    let kept = std::fs::read(stage.data(&made.key)).unwrap();
    assert_eq!(kept.len() as u64, made.bytes);
    assert_eq!(made.sha256.len(), 64);
    assert_eq!(std::fs::read(&delivered).unwrap(), kept);
    assert_eq!(std::fs::read_dir(stage.path("out")).unwrap().count(), 1, "nothing half-written");
    assert_eq!(stage.left("scratch"), [] as [std::path::PathBuf; 0]);
}
