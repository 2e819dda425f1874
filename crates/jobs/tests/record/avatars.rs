//! Prepared people: a name stands for one asset at a time, and whoever began with an asset ends with it.

use jobs::crew::AvatarAsset;
use jobs::{AvatarName, Order, Refusal, State, Work};

use crate::both;
use crate::stage::*;

both![
    an_avatar_is_made_used_replaced_and_deleted,
    a_running_take_keeps_the_asset_it_began_with,
    of_two_sources_for_one_name_the_later_order_wins,
    a_take_has_the_avatar_that_the_name_stood_for_when_it_was_ordered,
    an_order_may_pin_the_asset_that_it_saw,
];

/// Runs the Prepare job that is next, with an asset in the store.
async fn prepare_now(bed: &Bed, hand: &mut Hand, source: &str) -> String {
    let work = hand.assigned().await;
    let key = format!("avatars/{}/{source}", work.job);
    bed.write(&format!("{key}/part"), source.as_bytes()).await;
    hand.ended(&work, prepared(&key, source));
    key
}

fn take(name: &str) -> Order {
    Order { work: Work::Take(take_of(name)), ..order() }
}

async fn an_avatar_is_made_used_replaced_and_deleted(bed: Bed) {
    let (desk, mut hand) = bed.open().await;
    hand.ready(W1, 1, 0);
    let id = submit(&desk, prepare("ann")).await;
    let first = prepare_now(&bed, &mut hand, "sun").await;
    assert_eq!(ended(&desk, &id).await.state, State::Done);
    let view = desk.avatar(&avatar_name("ann")).await.unwrap().unwrap();
    assert_eq!((view.source_sha256.as_str(), &view.note), ("sun", &order().note));
    let foreign = AvatarName { owner: "other".into(), ..avatar_name("ann") };
    assert!(desk.avatar(&foreign).await.unwrap().is_none());
    assert!(matches!(
        desk.submit(Order { owner: "other".into(), ..take("ann") }).await,
        Err(Refusal::Rejected(complaint)) if complaint.code == "unknown_avatar"
    ));
    drop((desk, hand));
    let (desk, mut hand) = bed.open().await; // it survives
    hand.ready(W1, 1, 0);
    submit(&desk, take("ann")).await;
    let work = hand.assigned().await;
    let asset = AvatarAsset { key: first.clone(), engine: "puppet".into(), source_sha256: "sun".into() };
    assert_eq!(work.avatar, Some(asset));
    bed.make(&hand, &work).await;
    let id = submit(&desk, prepare("ann")).await;
    let second = prepare_now(&bed, &mut hand, "moon").await;
    ended(&desk, &id).await;
    eventually("the old asset goes", || async { !bed.path(&first).exists() }).await;
    assert!(bed.path(&second).exists());
    let listed = desk.avatars(Some("musetalk"), None).await.unwrap();
    assert_eq!(listed.iter().map(|view| view.source_sha256.as_str()).collect::<Vec<_>>(), ["moon"]);
    assert!(desk.avatars(Some("svd"), None).await.unwrap().is_empty());
    assert!(desk.delete_avatar(&avatar_name("ann")).await.unwrap());
    assert!(!bed.path(&second).exists() && desk.avatar(&avatar_name("ann")).await.unwrap().is_none());
    assert!(!desk.delete_avatar(&avatar_name("ann")).await.unwrap());
}

async fn a_running_take_keeps_the_asset_it_began_with(bed: Bed) {
    let (desk, mut hand) = bed.open().await;
    hand.ready(W1, 2, 0);
    let id = submit(&desk, prepare("ann")).await;
    let old = prepare_now(&bed, &mut hand, "sun").await;
    ended(&desk, &id).await;
    let running = submit(&desk, take("ann")).await;
    let work = hand.assigned().await;
    let id = submit(&desk, prepare("ann")).await;
    let new = prepare_now(&bed, &mut hand, "moon").await;
    ended(&desk, &id).await;
    desk.sweep().await.unwrap();
    assert!(bed.path(&old).exists(), "{old} is in use");
    let next = submit(&desk, take("ann")).await;
    let with_new = hand.assigned().await;
    assert_eq!(with_new.avatar.as_ref().map(|asset| asset.key.as_str()), Some(new.as_str()));
    bed.make(&hand, &work).await;
    ended(&desk, &running).await;
    eventually("nobody uses the old one", || async { !bed.path(&old).exists() }).await;
    assert!(desk.delete_avatar(&avatar_name("ann")).await.unwrap());
    assert!(bed.path(&new).exists(), "{next} uses it");
    bed.make(&hand, &with_new).await;
    ended(&desk, &next).await;
    eventually("nobody uses it any more", || async { !bed.path(&new).exists() }).await;
}

