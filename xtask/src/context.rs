//! Where things are: the root of the workspace, cargo's target folder, the tools of this machine.
//!
//! Not here: what a layer does with them (`layers/`).

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// Read by the crate `tests` and by web/test/e2e: which `inboxd` to start.
pub(crate) const BINARY_VARIABLE: &str = "INBOXD_BIN";

/// What every layer is given.
pub(crate) struct Context {
    /// The folder with the workspace's Cargo.toml.
    pub(crate) root: PathBuf,
    /// Where cargo puts what it builds (`CARGO_TARGET_DIR` or what the configuration says).
    pub(crate) target: PathBuf,
    /// `INBOXD_CI_STRICT=1`: a skipped layer counts as failed. Set where everything was installed beforehand.
    pub(crate) strict: bool,
    /// The members' packages, as cargo describes them.
    packages: serde_json::Value,
}

impl Context {
    /// Asks cargo, so that every way to set a target folder is honoured.
    pub(crate) fn find() -> Result<Self, String> {
        // As cargo says when it runs us: what was true when we were built may be another checkout with the same target folder.
        let here =
            std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let output = Command::new(cargo())
            .args(["metadata", "--no-deps", "--format-version", "1", "--locked"])
            .current_dir(here)
            .stderr(Stdio::inherit())
            .output()
            .map_err(|e| format!("cannot run cargo metadata: {e}"))?;
        let metadata: serde_json::Value =
            serde_json::from_slice(&output.stdout).map_err(|e| format!("cargo metadata is no JSON: {e}"))?;
        let folder = |key: &str| {
            metadata[key].as_str().map(PathBuf::from).ok_or(format!("cargo metadata names no {key}"))
        };
        Ok(Self {
            root: folder("workspace_root")?,
            target: folder("target_directory")?,
            strict: std::env::var_os("INBOXD_CI_STRICT").is_some_and(|v| v == "1"),
            packages: metadata["packages"].clone(),
        })
    }

    /// The binary that users get, built by the layer `release`.
    pub(crate) fn release_binary(&self) -> PathBuf {
        self.target.join("release/inboxd")
    }

    /// Whether a package has a target of that kind (`bin`, `test`, …) and name.
    pub(crate) fn has_target(&self, package: &str, kind: &str, name: &str) -> bool {
        let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
        let mut packages = list(&self.packages).into_iter().filter(|p| p["name"] == package);
        packages.any(|p| {
            list(&p["targets"]).iter().any(|t| t["name"] == name && list(&t["kind"]).contains(&kind.into()))
        })
    }

    /// `cargo …` in the root of the workspace.
    pub(crate) fn cargo<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(cargo());
        command.args(args).current_dir(&self.root);
        command
    }

    /// Any program in `folder`, counted from the root of the workspace.
    pub(crate) fn program(&self, name: &str, folder: &str) -> Command {
        let mut command = Command::new(name);
        command.current_dir(self.root.join(folder));
        command
    }
}

/// The cargo that runs us, so that a `+toolchain` on the outside holds on the inside too.
fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// The first of `names` that the search path holds.
pub(crate) fn tool(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|file| file.is_file())
}

/// Runs to the end with its output shown; the error names the command, so that it can be run again by hand.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let shown = shown(command);
    println!("  $ {shown}");
    match command.stdin(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{shown}` ended with {status}")),
        Err(e) => Err(format!("cannot run `{shown}`: {e}")),
    }
}

/// `cargo xtask NAME …`: a program of the workspace with the options it was given.
pub(crate) fn run_program(program: &[&str], options: &[&str]) -> ExitCode {
    let outcome = Context::find().and_then(|context| run(&mut context.cargo(program.iter().chain(options))));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("xtask: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// Like [`run`], but its output is shown only if it failed: for checkers that talk when all is well.
pub(crate) fn run_quietly(command: &mut Command) -> Result<(), String> {
    let shown = shown(command);
    println!("  $ {shown}");
    let output = command.stdin(Stdio::null()).output().map_err(|e| format!("cannot run `{shown}`: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    print!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(format!("`{shown}` ended with {}", output.status))
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    std::iter::once(program)
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}
