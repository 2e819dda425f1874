//! Uploads that go wrong: nothing of them stays, and nothing of them is held in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, StatusCode};
use bytes::Bytes;
use dialects::{musetalk, svd};
use futures_util::{StreamExt, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::stage::{LONG, Stage, ask, form, request};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\nand so on, for more than thirty-two bytes";

/// The store, and the scratch folder beside it, as a whole.
fn leftovers(stage: &Stage) -> Vec<std::path::PathBuf> {
    ["uploads", "scratch"].into_iter().flat_map(|folder| stage.stored(folder)).collect()
}

#[tokio::test]
async fn too_large_is_told_by_the_length_or_by_counting() {
    let stage = Stage::new().await;
    let app = svd::router(stage.house.clone());
    let large = vec![0x89; (1 << 16) + 1];
    let told = ask(&app, form("/upload-character", &[], &[("character", "c.png", &large)])).await;
    assert_eq!(told.status, StatusCode::PAYLOAD_TOO_LARGE, "{}", told.text());
    assert_eq!(told.text(), r#"{"detail":"the upload is larger than 0.1 MiB, the limit of this server"}"#);
    let pieces = (0..64).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![7; 1 << 15])));
    let head =
        "--XX\r\nContent-Disposition: form-data; name=\"character\"; filename=\"c.png\"\r\n\r\n\u{89}PNG";
    let body = stream::iter(
        std::iter::once(Ok(Bytes::from([&head.as_bytes()[..head.len() - 5], PNG].concat()))).chain(pieces),
    );
    let asked =
        request(Method::POST, "/upload-character").header("content-type", "multipart/form-data; boundary=XX");
    let told = ask(&app, asked.body(Body::from_stream(body)).unwrap()).await;
    assert_eq!(told.status, StatusCode::PAYLOAD_TOO_LARGE, "{}", told.text());
    let mut asked = form("/upload-character", &[], &[]);
    asked.headers_mut().insert("content-length", "99999999999".parse().unwrap());
    assert_eq!(ask(&app, asked).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(leftovers(&stage).is_empty(), "{:?}", leftovers(&stage));
}

/// Without a length, each part below its own limit: of a name only the last file stays, and all of them have one limit.
#[tokio::test]
async fn many_parts_are_no_way_around_the_limit() {
    let stage = Stage::new().await;
    let app = svd::router(stage.house.clone());
    let part = |name: &str, file: &str, bytes: usize| {
        let head = format!("--XX\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n");
        Bytes::from([head.as_bytes(), PNG, &vec![7; bytes], b"\r\n"].concat())
    };
    let picture = "; filename=\"c.png\"";
    let rows = [("character", picture, 60_000), ("other", picture, 60_000), ("text", "", 60_000)];
    for (name, file, bytes) in rows {
        let parts: Vec<_> = (0..100).map(|_| Ok::<_, std::io::Error>(part(name, file, bytes))).collect();
        let asked = request(Method::POST, "/upload-character")
            .header("content-type", "multipart/form-data; boundary=XX");
        let told = ask(&app, asked.body(Body::from_stream(stream::iter(parts))).unwrap()).await;
        assert_eq!(told.status, StatusCode::PAYLOAD_TOO_LARGE, "{name} {}", told.text());
        assert!(leftovers(&stage).is_empty(), "{name} {:?}", leftovers(&stage));
    }
}

