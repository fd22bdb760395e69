//! `inboxd demo`: the whole product on this machine, with a built-in WhatsApp sandbox and made-up customers.
//!
//! Not here: the sandbox (`sim`), the server (`wire`).

use std::path::PathBuf;

use crate::cli::{self, DemoArgs};
use crate::{Failure, serve};

/// Where the demo keeps its data unless told otherwise.
const DATA_DIR: &str = "./inboxd-data/demo";

pub(crate) fn run(config: Option<PathBuf>, args: &DemoArgs) -> Result<(), Failure> {
    let config = cli::load_with(presets(), config)?;
    let _ = args;
    serve::run_with(&config, |_| Ok(String::new()))
}

/// What stands in for the defaults; the environment and a file that is named explicitly come before it.
fn presets() -> Vec<(&'static str, String)> {
    [
        ("data_dir", DATA_DIR),
        ("listen.mqtt", "127.0.0.1:1883"),
        ("listen.http", "127.0.0.1:8080"),
    ]
    .map(|(key, value)| (key, value.to_owned()))
    .into()
}
