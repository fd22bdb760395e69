//! The layers of the tests, each in a file of its own; here only their order.
//!
//! Cheap and sharp first: a wrong format is told in a second, not after ten minutes. The web page comes before the
//! release build, since the binary carries the page inside it.

pub(crate) mod bench;
pub(crate) mod cassandra;
pub(crate) mod clippy;
pub(crate) mod crash;
pub(crate) mod deploy;
pub(crate) mod e2e;
pub(crate) mod flow;
pub(crate) mod fmt;
pub(crate) mod fuzz;
pub(crate) mod powercut;
pub(crate) mod prometheus;
pub(crate) mod release;
pub(crate) mod sim;
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
        cassandra::STORE,
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
    layers.extend([
        sim::LAYER,
        fuzz::LAYER,
        crash::LAYER,
        powercut::LAYER,
        cassandra::FLOW,
        prometheus::LAYER,
        bench::LAYER,
    ]);
    layers
}

/// The layers with these names, or the first name that none has.
pub(crate) fn named<'n>(names: &[&'n str]) -> Result<Vec<Layer>, &'n str> {
    let all = full();
    names.iter().map(|name| all.iter().find(|layer| layer.name == *name).copied().ok_or(*name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_found_by_name_and_a_wrong_name_is_told() {
        let found: Vec<&str> = named(&["tidy", "fmt"]).unwrap().iter().map(|layer| layer.name).collect();
        assert_eq!(found, ["tidy", "fmt"]);
        assert_eq!(named(&["fmt", "nonsense"]).err(), Some("nonsense"));
    }

    #[test]
    fn the_page_is_built_before_the_binary_that_carries_it() {
        let order: Vec<&str> = full().iter().map(|layer| layer.name).collect();
        let place = |name| order.iter().position(|n| *n == name);
        assert!(place("web") < place("release") && place("release") < place("flow"));
    }
}
