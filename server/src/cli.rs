//! The command line: names, help, examples (contract, section 1), and how a command gets its configuration.
//!
//! Not here: what a command does.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::Failure;
use crate::config::{Config, ENV_PREFIX, Signing, Sources, all_keys};

/// The file that is read where no other is named.
const DEFAULT_FILE: &str = "inboxd.toml";

/// Where a server with default ports is, seen from its own machine.
pub(crate) const DEFAULT_MQTT: &str = "127.0.0.1:1883";

/// A durable inbox for every user: WhatsApp, MQTT and HTTP around one log.
#[derive(Parser)]
#[command(name = "inboxd", version, propagate_version = true, arg_required_else_help = true)]
#[command(
    after_help = "Example:\n  inboxd demo        # the whole product with made-up customers, on this machine only"
)]
pub(crate) struct Cli {
    /// Configuration file; `inboxd.toml` in the working folder where there is one
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Try everything out: a server with a built-in WhatsApp sandbox, and a URL to open
    #[command(after_help = "Example:\n  inboxd demo --data-dir /tmp/inboxd-demo")]
    Demo(DemoArgs),
    /// Run the server
    #[command(after_help = "Example:\n  inboxd serve --config /etc/inboxd/inboxd.toml")]
    Serve,
    /// Print every key with its default and the reason, or check a file
    #[command(after_help = "Examples:\n  inboxd config > inboxd.toml\n  inboxd config --check inboxd.toml")]
    Config(ConfigArgs),
    /// Print a token for a user
    #[command(
        after_help = "Example:\n  inboxd token --account acme --user alice --role agent --ttl 8h --subscribe 'news/#'"
    )]
    Token(TokenArgs),
    /// Follow a user's inbox: one JSON object a line
    #[command(after_help = "Example:\n  inboxd tail --token \"$(inboxd token --account acme --user alice)\"")]
    Tail(TailArgs),
    /// Send a text message
    #[command(after_help = "Examples:\n  \
        inboxd send --token \"$T\" --to +15550000002@100000000000001 'Hello'\n  \
        inboxd send --token \"$T\" --to user:bob --wait 'Lunch?'")]
    Send(SendArgs),
    /// Check every invariant of the store, row by row; exits 1 where one is broken
    #[command(after_help = "Examples:\n  \
        inboxd verify                                  # a running server does it, or the store itself is read\n  \
        inboxd verify --admin http://10.0.0.5:9464     # a server elsewhere; [admin] token_file holds its token")]
    Verify(VerifyArgs),
    /// Write a backup of the store, while a server works or without one
    #[command(after_help = "Examples:\n  \
        inboxd backup /var/backups/inboxd/monday\n  \
        inboxd backup --admin http://10.0.0.5:9464 /var/backups/inboxd/monday    # a folder of that machine")]
    Backup(BackupArgs),
    /// Make the store of a backup; the server must be stopped and its data_dir hold no store
    #[command(
        after_help = "Example:\n  inboxd restore /var/backups/inboxd/monday --config /etc/inboxd/inboxd.toml"
    )]
    Restore(RestoreArgs),
    /// Copy the store to another engine or folder and compare every row; the server must be stopped
    #[command(after_help = "Examples:\n  \
        inboxd migrate --to scylla://10.0.0.7,10.0.0.8/inboxd      # then set store.url to it\n  \
        inboxd migrate --to embedded:/srv/inboxd                   # then set data_dir to that folder\n  \
        inboxd migrate --to embedded --json                        # from ScyllaDB into data_dir\n\n\
        Stopped or killed, it goes on when it is run again. The source stays as it is: never start a server on both.")]
    Migrate(MigrateArgs),
}

#[derive(Args)]
pub(crate) struct MigrateArgs {
    /// Where to: `embedded` (data_dir), `embedded:DIR` (DIR as data_dir), or `scylla://…`; it must hold no store
    #[arg(long, value_name = "URL")]
    pub(crate) to: String,
    /// Print the report as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct VerifyArgs {
    /// Admin listener of a server elsewhere
    #[arg(long, value_name = "URL", value_parser = admin_url)]
    pub(crate) admin: Option<String>,
}

#[derive(Args)]
pub(crate) struct BackupArgs {
    /// Admin listener of a server elsewhere
    #[arg(long, value_name = "URL", value_parser = admin_url)]
    pub(crate) admin: Option<String>,
    /// Folder that gets inboxd.backup; made if it is missing
    pub(crate) dir: PathBuf,
}

#[derive(Args)]
pub(crate) struct RestoreArgs {
    /// Folder that holds inboxd.backup
    pub(crate) dir: PathBuf,
}

