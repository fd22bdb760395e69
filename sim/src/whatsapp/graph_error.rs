//! O6 from Meta's side: the Graph API's error codes as HTTP answers, and the same codes inside a `failed` status (O8).
//!
//! Source: Meta's pages "Error codes" and "Handling errors". Only what the model can answer with; what a caller should
//! do about a code is the caller's business and deliberately not here.

use serde_json::{Value, json};

/// One row of Meta's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GraphError {
    /// `error.code`; what callers decide by.
    pub code: u32,
    /// The HTTP status Meta answers it with.
    pub http: u16,
    /// Title, part of `error.message`.
    pub title: &'static str,
    /// `error.error_data.details`.
    pub details: &'static str,
}

/// The token is missing, wrong or expired.
pub const TOKEN_INVALID: u32 = 190;
/// A parameter is wrong; also what Graph answers for an object that does not exist.
pub const INVALID_PARAMETER: u32 = 100;
/// Something went wrong on Meta's side; what an HTTP 500 carries unless told otherwise.
pub const UNKNOWN_ERROR: u32 = 131_000;
/// A required parameter is missing.
pub const MISSING_PARAMETER: u32 = 131_008;
/// A parameter's value is not valid.
pub const PARAMETER_VALUE: u32 = 131_009;
/// Service temporarily overloaded.
pub const OVERLOADED: u32 = 131_016;
/// The message cannot be delivered to this person.
pub const UNDELIVERABLE: u32 = 131_026;
/// More than 24 hours since the person last wrote.
pub const OUTSIDE_WINDOW: u32 = 131_047;
/// The number's throughput is exceeded.
pub const RATE_LIMITED: u32 = 130_429;

/// Ordered by code; looked up by binary search, and a test holds the order.
const TABLE: &[GraphError] = &[
    row(1, 400, "API Unknown", "Invalid request or possible server error."),
    row(2, 503, "API Service", "Service temporarily unavailable."),
    row(4, 400, "API Too Many Calls", "The app has reached its API call rate limit."),
    row(10, 403, "Permission Denied", "Permission is either not granted or has been removed."),
    row(
        INVALID_PARAMETER,
        400,
        "Invalid parameter",
        "The request included one or more unsupported or misspelled parameters.",
    ),
    row(
        TOKEN_INVALID,
        401,
        "Invalid OAuth access token - Cannot parse access token",
        "Your access token has expired.",
    ),
    row(
        368,
        403,
        "Temporarily blocked for policies violations",
        "The account has been restricted from messaging.",
    ),
    row(80_007, 400, "Rate limit issues", "The WhatsApp Business Account has reached its rate limit."),
    row(RATE_LIMITED, 400, "Rate limit hit", "Cloud API message throughput has been reached."),
    row(
        130_472,
        400,
        "User's number is part of an experiment",
        "Message was not sent as part of an experiment.",
    ),
    row(UNKNOWN_ERROR, 500, "Something went wrong", "Message failed to send due to an unknown error."),
    row(131_005, 403, "Access denied", "Permission is either not granted or has been removed."),
    row(
        MISSING_PARAMETER,
        400,
        "Required parameter is missing",
        "The request is missing a required parameter.",
    ),
    row(PARAMETER_VALUE, 400, "Parameter value is not valid", "One or more parameter values are invalid."),
    row(OVERLOADED, 503, "Service unavailable", "A service is temporarily unavailable."),
    row(131_021, 400, "Recipient cannot be sender", "Sender and recipient phone number is the same."),
    row(UNDELIVERABLE, 400, "Message undeliverable", "Unable to deliver message."),
    row(131_030, 400, "Recipient phone number not in allowed list", "Add the recipient to the allowed list."),
    row(131_031, 403, "Business Account locked", "The account is locked or its data cannot be verified."),
    row(
        131_042,
        400,
        "Business eligibility payment issue",
        "There was an error related to your payment method.",
    ),
    row(
        OUTSIDE_WINDOW,
        400,
        "Re-engagement message",
        "More than 24 hours have passed since the customer last replied.",
    ),
    row(
        131_048,
        400,
        "Spam rate limit hit",
        "There are restrictions on how many messages can be sent from this number.",
    ),
    row(
        131_049,
        400,
        "Meta chose not to deliver",
        "This message was not delivered to maintain healthy ecosystem engagement.",
    ),
    row(131_051, 400, "Unsupported message type", "Message type is not currently supported."),
    row(131_053, 400, "Media upload error", "Unable to upload the media used in the message."),
    row(
        131_056,
        400,
        "Pair rate limit hit",
        "Too many messages from this number to the same recipient in a short time.",
    ),
    row(131_057, 500, "Account in maintenance mode", "Business Account is in maintenance mode."),
    row(
        132_000,
        400,
        "Template Param Count Mismatch",
        "The number of parameters does not match the template.",
    ),
    row(
        132_001,
        404,
        "Template does not exist",
        "The template does not exist in the language or has not been approved.",
    ),
    row(133_004, 503, "Server Temporarily Unavailable", "Server is temporarily unavailable."),
    row(
        133_010,
        400,
        "Phone number not registered",
        "Phone number not registered on the Whatsapp Business Platform.",
    ),
];

const fn row(code: u32, http: u16, title: &'static str, details: &'static str) -> GraphError {
    GraphError { code, http, title, details }
}

/// Meta's row for `code`; a code the table lacks is a plain HTTP 400, so that a test may use any number.
pub fn lookup(code: u32) -> GraphError {
    match TABLE.binary_search_by_key(&code, |known| known.code) {
        Ok(at) => TABLE[at],
        Err(_) => row(code, 400, "Error", "No details are known for this code."),
    }
}

/// The body of an error answer. `details` replaces the table's words where the caller knows better.
pub fn body(code: u32, details: Option<&str>, trace_id: &str) -> Value {
    let known = lookup(code);
    let mut error = json!({
        "message": format!("(#{code}) {}", known.title),
        "type": "OAuthException",
        "code": code,
        "error_data": { "messaging_product": "whatsapp", "details": details.unwrap_or(known.details) },
        "fbtrace_id": trace_id,
    });
    if known.http >= 500 {
        error["is_transient"] = Value::Bool(true);
    }
    json!({ "error": error })
}

/// The element of `errors[]` in a `failed` status or an undeliverable inbound message.
pub fn webhook_error(code: u32) -> Value {
    let known = lookup(code);
    json!({
        "code": code,
        "title": known.title,
        "message": known.title,
        "error_data": { "details": known.details },
        "href": "https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes/",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_so_that_every_row_is_found() {
        assert!(TABLE.windows(2).all(|pair| pair[0].code < pair[1].code));
        for known in TABLE {
            assert_eq!(lookup(known.code), *known);
        }
    }

    #[test]
    fn an_unknown_code_is_answered_as_400() {
        assert_eq!(lookup(999_999).http, 400);
        assert_eq!(body(999_999, None, "A1")["error"]["code"], 999_999);
    }
}
