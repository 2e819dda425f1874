//! The door: keys, rates, hosts, pages of other sites, CORS, ids, documents.

use std::net::SocketAddr;
use std::num::NonZeroU32;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Method, Request, StatusCode};
use dialects::front_door::{Casting, Key, Keys};
use dialects::{house, infinitetalk, musetalk, musetalk_s3, svd};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::stage::{Stage, ask, get, json, request};

fn keys(per_minute: Option<u32>) -> Keys {
    let key =
        |owner: &str, key: &str| Key { owner: owner.into(), sha256: Sha256::digest(key.as_bytes()).into() };
    Keys::new(vec![key("ann", "a-key"), key("bob", "b-key")], per_minute.and_then(NonZeroU32::new))
}

async fn with(router: &Router, path: &str, headers: &[(&str, &str)]) -> crate::stage::Told {
    let mut asked = Request::builder().method(Method::GET).uri(path);
    for (name, value) in headers {
        asked = asked.header(*name, *value);
    }
    ask(router, asked.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn a_key_is_asked_for_in_every_way_clients_send_it() {
    let stage = Stage::with(|house| house.keys = keys(None)).await;
    let app = svd::router(stage.house.clone());
    let rows: [(&[(&str, &str)], u16); 9] = [
        (&[], 401),
        (&[("authorization", "Bearer a-key")], 200),
        (&[("authorization", "Key b-key")], 200),
        (&[("authorization", "bearer a-key")], 200),
        (&[("x-api-key", "a-key")], 200),
        (&[("authorization", "Basic a-key")], 401),
        (&[("authorization", "Bearer a-ke")], 401),
        (&[("authorization", "Bearer ")], 401),
        (&[("x-api-key", "c")], 401),
    ];
    for (headers, status) in rows {
        let told = with(&app, "/generations", headers).await;
        assert_eq!(told.status.as_u16(), status, "{headers:?} {}", told.text());
        assert_eq!(told.header("www-authenticate") == "Bearer", status == 401);
    }
    assert_eq!(get(&app, "/health").await.status, StatusCode::OK, "health needs none");
}

#[tokio::test]
async fn nobody_sees_anothers_jobs() {
    let stage = Stage::with(|house| house.keys = keys(None)).await;
    let app = svd::router(stage.house.clone());
    let mut order = json("/generate-video", r#"{"characterImageUrl":"/uploads/x.jpg","script":""}"#);
    order.headers_mut().insert("x-api-key", "a-key".parse().unwrap());
    let id = ask(&app, order).await.json()["id"].as_str().unwrap().to_owned();
    for (key, status, count) in [("a-key", 200, 1), ("b-key", 404, 0)] {
        let told = with(&app, &format!("/generation/{id}"), &[("x-api-key", key)]).await;
        assert_eq!(told.status.as_u16(), status);
        let told = with(&app, "/generations", &[("x-api-key", key)]).await;
        assert_eq!(told.json().as_array().unwrap().len(), count, "{key}");
    }
}

#[tokio::test]
async fn a_key_that_asks_too_often_waits_and_the_others_do_not() {
    let stage = Stage::with(|house| house.keys = keys(Some(2))).await;
    let app = svd::router(stage.house.clone());
    let ann = [("x-api-key", "a-key")];
    for _ in 0..2 {
        assert_eq!(with(&app, "/generations", &ann).await.status, StatusCode::OK);
    }
    let told = with(&app, "/generations", &ann).await;
    assert_eq!(told.status, StatusCode::TOO_MANY_REQUESTS);
    let wait: u32 = told.header("retry-after").parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    assert_eq!(with(&app, "/generations", &[("x-api-key", "b-key")]).await.status, StatusCode::OK);
}

/// Each from an address of its own: without keys by it, and with keys that are none.
#[tokio::test]
async fn an_address_that_asks_too_often_waits_and_the_others_do_not() {
    let rate = NonZeroU32::new(2);
    let houses = [(Keys::new(Vec::new(), rate), None, 200), (keys(Some(2)), Some("wrong"), 401)];
    for (keys, key, status) in houses {
        let stage = Stage::with(|house| house.keys = keys).await;
        let app = svd::router(stage.house.clone());
        let from = async |address: &str| {
            let mut asked = request(Method::GET, "/generations");
            if let Some(key) = key {
                asked = asked.header("x-api-key", key);
            }
            let peer: SocketAddr = address.parse().unwrap();
            ask(&app, asked.extension(ConnectInfo(peer)).body(Body::empty()).unwrap()).await.status.as_u16()
        };
        for (many, other) in [("10.0.0.1:1", "10.0.0.2:1"), ("[2001:db8::1]:1", "[2001:db8:0:1::1]:1")] {
            assert_eq!((from(many).await, from(many).await), (status, status));
            assert_eq!(from(many).await, 429, "{many}");
            assert_eq!(from(other).await, status, "{other}");
        }
        assert_eq!(from("[2001:db8::2]:1").await, 429, "the same house");
        if key.is_some() {
            assert_eq!(with(&app, "/generations", &[("x-api-key", "a-key")]).await.status, StatusCode::OK);
        }
    }
}

#[tokio::test]
async fn a_name_that_is_not_ours_is_refused() {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "[::1]".to_owned()];
    let stage = Stage::with(|house| house.hosts.allowed = Some(names)).await;
    let app = infinitetalk::router(stage.house.clone());
    let rows = [
        ("localhost:8200", 200),
        ("LOCALHOST", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:8200", 200),
        ("evil.example", 403),
        ("localhost.evil.example:8200", 403),
        ("", 403),
    ];
    for (host, status) in rows {
        let told = with(&app, "/api/health", &[("host", host)]).await;
        assert_eq!(told.status.as_u16(), status, "{host}");
    }
    assert_eq!(with(&app, "/api/health", &[]).await.status, StatusCode::FORBIDDEN, "no host at all");
}

#[tokio::test]
async fn pages_of_other_sites_may_not_name_files() {
    let stage = Stage::with(|house| house.hosts.trusted_origins = vec!["https://app.example".into()]).await;
    let rows: [(&[(&str, &str)], bool); 8] = [
        (&[], true),
        (&[("sec-fetch-site", "same-origin"), ("origin", "http://testserver:8200")], true),
        (&[("origin", "http://testserver")], true),
        (&[("sec-fetch-site", "none")], true),
        (&[("sec-fetch-site", "cross-site")], false),
        (&[("origin", "http://evil.example")], false),
        (&[("origin", "null")], false),
        (&[("origin", "https://app.example"), ("sec-fetch-site", "cross-site")], true),
    ];
    let apps = [
        (infinitetalk::router(stage.house.clone()), "/api/generate-video"),
        (musetalk_s3::router(stage.house.clone()), "/inference"),
    ];
    for (app, path) in &apps {
        for (headers, may) in rows {
            let mut asked = json(path, "{}");
            for (name, value) in headers {
                asked.headers_mut().insert(*name, value.parse().unwrap());
            }
            let told = ask(app, asked).await;
            let expected = if may { 422 } else { 403 };
            assert_eq!(told.status.as_u16(), expected, "{path} {headers:?}");
        }
    }
}

#[tokio::test]
async fn every_answer_has_its_requests_id() {
    let stage = Stage::new().await;
    let app = svd::router(stage.house.clone());
    assert_eq!(with(&app, "/health", &[("x-request-id", "mine-1")]).await.header("x-request-id"), "mine-1");
    for strange in ["with blank", &"x".repeat(200)] {
        let told = with(&app, "/nothing", &[("x-request-id", strange)]).await;
        assert_eq!(told.header("x-request-id").split('-').next().unwrap().len(), 32, "{strange}");
    }
}

#[tokio::test]
async fn an_engine_that_does_not_load_is_named() {
    let stage = Stage::with(|house| {
        let complaint =
            contract::Complaint::new("weights_missing", "there are no weights at /w/svd", "fetch them");
        house.cast.insert("svd", Casting { engine: Err(complaint), stand_in: false });
    });
    let stage = stage.await;
    let app = svd::router(stage.house.clone());
    let told = ask(&app, json("/generate-video", r#"{"characterImageUrl":"/uploads/x","script":""}"#)).await;
    assert_eq!(told.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(told.text().contains("/w/svd") && !told.header("retry-after").is_empty(), "{}", told.text());
    let app = infinitetalk::router(stage.house.clone());
    assert_eq!(get(&app, "/api/health").await.json()["model_loaded"], true, "the others play");
}

/// A document that parses, whose references exist, and which tells of every status that its route's door may answer.
#[tokio::test]
async fn every_dialect_has_its_documents() {
    let stage = Stage::new().await;
    let house = || stage.house.clone();
    let apps = [
        (infinitetalk::router(house()), 3),
        (musetalk::router(house()), 7),
        (musetalk_s3::router(house()), 1),
        (svd::router(house()), 7),
        (house::router(house()), 8),
    ];
    for (app, paths) in apps {
        let told = get(&app, "/openapi.json").await;
        let document = told.json();
        assert_eq!(document["openapi"], "3.1.0");
        let documented = document["paths"].as_object().unwrap();
        assert_eq!(documented.len(), paths, "{:?}", documented.keys());
        for (path, operations) in documented {
            for (method, operation) in operations.as_object().unwrap() {
                let responses = operation["responses"].as_object().unwrap();
                assert!(responses.contains_key("200") && responses.contains_key("500"), "{method} {path}");
                let body = operation["requestBody"].is_object();
                assert!(!body || responses.contains_key("422"), "{method} {path}");
                check_references(operation, &document);
            }
        }
        let page = get(&app, "/docs").await;
        assert!(
            page.text().contains("swagger-ui-bundle.js")
                && page.header("content-type").starts_with("text/html")
        );
        for (file, kind) in [("swagger-ui.css", "text/css"), ("swagger-ui-bundle.js", "javascript")] {
            let told = get(&app, &format!("/docs/{file}")).await;
            assert!(told.status == 200 && told.header("content-type").contains(kind), "{file}");
        }
        assert_eq!(get(&app, "/docs/nothing").await.status, StatusCode::NOT_FOUND);
        assert_eq!(get(&app, "/redoc").await.status, StatusCode::TEMPORARY_REDIRECT);
    }
}

fn check_references(value: &Value, document: &Value) {
    match value {
        Value::Object(fields) => {
            if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
                assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
            }
            fields.values().for_each(|value| check_references(value, document));
        }
        Value::Array(items) => items.iter().for_each(|value| check_references(value, document)),
        _ => {}
    }
}

#[tokio::test]
async fn one_port_has_everything_under_prefixes() {
    let stage = Stage::new().await;
    let app = house::all(&stage.house);
    let rows = [
        ("/", 200),
        ("/infinitetalk", 200),
        ("/infinitetalk/", 307),
        ("/infinitetalk/api/health", 200),
        ("/musetalk/health", 200),
        ("/musetalk-s3/openapi.json", 200),
        ("/musetalk-s3/inference", 405),
        ("/svd/health", 200),
        ("/svd/health/", 307),
        ("/svd/docs", 200),
        ("/svd/docs/swagger-ui.css", 200),
        ("/v1/jobs", 200),
        ("/v1/nothing", 404),
        ("/nothing", 404),
    ];
    for (path, status) in rows {
        let told = get(&app, path).await;
        assert_eq!(told.status.as_u16(), status, "{path}");
        if status == 307 {
            let expected = format!("http://testserver{}", path.trim_end_matches('/'));
            assert_eq!(told.header("location"), expected);
        }
        if status == 404 {
            assert_eq!(told.text(), r#"{"detail":"Not Found"}"#, "{path}");
        }
    }
}

/// Bodies by lot: whatever comes, a route has an answer of its own.
#[tokio::test]
async fn no_body_breaks_a_route() {
    let stage = Stage::new().await;
    let app = house::all(&stage.house);
    let routes = [
        "/infinitetalk/api/generate-video",
        "/musetalk/avatars/preprocess",
        "/musetalk/inference/stream/a",
        "/musetalk/inference/batch/a",
        "/musetalk-s3/inference?avatar_id=a&audio_id=b",
        "/svd/upload-character",
        "/svd/generate-video",
        "/v1/avatars",
    ];
    let words: [&[u8]; 24] = [
        b"{",
        b"}",
        b"[",
        b"]",
        b"\"",
        b":",
        b",",
        b"\\u12",
        b"1e9",
        b"-",
        b"NaN",
        b"\xff",
        b"\x00",
        b"\r\n",
        b"--XX",
        b"--",
        b"Content-Disposition: form-data; name=\"audio_path\"",
        b"; filename=\"..\"",
        b"audio_path",
        b"avatars",
        b"characterImageUrl",
        b"\"a\":{}",
        b"null",
        b"S3://\xc3\xa9",
    ];
    let kinds = [
        "application/json",
        "multipart/form-data; boundary=XX",
        "application/x-www-form-urlencoded",
        "text/x",
    ];
    let mut lot = 0x2545_f491_4f6c_dd1d_u64;
    let mut draw = |below: usize| {
        lot ^= lot << 13;
        lot ^= lot >> 7;
        lot ^= lot << 17;
        (lot % below as u64) as usize
    };
    for round in 0..600 {
        let body: Vec<u8> = (0..draw(20)).flat_map(|_| words[draw(words.len())].to_vec()).collect();
        let (route, kind) = (routes[round % routes.len()], kinds[draw(kinds.len())]);
        let asked = request(Method::POST, route).header("content-type", kind);
        let told = ask(&app, asked.body(Body::from(body.clone())).unwrap()).await;
        let shown = String::from_utf8_lossy(&body);
        assert!(told.status.is_client_error(), "{} {route} {kind} {shown:?}", told.status);
        assert!(told.json()["detail"].is_string() || told.json()["detail"].is_array(), "{shown:?}");
    }
    assert!(stage.stored("uploads").is_empty(), "{:?}", stage.stored("uploads"));
}
