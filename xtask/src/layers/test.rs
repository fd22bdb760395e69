//! Layer `test`: `cargo test --workspace`, the one that needs nothing but Rust.

use crate::context::run;
use crate::layer::Layer;

pub(crate) const LAYER: Layer = Layer {
    name: "test",
    run: |context| run(&mut context.cargo(["test", "--workspace", "--locked"])).into(),
};
