//! Layer `bench`: the bench program runs to its end. Its figures are printed; whether they are good is for a reader,
//! since they depend on the machine (`bench/README.md`).

use crate::context::{BINARY_VARIABLE, Context, run};
use crate::layer::{Layer, Outcome};

pub(crate) const LAYER: Layer = Layer { name: "bench", run: bench };

fn bench(context: &Context) -> Outcome {
    if !context.has_target("bench", "bin", "bench") {
        return Outcome::Skipped("the crate `bench` has no program".into());
    }
    let mut cargo = context.cargo(["run", "--quiet", "--release", "--locked", "--package", "bench"]);
    run(cargo.env(BINARY_VARIABLE, context.release_binary())).into()
}
