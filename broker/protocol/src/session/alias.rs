//! Topic aliases, both ways. They belong to the connection and end with it. `[v5:3.3.2-7]`
//!
//! Towards a client the first topics it gets have one, as many as it takes: an inbox is one topic for ever. None is given
//! to another topic later, so that both sides agree whatever is lost. Not here: the bytes (`codec`).

use std::num::NonZeroU16;
use std::sync::Arc;

use schemas::Publication;

use super::{Cause, Online};
use crate::codec::{Alias, PublishOut};
use crate::io::{Limits, Output};
use crate::reason::v5;

/// Aliases that we give on a connection, whatever more its client takes.
const ALIASES_OUT_MAX: u16 = 8;
/// Longest topic that gets one, in bytes: what is kept for a connection is bounded by this.
const TOPIC_BYTES_MAX: usize = 256;
/// Topics shorter than the alias itself gain nothing.
const TOPIC_BYTES_MIN: usize = 4;

/// Aliases of a connection.
#[derive(Debug, Default)]
pub(super) struct Aliases {
    /// Most that we give.
    max: u16,
    /// Topics of those that we gave: 1, 2 …
    given: Vec<Box<str>>,
    /// Topics of those that the client gave.
    taken: Vec<Option<Arc<str>>>,
}

impl Aliases {
    /// `[v5:3.1.2-27]`: none where the client takes none.
    pub(super) fn new(client_max: u16) -> Option<Box<Self>> {
        // [v5:3.1.2-26] [v5:3.3.2-11]
        let max = client_max.min(ALIASES_OUT_MAX);
        (max > 0).then(|| Box::new(Self { max, ..Self::default() }))
    }

    /// The alias of a topic, or the one it would get. `[v5:3.3.2-8]`
    fn of(&self, topic: &str) -> Option<Alias> {
        if let Some(index) = self.given.iter().position(|known| **known == *topic) {
            let number = NonZeroU16::new(u16::try_from(index).ok()? + 1)?;
            return Some(Alias { number, known: true });
        }
        let number = u16::try_from(self.given.len()).ok()? + 1;
        let fits = (TOPIC_BYTES_MIN..=TOPIC_BYTES_MAX).contains(&topic.len()) && number <= self.max;
        NonZeroU16::new(number).filter(|_| fits).map(|number| Alias { number, known: false })
    }
}

impl Online {
    /// Writes a delivery, with an alias where the client takes one; false where it is too large for the client.
    pub(super) fn write(&mut self, publish: &PublishOut<'_>, out: &mut Output) -> bool {
        let alias = self.aliases.as_ref().and_then(|aliases| aliases.of(publish.topic));
        if self.encoder.publish(&mut out.bytes, &PublishOut { alias, ..*publish }) {
            if let (Some(Alias { known: false, .. }), Some(aliases)) = (alias, &mut self.aliases) {
                aliases.given.push(publish.topic.into());
            }
            return true;
        }
        // What is too large by its new alias alone goes without.
        alias.is_some_and(|alias| !alias.known) && self.encoder.publish(&mut out.bytes, publish)
    }

    pub(super) fn resolve_alias(
        &mut self,
        limits: &Limits,
        alias: Option<NonZeroU16>,
        message: &mut Publication,
    ) -> Result<(), Cause> {
        let Some(alias) = alias else {
            return Ok(());
        };
        // [v5:3.2.2-17] [v5:3.2.2-18] [v5:3.3.2-9] [v5:U12]
        // [v5:3.3.2-12]
        if alias.get() > limits.topic_alias_max || !self.announced {
            return Err(Cause::error(
                v5::ALIAS_INVALID,
                "v5:3.3.2-9",
                "topic alias above the announced maximum",
            ));
        }
        let index = usize::from(alias.get() - 1);
        let taken = &mut self.aliases.get_or_insert_default().taken;
        if taken.len() <= index {
            taken.resize(index + 1, None);
        }
        if message.topic.is_empty() {
            // [v5:3.3.2-7] [v5:U13]
            let known = taken[index].as_ref();
            message.topic =
                Arc::clone(known.ok_or(Cause::protocol("v5:U13", "a topic alias that was never set"))?);
        } else {
            taken[index] = Some(Arc::clone(&message.topic));
        }
        Ok(())
    }
}
