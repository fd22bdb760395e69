//! The model engine passes the suite.

use std::sync::Arc;

use store::conformance::Engine;
use store::engine::memory::Disk;
use store::verify::Report;
use store::{Clock, Settings, Store};

struct Memory(Disk);

impl Engine for Memory {
    fn open(&self, settings: Settings, clock: Clock) -> Arc<dyn Store> {
        self.0.open(settings, clock).expect("memory opens")
    }

    fn verify(&self) -> Report {
        self.0.verify().expect("memory is readable")
    }
}

store::conformance_suite!(Memory(Disk::default()));
