//! Layer `tidy`: the house rules that a compiler does not check (`tidy/`).

use crate::context::Context;
use crate::layer::{Layer, Outcome};
use crate::tidy;

pub(crate) const LAYER: Layer = Layer { name: "tidy", run };

fn run(context: &Context) -> Outcome {
    let findings = tidy::check(&context.root);
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => Outcome::Pass,
        n => Outcome::Fail(format!("{n} finding(s) above")),
    }
}
