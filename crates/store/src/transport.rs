//! How requests to S3, and to where its credentials come from, travel. Requests to a machine's own metadata service never
//! go through a proxy and are given up soon, since off the cloud nobody answers them.

use std::time::Duration;

use opendal::{Buffer, HttpBody, HttpTransport};
use opendal_http_transport_reqwest::ReqwestTransport;

const CONNECT: Duration = Duration::from_secs(5);
/// Without any byte of an answer.
const SILENCE: Duration = Duration::from_secs(30);
const METADATA: Duration = Duration::from_secs(2);

/// Both headers of version 2 of the metadata service begin so.
const METADATA_HEADER: &str = "x-aws-ec2-metadata-token";

pub(crate) struct Transport {
    cloud: ReqwestTransport,
    metadata: ReqwestTransport,
}

impl Transport {
    pub(crate) fn new() -> Result<Self, reqwest::Error> {
        let cloud = reqwest::Client::builder().connect_timeout(CONNECT).read_timeout(SILENCE).build()?;
        let metadata =
            reqwest::Client::builder().no_proxy().connect_timeout(METADATA / 2).timeout(METADATA).build()?;
        Ok(Self { cloud: cloud.into(), metadata: metadata.into() })
    }
}

impl HttpTransport for Transport {
    async fn fetch(&self, request: http::Request<Buffer>) -> opendal::Result<http::Response<HttpBody>> {
        let own = request.headers().keys().any(|name| name.as_str().starts_with(METADATA_HEADER))
            || request.uri().host() == Some("169.254.170.2"); // credentials of a container
        if own { self.metadata.fetch(request).await } else { self.cloud.fetch(request).await }
    }
}
