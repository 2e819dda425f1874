//! Where requests go, by endpoint, region and style: a proxy stands for the internet and writes down what it is asked for.

use std::sync::Mutex;

use crate::credentials::{reply, serve};
use crate::{KEYS, tell};

pub struct Address {
    pub endpoint: Option<&'static str>,
    pub region: Option<&'static str>,
    pub path_style: bool,
    /// What the proxy is asked for: the host where the connection is encrypted, the address where it is not.
    asked: &'static str,
}

const fn address(
    (endpoint, region): (Option<&'static str>, Option<&'static str>),
    path_style: bool,
    asked: &'static str,
) -> Address {
    Address { endpoint, region, path_style, asked }
}

pub const ADDRESSES: [Address; 7] = [
    address((None, Some("eu-west-1")), false, "talkie.s3.eu-west-1.amazonaws.com:443"),
    address((None, Some("eu-west-1")), true, "s3.eu-west-1.amazonaws.com:443"),
    address((Some("https://s3.example.com"), None), false, "talkie.s3.example.com:443"),
    address((Some("http://s3.example.com"), None), false, "http://talkie.s3.example.com/takes/1/a us-east-1"),
    address((Some("http://s3.example.com/"), None), true, "http://s3.example.com/talkie/takes/1/a us-east-1"),
    address((Some("http://127.0.0.1:7"), None), false, "http://127.0.0.1:7/talkie/takes/1/a us-east-1"),
    address((Some("http://localhost:7"), Some("x")), false, "http://localhost:7/talkie/takes/1/a x"),
];

/// What the proxy was asked for, in order, each address once.
static ASKED: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn proxy(request: &str) -> String {
    let target = request.split(' ').nth(1).unwrap_or_default();
    // AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/s3/aws4_request, …
    let scope = request.split("Credential=").nth(1).and_then(|credential| credential.split('/').nth(2));
    let asked = [target].into_iter().chain(scope).collect::<Vec<_>>().join(" ");
    let mut all = ASKED.lock().unwrap();
    if all.last() != Some(&asked) {
        all.push(asked);
    }
    reply("403 Forbidden", "")
}

/// One test, because all who ask the proxy share its list.
#[test]
fn endpoints_regions_and_styles() {
    let at = format!("http://127.0.0.1:{}", serve(proxy));
    let proxied = [KEYS[0], KEYS[1], ("HTTP_PROXY", at.as_str()), ("HTTPS_PROXY", at.as_str())];
    tell("told::the_addresses_of_the_table", &proxied);
    let asked = std::mem::take(&mut *ASKED.lock().unwrap());
    assert_eq!(asked, ADDRESSES.map(|row| row.asked));
    // the environment's endpoint and region, where the configuration is silent
    let mut silent = proxied.to_vec();
    silent.extend([("AWS_ENDPOINT_URL", "http://127.0.0.1:8"), ("AWS_REGION", "eu-north-1")]);
    tell("told::the_addresses_of_the_table", &silent);
    assert_eq!(ASKED.lock().unwrap()[0], "http://127.0.0.1:8/talkie/takes/1/a eu-west-1");
}
