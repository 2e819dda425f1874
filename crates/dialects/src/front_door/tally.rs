//! How many requests were answered how, and how long they took. A series is looked up by its labels once and kept: for a request
//! that is answered from memory, making and hashing the labels would be a good part of the work.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use axum::http::{Method, StatusCode};
use metrics::{Counter, Histogram};

/// The requests of one router.
pub struct Tally {
    dialect: &'static str,
    /// By route; of each, there are few.
    routes: RwLock<HashMap<String, Vec<Series>>>,
}

struct Series {
    method: &'static str,
    status: StatusCode,
    requests: Counter,
    seconds: Histogram,
}

impl Tally {
    pub fn new(dialect: &'static str) -> Self {
        Self { dialect, routes: RwLock::default() }
    }

    pub fn count(&self, route: &str, method: &Method, (status, took): (StatusCode, Duration)) {
        let method = short(method);
        let known = |routes: &HashMap<String, Vec<Series>>| {
            let mut of_route = routes.get(route).into_iter().flatten();
            of_route
                .find(|one| one.method == method && one.status == status)
                .map(|one| one.add(took))
                .is_some()
        };
        if known(&self.routes.read().unwrap_or_else(PoisonError::into_inner)) {
            return;
        }
        let series = self.series(route, (method, status));
        series.add(took);
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        routes.entry(route.to_owned()).or_default().push(series);
    }

    fn series(&self, route: &str, (method, status): (&'static str, StatusCode)) -> Series {
        let labels = [
            ("dialect", self.dialect.to_owned()),
            ("route", route.to_owned()),
            ("method", method.to_owned()),
            ("status", status.as_u16().to_string()),
        ];
        Series {
            method,
            status,
            requests: metrics::counter!("talkie_http_requests_total", &labels),
            seconds: metrics::histogram!("talkie_http_request_seconds", &labels),
        }
    }
}

impl Series {
    fn add(&self, took: Duration) {
        self.requests.increment(1);
        self.seconds.record(took.as_secs_f64());
    }
}

/// Methods anybody may invent would make as many time series.
fn short(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        _ => "other",
    }
}