#[derive(Args)]
pub(crate) struct DemoArgs {
    /// Folder of the demo's data
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct ConfigArgs {
    /// Check this file, together with the environment, as `serve --config FILE` would read it
    #[arg(long, value_name = "FILE")]
    pub(crate) check: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum RoleArg {
    Agent,
    Admin,
    Service,
}

#[derive(Args)]
pub(crate) struct TokenArgs {
    /// Account
    #[arg(long, value_name = "A")]
    pub(crate) account: String,
    /// User
    #[arg(long, value_name = "U")]
    pub(crate) user: String,
    /// Device: the MQTT client id must then equal it
    #[arg(long, value_name = "D")]
    pub(crate) device: Option<String>,
    /// Role
    #[arg(long, value_enum, default_value_t = RoleArg::Agent)]
    pub(crate) role: RoleArg,
    /// How long it is valid, such as 30s, 8h, 7d
    #[arg(long, default_value = "1h", value_parser = ttl)]
    pub(crate) ttl: Duration,
    /// General topics it may publish to; may be given several times
    #[arg(long, value_name = "FILTER")]
    pub(crate) publish: Vec<String>,
    /// General topics it may subscribe to; may be given several times
    #[arg(long, value_name = "FILTER")]
    pub(crate) subscribe: Vec<String>,
}

#[derive(Args)]
pub(crate) struct ClientArgs {
    /// Token; also says which user
    #[arg(long, value_name = "T")]
    pub(crate) token: String,
    /// Address of the MQTT listener
    #[arg(long, value_name = "HOST:PORT", default_value = DEFAULT_MQTT)]
    pub(crate) mqtt: String,
}

#[derive(Args)]
pub(crate) struct TailArgs {
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    /// Keep the place under this name (MQTT client id): the next time, what came in between is shown first
    #[arg(long, value_name = "NAME")]
    pub(crate) session: Option<String>,
    /// Start after this number instead of at the newest event; 0 shows everything that is kept
    #[arg(long, value_name = "SEQ")]
    pub(crate) after: Option<u64>,
    /// The epoch that --after belongs to, as events show it
    #[arg(long, value_name = "E", requires = "after")]
    pub(crate) epoch: Option<String>,
    /// End after this many events
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
}

#[derive(Args)]
pub(crate) struct SendArgs {
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    /// To whom: +PHONE@PHONE_NUMBER_ID, user:NAME, or a conversation id
    #[arg(long)]
    pub(crate) to: String,
    /// Id of the command; sending the same id again has no effect
    #[arg(long)]
    pub(crate) id: Option<String>,
    /// Wait until WhatsApp has it (delivered, read or failed), printing each status; to a user, until it is in the inboxes
    #[arg(long)]
    pub(crate) wait: bool,
    /// Longest time to wait for the answer, or with --wait for the status
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Duration,
    /// What to say
    pub(crate) text: String,
}

/// A token counts in seconds: a shorter one would be over when it is printed.
fn ttl(text: &str) -> Result<Duration, String> {
    let ttl = humantime::parse_duration(text).map_err(|e| e.to_string())?;
    if ttl.as_secs() > 0 { Ok(ttl) } else { Err("must be one second or more".to_owned()) }
}

/// The address of an admin listener, without the slash at its end.
fn admin_url(text: &str) -> Result<String, String> {
    let example = "write http://HOST:PORT";
    let url = reqwest::Url::parse(text).map_err(|e| format!("{e}; {example}"))?;
    let is_ours =
        matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.fragment().is_none();
    if is_ours { Ok(text.trim_end_matches('/').to_owned()) } else { Err(example.to_owned()) }
}

/// Reads the configuration: the named file, else `inboxd.toml` where there is one, and the environment.
pub(crate) fn load(file: Option<PathBuf>) -> Result<Config, Failure> {
    read(sources(file)?)
}

/// Reads what signing a token needs, from the same sources.
pub(crate) fn load_signing(file: Option<PathBuf>) -> Result<Signing, Failure> {
    Signing::read(&sources(file)?, &|path| std::fs::read(path)).map_err(|e| Failure::Usage(e.to_string()))
}

fn sources(file: Option<PathBuf>) -> Result<Sources, Failure> {
    let file = match file {
        Some(path) => Some(read_file(&path)?),
        None if Path::new(DEFAULT_FILE).exists() => Some(read_file(Path::new(DEFAULT_FILE))?),
        None => None,
    };
    Ok(Sources { presets: Vec::new(), file, env: environment() })
}

/// Reads a file that was named, with presets below it; the default file does not count here.
pub(crate) fn load_with(
    presets: Vec<(&'static str, String)>,
    file: Option<PathBuf>,
) -> Result<Config, Failure> {
    let file = file.map(|path| read_file(&path)).transpose()?;
    read(Sources { presets, file, env: environment() })
}

/// The environment variables that are ours.
pub(crate) fn environment() -> std::collections::BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
        .filter(|(name, _)| name.starts_with(ENV_PREFIX))
        .collect()
}

fn read(sources: Sources) -> Result<Config, Failure> {
    Config::read(&sources, &|path| std::fs::read(path)).map_err(|e| Failure::Usage(e.to_string()))
}

fn read_file(path: &Path) -> Result<(PathBuf, String), Failure> {
    std::fs::read_to_string(path)
        .map(|text| (path.to_owned(), text))
        .map_err(|e| Failure::Usage(format!("{}: cannot be read: {e}", path.display())))
}

/// `inboxd config`
pub(crate) fn config_command(args: ConfigArgs) -> Result<(), Failure> {
    let text = match args.check {
        None => all_keys(),
        Some(file) => {
            let shown = file.display().to_string();
            load(Some(file))?;
            format!("{shown}: ok\n")
        }
    };
    print(&text)
}

/// Writes to standard output; a reader that went away is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("cannot write to standard output: {e}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn every_subcommand_shows_an_example_that_parses() {
        let root = Cli::command();
        root.clone().debug_assert();
        for command in root.get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples: Vec<_> = help.lines().filter(|line| line.trim().starts_with("inboxd ")).collect();
            assert!(!examples.is_empty(), "{} has no example", command.get_name());
            for example in examples {
                let words = example
                    .split(['>', '#'])
                    .next()
                    .unwrap()
                    .replace("\"$(inboxd token --account acme --user alice)\"", "T");
                let words = words.split_whitespace().map(|word| word.trim_matches(['"', '\'']));
                assert!(Cli::try_parse_from(words).is_ok(), "{example}");
            }
        }
    }
}
