//! All cuts of a recorded run, or some of them: images made, opened and judged.
//!
//! Not here: what an image may hold (`disk`, `image`), what must be true of it (`judge`).

use std::path::{Path, PathBuf};

use sim::whatsapp::rng::Rng;

use crate::disk::Disk;
use crate::image::{Image, Keep};
use crate::judge::{Told, judge};
use crate::load::{Act, Size, acts};
use crate::steps::{Event, Step};

/// Images of each cut beside those that are torn.
const PLAIN: [Keep; 5] = [Keep::Nothing, Keep::Everything, Keep::Names, Keep::Bytes, Keep::ShortFiles];
/// Torn images of each cut.
const TORN: u64 = 5;
/// After so many failures a campaign ends: more of them tell nothing new.
const FAILURES_MAX: usize = 10;

/// How a campaign went.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Moments at which the power was cut: the end of every sync.
    pub cuts: usize,
    /// Different images, opened and judged.
    pub images: usize,
    /// Acts acknowledged before the last cut.
    pub acknowledged: usize,
    /// What was not true.
    pub failures: Vec<String>,
}

/// Where a campaign works, and how much of it there shall be.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// The folder that was recorded, on whose own name a cut has no hold.
    pub recorded: &'a Path,
    /// Images are made in here, and those that fail stay here.
    pub work: &'a Path,
    /// What was recorded.
    pub size: Size,
    /// About so many images, chosen by the seed; `None`: all.
    pub most: Option<usize>,
    /// Cuts before this number of calls are left out.
    pub from_call: usize,
}

/// Judges images of a recorded run.
///
/// # Errors
/// An image cannot be made, or the recording cannot be read.
pub fn run(steps: &[Step], plan: Plan<'_>, progress: &mut dyn FnMut(&Summary)) -> Result<Summary, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|e| format!("threads: {e}"))?;
    let acts = acts(plan.size);
    let is_cut = |step: &&Step| step.is_sync() && step.ended >= plan.from_call;
    let cuts = steps.iter().filter(is_cut).count();
    let all = cuts as f64 * (PLAIN.len() as f64 + TORN as f64);
    let share = plan.most.map_or(1.0, |most| most as f64 / all);
    let mut chance = Rng::new(plan.size.seed ^ 2);
    let mut disk = Disk::with_folder(plan.recorded);
    let mut marks = steps.iter().filter_map(|step| match &step.event {
        Event::Mark(lines) => Some((step.began, lines)),
        _ => None,
    });
    let mut mark = marks.next();
    let mut told = Told::default();
    let mut summary = Summary { cuts, ..Summary::default() };
    for step in steps {
        // The cut comes just before the end of the sync: all that had been told by then counts.
        while let Some((_, lines)) = mark.filter(|(began, _)| *began <= step.ended) {
            told.note(lines)?;
            mark = marks.next();
        }
        if is_cut(&step) {
            let mut done: Vec<Image> = Vec::new();
            let seed = chance.next_u64();
            let torn = (0..TORN).map(|n| Keep::Torn(seed.wrapping_add(n)));
            for keep in PLAIN.into_iter().chain(torn) {
                if !chance.chance(share) {
                    continue;
                }
                let image = Image::of(&disk, &plan.recorded.join(crate::STORE), keep);
                if done.contains(&image) {
                    continue;
                }
                if let Err(why) = judge_image(&runtime, &image, plan.work, &acts, &told)? {
                    summary.failures.push(format!("cut before call {} ended, {keep:?}: {why}", step.ended));
                }
                done.push(image);
                summary.images += 1;
                summary.acknowledged = told.acknowledged();
                progress(&summary);
                if summary.failures.len() == FAILURES_MAX {
                    return Ok(summary);
                }
            }
        }
        disk.apply(step);
    }
    Ok(summary)
}

/// The store as the recorded run left it.
#[must_use]
pub fn last_image(steps: &[Step], recorded: &Path) -> Image {
    let mut disk = Disk::with_folder(recorded);
    steps.iter().for_each(|step| disk.apply(step));
    Image::of(&disk, &recorded.join(crate::STORE), Keep::Everything)
}

/// The image as it is, in a folder of its own, which stays where something is not true.
fn judge_image(
    runtime: &tokio::runtime::Runtime,
    image: &Image,
    work: &Path,
    acts: &[Act],
    told: &Told,
) -> Result<Result<(), String>, String> {
    let folder =
        tempfile::Builder::new().prefix("image-").tempdir_in(work).map_err(|e| format!("work: {e}"))?;
    let (made, kept): (PathBuf, PathBuf) = (folder.path().join("store"), folder.path().join("as-found"));
    image.write(&made).map_err(|e| format!("an image: {e}"))?;
    let (acts, told) = (acts.to_vec(), told.clone());
    let judged =
        runtime.block_on(async { tokio::spawn(async move { judge(&made, &acts, &told).await }).await });
    let Err(error) = judged else { return Ok(Ok(())) };
    // Judging changed it.
    image.write(&kept).map_err(|e| format!("an image: {e}"))?;
    let why = match error.try_into_panic() {
        Ok(panic) => panic_text(&*panic),
        Err(error) => error.to_string(),
    };
    Ok(Err(format!("{why} (see {})", folder.keep().display())))
}

/// What a panic says.
#[must_use]
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}
