//! Runs seeds of the simulated world and says what breaks a promise. `cargo xtask sim` calls it.
//!
//! Not here: the world (`lib.rs`).

use std::io::Write as _;
use std::process::ExitCode;

use world::{Bug, Config, Engine, Marks, mqtt, run};

const USAGE: &str = "\
usage: world [--mqtt] [--seeds N] [--from S] [--embedded] [--bug NAME] [--show]

  --mqtt        devices and the MQTT session machine, instead of WhatsApp and the whole commit path
  --seeds N     how many seeds (1)
  --from S      the first one (1)
  --embedded    rows in the embedded engine, in a temporary folder, instead of the model
  --bug NAME    plants a mistake: NAME of acknowledge-before-commit, cursor-at-send, dedupe-lost, seq-reused,
                status-overwritten, fence-ignored, post-before-start; with --mqtt of
                mqtt-acknowledge-before-commit, mqtt-cursor-at-send, id-freed-at-pubrec, pubrel-not-stored,
                takeover-without-fence, dup-not-set
  --show        prints the history of each seed";

/// sysexits.h `EX_USAGE`.
const EXIT_USAGE: u8 = 64;
/// Progress is told after so many seeds.
const PROGRESS_EVERY: u64 = 500;
/// Violations of a seed that are shown; the rest is in its history.
const SHOWN_MAX: usize = 10;
/// After so many failing seeds the run ends: more of them tell nothing new.
const FAILURES_MAX: u64 = 20;

struct Options {
    seeds: u64,
    from: u64,
    config: Config,
    bug: Option<&'static str>,
    mqtt: bool,
    mqtt_bug: Option<mqtt::Bug>,
    show: bool,
}

/// A run of either kind: its text, what broke, how often odd things happened.
struct Done {
    text: String,
    violations: Vec<world::Violation>,
}

impl Options {
    fn read(mut words: impl Iterator<Item = String>) -> Option<Self> {
        let config = Config::new(Engine::Model, None);
        let mut options =
            Self { seeds: 1, from: 1, config, bug: None, mqtt: false, mqtt_bug: None, show: false };
        while let Some(word) = words.next() {
            match word.as_str() {
                "--seeds" => options.seeds = words.next()?.parse().ok()?,
                "--from" => options.from = words.next()?.parse().ok()?,
                "--embedded" => options.config.engine = Engine::Embedded,
                "--bug" => {
                    let name = words.next()?;
                    options.plant(&name)?;
                }
                "--mqtt" => options.mqtt = true,
                "--show" => options.show = true,
                _ => return None,
            }
        }
        Some(options)
    }

    fn plant(&mut self, name: &str) -> Option<()> {
        if let Some((name, bug)) = mqtt::Bug::ALL.into_iter().find(|(known, _)| *known == name) {
            (self.bug, self.mqtt_bug) = (Some(name), Some(bug));
            return Some(());
        }
        let (name, bug) = Bug::ALL.into_iter().find(|(known, _)| *known == name)?;
        (self.bug, self.config.bug) = (Some(name), Some(bug));
        Some(())
    }

    /// The command that runs one seed again, in every detail.
    fn replay(&self, seed: u64) -> String {
        let embedded = if self.config.engine == Engine::Embedded { " --embedded" } else { "" };
        let bug = self.bug.map(|name| format!(" --bug {name}")).unwrap_or_default();
        let mqtt = if self.mqtt { " --mqtt" } else { "" };
        format!("cargo xtask sim{mqtt} --seeds 1 --from {seed}{embedded}{bug} --show")
    }
}

fn main() -> ExitCode {
    let Some(options) = Options::read(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(EXIT_USAGE);
    };
    match go(&options) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("world: {error}");
            ExitCode::FAILURE
        }
    }
}

/// How many seeds failed.
fn go(options: &Options) -> Result<u64, Box<dyn std::error::Error>> {
    let mut out = std::io::stdout().lock();
    let mut marks = Marks::default();
    let mut mqtt_marks = mqtt::Marks::default();
    let (mut failed, mut done) = (0, 0);
    for seed in options.from..options.from.saturating_add(options.seeds) {
        let run = if options.mqtt {
            let run = mqtt::run(seed, options.config.engine, options.mqtt_bug)?;
            mqtt_marks.add(&run.marks);
            Done { text: if options.show { run.text() } else { String::new() }, violations: run.violations }
        } else {
            let run = run(seed, options.config)?;
            marks.add(&run.marks);
            let text = if options.show { run.history.text() } else { String::new() };
            Done { text, violations: run.violations }
        };
        done += 1;
        write!(out, "{}", run.text)?;
        if !run.violations.is_empty() {
            failed += 1;
            writeln!(out, "seed {seed} FAILED, {} violations", run.violations.len())?;
            for violation in run.violations.iter().take(SHOWN_MAX) {
                writeln!(out, "  {violation}")?;
            }
            writeln!(out, "  replay: {}", options.replay(seed))?;
            if failed == FAILURES_MAX {
                break;
            }
        }
        if done % PROGRESS_EVERY == 0 {
            writeln!(out, "{done} of {} seeds, {failed} failed", options.seeds)?;
        }
    }
    write!(out, "{done} seeds, {failed} failed;")?;
    let (all, mqtt_all) = (marks.all(), mqtt_marks.all());
    let shown = if options.mqtt { &mqtt_all[..] } else { &all[..] };
    for (name, count) in shown {
        write!(out, " {name} {count}")?;
    }
    writeln!(out)?;
    Ok(failed)
}
