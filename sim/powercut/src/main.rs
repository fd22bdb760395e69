//! Records a run and cuts its power at every sync. `cargo xtask powercut` calls it.
//!
//! Not here: how (`lib.rs`).

use std::path::Path;
use std::process::ExitCode;

use powercut::campaign::{Plan, last_image, run};
use powercut::flips;
use powercut::load::{self, Size};
use powercut::record::{has_strace, memory, record};
use powercut::steps::Event;

const USAGE: &str = "\
usage: powercut [--seed S] [--acts N] [--images N] [--flips N] [--rotation]
       powercut record FOLDER SEED ACTS BALLAST_BYTES        (called by itself, under strace)

  --seed S      of the load and of the choice of images (1)
  --acts N      how much is asked of the store (200)
  --images N    about so many images instead of all
  --flips N     flips so many bits of each file instead
  --rotation    first fills a journal, so that cuts fall around the change to the next one; slow";

/// sysexits.h `EX_USAGE`.
const EXIT_USAGE: u8 = 64;
/// Progress is told after so many images.
const PROGRESS_EVERY: usize = 250;
/// More than the engine puts into one journal.
const BALLAST_BYTES: usize = 66_000_000;

struct Options {
    size: Size,
    images: Option<usize>,
    flips: Option<usize>,
}

impl Options {
    fn read(mut words: impl Iterator<Item = String>) -> Option<Self> {
        let mut options =
            Self { size: Size { seed: 1, acts: 200, ballast_bytes: 0 }, images: None, flips: None };
        while let Some(word) = words.next() {
            match word.as_str() {
                "--seed" => options.size.seed = words.next()?.parse().ok()?,
                "--acts" => options.size.acts = words.next()?.parse().ok()?,
                "--images" => options.images = Some(words.next()?.parse().ok()?),
                "--flips" => options.flips = Some(words.next()?.parse().ok()?),
                "--rotation" => options.size.ballast_bytes = BALLAST_BYTES,
                _ => return None,
            }
        }
        Some(options)
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [first, folder, numbers @ ..] = words.as_slice()
        && first == "record"
    {
        return recorded(Path::new(folder), numbers);
    }
    let Some(options) = Options::read(words.into_iter()) else {
        eprintln!("{USAGE}");
        return ExitCode::from(EXIT_USAGE);
    };
    match go(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("powercut: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The run under strace.
fn recorded(folder: &Path, numbers: &[String]) -> ExitCode {
    let numbers: Option<Vec<u64>> = numbers.iter().map(|word| word.parse().ok()).collect();
    let Some([seed, acts, ballast]) = numbers.as_deref() else {
        eprintln!("{USAGE}");
        return ExitCode::from(EXIT_USAGE);
    };
    let size = Size { seed: *seed, acts: *acts as usize, ballast_bytes: *ballast as usize };
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(load::run(folder, size)),
        Err(error) => {
            eprintln!("powercut: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn go(options: &Options) -> Result<bool, String> {
    if !has_strace() {
        return Err("there is no strace to be run".to_owned());
    }
    let program = std::env::current_exe().map_err(|e| format!("this program: {e}"))?;
    let folder = tempfile::tempdir().map_err(|e| format!("a folder: {e}"))?;
    let steps = record(&program, folder.path(), options.size)?;
    let work = memory();
    // The ballast itself is not what is looked at.
    let last = steps
        .iter()
        .rev()
        .find(|step| matches!(&step.event, Event::Mark(line) if line.starts_with("ballast")));
    let from_call = last.map_or(0, |step| step.ended);
    if let Some(bits) = options.flips {
        let summary = flips::run(&last_image(&steps, folder.path()), &work, bits, options.size.seed)?;
        for failure in &summary.failures {
            println!("FAILED {failure}");
        }
        let (flips, found, harmless) = (summary.flips, summary.found, summary.harmless);
        println!(
            "{flips} bits flipped: {found} found, {harmless} harmless, {} failed",
            summary.failures.len()
        );
        return Ok(summary.failures.is_empty());
    }
    let plan =
        Plan { recorded: folder.path(), work: &work, size: options.size, most: options.images, from_call };
    let summary = run(&steps, plan, &mut |summary| {
        if summary.images % PROGRESS_EVERY == 0 {
            let failed = summary.failures.len();
            println!("{} images, {} acknowledged, {failed} failed", summary.images, summary.acknowledged);
        }
    })?;
    for failure in &summary.failures {
        println!("FAILED {failure}");
    }
    let (cuts, images, failed) = (summary.cuts, summary.images, summary.failures.len());
    println!("seed {}: {cuts} cuts, {images} images, {failed} failed", options.size.seed);
    Ok(failed == 0)
}
