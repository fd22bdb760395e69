//! Layer `fmt`: every Rust file is as rustfmt writes it.

use crate::context::run;
use crate::layer::Layer;

pub(crate) const LAYER: Layer =
    Layer { name: "fmt", run: |context| run(&mut context.cargo(["fmt", "--all", "--check"])).into() };
