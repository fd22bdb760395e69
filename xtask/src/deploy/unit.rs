//! The systemd unit, read by systemd.

use std::fs;

use crate::context::Context;

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
    let output = context
        .program("systemd-analyze", ".")
        .args(["verify", "--man=no"])
        .arg(&copy)
        .output()
        .map_err(|e| format!("cannot run systemd-analyze: {e}"))?;
    let complaints = complaints(&String::from_utf8_lossy(&output.stderr));
    match (complaints.is_empty(), output.status.success()) {
        (true, true) => Ok(()),
        (true, false) => Err(format!("systemd-analyze verify ended with {}", output.status)),
        (false, _) => Err(complaints.join("; ")),
    }
}

/// What systemd says about our unit, not about others of this machine. A setting with a wrong value is only a
/// warning to it ("ignoring"), so its exit code says nothing, and the hardening would be silently gone.
fn complaints(stderr: &str) -> Vec<String> {
    stderr.lines().filter(|line| line.contains("inboxd.service")).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ignored_setting_is_a_complaint_and_another_unit_is_not() {
        let ignored = "/x/inboxd.service:47: Failed to parse protect system value, ignoring: strickt";
        assert_eq!(complaints(&format!("/lib/systemd/system/x.service:1: old\n{ignored}\n")), [ignored]);
    }
}
