//! Runs mutated packets, sessions and frames by the million and says what breaks. `cargo xtask fuzz` calls it.
//!
//! Not here: the targets (`lib.rs`).

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use fuzz::{Finding, corpus, frames, guarded, memory, packets, sessions};

const USAGE: &str = "\
usage: fuzz [--packets N] [--sessions N] [--frames N] [--from SEED]

  --packets N    mutated packets: bytes against the codec
  --sessions N   mutated sessions: packets and events against the session machine and a model
  --frames N     mutated WebSocket streams against a broker in memory
  --from SEED    the first case (0); a failing one prints the command that replays it";

/// sysexits.h `EX_USAGE`.
const EXIT_USAGE: u8 = 64;
/// Progress is told this often in a run.
const PARTS: u64 = 10;
/// Resident memory may grow by so much from the first tenth of a target to its end: allocators round up, codecs do not
/// remember.
const GROWTH_BYTES_MAX: u64 = 16 << 20;

#[derive(Default)]
struct Options {
    packets: u64,
    sessions: u64,
    frames: u64,
    from: u64,
}

impl Options {
    fn read(mut words: impl Iterator<Item = String>) -> Option<Self> {
        let mut options = Self::default();
        while let Some(word) = words.next() {
            let value = words.next()?.parse().ok()?;
            match word.as_str() {
                "--packets" => options.packets = value,
                "--sessions" => options.sessions = value,
                "--frames" => options.frames = value,
                "--from" => options.from = value,
                _ => return None,
            }
        }
        (options.packets + options.sessions + options.frames > 0).then_some(options)
    }
}

fn main() -> ExitCode {
    let Some(options) = Options::read(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(EXIT_USAGE);
    };
    // A panic is told as a finding, with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    let corpus = corpus::packets();
    let mut ends = [0_u64; 3];
    let mut marks = sessions::Marks::default();
    let mut good = each("packets", options.packets, options.from, |case| {
        packets::run(&corpus, case).map(|end| ends[end as usize] += 1)
    });
    if options.packets > 0 {
        say(&format!("packets: unframed {}, refused {}, decoded {}", ends[0], ends[1], ends[2]));
    }
    good &= each("sessions", options.sessions, options.from, |case| sessions::run(&corpus, case, &mut marks));
    if options.sessions > 0 {
        say(&format!("sessions: {marks:?}"));
    }
    if options.frames > 0 {
        good &= run_frames(options.frames, options.from);
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn say(text: &str) {
    // Nobody who reads is no reason to stop.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Memory now, and whether it is too much more than it was.
struct Watch {
    name: &'static str,
    start: Instant,
    first: Option<u64>,
    good: bool,
}

impl Watch {
    fn new(name: &'static str) -> Self {
        Self { name, start: Instant::now(), first: None, good: true }
    }

    fn look(&mut self, done: u64) {
        let now = memory::resident_bytes(None);
        let grown = now.saturating_sub(*self.first.get_or_insert(now));
        let seconds = self.start.elapsed().as_secs_f64();
        say(&format!("{}: {done} done in {seconds:.1} s, {} KiB resident", self.name, now >> 10));
        if grown > GROWTH_BYTES_MAX {
            say(&format!("{}: FAILED, memory has grown by {grown} bytes", self.name));
            self.good = false;
        }
    }
}

fn failed(name: &str, case: u64, finding: &Finding) {
    say(&format!("{name}: case {case} FAILED: {finding}"));
    say(&format!("  replay: cargo xtask fuzz --{name} 1 --from {case}"));
}

fn each(name: &'static str, count: u64, from: u64, mut case: impl FnMut(u64) -> Result<(), Finding>) -> bool {
    let part = (count / PARTS).max(1);
    let mut watch = Watch::new(name);
    for done in 0..count {
        let number = from.wrapping_add(done);
        if let Err(finding) = guarded(|| case(number)) {
            failed(name, number, &finding);
            return false;
        }
        if (done + 1).is_multiple_of(part) {
            watch.look(done + 1);
        }
    }
    watch.good
}

fn run_frames(count: u64, from: u64) -> bool {
    let mut watch = Watch::new("frames");
    match frames::run(from, count, &mut |done| watch.look(done)) {
        Ok(marks) => {
            say(&format!("frames: {count} done, {marks:?}"));
            watch.good
        }
        Err((case, finding)) => {
            failed("frames", case, &finding);
            false
        }
    }
}
