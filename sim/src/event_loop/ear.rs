//! What the event loop tells its tap, if it has one: what happens where the tap sits.

use smbench_core::ids::LogicalTime;

use crate::tap::{LinkEnd, LinkId, Tap, Vantage};
use crate::weather::Direction;

/// A tap, or none. Everything is told from both vantages; only the tap's own is heard.
#[derive(Debug, Default)]
pub(super) struct Ear<'a> {
    tap: Option<(Vantage, &'a mut dyn Tap)>,
}

impl<'a> Ear<'a> {
    pub(super) fn new(tap: Option<&'a mut dyn Tap>) -> Self {
        Self {
            tap: tap.map(|tap| (tap.vantage(), tap)),
        }
    }

    fn at(&mut self, vantage: Vantage) -> Option<&mut (dyn Tap + 'a)> {
        let (own, tap) = self.tap.as_mut()?;
        (*own == vantage).then_some(&mut **tap)
    }

    pub(super) fn opened(&mut self, seen: Vantage, now: LogicalTime, link: LinkId) {
        if let Some(tap) = self.at(seen) {
            tap.opened(now, link);
        }
    }

    pub(super) fn frame(
        &mut self,
        seen: Vantage,
        now: LogicalTime,
        link: LinkId,
        to: Direction,
        frame: &[u8],
    ) {
        if let Some(tap) = self.at(seen) {
            tap.frame(now, link, to, frame);
        }
    }

    pub(super) fn closed(&mut self, seen: Vantage, now: LogicalTime, link: LinkId, end: LinkEnd) {
        if let Some(tap) = self.at(seen) {
            tap.closed(now, link, end);
        }
    }
}
