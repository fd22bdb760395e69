//! `inboxd`: the one binary. Command line, exit codes, and the only place that reads the environment and the clock's
//! start. Each subcommand is a module; what they all need (configuration, telemetry) comes before.
//!
//! Not here: what the server consists of (`wire`).

mod admin;
mod backup;
mod cli;
mod client;
mod config;
mod data_dir;
mod demo;
mod http;
mod keys;
mod metrics;
mod migrate;
mod open_files;
mod restore;
mod send;
mod serve;
mod shutdown;
mod tail;
mod telemetry;
mod tls;
mod token;
mod verify;
mod web;
mod wire;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

/// Measured with many small allocations from many threads, as here: less CPU and less fragmentation than glibc's.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// sysexits' EX_USAGE: bad usage or configuration (contract, section 1).
const EXIT_USAGE: u8 = 64;
const EXIT_FAILURE: u8 = 1;

/// Why a command ends without success.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Bad usage or configuration: exit code 64.
    #[error("{0}")]
    Usage(String),
    /// Anything else: exit code 1.
    #[error("{0}")]
    Failed(String),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version are "errors" too: they go to standard output.
            let code = if e.use_stderr() { EXIT_USAGE } else { 0 };
            let _ = e.print();
            return ExitCode::from(code);
        }
    };
    let result = match cli.command {
        Command::Demo(args) => demo::run(cli.config, &args),
        Command::Serve => serve::run(cli.config),
        Command::Config(args) => cli::config_command(args),
        Command::Token(args) => token::run(cli.config, &args),
        Command::Tail(args) => tail::run(&args),
        Command::Send(args) => send::run(&args),
        Command::Verify(args) => verify::run(cli.config, &args),
        Command::Backup(args) => backup::run(cli.config, &args),
        Command::Restore(args) => restore::run(cli.config, &args),
        Command::Migrate(args) => migrate::run(cli.config, &args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("inboxd: {failure}");
            ExitCode::from(match failure {
                Failure::Usage(_) => EXIT_USAGE,
                Failure::Failed(_) => EXIT_FAILURE,
            })
        }
    }
}
