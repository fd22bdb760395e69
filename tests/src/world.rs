//! Where most tests start: the simulator of WhatsApp and a server that know each other, two accounts, three agents.
//!
//! | account | number | agents |
//! |---|---|---|
//! | `acme` | [`World::number`] | `alice`, `bob` |
//! | `globex` | [`World::other_number`] | `gina` |

use serde_json::{Value, json};
use sim::whatsapp::{BusinessNumber, Faults, Handle, Post, SimConfig, WhatsAppSim};

use crate::deadline::{DEADLINE, until, within};
use crate::http::{Answer, Api, send};
use crate::metrics::Metrics;
use crate::mqtt::{Client, Connect, Link};
use crate::server::{Addresses, Server};
use crate::store::Keyspace;
use crate::tls;
use crate::token::{SECRET, Token};
use crate::webhooks::{self, APP_SECRET};

/// The account of most tests.
pub const ACME: &str = "acme";
/// Another account, for what must not be seen.
pub const GLOBEX: &str = "globex";
/// A customer.
pub const ANA: &str = "15550000002";
/// Another customer.
pub const BEN: &str = "15550000003";
/// What Meta says when it verifies the webhook's address.
pub const VERIFY_TOKEN: &str = "the verify token of the tests";
const GRAPH_TOKEN: &str = "the graph token of the tests";

/// A simulator and a server.
pub struct World {
    /// WhatsApp.
    pub sim: Handle,
    /// inboxd.
    pub server: Server,
}

impl World {
    /// Both, running.
    pub async fn start() -> Self {
        Self::with("", "", Faults::default()).await
    }

    /// Both, running; `whatsapp` stands in the section of that name, `sections` are further sections.
    pub async fn with(whatsapp: &str, sections: &str, faults: Faults) -> Self {
        let mut world = Self::stopped(whatsapp, sections, faults).await;
        world.start_server().await;
        world
    }

    /// Both, running, with TLS on the MQTT listener beside the plain one, and on HTTP if wanted.
    pub async fn secure(sections: &str, https: bool) -> Self {
        let sections = format!("{}{sections}", tls::SECTION);
        let mut world = Self::stopped("", &sections, Faults::default()).await;
        tls::write(world.server.folder());
        world.server.set("INBOXD_LISTEN__MQTTS", "127.0.0.1:0");
        if https {
            // The simulator of WhatsApp speaks plain HTTP: nothing comes from it here.
            world.server.set("INBOXD_LISTEN__HTTP_TLS", "on");
        }
        world.start_server().await;
        world
    }

    /// The simulator running, the server not yet.
    ///
    /// # Panics
    /// If the simulator cannot start.
    pub async fn stopped(whatsapp: &str, sections: &str, faults: Faults) -> Self {
        let config = SimConfig {
            faults,
            numbers: vec![Self::number(), Self::other_number()],
            ..SimConfig::new(Self::number(), APP_SECRET, GRAPH_TOKEN)
        };
        let sim = WhatsAppSim::start(config).await.expect("the simulator starts");
        let keyspace = Keyspace::from_environment();
        let store = keyspace.as_ref().map(Keyspace::section).unwrap_or_default();
        let config = config_file(&sim.graph_url(), whatsapp, &format!("{sections}\n{store}"));
        let files = [("hs.secret", SECRET), ("app.secret", APP_SECRET), ("graph.token", GRAPH_TOKEN)];
        Self { sim, server: Server::new(&config, &files).on(keyspace) }
    }

    /// Starts the server and tells the simulator where it is.
    pub async fn start_server(&mut self) {
        self.server.start().await;
        let url = format!("http://{}/webhooks/whatsapp", self.at().http);
        self.sim.set_webhook_url(&url);
    }

    /// `kill -9`, and the server starts again on the same data.
    pub async fn crash(&mut self) {
        self.server.kill();
        self.start_server().await;
    }

    /// The number of `acme`.
    #[must_use]
    pub fn number() -> BusinessNumber {
        BusinessNumber::example()
    }

    /// The number of `globex`.
    #[must_use]
    pub fn other_number() -> BusinessNumber {
        BusinessNumber {
            phone_number_id: "100000000000009".to_owned(),
            waba_id: "200000000000009".to_owned(),
            display_phone_number: "15550000009".to_owned(),
        }
    }

