//! Takes into the store, and the ends a worker can come to.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use jobs::crew::{AvatarAsset, Crew};
use jobs::{
    AvatarName, Blame, Delivery, Ending, PrepareSpec, Source, SubjectSpec, TakeSpec, VoiceSpec, Work,
};

use crate::actor::RESUMES;
use crate::stage::{SOON, Stage};

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

#[test]
fn a_killed_worker_is_told_at_once_and_followed_by_another() {
    let mut stage = Stage::new();
    stage.play("one", "frames=100000 delay=5");
    stage.told("one");
    assert_eq!(stage.left("scratch").len(), 1);
    let first = stage.worker;
    let pid = rustix::process::Pid::from_raw(stage.pid()).unwrap();
    let killed = Instant::now();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let why = stage.gone();
    assert!(killed.elapsed() < SOON, "{:?}", killed.elapsed());
    assert!(why.contains("signal: 9"), "{why}");
    stage.ready();
    assert_ne!(stage.worker, first);
    assert_eq!(stage.left("takes").len(), 0, "nothing half-written");
    assert_eq!(stage.left("scratch").len(), 0, "the successor sweeps");
    stage.play("two", "frames=3");
    assert_eq!(stage.made("two").take.frames, 3);
}

#[test]
fn a_long_take_goes_on_behind_the_pieces_that_a_dead_worker_left() {
    let mut stage = Stage::new();
    let take = |script: &str| Work::Take(TakeSpec { engine: RESUMES.into(), ..stage.take(script) });
    let (broken, whole) = (take("frames=34 piece=10 abort-once@27"), take("frames=34 piece=10"));
    stage.assign("one", broken.clone(), Delivery::default());
    assert!(stage.gone().contains("signal: 6"));
    stage.ready();
    let reel = stage.data("reels/one");
    let kept = std::fs::read_to_string(reel.join("ledger.json")).unwrap();
    assert_eq!(kept.matches("\"frames\": 10").count(), 2, "{kept}");

    stage.assign("one", broken, Delivery::default());
    let made = stage.made("one");
    assert_eq!(made.take.frames, 34);
    assert!(made.take.warnings.iter().any(|warning| warning.code == "gone_on"), "{:?}", made.take.warnings);
    assert!(!reel.exists(), "the take is complete");

    stage.assign("two", whole, Delivery::default());
    let uninterrupted = stage.made("two");
    assert!(uninterrupted.take.warnings.iter().all(|warning| warning.code != "gone_on"));
    let pictures = |key: &str| {
        let mut ffmpeg = std::process::Command::new("ffmpeg");
        ffmpeg.args(["-v", "error", "-i"]).arg(stage.data(key)).args(["-map", "0:v", "-f", "framemd5", "-"]);
        String::from_utf8(ffmpeg.output().unwrap().stdout).unwrap()
    };
    let (one, two) = (pictures(&made.key), pictures(&uninterrupted.key));
    assert_eq!(one, two);
    assert_eq!(one.lines().filter(|line| !line.starts_with('#')).count(), 34);
}

#[test]
fn the_desk_may_kill_and_a_crash_is_told_by_its_signal() {
    let mut stage = Stage::new();
    stage.play("hangs", "frames=9 hang@2");
    stage.told("hangs");
    stage.workers.kill(stage.worker, "no progress for 1 s");
    assert_eq!(stage.gone(), "no progress for 1 s");
    stage.ready();
    stage.play("aborts", "frames=9 abort@2");
    assert!(stage.gone().contains("signal: 6"));
    stage.ready();
}

