//! O5–O7. Messages on their way to WhatsApp.
//!
//! | file | is | pure |
//! |---|---|---|
//! | `plan` | which send next, and when | yes |
//! | `rate` | token buckets | yes |
//! | `outcome` | what an answer means | yes |
//! | `run` | the loop around the plan | no |
//! | `attempt` | one attempt, from its record to its record | no |

pub(crate) mod attempt;
pub mod outcome;
pub mod plan;
pub(crate) mod rate;
pub(crate) mod run;
