//! The door: which `Host` is meant (against DNS rebinding), whose key it is, whether a page of another site may ask, and
//! CORS as Starlette answers it.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::house::{Hosts, House};
use super::keys::{NOBODY, Owner, given};
use super::refused::Refused;

/// What a route asks of whoever calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Health, documents, and files whose names cannot be guessed: no key.
    Public,
    Keyed,
    /// Reads local paths or cloud storage: a key, and no page of another site.
    KeyedOwnSite,
}

pub async fn enter(
    State((house, access)): State<(Arc<House>, Access)>,
    mut request: Request,
    next: Next,
) -> Response {
    match admit(&house, access, &request) {
        Ok(owner) => {
            request.extensions_mut().insert(owner);
            next.run(request).await
        }
        Err(refused) => {
            let unauthorized =
                matches!(&refused, Refused::Said { status, .. } if *status == StatusCode::UNAUTHORIZED);
            let mut response = refused.into_response();
            if unauthorized {
                let scheme = HeaderValue::from_static("Bearer");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
            }
            response
        }
    }
}

fn admit(house: &House, access: Access, request: &Request) -> Result<Owner, Refused> {
    let headers = request.headers();
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
    if access == Access::KeyedOwnSite {
        own_site(&house.hosts, headers, request.uri())?;
    }
    let owner = house.keys.owner(headers);
    if access == Access::Public && (owner.is_ok() || given(headers).is_none()) {
        return Ok(owner.unwrap_or(Owner(NOBODY.to_owned())));
    }
    let owner = match owner {
        Ok(owner) => owner,
        Err(refused) => {
            house.keys.strike(peer)?;
            return if access == Access::Public { Ok(Owner(NOBODY.to_owned())) } else { Err(refused) };
        }
    };
    house.keys.admit(&owner, peer)?;
    Ok(owner)
}

/// The name in `Host`, without its port.
fn host<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
    let given = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let given = given.or_else(|| uri.authority().map(|authority| authority.as_str()))?;
    Some(bare(given))
}

fn bare(host: &str) -> &str {
    match host.rfind(':') {
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        _ => host,
    }
}

/// For routes that stand behind no more than this.
pub async fn known_host(State(house): State<Arc<House>>, request: Request, next: Next) -> Response {
    match check_host((&house, |_| false), &request) {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

/// Hosts that are ours besides the configured ones.
pub type Known = fn(&str) -> bool;

/// For every route: a name that leads here by somebody else's DNS is not ours.
pub fn check_host((house, known): (&House, Known), request: &Request) -> Result<(), Refused> {
    let Some(allowed) = &house.hosts.allowed else { return Ok(()) };
    let host = host(request.headers(), request.uri()).unwrap_or_default();
    if known(host) || allowed.iter().any(|known| known.eq_ignore_ascii_case(host)) {
        return Ok(());
    }
    let detail =
        format!("this server is not called `{host}`; add it to the allowed hosts of the configuration");
    Err(Refused::said(StatusCode::FORBIDDEN, detail))
}

fn own_site(hosts: &Hosts, headers: &HeaderMap, uri: &Uri) -> Result<(), Refused> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let origin = text("origin");
    if origin.is_some_and(|origin| hosts.trusted_origins.iter().any(|known| known == origin)) {
        return Ok(());
    }
    let other_site = text("sec-fetch-site") == Some("cross-site");
    let other_origin = origin.is_some_and(|origin| {
        let name = origin.split_once("://").map(|(_, host)| bare(host));
        name.is_none() || name != host(headers, uri)
    });
    if other_site || other_origin {
        let from = origin.unwrap_or("another site");
        let detail = format!(
            "a page of {from} may not name files of this machine or its cloud storage; \
             add it to the trusted origins of the configuration"
        );
        return Err(Refused::said(StatusCode::FORBIDDEN, detail));
    }
    Ok(())
}

const METHODS: &str = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT, QUERY";

const PREFLIGHT_VARIES: &str = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers, \
                                Access-Control-Request-Private-Network";

/// `CORSMiddleware` with everything allowed but credentials.
pub async fn cors(request: Request<Body>, next: Next) -> Response {
    let (origin, asked, wanted) = {
        let text = |name: &str| request.headers().get(name).cloned();
        (text("origin"), text("access-control-request-method"), text("access-control-request-headers"))
    };
    let preflight = *request.method() == Method::OPTIONS && origin.is_some();
    let any = HeaderValue::from_static("*");
    let mut response = match asked.filter(|_| preflight) {
        Some(method) => {
            let known = METHODS.split(", ").any(|known| method == known);
            let mut response = if known {
                (StatusCode::OK, "OK").into_response()
            } else {
                (StatusCode::BAD_REQUEST, "Disallowed CORS method").into_response()
            };
            let headers = response.headers_mut();
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
            if let Some(wanted) = wanted {
                headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted);
            }
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, any);
            headers.insert(header::VARY, HeaderValue::from_static(PREFLIGHT_VARIES));
            return response;
        }
        None => {
            let mut response = next.run(request).await;
            if origin.is_some() {
                response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, any);
            }
            response
        }
    };
    response.headers_mut().append(header::VARY, HeaderValue::from_static("Origin"));
    response
}