#[test]
fn what_fails_costs_one_job_only() {
    let mut stage = Stage::new();
    let rows = [
        ("panics", "frames=9 panic@2", "engine_failed"),
        ("fails", "frames=9 fail@2", "engine_failed"),
        ("thirsts", "frames=9 oom@2", "out_of_memory"),
    ];
    for (name, script, code) in rows {
        stage.play(name, script);
        match stage.ending(name) {
            Ending::Failed(failure) => {
                assert_eq!((failure.code.as_str(), failure.blame), (code, Blame::Server), "{failure:?}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    let missing = TakeSpec {
        subject: SubjectSpec::Picture(Source::Path(stage.path("nobody.png"))),
        ..stage.take("frames=1")
    };
    stage.assign("misses", Work::Take(missing), Delivery::default());
    match stage.ending("misses") {
        Ending::Failed(failure) => {
            assert_eq!((failure.code.as_str(), failure.blame), ("file_missing", Blame::Client))
        }
        other => panic!("{other:?}"),
    }
    let deliver = Delivery { path: Some(stage.path("no-such-folder/take.mp4")), s3: None };
    stage.assign("undelivered", Work::Take(stage.take("frames=1")), deliver);
    match stage.ending("undelivered") {
        Ending::Failed(failure) => {
            assert_eq!((failure.code.as_str(), failure.blame), ("no_output_folder", Blame::Server))
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(stage.left("scratch").len() + stage.left("takes").len(), 0, "something was left");
    stage.play("well", "frames=2");
    assert_eq!(stage.made("well").take.frames, 2);
}

#[test]
fn a_cancel_ends_a_job_within_a_frame() {
    let mut stage = Stage::new();
    stage.play("one", "frames=100000 delay=10");
    stage.told("one");
    let asked = Instant::now();
    stage.workers.cancel(stage.worker, &"one".to_owned(), 1);
    assert_eq!(stage.ending("one"), Ending::Canceled);
    assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
    assert_eq!(stage.left("scratch").len() + stage.left("takes").len(), 0);
}

#[test]
fn a_worker_leaves_with_its_server_whatever_its_jobs_do() {
    let stage = Stage::new();
    let (mut server, theirs) = UnixStream::pair().unwrap();
    let data = stage.path("other");
    let worker = std::thread::spawn(move || crate::stage::work(theirs.into(), &data));
    let work = Work::Take(stage.take("frames=9 hang@2"));
    let parcel = serde_json::json!({
        "job": "hangs", "attempt": 1, "work": work, "deliver": Delivery::default(), "avatar": null, "live": null
    });
    let message = serde_json::to_vec(&serde_json::json!({ "assign": parcel })).unwrap();
    server.write_all(&[&(message.len() as u32).to_le_bytes()[..], &message].concat()).unwrap();
    let mut told = Vec::new();
    while !String::from_utf8_lossy(&told).contains("rendering") {
        let mut chunk = [0; 4096];
        let read = server.read(&mut chunk).unwrap();
        told.extend_from_slice(&chunk[..read]);
    }
    let closed = Instant::now();
    drop(server);
    worker.join().unwrap();
    assert!(closed.elapsed() < SOON, "{:?}", closed.elapsed());
}

#[test]
fn an_idle_worker_leaves_when_dismissed() {
    let mut stage = Stage::new();
    stage.workers.dismiss(Duration::from_secs(30));
    let why = stage.gone();
    assert!(why.starts_with("its socket closed"), "{why}");
}

#[test]
fn garbage_on_the_link_costs_the_worker() {
    let mut stage = Stage::with("garbage");
    let why = stage.gone();
    assert!(why.contains("must not say") && why.contains("4294967295"), "{why}");
    stage.ready();
}

#[test]
fn a_take_may_have_a_limit_and_a_subject_of_either_kind() {
    let mut stage = Stage::new();
    for (name, frames) in [("portrait.png", 25), ("clip.mp4", 15)] {
        let subject = SubjectSpec::PictureOrClip(stage.subject(name));
        let take = TakeSpec { subject, ..stage.take("") };
        stage.assign(name, Work::Take(take.clone()), Delivery::default());
        assert_eq!(stage.made(name).take.frames, frames, "a second at {name}'s rate");
        let short = TakeSpec { max_frames: Some(7), ..take };
        stage.assign("short", Work::Take(short), Delivery::default());
        assert_eq!(stage.made("short").take.frames, 7);
    }
    let endless = TakeSpec { voice: VoiceSpec::Idle { seconds: 1e9 }, ..stage.take("") };
    stage.assign("endless", Work::Take(endless), Delivery::default());
    assert!(matches!(stage.ending("endless"), Ending::Failed(failure) if failure.code == "too_long"));
}

#[test]
fn an_avatar_is_there_whole_or_not_at_all() {
    let mut stage = Stage::new();
    let avatar = AvatarName { dialect: "test".into(), owner: "local".into(), name: "ann".into() };
    for (source, frames) in [("clip.mp4", 30), ("portrait.png", 1)] {
        let spec = PrepareSpec {
            engine: "actor".into(),
            avatar: avatar.clone(),
            source: stage.subject(source),
            settings: contract::Settings::default(),
        };
        stage.assign("prepare", Work::Prepare(spec.clone()), Delivery::default());
        let Ending::Prepared(prepared) = stage.ending("prepare") else { panic!("not prepared") };
        assert!(stage.path(source).exists(), "the user's own file was taken away");
        let whole =
            AvatarAsset { key: prepared.key, engine: "actor".into(), source_sha256: prepared.source_sha256 };
        let take = TakeSpec { subject: SubjectSpec::Avatar(avatar.clone()), ..stage.take("") };
        let play = |stage: &mut Stage, name: &str, asset: AvatarAsset| {
            stage.assign_with(name, Work::Take(take.clone()), Delivery::default(), Some(asset));
            stage.ending(name)
        };
        let Ending::Made(made) = play(&mut stage, "take", whole.clone()) else { panic!("not made") };
        assert_eq!(made.take.frames, frames);
        let stranger = AvatarAsset { source_sha256: "0".repeat(64), ..whole.clone() };
        assert!(
            matches!(play(&mut stage, "stranger", stranger), Ending::Failed(f) if f.code == "avatar_damaged")
        );
        std::fs::write(stage.data(&format!("{}/part-count", whole.key)), [9; 4]).unwrap();
        assert!(
            matches!(play(&mut stage, "damaged", whole), Ending::Failed(f) if f.code == "avatar_damaged")
        );

        let before = stage.left("avatars").len();
        let settings = contract::Settings { sent: [("refuse".into(), contract::Value::Bool(true))].into() };
        stage.assign("refused", Work::Prepare(PrepareSpec { settings, ..spec }), Delivery::default());
        assert!(
            matches!(stage.ending("refused"), Ending::Failed(f) if f.code == "no_face" && f.blame == Blame::Client)
        );
        assert_eq!(stage.left("avatars").len(), before);
    }
}
