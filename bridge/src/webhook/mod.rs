//! I1, O8. Webhooks: verified, on disk, answered; in this order.
//!
//! | file | is |
//! |---|---|
//! | `challenge` | Meta's verification (GET) |
//! | `signature` | whose webhook it is |
//! | `body` | reading it within limits |
//! | `receive` | the delivery (POST) |
//! | `backlog` | what is journaled and not worked off yet |

pub(crate) mod backlog;
mod body;
mod challenge;
mod problem;
pub(crate) mod receive;
pub(crate) mod signature;
