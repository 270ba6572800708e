//! Operations in their place of the order, from the thread that finds it to another.

use std::{
    mem,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
};

use smbench_core::ids::OpId;

use super::{
    linearize::Placed,
    model::{FileNo, Touch},
};

/// Some operations, one behind the other.
#[derive(Default)]
struct Batch {
    /// Each with the numbers of its touches, and of its files that are gone.
    ops: Vec<(OpId, usize, usize)>,
    touches: Vec<Touch>,
    gone: Vec<FileNo>,
}

/// Tells of operations.
pub(super) struct Relay {
    batch: Batch,
    to: SyncSender<Batch>,
}

/// Hears of them.
pub(super) struct Placements(Receiver<Batch>);

pub(super) fn relay() -> (Relay, Placements) {
    let (to, from) = sync_channel(UNDER_WAY);
    let batch = Batch::default();
    (Relay { batch, to }, Placements(from))
}

impl Relay {
    pub(super) fn tell(&mut self, placed: &Placed<'_>) {
        let batch = &mut self.batch;
        batch.touches.extend_from_slice(placed.touches);
        batch.gone.extend_from_slice(placed.gone);
        let (touches, gone) = (placed.touches.len(), placed.gone.len());
        batch.ops.push((placed.op, touches, gone));
        if batch.ops.len() >= BATCH || batch.touches.len() >= BATCH_TOUCHES {
            self.send();
        }
    }

    fn send(&mut self) {
        // Who does not listen has panicked.
        let _ = self.to.send(mem::take(&mut self.batch));
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.send();
    }
}

impl Placements {
    /// Hears of each operation until there are no more.
    pub(super) fn each(self, mut hear: impl FnMut(Placed<'_>)) {
        for batch in self.0 {
            let (mut touches, mut gone) = (&batch.touches[..], &batch.gone[..]);
            for (op, touched, left) in batch.ops {
                let parts = (touches.split_at_checked(touched)).zip(gone.split_at_checked(left));
                let Some(((its, more), (its_gone, more_gone))) = parts else {
                    break;
                };
                (touches, gone) = (more, more_gone);
                hear(Placed {
                    op,
                    touches: its,
                    gone: its_gone,
                });
            }
        }
    }
}

/// Operations that are told of at once.
const BATCH: usize = 512;
/// Touches of them.
const BATCH_TOUCHES: usize = 4 * BATCH;
/// Batches under way.
const UNDER_WAY: usize = 8;
