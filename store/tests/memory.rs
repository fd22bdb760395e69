//! The model engine passes the suite.

store::conformance_suite!({
    let disk = store::engine::memory::Disk::default();
    Box::new(move |settings, clock| disk.open(settings, clock).expect("memory opens"))
});
