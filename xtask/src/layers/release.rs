//! Layer `release`: the binary that users get is built, and says who it is.

use crate::context::{Context, run};
use crate::layer::{Layer, Outcome};

pub(crate) const LAYER: Layer = Layer { name: "release", run: build };

fn build(context: &Context) -> Outcome {
    let mut cargo = context.cargo(["build", "--quiet", "--release", "--locked", "--package", "inboxd"]);
    let binary = context.release_binary();
    let started = || run(context.program(&binary.to_string_lossy(), ".").arg("--version"));
    run(&mut cargo).and_then(|()| started()).into()
}