    /// Where the server listens.
    #[must_use]
    pub fn at(&self) -> Addresses {
        self.server.addresses()
    }

    /// The API, as a user of `acme`.
    #[must_use]
    pub fn api(&self, user: &str) -> Api {
        self.api_with(&Token::of(ACME, user))
    }

    /// The API with any token.
    #[must_use]
    pub fn api_with(&self, token: &Token) -> Api {
        Api::new(self.at().http, Some(&token.sign()))
    }

    /// A device with a token of `acme` that is subscribed to its user's inbox at QoS 1, at the head.
    pub async fn device(&self, link: Link, connect: &Connect, user: &str) -> Client {
        let mut client = Client::connect(self.at(), link, connect).await;
        client.subscribe(&format!("user/{user}/inbox"), 1).await;
        client
    }

    /// The plainest device: MQTT 5 over TCP, nothing kept.
    pub async fn plain_device(&self, user: &str) -> Client {
        let token = Token::of(ACME, user).sign();
        self.device(Link::Tcp, &Connect::v5(&format!("{user}-device"), &token), user).await
    }

    /// WhatsApp tells of a text that a customer wrote to `acme`.
    pub async fn deliver_text(&self, phone: &str, wamid: &str, text: &str) {
        webhooks::deliver(self.at().http, webhooks::text(&Self::number(), phone, wamid, text)).await;
    }

    /// The POSTs that the simulator got, once there are as many as `count`.
    ///
    /// # Panics
    /// If there are more or fewer.
    pub async fn posts(&self, count: usize) -> Vec<Post> {
        let posts = self.sim.wait_for_posts(count as u64, DEADLINE).await.unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(posts.len(), count, "{posts:#?}");
        posts
    }

    /// `/metrics`.
    pub async fn metrics(&self) -> Metrics {
        let answer = self.admin("/metrics").await;
        assert_eq!(answer.status, 200);
        Metrics(answer.text())
    }

    /// Waits until a metric is at least so high.
    pub async fn wait_for_metric(&self, name: &str, labels: &[&str], at_least: f64) {
        let what = format!("{name} {labels:?} ≥ {at_least}");
        until(&what, || async { (self.metrics().await.count(name, labels) >= at_least).then_some(()) }).await;
    }

    /// GET on the admin listener.
    pub async fn admin(&self, path: &str) -> Answer {
        send("GET", &format!("http://{}{path}", self.at().admin), &[], Vec::new()).await
    }

    /// Runs `inboxd` with arguments to its end; gives exit code and standard output.
    ///
    /// # Panics
    /// If it cannot be run.
    pub async fn run(&self, args: &[&str]) -> (Option<i32>, String) {
        let mut command = self.server.command();
        command.args(args);
        let output = tokio::task::spawn_blocking(move || command.output());
        let output =
            within("the end of a command", output).await.expect("no panic").expect("the binary runs");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// A command that sends a text to a customer of `acme`.
#[must_use]
pub fn send_command(id: &str, phone: &str, text: &str) -> Value {
    let number = World::number().phone_number_id;
    json!({"type": "message.send", "id": id, "to": {"whatsapp": format!("+{phone}"), "number": number},
        "kind": "text", "text": text})
}

fn config_file(graph_url: &str, whatsapp: &str, sections: &str) -> String {
    let (number, other) = (World::number(), World::other_number());
    let number_section = |account: &str, number: &BusinessNumber, agents: &str| {
        format!(
            "[[whatsapp.number]]\naccount = \"{account}\"\nphone_number_id = \"{}\"\nwaba_id = \"{}\"\n\
             access_token_file = \"graph.token\"\nagents = {agents}\n",
            number.phone_number_id, number.waba_id
        )
    };
    format!(
        "data_dir = \"data\"\n\
         [listen]\nmqtt = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n\
         [auth]\nhs256_secret_file = \"hs.secret\"\n\
         [whatsapp]\napp_secret_file = \"app.secret\"\nverify_token = \"{VERIFY_TOKEN}\"\n\
         graph_url = \"{graph_url}\"\n{whatsapp}\n{}{}{sections}\n",
        number_section(ACME, &number, "[\"alice\", \"bob\"]"),
        number_section(GLOBEX, &other, "[\"gina\"]"),
    )
}
