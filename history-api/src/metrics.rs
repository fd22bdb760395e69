//! Metrics of this crate. Labels: the route as it stands in the router (a closed set), the class of the status.

use axum::http::StatusCode;
use metrics::{counter, describe_counter, describe_histogram, histogram};

const REQUESTS: &str = "inboxd_history_requests_total";
const SECONDS: &str = "inboxd_history_request_seconds";

/// Microseconds in a second.
const MICROS: f64 = 1e6;

/// Tells the recorder what the metrics of this crate mean.
pub fn describe() {
    describe_counter!(REQUESTS, "Requests to /v1, by route and class of the HTTP status");
    describe_histogram!(SECONDS, "Time from a request's header until its answer is made, by route");
    // Present from the start; other routes and statuses begin when they are asked for.
    for route in ["/v1/sync", "/v1/conversations", "/v1/messages"] {
        counter!(REQUESTS, "route" => route, "status" => "2xx").increment(0);
        let _ = histogram!(SECONDS, "route" => route);
    }
}

pub(crate) fn observe_request(route: &str, status: StatusCode, micros: u64) {
    let class = match status.as_u16() {
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    };
    counter!(REQUESTS, "route" => route.to_owned(), "status" => class).increment(1);
    histogram!(SECONDS, "route" => route.to_owned()).record(micros as f64 / MICROS);
}
