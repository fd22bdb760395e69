//! Metrics of this crate. Counted by the caller that carries the refusal out, so that a decision asked twice for one
//! packet is one refusal.

use schemas::ErrorCode;

use crate::acl::DenyReason;

const DENIED: &str = "inboxd_auth_denied_total";

/// Tells the recorder what the metrics of this crate mean.
pub fn describe() {
    metrics::describe_counter!(
        DENIED,
        "Connections, requests, publishes and subscriptions refused, by reason"
    );
    // Present from the start: `increase()` does not see a counter's first step if it begins at 1.
    for code in
        [ErrorCode::TokenMissing, ErrorCode::TokenInvalid, ErrorCode::TokenExpired, ErrorCode::AccountUnknown]
    {
        metrics::counter!(DENIED, "reason" => code.as_str()).increment(0);
    }
    for reason in [DenyReason::NotGranted, DenyReason::OtherUser, DenyReason::Reserved] {
        metrics::counter!(DENIED, "reason" => reason.as_str()).increment(0);
    }
}

/// Counts a refused token. The label is the error code: a closed set.
pub fn count_refused(code: ErrorCode) {
    metrics::counter!(DENIED, "reason" => code.as_str()).increment(1);
}

/// Counts a refused publish or subscription.
pub fn count_denied(reason: DenyReason) {
    metrics::counter!(DENIED, "reason" => reason.as_str()).increment(1);
}
