//! Layer `flow`: the crate `tests` against the release binary, from a webhook to a device and back.
//!
//! The same tests run on the debug binary in the layer `test`, where a broken invariant panics; here they run on
//! what is shipped.

use crate::context::{BINARY_VARIABLE, Context, run};
use crate::layer::{Layer, Outcome};

pub(crate) const LAYER: Layer = Layer { name: "flow", run: flow };

fn flow(context: &Context) -> Outcome {
    let binary = context.release_binary();
    if !binary.is_file() {
        return Outcome::Skipped(format!("{} is not built", binary.display()));
    }
    let mut cargo = context.cargo(["test", "--locked", "--package", "tests"]);
    run(cargo.env(BINARY_VARIABLE, &binary)).into()
}
