//! Builds the web inbox once, where npm is at hand, so that one command gives the whole product; without it, or where
//! that fails, the server still builds and its page says how to get the inbox.
//!
//! Only where `web/dist` holds no page: whoever changes the page builds it himself (`cargo xtask web`), and a rebuild of
//! the server stays quick.

use std::path::Path;
use std::process::Command;

const FOLDER: &str = "../web";
const PAGE: &str = "../web/dist";

fn main() {
    // Cargo runs a build script every time while a path that it watches does not exist; an empty folder (not under
    // version control) stands for "not built". On a read-only tree rust-embed allows the folder to be missing.
    let _ = std::fs::create_dir_all(PAGE);
    println!("cargo::rerun-if-changed={PAGE}");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=INBOXD_WITHOUT_PAGE");
    let built = Path::new(PAGE).join("index.html").is_file();
    if built || std::env::var_os("INBOXD_WITHOUT_PAGE").is_some() {
        return;
    }
    if let Err(why) = install().and_then(|()| npm(&["run", "build"])) {
        println!("cargo::warning=the web inbox is not in this build: {why}; see web/README.md");
    }
}

fn install() -> Result<(), String> {
    if Path::new(FOLDER).join("node_modules").is_dir() {
        return Ok(());
    }
    npm(&["ci", "--no-audit", "--no-fund", "--loglevel=error"])
}

fn npm(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("npm").args(arguments).current_dir(FOLDER).output();
    match output {
        Err(error) => Err(format!("npm cannot be run: {error}")),
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let errors = String::from_utf8_lossy(&output.stderr);
            let last = errors.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no message");
            Err(format!("`npm {}` failed: {last}", arguments.join(" ")))
        }
    }
}
