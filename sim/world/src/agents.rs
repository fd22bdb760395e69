//! O1, O4. Agents: they send and read, and repeat a command under the same id until they have an answer.
//!
//! Not here: their devices' sessions (`devices`), what becomes of a command (the store).

use schemas::command::{Content, MessageSend, Target};
use schemas::{Command, CommandBody, MessageId, UserId};
use store::{CommandOp, Op};

use crate::history::{Answer, Call};
use crate::node::Purpose;
use crate::world::{ACCOUNT, CUSTOMERS, Happening, World, account_id, number_id, phone_of};

/// A client asks again after this long without an answer.
const TIMEOUT_MS: u64 = 150;
/// A command that was answered long ago may arrive once more within this time (an old request on a slow way).
const GHOST_MS: u64 = 800;
/// Longest pause of an agent between two commands.
const PAUSE_MS: u64 = 160;

/// One agent.
pub(crate) struct Agent {
    pub(crate) user: UserId,
    pub(crate) commands: Vec<Issued>,
    /// Messages he has seen or made, to answer and to read.
    pub(crate) known: Vec<MessageId>,
}

/// A command he gave.
pub(crate) struct Issued {
    pub(crate) command: Command,
    pub(crate) answered: bool,
    attempt: u32,
}

impl Agent {
    pub(crate) fn new(user: UserId) -> Self {
        Self { user, commands: Vec::new(), known: Vec::new() }
    }
}

impl World {
    /// An agent does something, if there is something left to do in this run.
    pub(crate) fn agent_acts(&mut self, agent: usize) {
        if !self.take_action() {
            return;
        }
        let number = self.agents[agent].commands.len();
        let id = format!("c{agent}-{number}").parse().expect("short and printable");
        let body = self.some_body(agent, number);
        let command = Command { id, body };
        self.agents[agent].commands.push(Issued { command, answered: false, attempt: 0 });
        self.send_command(agent, number);
        let pause = self.rng.below(PAUSE_MS);
        self.after(pause, Happening::AgentActs(agent));
    }

    fn some_body(&mut self, agent: usize, number: usize) -> CommandBody {
        let known = self.agents[agent].known.len() as u64;
        let some = self.rng.below(known.max(1));
        let seen = usize::try_from(some).ok().and_then(|i| self.agents[agent].known.get(i).copied());
        let dice = self.rng.below(10);
        let customer = self.rng.below(CUSTOMERS);
        let other = self.rng.below(self.agents.len() as u64);
        let to = match (dice, seen) {
            (0..=1, Some(message)) => {
                return CommandBody::MessageRead { conversation: message.conversation, up_to: message };
            }
            (2..=4, Some(message)) => Target::Conversation(message.conversation),
            (5..=6, _) => Target::User(self.agents[usize::try_from(other).unwrap_or(0)].user.clone()),
            _ => Target::WhatsApp { phone: phone_of(customer), number: number_id() },
        };
        let text = format!("text {agent}-{number}");
        CommandBody::MessageSend(MessageSend { to, content: Content::Text(text), reply_to: None })
    }

    fn send_command(&mut self, agent: usize, number: usize) {
        let issued = &mut self.agents[agent].commands[number];
        issued.attempt += 1;
        let attempt = issued.attempt;
        let copies = 1 + u64::from(self.rng.chance(self.weather.duplicate));
        for _ in 0..copies {
            if !self.rng.chance(self.weather.loss) {
                self.on_the_way(Happening::CommandArrives { agent, number });
            }
        }
        self.after(TIMEOUT_MS, Happening::CommandTimeout { agent, number, attempt });
    }

    /// O3.
    pub(crate) fn command_arrives(&mut self, agent: usize, number: usize) {
        let user = self.agents[agent].user.clone();
        let command = self.agents[agent].commands[number].command.clone();
        let call =
            Call::Command { user: user.to_string(), id: command.id.to_string(), body: command.body.clone() };
        let op = CommandOp {
            account: account_id(ACCOUNT),
            user,
            command,
            received_us: self.now * 1000,
            report_refusal: false,
        };
        self.submit(call, Op::Command(op), Purpose::Command { agent, number });
    }

    pub(crate) fn command_timeout(&mut self, agent: usize, number: usize, attempt: u32) {
        let issued = &self.agents[agent].commands[number];
        if !issued.answered && issued.attempt == attempt {
            self.marks.retried += 1;
            self.send_command(agent, number);
        }
    }

    /// The answer to a command reached its agent.
    pub(crate) fn command_reply(&mut self, agent: usize, number: usize, answer: &Answer) {
        let final_answer = match answer {
            Answer::Command { message, repeated } => {
                self.marks.repeated += u64::from(*repeated);
                self.agents[agent].known.extend(*message);
                true
            }
            Answer::Refused(_) => true,
            _ => false,
        };
        if !final_answer {
            return;
        }
        let first = !std::mem::replace(&mut self.agents[agent].commands[number].answered, true);
        if first && self.rng.chance(self.weather.duplicate) {
            let ghost = self.rng.below(GHOST_MS);
            self.after(ghost, Happening::CommandArrives { agent, number });
        }
    }
}
