//! What a handler leaves of a request's body is read before its answer goes out, if it is little. Otherwise the connection would be
//! closed under the rest that still comes, and a client would see that instead of the answer.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::header;
use axum::response::Response;
use bytes::Bytes;
use http_body_util::BodyExt;

/// Bytes that are read for politeness; who sends more is cut off.
const LITTLE: usize = 64 << 10;
const PATIENCE: Duration = Duration::from_secs(2);

pub async fn take<F: Future<Output = Response>>(
    request: Request,
    answer: impl FnOnce(Request) -> F,
) -> Response {
    // who waits for leave to send has sent nothing
    let waits = request.headers().contains_key(header::EXPECT);
    if waits || request.body().is_end_stream() {
        return answer(request).await;
    }
    let body = Arc::new(Mutex::new(Body::empty()));
    let request = request.map(|sent| {
        *body.lock().unwrap_or_else(PoisonError::into_inner) = sent;
        Body::new(Lent(Arc::clone(&body)))
    });
    let response = answer(request).await;
    let _ = tokio::time::timeout(PATIENCE, drain(Lent(body))).await;
    response
}

async fn drain(mut body: Lent) {
    let mut read = 0;
    while let Some(Ok(frame)) = body.frame().await {
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > LITTLE {
            return;
        }
    }
}

/// A body of which what is not read stays with its owner.
struct Lent(Arc<Mutex<Body>>);

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, axum::Error>>> {
        let mut body = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Pin::new(&mut *body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_end_stream()
    }
}
