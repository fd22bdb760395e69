//! O6, O7. The life of a send: queued → attempting → ended, or unknown → settled, released or sent again (P6).

use schemas::{MessageId, Status, Wamid};

use super::status::StateChange;
use super::{Effects, Plan, View};
use crate::error::ReadError;
use crate::ops::{Outcome, SendEnd, SendResult};
use crate::rows::{OpenRow, StateRow, keys};

pub(crate) const QUEUED: u8 = 0;
pub(crate) const ATTEMPTING: u8 = 1;
pub(crate) const UNKNOWN: u8 = 2;

impl Plan {
    /// An attempt is about to be made. Only a queued send may be attempted: everything else gives `None`.
    pub(super) fn send_start(&self, view: &mut View<'_>, id: MessageId) -> Result<Outcome, ReadError> {
        let Some(open) = view.get::<OpenRow>(&keys::open(id))?.filter(|open| open.state == QUEUED) else {
            return Ok(Outcome::SendStarted(None));
        };
        let open = OpenRow { state: ATTEMPTING, at: self.now.0, attempts: open.attempts.saturating_add(1) };
        view.put(keys::open(id), &open);
        let send = crate::history::open_send(id, open, |key| view.get_bytes(key))?;
        Ok(Outcome::SendStarted(send.map(Box::new)))
    }

    /// An attempt ended, or one left open is given up or repeated.
    pub(super) fn send_end(
        &mut self,
        view: &mut View<'_>,
        end: &SendEnd,
        effects: &mut Effects,
    ) -> Result<Outcome, ReadError> {
        let id = end.message;
        let Some(open) = view.get::<OpenRow>(&keys::open(id))? else {
            // Settled meanwhile; the answer may still bring the wamid.
            if let SendResult::Accepted(wamid) = &end.result {
                self.change(view, id, None, Some(wamid.clone()), None, effects)?;
            }
            return Ok(Outcome::Done);
        };
        effects.sends.insert(id);
        match &end.result {
            SendResult::Accepted(wamid) => {
                view.remove(keys::open(id));
                self.change(view, id, None, Some(wamid.clone()), None, effects)?;
            }
            SendResult::Failed(error) => {
                view.remove(keys::open(id));
                self.change(view, id, Some(Status::Failed), None, Some(error.clone()), effects)?;
            }
            SendResult::RetryAt(due) | SendResult::Resend(due) => {
                view.put(keys::open(id), &OpenRow { state: QUEUED, at: due.0, attempts: open.attempts });
            }
            SendResult::Unknown => self.left_open(view, id, open, effects)?,
            SendResult::Release => view.remove(keys::open(id)),
        }
        Ok(Outcome::Done)
    }

    /// Nobody knows what became of an attempt; unless a status came before, which tells that it was taken.
    fn left_open(
        &mut self,
        view: &mut View<'_>,
        id: MessageId,
        open: OpenRow,
        effects: &mut Effects,
    ) -> Result<(), ReadError> {
        let named = view.get::<StateRow>(&keys::state(id))?.is_some_and(|state| state.wamid.is_some());
        if named {
            view.remove(keys::open(id));
            return Ok(());
        }
        if open.state != UNKNOWN {
            view.put(keys::open(id), &OpenRow { state: UNKNOWN, at: self.now.0, attempts: open.attempts });
        }
        self.change(view, id, Some(Status::Unknown), None, None, effects)
    }

    fn change(
        &mut self,
        view: &mut View<'_>,
        id: MessageId,
        status: Option<Status>,
        wamid: Option<Wamid>,
        error: Option<schemas::message::MessageError>,
        effects: &mut Effects,
    ) -> Result<(), ReadError> {
        let Some(number) = self.conversation_row(view, id.conversation)?.and_then(|row| row.number) else {
            return Ok(());
        };
        let change = StateChange { status, wamid, error, at: self.now };
        self.change_state(view, id, &number, change, effects)?;
        Ok(())
    }
}