/// What stands before a part is held until it is complete: it may not go on for ever.
#[tokio::test]
async fn what_never_becomes_a_part_is_refused_early() {
    let stage = Stage::new().await;
    let app = musetalk::router(stage.house.clone());
    let head = "--XX\r\nContent-Disposition: form-data; name=\"audio_file\"; filename=\"v.wav\"\r\nX-More: ";
    let rows = [("a preamble", ""), ("a header", head)];
    for (what, begun) in rows {
        let taken = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&taken);
        let pieces =
            std::iter::once(Bytes::from(begun)).chain((0..60).map(|_| Bytes::from(vec![b'x'; 16 << 10])));
        let body = stream::iter(pieces.map(Ok::<_, std::io::Error>)).inspect(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        let asked = request(Method::POST, "/inference/batch/a")
            .header("content-type", "multipart/form-data; boundary=XX")
            .body(Body::from_stream(body));
        let told = ask(&app, asked.unwrap()).await;
        assert_eq!(
            (told.status.as_u16(), told.text().contains("64KB")),
            (400, true),
            "{what} {}",
            told.text()
        );
        let taken = taken.load(Ordering::SeqCst);
        // a little more is read so that the refusal arrives
        assert!(taken <= 13, "{what}: {taken} pieces of 16 KiB were taken");
    }
    // many small parts in large pieces are no reason to refuse, nor is a large first piece
    let parts = "--XX\r\nContent-Disposition: form-data; name=\"other\"\r\n\r\nx\r\n".repeat(900);
    let body = [parts.as_bytes(), b"--XX--\r\n"].concat();
    let pieces: Vec<_> =
        body.chunks(40_000).map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece))).collect();
    let asked = request(Method::POST, "/inference/batch/a")
        .header("content-type", "multipart/form-data; boundary=XX")
        .body(Body::from_stream(stream::iter(pieces)));
    assert_eq!(ask(&app, asked.unwrap()).await.status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn a_form_with_a_mistake_leaves_no_file() {
    let stage = Stage::new().await;
    let app = musetalk::router(stage.house.clone());
    let video: &[(&str, &str, &[u8])] = &[("video_file", "v.mp4", b"video")];
    let rows: [(&[(&str, &str)], u16); 3] =
        [(&[], 422), (&[("avatar_id", "a"), ("bbox_shift", "x")], 422), (&[("avatar_id", "../a")], 400)];
    for (texts, status) in rows {
        let told = ask(&app, form("/avatars/preprocess", texts, video)).await;
        assert_eq!(told.status.as_u16(), status, "{texts:?} {}", told.text());
        assert!(leftovers(&stage).is_empty(), "{texts:?} {:?}", leftovers(&stage));
    }
}

#[tokio::test]
async fn only_pictures_are_pictures() {
    let stage = Stage::new().await;
    let app = svd::router(stage.house.clone());
    let files: [(&str, &[u8]); 4] =
        [("a.png", b"<svg onload=alert(1)>"), ("a.jpg", b""), ("a.png", b"MZ"), ("a.gif", b"%PDF-1.7")];
    for (name, bytes) in files {
        let told = ask(&app, form("/upload-character", &[], &[("character", name, bytes)])).await;
        assert_eq!(
            (told.status.as_u16(), told.text()),
            (400, r#"{"detail":"File must be an image"}"#),
            "{name}"
        );
    }
    assert!(leftovers(&stage).is_empty());
}

/// Over a real socket: half a body, then the client is gone.
#[tokio::test]
async fn half_an_upload_leaves_nothing() {
    let stage = Stage::new().await;
    let app = musetalk::router(stage.house.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = "POST /inference/batch/a HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=XX\r\n\
                Content-Length: 100000\r\n\r\n--XX\r\nContent-Disposition: form-data; name=\"audio_file\"; \
                filename=\"v.wav\"\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(&[1; 50_000]).await.unwrap();
    let seen = |some: bool| {
        let stage = &stage;
        async move {
            let until = tokio::time::Instant::now() + LONG;
            while leftovers(stage).is_empty() == some {
                assert!(tokio::time::Instant::now() < until, "{some}: {:?}", leftovers(stage));
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    seen(true).await;
    drop(client);
    seen(false).await;
}

#[tokio::test]
async fn a_client_that_sends_no_more_is_answered_when_it_closes_its_half() {
    let stage = Stage::new().await;
    let app = svd::router(stage.house.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
    let asked = "POST /generate-video HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\
                 Connection: close\r\n\r\n{}";
    client.write_all(asked.as_bytes()).await.unwrap();
    let mut told = String::new();
    client.read_to_string(&mut told).await.unwrap();
    assert!(told.starts_with("HTTP/1.1 422 "), "{told}");
}
