//! The embedded engine passes the suite, in a folder of its own per case.

use std::sync::Arc;

use store::conformance::Engine;
use store::engine::embedded::{Sizes, open, verify};
use store::verify::Report;
use store::{Clock, Settings, Store};
use tempfile::TempDir;

struct Embedded(TempDir);

impl Engine for Embedded {
    fn open(&self, settings: Settings, clock: Clock) -> Arc<dyn Store> {
        open(self.0.path(), Sizes::default(), settings, clock).expect("the embedded store opens")
    }

    fn verify(&self) -> Report {
        verify(self.0.path(), Sizes::default(), &mut |_, _, _| {}).expect("the embedded store is readable")
    }
}

store::conformance_suite!(Embedded(tempfile::tempdir().expect("a temporary folder")));
