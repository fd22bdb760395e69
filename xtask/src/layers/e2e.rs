//! Layer `e2e`: the web inbox in a real Chromium, against the release binary with its WhatsApp sandbox.

use crate::context::{BINARY_VARIABLE, Context, run, tool};
use crate::layer::{Layer, Outcome};

pub(crate) const LAYER: Layer = Layer { name: "e2e", run: e2e };

/// Read by web/test/e2e: which browser to start.
const BROWSER_VARIABLE: &str = "INBOXD_CHROMIUM";

fn e2e(context: &Context) -> Outcome {
    let binary = context.release_binary();
    if !binary.is_file() {
        return Outcome::Skipped(format!("{} is not built", binary.display()));
    }
    if !context.root.join("web/node_modules").is_dir() {
        return Outcome::Skipped("web/node_modules is missing: the layer `web` has not run".into());
    }
    let Some(browser) = tool(&["chromium", "chromium-browser", "google-chrome"]) else {
        return Outcome::Skipped("chromium is not installed".into());
    };
    let mut npm = context.program("npm", "web");
    npm.args(["run", "--silent", "e2e"]).env(BINARY_VARIABLE, &binary).env(BROWSER_VARIABLE, browser);
    run(&mut npm).into()
}
