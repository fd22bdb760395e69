//! Layers `cassandra` and `cassandra-flow`: store::scylla against a real server that speaks ScyllaDB's protocol.
//!
//! The first runs the store's suite and the engine's own tests; the second the suite through a proxy that cuts
//! connections, and the flow and crash tests of the crate `tests` on `scylla://`, unchanged. The server is Apache Cassandra, fetched once by tests/cassandra.sh; ScyllaDB itself
//! comes from package sources that not every machine reaches. Not here: what differs between the two (ADR 011).

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;

use crate::context::{BINARY_VARIABLE, Context, run, run_quietly, tool};
use crate::layer::{Layer, Outcome};

pub(crate) const STORE: Layer = Layer { name: "cassandra", run: store };
pub(crate) const FLOW: Layer = Layer { name: "cassandra-flow", run: flow };

const SCRIPT: &str = "tests/cassandra.sh";
/// Read by store/tests/scylla.
const SERVER_VARIABLE: &str = "SCYLLA_URI";
const SECURE_VARIABLE: &str = "SCYLLA_SECURE_URI";
const AUTHORITY_VARIABLE: &str = "SCYLLA_SECURE_CA";
/// The suite through a proxy that cuts connections: minutes, so for the full run.
const WEATHER: &str = "proxy::weather";
/// Read by the crate `tests`: where the binary under test keeps its store.
const STORE_VARIABLE: &str = "INBOXD_TEST_STORE";
/// Read by tests/tests/crash: the node to kill, and how often.
const NODE_VARIABLE: &str = "INBOXD_TEST_CASSANDRA";
const ROUNDS_VARIABLE: &str = "INBOXD_CRASH_ROUNDS";
const ROUNDS: &str = "20";
/// Each test makes a keyspace, which one small node does one after the other: more tests at once only wait longer.
const AT_ONCE: &str = "2";
/// Why the layers cannot run where these are missing; maven is needed once.
const NEEDS: &str = "java 17 and mvn are needed (tests/cassandra.sh)";

/// Whom a node lets in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    /// Everybody.
    Open,
    /// Who has a password; and it offers TLS.
    Secure,
}

/// A node that is stopped, and whose folder is removed, with this value.
struct Node<'a> {
    context: &'a Context,
    folder: PathBuf,
    address: String,
    /// Environment of the script: who starts the node again needs the same.
    settings: Vec<(&'static str, String)>,
}

impl<'a> Node<'a> {
    fn start(context: &'a Context, access: Access) -> Result<Self, String> {
        let (cql, storage) = free_ports()?;
        let folder = context.target.join(format!("cassandra-{}", std::process::id()));
        let mut settings = vec![
            // What was acknowledged must outlive `kill -9`, as with ScyllaDB's conditional batches.
            ("CASSANDRA_SYNC", "batch".to_owned()),
            ("CASSANDRA_CQL_PORT", cql.to_string()),
            ("CASSANDRA_STORAGE_PORT", storage.to_string()),
        ];
        if access == Access::Secure {
            settings.push(("CASSANDRA_SECURE", "1".to_owned()));
        }
        let node = Self { context, folder, address: format!("scylla://127.0.0.1:{cql}"), settings };
        let mut start = node.script("start");
        run(&mut start)?;
        Ok(node)
    }

    fn script(&self, verb: &str) -> Command {
        let mut command = self.context.program("bash", ".");
        command.arg(SCRIPT).arg(verb).arg(&self.folder).envs(self.settings.iter().cloned());
        command
    }
}

impl Drop for Node<'_> {
    fn drop(&mut self) {
        if let Err(why) = run_quietly(&mut self.script("wipe")) {
            println!("  the node in {} is left: {why}", self.folder.display());
        }
    }
}

/// Two ports that nobody has now; given back at once, so another may come in between, which the script says.
fn free_ports() -> Result<(u16, u16), String> {
    let bind = || TcpListener::bind("127.0.0.1:0").map_err(|e| format!("no free port: {e}"));
    let (first, second) = (bind()?, bind()?);
    let port = |of: &TcpListener| of.local_addr().map(|at| at.port()).map_err(|e| e.to_string());
    Ok((port(&first)?, port(&second)?))
}

fn with_node(
    context: &Context,
    access: Access,
    work: impl FnOnce(&Node<'_>) -> Result<(), String>,
) -> Outcome {
    if tool(&["java"]).is_none() || tool(&["mvn"]).is_none() {
        return Outcome::Skipped(NEEDS.into());
    }
    Node::start(context, access).and_then(|node| work(&node)).into()
}

/// The store's tests on a server, those that `which` leaves.
fn store_tests(context: &Context, which: &[&str]) -> Command {
    let mut tests = context.cargo(["test", "--locked", "--package", "store", "--test", "scylla", "--"]);
    tests.args(["--test-threads", AT_ONCE]).args(which);
    tests
}

fn store(context: &Context) -> Outcome {
    let suite = with_node(context, Access::Open, |node| {
        run(store_tests(context, &["--skip", WEATHER]).env(SERVER_VARIABLE, &node.address))
    });
    match suite {
        Outcome::Pass => with_node(context, Access::Secure, |node| {
            let mut secure = store_tests(context, &["secure::"]);
            secure.env(SECURE_VARIABLE, &node.address);
            run(secure.env(AUTHORITY_VARIABLE, node.folder.join("conf/ca.pem")))
        }),
        other => other,
    }
}

fn flow(context: &Context) -> Outcome {
    let binary = context.release_binary();
    if !binary.is_file() {
        return Outcome::Skipped(format!("{} is not built", binary.display()));
    }
    with_node(context, Access::Open, |node| {
        run(store_tests(context, &[WEATHER]).env(SERVER_VARIABLE, &node.address))?;
        let test = |name, at_once| {
            let mut test = context.cargo(["test", "--locked", "--package", "tests", "--test", name, "--"]);
            test.args(["--nocapture", "--test-threads", at_once]).env(BINARY_VARIABLE, &binary);
            test.env(STORE_VARIABLE, &node.address).env(ROUNDS_VARIABLE, ROUNDS);
            test.envs(node.settings.iter().cloned()).env(NODE_VARIABLE, &node.folder);
            run(&mut test)
        };
        test("flow", AT_ONCE)?;
        // One after the other: they kill the node.
        test("crash", "1")
    })
}
