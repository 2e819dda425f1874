//! The store on one machine: what is put is read, in ranges, and what is being read stays.

use bytes::Bytes;
use futures_util::TryStreamExt;
use store::{Reading, Store, StoreConfig};

async fn open(folder: &tempfile::TempDir) -> Store {
    Store::open(StoreConfig { folder: folder.path().join("data"), ..StoreConfig::default() }).await.unwrap()
}

async fn bytes(reading: &Reading, start: u64, len: u64) -> Vec<u8> {
    let pieces: Vec<Bytes> = reading.range(start, len).await.try_collect().await.unwrap();
    pieces.concat()
}

fn noise(len: usize) -> Vec<u8> {
    (0..len as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

#[tokio::test]
async fn what_is_put_is_read_in_any_range() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    let content = noise(1_000_003);
    let from = folder.path().join("draft");
    std::fs::write(&from, &content).unwrap();
    let stored = store.put(&from, "takes/1/a.mp4").await.unwrap();
    assert_eq!(stored.bytes, 1_000_003);
    assert_eq!(stored.sha256.len(), 64);
    let reading = store.read("takes/1/a.mp4").await.unwrap().unwrap();
    assert_eq!(reading.bytes, 1_000_003);
    for (start, len) in [
        (0u64, 1_000_003u64),
        (0, 0),
        (0, 1),
        (1, 262_144),
        (262_143, 2),
        (999_999, 4),
        (1_000_000, 999),
        (2_000_000, 5),
        (0, u64::MAX),
    ] {
        let from = (start as usize).min(content.len());
        let to = start.saturating_add(len).min(content.len() as u64) as usize;
        assert_eq!(bytes(&reading, start, len).await, content[from..to.max(from)], "{start} + {len}");
    }
    assert!(store.read("takes/1/b.mp4").await.unwrap().is_none());
    assert!(store.read("takes/1").await.unwrap().is_none());
    assert_eq!(store.read("takes/../talkie.db").await.err().unwrap().code, "bad_key");
    let scratch = store.scratch().unwrap();
    let path = store.local("takes/1/a.mp4", scratch.path()).await.unwrap();
    assert_eq!(std::fs::read(path).unwrap(), content);
    assert_eq!(store.local("takes/2", scratch.path()).await.unwrap_err().code, "file_missing");
}

#[tokio::test]
async fn what_is_being_read_stays() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    let from = folder.path().join("draft");
    std::fs::write(&from, noise(1 << 20)).unwrap();
    store.put(&from, "takes/1/a.mp4").await.unwrap();
    let reading = store.read("takes/1/a.mp4").await.unwrap().unwrap();
    let stream = reading.range(0, 1 << 20).await;
    drop(reading);
    for key in ["takes/1/a.mp4", "takes/1"] {
        assert!(!store.remove(key).await.unwrap(), "a stream of it is open");
    }
    let pieces: Vec<Bytes> = stream.try_collect().await.unwrap();
    assert_eq!(pieces.concat(), noise(1 << 20));
    assert!(store.remove("takes/1").await.unwrap());
    assert!(!store.remove("takes/1").await.unwrap());
    assert!(store.read("takes/1/a.mp4").await.unwrap().is_none());
}

#[tokio::test]
async fn an_upload_is_there_only_when_it_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    let content = noise(700_001);
    let mut writing = store.write("uploads/1/a.png", 700_001).await.unwrap();
    for piece in content.chunks(10_007) {
        writing.write(piece).await.unwrap();
    }
    assert!(store.read("uploads/1/a.png").await.unwrap().is_none());
    let written = writing.finish().await.unwrap();
    let reading = store.read("uploads/1/a.png").await.unwrap().unwrap();
    assert_eq!(bytes(&reading, 0, u64::MAX).await, content);
    let copy = folder.path().join("copy");
    std::fs::write(&copy, &content).unwrap();
    assert_eq!(store.put(&copy, "uploads/2/a.png").await.unwrap(), written, "one hash, written or put");

    let mut dropped = store.write("uploads/3/a.png", u64::MAX).await.unwrap();
    dropped.write(&content).await.unwrap();
    drop(dropped);
    let mut large = store.write("uploads/3/a.png", 700_000).await.unwrap();
    large.write(&content[..700_000]).await.unwrap();
    let complaint = large.write(b"x").await.unwrap_err();
    assert_eq!(complaint.code, "file_too_large");
    assert!(
        complaint.message.contains("700001") && complaint.message.contains("limit is 700000"),
        "{complaint}"
    );
    assert_eq!(large.write(b"").await.unwrap_err().code, "upload_broken");
    assert_eq!(large.finish().await.unwrap_err().code, "upload_broken");
    assert!(store.read("uploads/3/a.png").await.unwrap().is_none());
    let left = std::fs::read_dir(store.folder().join("scratch")).unwrap().count();
    assert_eq!(left, 0, "nothing is left of what was not finished");
    let empty = store.write("uploads/4/empty", 0).await.unwrap().finish().await.unwrap();
    assert_eq!(empty.sha256, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}
