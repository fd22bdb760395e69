//! `inboxd demo`: the whole product on this machine, with a built-in WhatsApp sandbox and made-up customers.
//!
//! It is `serve` with other defaults and a Graph API of its own: what works here works there. Not here: the sandbox
//! (`sim`), the server (`wire`).

use std::path::PathBuf;

use auth_hook::Signer;
use schemas::{Claims, Role, UserId};
use sim::whatsapp::{BusinessNumber, CustomersConfig, Handle, SimConfig, WhatsAppSim};

use crate::cli::{self, DemoArgs};
use crate::config::{Config, WhatsAppNumber};
use crate::keys::{self, Missing};
use crate::token::now_secs;
use crate::wire::Addresses;
use crate::{Failure, serve};

/// Where the demo keeps its data unless told otherwise.
const DATA_DIR: &str = "./inboxd-data/demo";
/// The one account.
const ACCOUNT: &str = "demo";
/// Its two agents. The first is the one who is signed in by the printed address.
const AGENTS: [&str; 2] = ["alice", "bob"];
/// Connections of each kind: enough to try things out, within what any shell allows.
const CONNECTIONS_MAX: &str = "1000";
/// How long the printed tokens are valid: a demo that was left open over a weekend still works.
const TOKEN_SECS: u64 = 7 * 86_400;

pub(crate) fn run(config: Option<PathBuf>, args: &DemoArgs) -> Result<(), Failure> {
    let mut config = cli::load_with(presets()?, config)?;
    if let Some(folder) = &args.data_dir {
        config.move_data_dir(folder);
    }
    let runtime = serve::prepare(&config)?;
    let result = runtime.block_on(with_sandbox(&mut config));
    serve::finish(runtime, &config);
    result
}

/// What stands in for the defaults; the environment, and a file that is named explicitly, come before it.
fn presets() -> Result<Vec<(&'static str, String)>, Failure> {
    let number = BusinessNumber::example();
    // New at each start: nobody else can sign a webhook or send in the sandbox's name.
    let secret = || keys::new_secret().map_err(|e| Failure::Failed(e.to_string()));
    Ok(vec![
        ("data_dir", DATA_DIR.to_owned()),
        ("listen.mqtt", "127.0.0.1:1883".to_owned()),
        ("listen.http", "127.0.0.1:8080".to_owned()),
        ("listen.http_connections_max", CONNECTIONS_MAX.to_owned()),
        ("mqtt.connections_max", CONNECTIONS_MAX.to_owned()),
        ("log.level", "warn".to_owned()),
        ("whatsapp.app_secret", secret()?),
        ("whatsapp.number[0].account", ACCOUNT.to_owned()),
        ("whatsapp.number[0].phone_number_id", number.phone_number_id),
        ("whatsapp.number[0].waba_id", number.waba_id),
        ("whatsapp.number[0].access_token", secret()?),
        ("whatsapp.number[0].agents", serde_json::json!(AGENTS).to_string()),
    ])
}

async fn with_sandbox(config: &mut Config) -> Result<(), Failure> {
    let sandbox = start_sandbox(config).await?;
    config.whatsapp.graph_url = sandbox.graph_url();
    let config = &*config;
    let result = serve::until_stopped(config, |addresses| {
        sandbox.set_webhook_url(&format!("http://{}/webhooks/whatsapp", addresses.http));
        let people = sandbox
            .run_customers(CustomersConfig { seed: now_secs(), ..CustomersConfig::default() })
            .map_err(|e| Failure::Failed(e.to_string()))?;
        let signer = keys::signer(config, Missing::Fail)?;
        let tokens = AGENTS.map(|agent| token(config, &signer, agent));
        let [first, second] = tokens;
        Ok(welcome(config, addresses, &[first?, second?], &people))
    })
    .await;
    sandbox.stop().await;
    result
}

/// A WhatsApp of our own, on a free port, for the configured number.
async fn start_sandbox(config: &Config) -> Result<Handle, Failure> {
    let number = the_number(config)?;
    let text = |secret: &crate::config::Secret| String::from_utf8_lossy(secret.bytes()).into_owned();
    let app_secret = number.app_secret.as_ref().or(config.whatsapp.app_secret.as_ref());
    let mut sandbox = SimConfig::new(
        BusinessNumber {
            phone_number_id: number.phone_number_id.to_string(),
            waba_id: number.waba_id.clone().unwrap_or_else(|| BusinessNumber::example().waba_id),
            ..BusinessNumber::example()
        },
        &app_secret.map(text).unwrap_or_default(),
        &text(&number.access_token),
    );
    // Another one each time: the store of yesterday's demo knows yesterday's message ids, and would take today's for
    // repetitions.
    sandbox.seed = now_secs();
    WhatsAppSim::start(sandbox).await.map_err(|e| Failure::Failed(format!("cannot start the sandbox: {e}")))
}

fn the_number(config: &Config) -> Result<&WhatsAppNumber, Failure> {
    let none = || Failure::Usage("the demo needs one [[whatsapp.number]]".to_owned());
    config.whatsapp.numbers.first().ok_or_else(none)
}

fn token(config: &Config, signer: &Signer, agent: &str) -> Result<String, Failure> {
    let now = now_secs();
    let claims = Claims {
        user: UserId::new(agent).map_err(|e| Failure::Failed(e.to_string()))?,
        account: the_number(config)?.account.clone(),
        device: None,
        role: Role::Agent,
        exp: now + TOKEN_SECS,
        iat: Some(now),
        acl: None,
    };
    signer.issue(&claims).map_err(|e| Failure::Failed(e.to_string()))
}

/// What is printed below the ready line.
fn welcome(config: &Config, at: &Addresses, tokens: &[String; 2], people: &[(String, String)]) -> String {
    let Addresses { mqtt, http, .. } = at;
    let [alice, bob] = tokens;
    let [first, second] = AGENTS;
    let number = config.whatsapp.numbers.first().map_or("", |n| n.phone_number_id.as_str());
    let phone = people.first().map_or("15550000002", |(phone, _)| phone);
    // The commands' own default needs no mention.
    let at = if mqtt.to_string() == cli::DEFAULT_MQTT { String::new() } else { format!("--mqtt {mqtt} ") };
    let folder = config.data_dir.display();
    format!(
        "\n\
         Open the inbox as {first}:\n  http://{http}/#token={alice}\n\
         and in another browser as {second}:\n  http://{http}/#token={bob}\n\
         \n\
         Made-up customers write within seconds, and answer. In another terminal, try:\n  \
         T={alice}\n  \
         inboxd tail {at}--token $T\n  \
         inboxd send {at}--token $T --to +{phone}@{number} --wait 'Hello from the command line'\n  \
         curl -H \"Authorization: Bearer $T\" http://{http}/v1/conversations\n\
         \n\
         Everything is kept in {folder}. Ctrl-C stops; the next start goes on from there.\n"
    )
}
