//! The systemd unit, read by systemd.

use std::fs;

use crate::context::{Context, run_quietly};

const UNIT: &str = "deploy/systemd/inboxd.service";

/// Where the unit expects the binary, and what stands in for it: `verify` wants to see an executable there, and a
/// machine that builds inboxd need not have it installed.
const INSTALLED_BINARY: &str = "/usr/local/bin/inboxd";
const STAND_IN: &str = "/bin/true";

pub(crate) fn verify(context: &Context) -> Result<(), String> {
    let text = fs::read_to_string(context.root.join(UNIT)).map_err(|e| format!("cannot read {UNIT}: {e}"))?;
    if !text.contains(INSTALLED_BINARY) {
        return Err(format!("{UNIT} does not start {INSTALLED_BINARY}"));
    }
    let folder = context.target.join("systemd");
    let copy = folder.join("inboxd.service");
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(&copy, text.replace(INSTALLED_BINARY, STAND_IN)))
        .map_err(|e| format!("cannot write {}: {e}", copy.display()))?;
    let mut verify = context.program("systemd-analyze", ".");
    run_quietly(verify.args(["verify", "--man=no"]).arg(&copy))
}
