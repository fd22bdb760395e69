//! Stand-ins for the world around inboxd. Today: one model of WhatsApp (steps I1, O6 and O8 as seen from Meta's
//! side), used by `inboxd demo`, by flow, crash and browser tests, and by seeded simulation.
//!
//! Not in here: anything of inboxd itself. The crate depends on none of ours, so that what it believes about WhatsApp
//! cannot be copied by accident from what the bridge believes.

pub mod whatsapp;
