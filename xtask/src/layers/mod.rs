//! The layers of the tests, each in a file of its own; here only their order.
//!
//! Cheap and sharp first: a wrong format is told in a second, not after ten minutes. The web page comes before the
//! release build, since the binary carries the page inside it.

pub(crate) mod bench;
pub(crate) mod clippy;
pub(crate) mod crash;
pub(crate) mod deploy;
pub(crate) mod e2e;
pub(crate) mod flow;
pub(crate) mod fmt;
pub(crate) mod prometheus;
pub(crate) mod release;
pub(crate) mod test;
pub(crate) mod tidy;
pub(crate) mod web;

use crate::layer::Layer;

/// What every change must pass.
pub(crate) fn ordinary() -> Vec<Layer> {
    let mut layers = vec![
        fmt::LAYER,
        tidy::LAYER,
        clippy::LAYER,
        test::LAYER,
        web::LAYER,
        release::LAYER,
        flow::LAYER,
        e2e::LAYER,
    ];
    layers.extend(deploy::LAYERS);
    layers
}

/// What a release must pass as well.
pub(crate) fn full() -> Vec<Layer> {
    let mut layers = ordinary();
    layers.extend([crash::LAYER, prometheus::LAYER, bench::LAYER]);
    layers
}
