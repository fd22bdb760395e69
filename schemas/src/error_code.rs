//! The one table of error codes: stable name ↔ HTTP status ↔ MQTT 5 reason code ↔ meaning.
//!
//! A code never changes its meaning; new ones may come. Keep the table alphabetized.

use serde::{Deserialize, Serialize};

macro_rules! error_codes {
    ($($variant:ident $text:literal $http:literal $mqtt:literal $meaning:literal;)*) => {
        /// A stable error code, as it stands in problem+json (`code`), MQTT 5 reason strings and `command.failed`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum ErrorCode {
            $(#[doc = $meaning] #[serde(rename = $text)] $variant,)*
        }

        impl ErrorCode {
            /// All of them, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The code as clients see it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// HTTP status.
            #[must_use]
            pub const fn http(self) -> u16 {
                match self { $(Self::$variant => $http,)* }
            }

            /// MQTT 5 reason code.
            #[must_use]
            pub const fn mqtt(self) -> u8 {
                match self { $(Self::$variant => $mqtt,)* }
            }

            /// What happened and what to do, for people.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }
    };
}

error_codes! {
    AccountBlocked "account_blocked" 403 0x8A "the account is blocked; ask its administrator";
    AccountUnknown "account_unknown" 401 0x87 "the token's account does not exist here";
    AclDenied "acl_denied" 403 0x87 "the token does not allow this topic or action";
    BodyTooLarge "body_too_large" 413 0x95 "the body is larger than the limit named in the detail";
    ClientIdMismatch "client_id_mismatch" 400 0x85 "the client id must equal the token's `dev`";
    CommandMalformed "command_malformed" 400 0x99 "the command lacks a field or a field has a wrong value; the detail names it";
    CommandUnknown "command_unknown" 400 0x99 "this command type is not known here";
    ContactUnknown "contact_unknown" 404 0x83 "no such contact in this account";
    ConversationUnknown "conversation_unknown" 404 0x83 "no such conversation in this account, or you are not a member";
    CursorInvalid "cursor_invalid" 400 0x83 "the cursor or message id of this page is not one the server gave";
    DiskFull "disk_full" 503 0x88 "the disk is full; nothing was stored, send again later";
    IdConflict "id_conflict" 400 0x99 "`Idempotency-Key` and the body's `id` differ; send one of them";
    IdReused "id_reused" 409 0x83 "this id was used for another command; take a new one";
    Internal "internal" 500 0x80 "a fault of the server; the log has the details";
    JsonMalformed "json_malformed" 400 0x99 "the body is not valid JSON or MessagePack";
    MethodNotAllowed "method_not_allowed" 405 0x83 "this route does not take this method; the header `Allow` names those it takes";
    NotFound "not_found" 404 0x83 "no such resource for this token";
    NumberUnknown "number_unknown" 404 0x83 "no such business number in this account, or you are not one of its agents";
    Overloaded "overloaded" 503 0x89 "more is under way than the server takes; try again in a moment";
    ParameterInvalid "parameter_invalid" 400 0x83 "a query parameter has a wrong value; the detail names it";
    QuotaExceeded "quota_exceeded" 429 0x97 "too much at once; try again later";
    RecipientUnreachable "recipient_unreachable" 400 0x83 "the contact has neither a phone number nor a WhatsApp user id";
    SignatureInvalid "signature_invalid" 401 0x87 "the signature is missing or not by the app secret over these bytes; check the app secret";
    StoreUnavailable "store_unavailable" 503 0x88 "nothing can be stored now; nothing is lost, send again later";
    TextTooLong "text_too_long" 400 0x99 "the text is longer than WhatsApp takes (4,096 characters)";
    TokenExpired "token_expired" 401 0x87 "the token has expired; get a new one";
    TokenInvalid "token_invalid" 401 0x87 "the token does not verify or its claims are not allowed";
    TokenMissing "token_missing" 401 0x87 "send a token: `Authorization: Bearer`, or the MQTT password";
    TokenRevoked "token_revoked" 401 0x87 "the token was revoked";
    UserBlocked "user_blocked" 403 0x8A "the user is blocked; ask the account's administrator";
    UserUnknown "user_unknown" 404 0x83 "no such user in this account";
    VerifyTokenInvalid "verify_token_invalid" 403 0x87 "`hub.verify_token` is not the one configured here";
    WebsocketExpected "websocket_expected" 400 0x83 "this address speaks MQTT over WebSocket, with the subprotocol `mqtt`";
    WebsocketVersion "websocket_version" 426 0x83 "this version of WebSocket is not spoken; the header `Sec-WebSocket-Version` names the one that is";
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_alphabetized_and_its_codes_are_of_their_protocols() {
        let names: Vec<_> = ErrorCode::ALL.iter().map(|c| c.as_str()).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        assert_eq!(names, sorted);
        for code in ErrorCode::ALL {
            assert!((400..600).contains(&code.http()), "{code}");
            assert!(code.mqtt() >= 0x80, "{code}");
        }
    }
}
