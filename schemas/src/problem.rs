//! How an error looks over HTTP: RFC 9457 problem+json with a stable `code` (contract, section 6).
//!
//! Shared by every room that answers over HTTP, so that a client has one shape to read. Not here: a web framework.

use serde::Serialize;

use crate::error_code::ErrorCode;

/// `Content-Type` of a problem.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// An error as it stands in a response's body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// A name of the kind of problem; names, and does not lead anywhere.
    pub r#type: String,
    /// What happened and what to do, the same for every problem of this kind.
    pub title: &'static str,
    /// HTTP status.
    pub status: u16,
    /// Stable code.
    pub code: ErrorCode,
    /// What is wrong with this very request.
    pub detail: String,
}

impl Problem {
    /// A problem of this kind; its HTTP status is that of the table.
    #[must_use]
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            r#type: format!("urn:inboxd:problem:{code}"),
            title: code.meaning(),
            status: code.http(),
            code,
            detail: detail.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_has_the_five_members() {
        assert_eq!(
            serde_json::to_value(Problem::new(ErrorCode::IdReused, "id c1")).unwrap(),
            serde_json::json!({"type":"urn:inboxd:problem:id_reused","title":ErrorCode::IdReused.meaning(),
                "status":409,"code":"id_reused","detail":"id c1"})
        );
    }
}
