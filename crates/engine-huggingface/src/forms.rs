//! The requests that carry a picture, in each form. Nothing is sent here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};
use url::Url;

use crate::http::Ask;
use crate::remote::Remote;

const WAIT_FOR_MODEL: HeaderName = HeaderName::from_static("x-wait-for-model");
const USE_CACHE: HeaderName = HeaderName::from_static("x-use-cache");
/// By which the router knows that fal's queue is meant.
pub const QUEUE: &str = "_subdomain=queue";

/// What goes to a provider.
pub struct Order {
    /// A JPEG.
    pub picture: Bytes,
    pub parameters: Map<String, Value>,
}

/// `{base}/hf-inference/models/{id}`: JSON with the picture in base64.
pub fn router(remote: &Remote, order: &Order) -> Ask {
    let url = below(&remote.base, &format!("hf-inference/models/{}", remote.model));
    let body = json!({ "inputs": STANDARD.encode(&order.picture), "parameters": order.parameters });
    Ask { headers: inference("application/json"), ..post(url, body.to_string().into()) }
}

/// `{base}/models/{id}`: a form with the file `inputs` and the JSON `parameters`.
pub fn classic(remote: &Remote, order: &Order) -> Ask {
    let url = below(&remote.base, &format!("models/{}", remote.model));
    let parameters = Value::Object(order.parameters.clone()).to_string();
    let boundary = boundary(&[&order.picture, parameters.as_bytes()]);
    let mut body = Vec::with_capacity(order.picture.len() + parameters.len() + 512);
    let file = "name=\"inputs\"; filename=\"character.jpg\"\r\nContent-Type: image/jpeg";
    for (head, content) in [(file, &order.picture[..]), ("name=\"parameters\"", parameters.as_bytes())] {
        body.extend_from_slice(
            format!("--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n").as_bytes(),
        );
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    let kind = format!("multipart/form-data; boundary={boundary}");
    Ask { headers: inference(&kind), ..post(url, body.into()) }
}

/// `{base}/fal-ai/{provider's name of the model}`: the picture as a `data:` URL beside the parameters.
pub fn fal(remote: &Remote, provider_id: &str, order: &Order) -> Ask {
    let mut url = below(&remote.base, &format!("fal-ai/{provider_id}"));
    url.set_query(Some(QUEUE));
    let mut body = order.parameters.clone();
    let picture = format!("data:image/jpeg;base64,{}", STANDARD.encode(&order.picture));
    body.insert("image_url".to_owned(), Value::String(picture));
    let headers = vec![(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    Ask { headers, ..post(url, Value::Object(body).to_string().into()) }
}

/// `base/path`; the parts of a path are escaped, and none of them leads upwards.
pub fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path.split('/').filter(|part| !part.is_empty()));
    }
    url
}

fn post(url: Url, body: Bytes) -> Ask {
    Ask { method: Method::POST, url, headers: Vec::new(), body }
}

/// Equal requests are to give what the seed gives, not what somebody else was given.
fn inference(kind: &str) -> Vec<(HeaderName, HeaderValue)> {
    let kind = HeaderValue::try_from(kind).expect("made of ASCII above");
    vec![
        (CONTENT_TYPE, kind),
        (ACCEPT, HeaderValue::from_static("video/mp4")),
        (WAIT_FOR_MODEL, HeaderValue::from_static("true")),
        (USE_CACHE, HeaderValue::from_static("false")),
    ]
}

/// One that stands in none of the parts.
fn boundary(parts: &[&[u8]]) -> String {
    let mut boundary = "talkie-form-1f0c6b5e".to_owned();
    while parts.iter().any(|part| part.windows(boundary.len()).any(|at| at == boundary.as_bytes())) {
        boundary.push('x');
    }
    boundary
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::{Form, Setup, tests::setup};

    fn remote(form: Form, base: &str) -> Remote {
        let base = Some(base.to_owned());
        Remote::check(Setup { form, base, hub: Some("https://hub.example".into()), ..setup(Some("hf_x")) })
            .unwrap()
    }

    fn order() -> Order {
        let Value::Object(parameters) = json!({ "num_frames": 25, "seed": 1 }) else { unreachable!() };
        Order { picture: Bytes::from_static(b"\xff\xd8JPEG\r\n--talkie-form-1f0c6b5e"), parameters }
    }

    fn header<'a>(ask: &'a Ask, name: &str) -> &'a str {
        ask.headers.iter().find(|(known, _)| known == name).unwrap().1.to_str().unwrap()
    }

    #[test]
    fn each_form_is_the_documented_one() {
        let model = "stabilityai/stable-video-diffusion-img2vid-xt";
        let router = router(&remote(Form::Router, "https://h.example/x/"), &order());
        assert_eq!(router.url.as_str(), format!("https://h.example/x/hf-inference/models/{model}"));
        let body: Value = serde_json::from_slice(&router.body).unwrap();
        let picture = STANDARD.encode(&order().picture);
        assert_eq!(body, json!({ "inputs": picture, "parameters": { "num_frames": 25, "seed": 1 } }));

        let classic = classic(&remote(Form::Classic, "https://h.example"), &order());
        assert_eq!(classic.url.as_str(), format!("https://h.example/models/{model}"));
        let boundary =
            header(&classic, "content-type").strip_prefix("multipart/form-data; boundary=").unwrap();
        assert_eq!(boundary, "talkie-form-1f0c6b5ex", "one that the picture does not hold");
        let mut expected = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"inputs\"; filename=\"character.jpg\"\r\nContent-Type: image/jpeg\r\n\r\n"
        )
        .into_bytes();
        expected.extend_from_slice(&order().picture);
        expected.extend_from_slice(
            format!(
                "\r\n--{boundary}\r\nContent-Disposition: form-data; name=\"parameters\"\r\n\r\n{{\"num_frames\":25,\"seed\":1}}\r\n--{boundary}--\r\n"
            )
            .as_bytes(),
        );
        assert_eq!(classic.body, expected);
        for ask in [&router, &classic] {
            assert_eq!(header(ask, "accept"), "video/mp4");
            assert_eq!(header(ask, "x-wait-for-model"), "true");
            assert_eq!(header(ask, "x-use-cache"), "false");
        }

        let fal = fal(&remote(Form::Fal, "https://h.example"), "fal-ai/ltx-video/image-to-video", &order());
        assert_eq!(
            fal.url.as_str(),
            "https://h.example/fal-ai/fal-ai/ltx-video/image-to-video?_subdomain=queue"
        );
        let body: Value = serde_json::from_slice(&fal.body).unwrap();
        let picture = format!("data:image/jpeg;base64,{picture}");
        assert_eq!(body, json!({ "image_url": picture, "num_frames": 25, "seed": 1 }));
    }

    #[test]
    fn no_path_leads_upwards() {
        let base = Url::parse("https://h.example/a/").unwrap();
        let rows = [
            ("b/c", "https://h.example/a/b/c"),
            ("/b//c/", "https://h.example/a/b/c"),
            ("../../etc", "https://h.example/a/etc"),
            ("b?x#y", "https://h.example/a/b%3Fx%23y"),
        ];
        for (path, expected) in rows {
            assert_eq!(below(&base, path).as_str(), expected);
        }
    }
}
