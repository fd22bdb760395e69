//! Single bits of a store's files, changed while nobody has it open: each is told, with the name of the file, or
//! changes nothing. Never does a store open, find itself well, and hold other rows than before.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use schemas::Millis;
use sim::whatsapp::rng::Rng;
use store::engine::embedded;

use crate::campaign::panic_text;
use crate::image::Image;
use crate::load::Embedded;

/// After so many failures it ends: more of them tell nothing new.
const FAILURES_MAX: usize = 20;

/// How it went.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Bits that were flipped, one at a time.
    pub flips: usize,
    /// Those that opening or `verify` told of.
    pub found: usize,
    /// Those after which all rows are as before.
    pub harmless: usize,
    /// Those that nobody told of, or not clearly.
    pub failures: Vec<String>,
}

enum Found {
    Told(String),
    Rows(Vec<u8>),
}

/// Flips `bits` bits of each file of a store that was closed.
///
/// # Errors
/// An image cannot be made, or is not well as it is.
pub fn run(image: &Image, work: &Path, bits: usize, seed: u64) -> Result<Summary, String> {
    let before = match look(image, work)? {
        Ok(Found::Rows(rows)) => rows,
        Ok(Found::Told(why)) | Err(why) => return Err(format!("without a flip: {why}")),
    };
    let mut chance = Rng::new(seed);
    let mut summary = Summary::default();
    let files: Vec<_> = image.files().map(|(path, content)| (path.to_owned(), content.clone())).collect();
    for (path, content) in files {
        for index in 0..bits {
            let Some(bit) = content.some_bit(index, &mut chance) else { break };
            summary.flips += 1;
            let name = path.display().to_string();
            let place = format!("{name}, byte {}, bit {}", bit / 8, bit % 8);
            match look(&image.flipped(&path, bit), work)? {
                Ok(Found::Rows(rows)) if rows == before => summary.harmless += 1,
                Ok(Found::Rows(_)) => summary.failures.push(format!("{place}: other rows, and nobody tells")),
                Ok(Found::Told(why)) if why.contains(&name) => summary.found += 1,
                Ok(Found::Told(why)) => {
                    summary.failures.push(format!("{place}: the file is not named: {why}"))
                }
                Err(panic) => summary.failures.push(format!("{place}: it panics: {panic}")),
            }
            if summary.failures.len() == FAILURES_MAX {
                return Ok(summary);
            }
        }
    }
    Ok(summary)
}

/// What `verify` and a backup make of an image; the inner error is a panic.
fn look(image: &Image, work: &Path) -> Result<Result<Found, String>, String> {
    let folder =
        tempfile::Builder::new().prefix("flip-").tempdir_in(work).map_err(|e| format!("work: {e}"))?;
    let (store, backup) = (folder.path().join(crate::STORE), folder.path().join("backup"));
    image.write(&store).map_err(|e| format!("an image: {e}"))?;
    let looked = catch_unwind(AssertUnwindSafe(|| {
        let told = |error: &dyn std::error::Error| {
            let mut text = error.to_string();
            let mut cause = error.source();
            while let Some(error) = cause {
                text.push_str(&format!(": {error}"));
                cause = error.source();
            }
            Found::Told(text)
        };
        let moment = match embedded::snapshot(&store, Embedded::sizes(), Millis(1)) {
            Ok(moment) => moment,
            Err(error) => return told(&error),
        };
        match moment.verify(&mut |_, _, _| {}) {
            Err(error) => return told(&error),
            Ok(report) if !report.violations.is_empty() => {
                return Found::Told(format!("{:?}", report.violations));
            }
            Ok(_) => {}
        }
        match moment.backup(&backup, &mut |_| true) {
            Err(error) => told(&error),
            Ok(summary) => Found::Rows(std::fs::read(summary.file).unwrap_or_default()),
        }
    }));
    Ok(looked.map_err(|panic| panic_text(&*panic)))
}
