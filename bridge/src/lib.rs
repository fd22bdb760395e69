//! WhatsApp Cloud API, both ways.

pub mod translate;
