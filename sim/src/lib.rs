//! Stand-ins for the world around inboxd: one model of WhatsApp (steps I1, O6 and O8 as seen from Meta's side), used by
//! `inboxd demo`, by flow, crash and browser tests, and by seeded simulation; and one of an MQTT client (O1, O4, I7, I8
//! at the far end), used by seeded simulation and by the fuzz targets.
//!
//! Not in here: anything of inboxd itself. The crate depends on none of ours, so that what it believes about WhatsApp
//! and MQTT cannot be copied by accident from what the bridge and the broker believe.

pub mod mqtt;
pub mod whatsapp;
