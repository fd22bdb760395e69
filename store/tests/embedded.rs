//! The embedded engine passes the suite, in a folder of its own per case.

use store::engine::embedded::{Sizes, open};

store::conformance_suite!({
    let folder = tempfile::tempdir().expect("a temporary folder");
    Box::new(move |settings, clock| {
        open(folder.path(), Sizes::default(), settings, clock).expect("the embedded store opens")
    })
});
