//! Layer `clippy`: the workspace's lints, warnings included, on products and tests alike.

use crate::context::run;
use crate::layer::Layer;

pub(crate) const LAYER: Layer = Layer {
    name: "clippy",
    run: |context| {
        let args = ["clippy", "--quiet", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
        run(&mut context.cargo(args)).into()
    },
};
