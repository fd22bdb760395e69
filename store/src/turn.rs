//! I3, O3, I5. One turn of the writer: a group of ops → one plan → one atomic batch, one sync → everybody told.
//!
//! The writer's thread and the simulation's stepper take their turns with this same code, so that what is simulated is
//! what runs. The steps are three because a crash may come between any two of them.
//! Not here: who waits for whom (`writer.rs`), which fault strikes when (`stepper.rs`).

use std::collections::BTreeMap;
use std::sync::Arc;

use schemas::{Epoch, Millis};

use crate::engine::{Batch, Rows};
use crate::error::{CommitError, OpenError, ReadError};
use crate::keys::SessionKey;
use crate::ops::{Op, Outcome, Progress};
use crate::plan::view::View;
use crate::plan::{Effects, Plan};
use crate::rows::{FORMAT, OLDEST_FORMAT, decode, decode_u128, encode, keys};
use crate::settings::Settings;
use crate::space::{Watermark, needs_room};
use crate::tails::Tails;
use crate::writer::Permit;
use crate::{CommitListener, CommitResult, CommitSink};

/// An op that waits for its turn.
pub(crate) struct Pending {
    pub(crate) op: Op,
    pub(crate) token: u64,
    pub(crate) sink: Arc<dyn CommitSink>,
    /// Its room in the queue; `None` where there is no queue to fill.
    pub(crate) _permit: Option<Permit>,
}

/// What one turn carries out.
pub(crate) struct Group {
    pub(crate) ops: Vec<Pending>,
    pub(crate) cursors: BTreeMap<SessionKey, Progress>,
}

/// A group planned: what to write, what to tell.
pub(crate) struct Planned {
    ops: Vec<Pending>,
    pub(crate) batch: Batch,
    pub(crate) durable: bool,
    effects: Effects,
    results: Vec<CommitResult>,
    /// Cursors of a group that was refused as a whole: they are to come again.
    pub(crate) unmoved: BTreeMap<SessionKey, Progress>,
}

/// The plan and the rows beneath it.
pub(crate) struct Turn {
    rows: Arc<dyn Rows>,
    plan: Plan,
    /// Indexes could not be read again after an error: with what is left of them, events would miss their readers.
    stale: bool,
    space: Arc<Watermark>,
    /// Rows that retention removed since their space was last asked back.
    swept: usize,
}

/// Rows that retention must have removed before an engine is asked for their space: about 100 MB of messages. An LSM tree
/// gives space back as new rows push old ones down, so that a store that removes as much as it takes stays as large as
/// it is; but where a full disk stops writing, nothing would push.
const RECLAIM_ROWS: usize = 100_000;

impl Turn {
    /// Checks the format and recovers what a crash left open.
    pub(crate) fn open(
        rows: Arc<dyn Rows>,
        settings: &Settings,
        now: Millis,
        path: &str,
    ) -> Result<(Self, Epoch), OpenError> {
        let epoch = check_format(&*rows, settings, path)?;
        // A look of so many rows is milliseconds here and many seconds over a network, where replicas guard rows.
        if !rows.is_remote() {
            check_tail(&*rows, settings, path)?;
        }
        let mut plan = Plan::new(settings, epoch);
        let mut view = View::new(&*rows);
        plan.recover(&mut view, now)?;
        plan.end(&mut view);
        let (batch, _) = view.finish();
        rows.commit(batch, true)?;
        let space = Arc::new(Watermark::new(settings.disk.clone()));
        Ok((Self { rows, plan, stale: false, space, swept: 0 }, epoch))
    }

    /// How full the disk is.
    pub(crate) fn space(&self) -> Arc<Watermark> {
        self.space.clone()
    }

    /// Plans all ops of a group. One that cannot be planned gets its error, and the group is planned again without it,
    /// so that no part of it is in the batch. Where the engine cannot read, or is away, no op of the group is.
    pub(crate) fn plan(&mut self, now: Millis, group: Group) -> Planned {
        self.plan.begin(now);
        if let Err(error) = self.is_able() {
            self.plan.put_off_due();
            return Planned::refused(group, &error);
        }
        self.space.coming(group.ops.iter().map(|pending| pending.op.cost()).sum());
        let full = self.space.refusal(now);
        if self.rows.is_remote() {
            let ops = group.ops.iter().map(|pending| &pending.op);
            self.plan.read_ahead(&*self.rows, ops, group.cursors.keys());
        }
        let mut failed: BTreeMap<usize, ReadError> = BTreeMap::new();
        let mut due = true;
        loop {
            match self.attempt(&group, full.as_ref(), due, &failed) {
                Ok((batch, durable, effects, results)) => {
                    let unmoved = BTreeMap::new();
                    return Planned { ops: group.ops, batch, durable, effects, results, unmoved };
                }
                Err((_, error)) if error.is_retryable() => {
                    // The next op would fail as well, each after its own wait.
                    tracing::warn!(%error, ops = group.ops.len(), "a group cannot be planned");
                    self.reload();
                    self.plan.put_off_due();
                    return Planned::refused(group, &CommitError::Read(error));
                }
                Err((Some(index), error)) => {
                    tracing::error!(%error, "an op cannot be planned");
                    failed.insert(index, error);
                    self.reload();
                }
                Err((None, error)) => {
                    tracing::error!(%error, "what is due cannot be done for now");
                    due = false;
                    self.reload();
                    self.plan.put_off_due();
                }
            }
        }
    }

