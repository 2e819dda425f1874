//! What is told of S3, each in a process of its own.

use std::time::Duration;

use futures_util::TryStreamExt;
use store::{Remote, Store, StoreConfig};

use crate::address::ADDRESSES;
use crate::{ID, Server, file, noise, works};

pub async fn what_is_put_is_read_in_ranges() {
    let server = Server::start();
    let (data, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = server.store(data.path()).await;
    for (key, len) in
        [("takes/1/empty", 0), ("takes/1/small.mp4", 1000), ("takes/1/three parts ä+%20.mp4", 20_000_003)]
    {
        let content = noise(len);
        let from = file(scratch.path(), &content);
        let stored = store.put(&from, key).await.unwrap();
        assert!(!from.exists(), "it was moved");
        assert_eq!(stored.bytes, len as u64);
        assert_eq!(
            std::fs::read(server.root.path().join("talkie/kept/here").join(key)).unwrap(),
            content,
            "{key}"
        );
        let reading = store.read(key).await.unwrap().unwrap();
        assert_eq!(reading.bytes, len as u64);
        assert!(reading.modified_ms > 1_600_000_000_000);
        for (start, end) in
            [(0, len), (0, 1), (len / 2, len / 2 + 70_000), (len.saturating_sub(1), len + 5), (len, len + 1)]
        {
            let pieces = reading.range(start as u64, (end - start) as u64).await;
            let pieces: Vec<_> = pieces.try_collect().await.unwrap();
            assert_eq!(pieces.concat(), content[start.min(len)..end.min(len)], "{key} {start}..{end}");
        }
        assert!(!store.remove(key).await.unwrap(), "it is being read");
        drop(reading);
        let local = store.local(key, scratch.path()).await.unwrap();
        assert_eq!(std::fs::read(&local).unwrap(), content);
        std::fs::remove_file(local).unwrap();
        assert!(store.remove(key).await.unwrap());
        assert!(store.read(key).await.unwrap().is_none());
        assert!(!store.remove(key).await.unwrap());
        assert_eq!(store.local(key, scratch.path()).await.unwrap_err().code, "file_missing");
    }
    assert_eq!(server.parts(), 0);
    // what workers of this machine read stays here
    let mut upload = store.write("uploads/1/a.png", 10).await.unwrap();
    upload.write(b"picture").await.unwrap();
    upload.finish().await.unwrap();
    assert_eq!(
        store.local("uploads/1/a.png", scratch.path()).await.unwrap(),
        store.folder().join("uploads/1/a.png")
    );
    assert!(!server.root.path().join("talkie/kept/here/uploads").exists());
    // what is written in pieces goes to S3 all the same
    let mut take = store.write("takes/2/a.mp4", 10).await.unwrap();
    take.write(b"frames").await.unwrap();
    take.finish().await.unwrap();
    assert_eq!(std::fs::read(server.root.path().join("talkie/kept/here/takes/2/a.mp4")).unwrap(), b"frames");
    assert_eq!(std::fs::read_dir(store.folder().join("scratch")).unwrap().count(), 0);
}

pub async fn a_folder_is_brought_whole_and_removed() {
    let server = Server::start();
    let (data, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = server.store(data.path()).await;
    for name in
        ["avatars/x/card.json", "avatars/x/parts/0.bin", "avatars/x/parts/1.bin", "avatars/xy/card.json"]
    {
        store.put(&file(scratch.path(), name.as_bytes()), name).await.unwrap();
    }
    let folder = store.local("avatars/x", scratch.path()).await.unwrap();
    for part in ["card.json", "parts/0.bin", "parts/1.bin"] {
        assert_eq!(std::fs::read_to_string(folder.join(part)).unwrap(), format!("avatars/x/{part}"));
    }
    let reading = store.read("avatars/x/parts/0.bin").await.unwrap().unwrap();
    assert!(!store.remove("avatars/x").await.unwrap(), "a part of it is being read");
    drop(reading);
    assert!(store.remove("avatars/x").await.unwrap());
    assert!(!store.remove("avatars/x").await.unwrap());
    assert_eq!(store.local("avatars/x", scratch.path()).await.unwrap_err().code, "file_missing");
    assert!(store.read("avatars/xy/card.json").await.unwrap().is_some(), "a name that begins alike stays");
}

pub async fn names_of_users_are_read_and_written() {
    let server = Server::start();
    let (data, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = server.store(data.path()).await;
    let from = file(scratch.path(), &noise(9_000_000));
    for name in ["s3://talkie/out/a.mp4", "S3://other.bucket/b c.mp4"] {
        store.upload(&from, name).await.unwrap();
        assert!(from.exists(), "an upload copies");
        let path = store.download(name, scratch.path()).await.unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), noise(9_000_000));
        std::fs::remove_file(path).unwrap();
    }
    let missing = store.download("s3://talkie/none.mp4", scratch.path()).await.unwrap_err();
    assert_eq!(missing.code, "s3_not_found");
    assert!(missing.message.contains("s3://talkie/none.mp4"), "{missing}");
    assert_eq!(store.download("s3://no-bucket/a", scratch.path()).await.unwrap_err().code, "s3_not_found");
    let large = std::fs::File::create(server.root.path().join("talkie/large")).unwrap();
    large.set_len((30 << 20) + 1).unwrap();
    let complaint = store.download("s3://talkie/large", scratch.path()).await.unwrap_err();
    assert_eq!(complaint.code, "file_too_large");
    assert!(
        complaint.message.contains("31457281") && complaint.message.contains("limit is 31457280"),
        "{complaint}"
    );
    assert_eq!(store.download("s3://talkie/", scratch.path()).await.unwrap_err().code, "bad_s3_name");
    let left = std::fs::read_dir(scratch.path()).unwrap().count();
    assert_eq!(left, 1, "only the draft is left");
}

pub async fn a_bucket_that_is_not_there_is_named() {
    let server = Server::start();
    let data = tempfile::tempdir().unwrap();
    let config = StoreConfig {
        folder: data.path().to_owned(),
        remote: Some(Remote { bucket: "no-bucket".into(), prefix: String::new() }),
        s3_endpoint: Some(server.endpoint()),
        ..StoreConfig::default()
    };
    let complaint = Store::open(config).await.unwrap().remove("takes/1").await.unwrap_err();
    assert_eq!(complaint.code, "s3_no_bucket", "{complaint}");
    assert!(complaint.message.contains("no-bucket"), "{complaint}");
}

pub async fn a_wrong_secret_is_denied() {
    let server = Server::start();
    let (data, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = server.store(data.path()).await;
    let from = file(scratch.path(), b"take");
    let refusals = [
        store.put(&from, "takes/1/a.mp4").await.unwrap_err(),
        store.read("takes/1/a.mp4").await.err().unwrap(),
        store.remove("takes/1/a.mp4").await.unwrap_err(),
        store.upload(&from, "s3://talkie/a").await.unwrap_err(),
        store.download("s3://talkie/a", scratch.path()).await.unwrap_err(),
    ];
    for complaint in refusals {
        assert_eq!(complaint.code, "s3_denied", "{complaint}");
        assert!(complaint.message.contains("s3://talkie/"), "{complaint}");
        assert!(
            !complaint.to_string().contains(ID) && !complaint.to_string().contains("ignature"),
            "{complaint}"
        );
    }
    assert!(from.exists(), "what could not be put is still there");
}

pub async fn a_server_may_go_and_come_back() {
    let mut server = Server::start();
    let (data, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = server.store(data.path()).await;
    works(&store, scratch.path()).await;
    store.put(&file(scratch.path(), &noise(100_000)), "takes/1/a.mp4").await.unwrap();
    let reading = store.read("takes/1/a.mp4").await.unwrap().unwrap();
    server.stop();
    let from = file(scratch.path(), b"take");
    let refusals = [
        store.put(&from, "takes/2/a.mp4").await.unwrap_err(),
        store.read("takes/1/a.mp4").await.err().unwrap(),
        store.download("s3://talkie/a", scratch.path()).await.unwrap_err(),
    ];
    for complaint in refusals {
        assert_eq!(complaint.code, "s3_unreachable", "{complaint}");
    }
    assert!(from.exists(), "what could not be put is still there");
    assert!(reading.range(0, 10).await.try_collect::<Vec<_>>().await.is_err());
    server.resume();
    let pieces: Vec<_> = reading.range(0, 100_000).await.try_collect().await.unwrap();
    assert_eq!(pieces.concat(), noise(100_000));
    store.put(&from, "takes/2/a.mp4").await.unwrap();
    assert!(store.read("takes/2/a.mp4").await.unwrap().is_some());
}

pub async fn an_upload_that_is_given_up_leaves_nothing() {
    let server = Server::start();
    let (data, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = server.store(data.path()).await;
    let from = scratch.path().join("draft");
    std::fs::File::create(&from).unwrap().set_len(400 << 20).unwrap(); // sparse
    let begun = async {
        while server.parts() < 3 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = store.upload(&from, "s3://talkie/given-up.mp4") => panic!("400 MB were faster than the first part"),
        () = begun => {}
    }
    while server.parts() > 0 {
        tokio::task::yield_now().await; // the parts are taken back in the background
    }
    assert_eq!(
        store.download("s3://talkie/given-up.mp4", scratch.path()).await.unwrap_err().code,
        "s3_not_found"
    );
    // a file that cannot be read to its end is not sent either
    let folder = store.upload(scratch.path(), "s3://talkie/folder").await.unwrap_err();
    assert_eq!(folder.code, "store_broken", "{folder}");
    assert!(!server.root.path().join("talkie/folder").exists());
}

/// Reads an object by every address of the table, in its order; nobody answers there.
pub async fn the_addresses_of_the_table() {
    let data = tempfile::tempdir().unwrap();
    for row in &ADDRESSES {
        let config = StoreConfig {
            folder: data.path().to_owned(),
            remote: Some(Remote { bucket: "talkie".into(), prefix: String::new() }),
            s3_endpoint: row.endpoint.map(str::to_owned),
            s3_region: row.region.map(str::to_owned),
            s3_path_style: row.path_style,
            ..StoreConfig::default()
        };
        assert!(Store::open(config).await.unwrap().read("takes/1/a").await.is_err());
    }
}

pub async fn no_address_and_bad_names() {
    let data = tempfile::tempdir().unwrap();
    let of = |bucket: &str, prefix: &str| StoreConfig {
        folder: data.path().into(),
        remote: Some(Remote { bucket: bucket.into(), prefix: prefix.into() }),
        ..StoreConfig::default()
    };
    let complaint = Store::open(of("talkie", "")).await.unwrap().read("takes/1/a").await.err().unwrap();
    assert_eq!(complaint.code, "s3_misconfigured", "neither region nor endpoint");
    assert!(complaint.hint.contains("AWS_REGION"), "{complaint}");
    for (bucket, prefix) in [("b", ""), ("talkie", "../up"), ("ta/lkie", "")] {
        assert_eq!(Store::open(of(bucket, prefix)).await.err().unwrap().code, "bad_s3_name");
    }
}

/// Each link of the chain, alone.
pub async fn the_credentials_are_right() {
    let server = Server::start();
    let (data, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    works(&server.store(data.path()).await, scratch.path()).await;
}

pub async fn there_are_no_credentials() {
    let server = Server::start();
    let (data, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = server.store(data.path()).await;
    let start = std::time::Instant::now();
    let complaint = store.read("takes/1/a.mp4").await.err().unwrap();
    assert_eq!(complaint.code, "s3_no_credentials", "{complaint}");
    assert!(complaint.hint.contains("AWS_ACCESS_KEY_ID"), "{complaint}");
    assert_eq!(store.download("s3://talkie/a", scratch.path()).await.unwrap_err().code, "s3_no_credentials");
    assert!(start.elapsed() < Duration::from_secs(10), "gave up after {:?}", start.elapsed());
}