async fn of_two_sources_for_one_name_the_later_order_wins(bed: Bed) {
    let (desk, mut hand) = bed.open().await;
    hand.ready(W1, 2, 0);
    let (first, second) = (submit(&desk, prepare("ann")).await, submit(&desk, prepare("ann")).await);
    let slow = hand.assigned().await;
    let kept = prepare_now(&bed, &mut hand, "moon").await;
    ended(&desk, &second).await;
    let late = format!("avatars/{first}/sun");
    bed.write(&format!("{late}/part"), b"sun").await;
    hand.ended(&slow, prepared(&late, "sun"));
    ended(&desk, &first).await;
    let view = desk.avatar(&avatar_name("ann")).await.unwrap().unwrap();
    assert_eq!(view.source_sha256, "moon");
    eventually("the earlier order's asset goes", || async { !bed.path(&late).exists() }).await;
    hand.ended(&slow, prepared(&kept, "moon")); // a lie, but of a key that is somebody's
    let id = submit(&desk, prepare("bob")).await;
    prepare_now(&bed, &mut hand, "star").await;
    ended(&desk, &id).await;
    desk.sweep().await.unwrap();
    assert!(bed.path(&kept).exists());
}

async fn a_take_has_the_avatar_that_the_name_stood_for_when_it_was_ordered(bed: Bed) {
    let (desk, mut hand) = bed.open().await;
    hand.ready(W1, 1, 0);
    let id = submit(&desk, prepare("ann")).await;
    let sun = prepare_now(&bed, &mut hand, "sun").await;
    ended(&desk, &id).await;
    let busy = submit(&desk, order()).await;
    let working = hand.assigned().await;
    // two requests of one name: the second's source replaces the first's while the first's take waits
    let id = submit(&desk, Order { priority: 1, ..prepare("ann") }).await;
    let first = submit(&desk, take("ann")).await;
    bed.make(&hand, &working).await;
    ended(&desk, &busy).await;
    let moon = prepare_now(&bed, &mut hand, "moon").await;
    ended(&desk, &id).await;
    let work = hand.assigned().await;
    assert_eq!((&work.job, work.avatar.as_ref().map(|asset| &asset.key)), (&first, Some(&sun)));
    desk.sweep().await.unwrap();
    assert!(bed.path(&sun).exists(), "it is in use");
    // back into the queue, and its name goes altogether: it still has it
    assert!(desk.delete_avatar(&avatar_name("ann")).await.unwrap());
    assert!(!bed.path(&moon).exists());
    drop((desk, hand));
    let (desk, mut hand) = bed.open().await;
    desk.sweep().await.unwrap();
    hand.ready(W1, 1, 0);
    let work = hand.assigned().await;
    assert_eq!((&work.job, work.avatar.as_ref().map(|asset| &asset.key)), (&first, Some(&sun)));
    bed.make(&hand, &work).await;
    ended(&desk, &first).await;
    eventually("nobody uses it any more", || async { !bed.path(&sun).exists() }).await;
}

async fn an_order_may_pin_the_asset_that_it_saw(bed: Bed) {
    let (desk, mut hand) = bed.open().await;
    hand.ready(W1, 2, 0);
    let id = submit(&desk, prepare("ann")).await;
    let sun = prepare_now(&bed, &mut hand, "sun").await;
    ended(&desk, &id).await;
    let seen = desk.avatar(&avatar_name("ann")).await.unwrap().unwrap().asset();
    assert_eq!(seen.key, sun);
    let pinned = || Order { avatar: Some(seen.clone()), ..take("ann") };
    let holding = submit(&desk, take("ann")).await;
    let held = hand.assigned().await;
    let id = submit(&desk, prepare("ann")).await;
    prepare_now(&bed, &mut hand, "moon").await;
    ended(&desk, &id).await;
    // it has lost its name, and is there still
    let late = submit(&desk, pinned()).await;
    let work = hand.assigned().await;
    assert_eq!((&work.job, work.avatar.as_ref().map(|asset| &asset.key)), (&late, Some(&sun)));
    for (id, work) in [(holding, held), (late, work)] {
        bed.make(&hand, &work).await;
        ended(&desk, &id).await;
    }
    eventually("nobody uses it any more", || async { !bed.path(&sun).exists() }).await;
    assert!(matches!(
        desk.submit(pinned()).await,
        Err(Refusal::Busy { complaint, .. }) if complaint.code == "avatar_replaced"
    ));
}