    /// One attempt to plan a group without those that failed, and with what is due where it is wanted; an error names
    /// the op, where it is one's.
    #[expect(clippy::type_complexity, reason = "the parts of a plan, put together by the one caller")]
    fn attempt(
        &mut self,
        group: &Group,
        full: Option<&CommitError>,
        due: bool,
        failed: &BTreeMap<usize, ReadError>,
    ) -> Result<(Batch, bool, Effects, Vec<CommitResult>), (Option<usize>, ReadError)> {
        let mut view = View::new(&*self.rows);
        let mut effects = Effects::default();
        let mut results = Vec::with_capacity(group.ops.len());
        // Before the ops: what a device acknowledged must not come again to a session opened in this group, nor
        // move the cursor of a subscription made in it.
        for (session, acked) in &group.cursors {
            match self.plan.advance(&mut view, *session, *acked) {
                Err(error) if error.is_retryable() => return Err((None, error)),
                // A cursor that cannot be moved now is moved by a later acknowledgement.
                Err(error) => tracing::warn!(%error, "a cursor cannot be moved"),
                Ok(()) => {}
            }
        }
        if due {
            self.plan.run_due(&mut view, &mut effects).map_err(|error| (None, error))?;
        }
        for (index, pending) in group.ops.iter().enumerate() {
            if let Some(error) = failed.get(&index) {
                results.push(Err(CommitError::Read(error.clone())));
            } else if let Some(full) = full.filter(|_| needs_room(&pending.op)) {
                results.push(Err(full.clone()));
            } else {
                let outcome = self.plan.apply(&mut view, &pending.op, &mut effects);
                results.push(Ok::<Outcome, CommitError>(outcome.map_err(|error| (Some(index), error))?));
            }
        }
        self.plan.end(&mut view);
        let (batch, durable) = view.finish();
        Ok((batch, durable, effects, results))
    }

    /// Nothing can be planned while the engine is away, nor with indexes that are not those of the rows.
    fn is_able(&mut self) -> Result<(), CommitError> {
        if let Some(why) = self.rows.away() {
            return Err(CommitError::Unavailable(why));
        }
        if self.stale {
            self.plan.reload(&View::new(&*self.rows))?;
            self.stale = false;
        }
        Ok(())
    }

    /// Writes and, where the group asks for it, syncs. After an error nobody knows what of the group is on disk, and
    /// the plan's memory is ahead of the rows: this turn must be the last.
    pub(crate) fn write(&self, planned: &mut Planned) -> Result<(), CommitError> {
        let batch = std::mem::take(&mut planned.batch);
        if batch.is_empty() { Ok(()) } else { self.rows.commit(batch, planned.durable) }
    }

    /// Everybody was told: the engine may do a little of what it put off. After an error as after one of
    /// [`Turn::write`].
    pub(crate) fn settle(&self) -> Result<(), CommitError> {
        self.rows.settle()
    }

    /// Is something due that no op brings: a will, the end of a session?
    pub(crate) fn is_due(&self, now: Millis) -> bool {
        self.plan.is_due(now)
    }

    /// When [`Turn::is_due`] will say yes by itself.
    pub(crate) const fn next_due(&self) -> Millis {
        self.plan.next_due()
    }

    /// Has retention a step to make?
    pub(crate) fn sweep_is_due(&self, now: Millis) -> bool {
        self.plan.sweep_is_due(now) && !self.stale && self.rows.away().is_none()
    }

    /// Makes one step of retention. It removes only what nobody may see any more, so it asks for no sync.
    pub(crate) fn sweep(&mut self, now: Millis) -> Result<(), CommitError> {
        let mut view = View::new(&*self.rows);
        if let Err(error) = self.plan.sweep(&mut view, now) {
            tracing::error!(%error, "retention cannot go on for now");
            self.reload();
            return Ok(());
        }
        let (batch, _) = view.finish();
        if batch.is_empty() {
            self.reclaim(now);
            return Ok(());
        }
        crate::metrics::count_swept(batch.len());
        self.swept += batch.len();
        self.rows.commit(batch, false)?;
        self.reclaim(now);
        Ok(())
    }

