//! Makes the build succeed where the web inbox was not built, and notice it as soon as it was.
//!
//! Not here: building the page (`npm run build` in web/), which needs node; the server does not.

fn main() {
    let page = "../web/dist";
    // Cargo runs a build script every time while a path that it watches does not exist, and compiles the server anew
    // with it; an empty folder (not under version control) stands for "not built". On a read-only tree it is enough
    // that rust-embed allows the folder to be missing.
    let _ = std::fs::create_dir_all(page);
    println!("cargo::rerun-if-changed={page}");
    println!("cargo::rerun-if-changed=build.rs");
}