    /// A round of retention has ended: was it worth the engine's while?
    fn reclaim(&mut self, now: Millis) {
        if self.swept >= RECLAIM_ROWS && !self.plan.sweep_is_due(now) {
            self.swept = 0;
            self.rows.reclaim();
        }
    }

    /// Reads caches and indexes from the rows again; where that fails, before the next group.
    pub(crate) fn reload(&mut self) {
        self.stale = true;
        if let Err(error) = self.is_able() {
            tracing::warn!(%error, "indexes cannot be read again yet");
        }
    }
}

impl Planned {
    /// Nothing of the group is written.
    fn refused(group: Group, error: &CommitError) -> Self {
        let results = group.ops.iter().map(|_| Err(error.clone())).collect();
        Self {
            ops: group.ops,
            batch: Batch::new(),
            durable: false,
            effects: Effects::default(),
            results,
            unmoved: group.cursors,
        }
    }

    /// Ops of the group.
    pub(crate) fn ops(&self) -> usize {
        self.ops.len()
    }

    /// The group is on disk: readers, listeners and submitters hear of it, in this order.
    pub(crate) fn tell(self, tails: &Tails, listeners: &[Arc<dyn CommitListener>]) {
        crate::metrics::observe_delivered(&self.effects.delivered_after_ms);
        let notices = self.effects.notices();
        tails.push(self.effects);
        for listener in listeners {
            listener.committed(&notices);
        }
        for (pending, result) in self.ops.into_iter().zip(self.results) {
            pending.sink.done(pending.token, result);
        }
    }

    /// For a planted mistake: what is to be told, apart from what is to be written.
    #[cfg(feature = "simulation")]
    pub(crate) fn split_telling(&mut self) -> Self {
        Self {
            ops: std::mem::take(&mut self.ops),
            batch: Batch::new(),
            durable: false,
            effects: std::mem::take(&mut self.effects),
            results: std::mem::take(&mut self.results),
            unmoved: BTreeMap::new(),
        }
    }

    /// Nobody knows whether the group is on disk.
    pub(crate) fn tell_unknown(self, error: &CommitError) {
        for pending in self.ops {
            pending.sink.done(pending.token, Err(CommitError::Unknown(error.to_string())));
        }
    }
}

/// The epoch of a store of our format; `None` where there is no store.
pub(crate) fn read_format(rows: &dyn Rows, path: &str) -> Result<Option<Epoch>, OpenError> {
    let (format_key, epoch_key) = (keys::meta("format"), keys::meta("epoch"));
    let Some(value) = rows.get(&format_key)? else {
        return Ok(None);
    };
    let found: u32 = decode(&format_key, &value)?;
    if !(OLDEST_FORMAT..=FORMAT).contains(&found) {
        return Err(OpenError::Format { path: path.to_owned(), found, expected: FORMAT });
    }
    let value = rows.get(&epoch_key)?.unwrap_or_default();
    Ok(Some(Epoch(decode_u128(&epoch_key, &value)?)))
}

/// The epoch of a store, which is made where there is none, and brought to our format where it has an older one.
fn check_format(rows: &dyn Rows, settings: &Settings, path: &str) -> Result<Epoch, OpenError> {
    let format = (keys::meta("format"), Some(encode(&FORMAT)));
    if let Some(epoch) = read_format(rows, path)? {
        if rows.get(&format.0)? != format.1 {
            rows.commit([format].into(), true)?;
        }
        return Ok(epoch);
    }
    let epoch = settings.new_epoch;
    let batch = [format, (keys::meta("epoch"), Some(epoch.0.to_be_bytes().to_vec()))];
    rows.commit(batch.into(), true)?;
    Ok(epoch)
}

/// Names what is broken among the newest rows, and refuses to go on where that would overwrite messages.
fn check_tail(rows: &dyn Rows, settings: &Settings, path: &str) -> Result<(), OpenError> {
    let tail = crate::verify::tail::check(rows, &settings.numbers)?;
    for found in &tail.report.violations {
        let id = found.invariant.as_str();
        tracing::error!(id, table = found.table, key = found.key, what = found.what, "a promise is broken");
        crate::metrics::count_violation(id);
    }
    match tail.overwrites {
        Some(conversation) => {
            let what = format!("conversation {conversation} has messages beyond the one it calls its newest");
            Err(OpenError::Damaged { path: path.to_owned(), what })
        }
        None => Ok(()),
    }
}
