//! Who waited on whom: what happened around an operation, on the file that it works on.

use std::collections::{BTreeMap, BTreeSet};

use smbench_core::ids::OpId;

use super::rows::{Fate, Notice, Row, Rows, Side};

/// What happened around an operation.
#[derive(Debug)]
pub(crate) struct Scene {
    /// The operation that it is about.
    pub(crate) about: OpId,
    /// The clients that take part, in the order of their numbers: a lane each.
    pub(crate) lanes: Vec<u32>,
    pub(crate) from_us: u64,
    pub(crate) to_us: u64,
    pub(crate) bars: Vec<Bar>,
    pub(crate) arrows: Vec<Arrow>,
    /// Operations that there was no room for.
    pub(crate) left_out: usize,
}

/// An operation in a lane.
#[derive(Debug)]
pub(crate) struct Bar {
    pub(crate) op: OpId,
    pub(crate) lane: usize,
    pub(crate) from_us: u64,
    /// None where no answer came.
    pub(crate) to_us: Option<u64>,
    pub(crate) is_event: bool,
    pub(crate) differs: bool,
}

/// One client made another do something.
#[derive(Debug)]
pub(crate) struct Arrow {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) at_us: u64,
    pub(crate) kind: ArrowKind,
}

/// What an arrow means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ArrowKind {
    /// A request made the server break what another client holds.
    Break,
    /// The holder answered.
    Answer,
    /// The holder did not answer while the request waited.
    NoAnswer,
}

/// Most bars in a scene.
const BARS: usize = 80;
/// Most lanes in a scene.
const LANES: usize = 12;

impl Scene {
    /// What happened around `about` on a side; none where it was never sent there.
    pub(crate) fn around(rows: &Rows, about: OpId, side: Side) -> Option<Self> {
        // A break is told around the request that brought it about.
        let notice = rows.breaks.iter().find(|it| it.op == about);
        let about = notice.and_then(|it| it.cause).unwrap_or(about);
        let row = rows.get(about)?;
        let began = row.began(side)?;
        let ended = row.ended(side).unwrap_or(began);
        // Some of what was before shows who holds what.
        let margin = (ended - began).max(1_000);
        let (from_us, until) = (
            began.saturating_sub(margin),
            ended.saturating_add(margin / 4),
        );
        let file = (rows.share(row), rows.path(row));
        let notices: Vec<&Notice> = rows
            .breaks
            .iter()
            .filter(|it| it.cause == Some(about))
            .collect();
        let involved: BTreeSet<OpId> = notices
            .iter()
            .flat_map(|it| [Some(it.op), it.answer])
            .flatten()
            .collect();
        let mut shown: Vec<&Row> = rows
            .iter()
            .filter(|it| involved.contains(&it.op) || (rows.share(it), rows.path(it)) == file)
            .filter(|it| {
                let at = it.began(side);
                at.is_some_and(|at| at <= until && it.ended(side).unwrap_or(at) >= from_us)
            })
            .collect();
        let left_out = shown.len().saturating_sub(BARS);
        // Nearest to the beginning of what it is about.
        shown.sort_by_key(|it| {
            let near = it.began(side).unwrap_or(0).abs_diff(began);
            (it.op != about, !involved.contains(&it.op), near)
        });
        shown.truncate(BARS);
        let mut lanes: Vec<u32> = Vec::new();
        for row in &shown {
            if !lanes.contains(&row.client) && lanes.len() < LANES {
                lanes.push(row.client);
            }
        }
        lanes.sort_unstable();
        let lane: BTreeMap<u32, usize> = lanes.iter().copied().zip(0..).collect();
        let bars: Vec<Bar> = shown
            .iter()
            .filter_map(|it| {
                Some(Bar {
                    op: it.op,
                    lane: *lane.get(&it.client)?,
                    from_us: it.began(side)?,
                    to_us: it.ended(side).or(it.began(side).filter(|_| !it.is_request)),
                    is_event: !it.is_request,
                    differs: side == Side::Here && matches!(it.fate, Fate::Diverged(_)),
                })
            })
            .collect();
        let last = bars.iter().map(|it| it.to_us.unwrap_or(it.from_us)).max();
        let to_us = last.unwrap_or(ended).clamp(ended, until.max(ended));
        let arrows = arrows(rows, row, &notices, side, &lane);
        Some(Self {
            about,
            lanes,
            from_us,
            to_us: to_us.max(from_us + 1),
            bars,
            arrows,
            left_out,
        })
    }
}

fn arrows(
    rows: &Rows,
    about: &Row,
    notices: &[&Notice],
    side: Side,
    lane: &BTreeMap<u32, usize>,
) -> Vec<Arrow> {
    let mut arrows = Vec::new();
    let Some(waiter) = lane.get(&about.client).copied() else {
        return arrows;
    };
    for notice in notices {
        let Some(broken) = rows.get(notice.op) else {
            continue;
        };
        let (Some(holder), Some(at_us)) = (lane.get(&broken.client).copied(), broken.began(side))
        else {
            continue;
        };
        arrows.push(Arrow {
            from: waiter,
            to: holder,
            at_us,
            kind: ArrowKind::Break,
        });
        let ended = about.ended(side);
        let answer = notice.answer.and_then(|op| rows.get(op)?.began(side));
        let in_time = answer.filter(|at| ended.is_none_or(|ended| *at <= ended));
        arrows.push(Arrow {
            from: holder,
            to: waiter,
            at_us: in_time.or(ended).unwrap_or(at_us),
            kind: match in_time {
                Some(_) => ArrowKind::Answer,
                None => ArrowKind::NoAnswer,
            },
        });
    }
    arrows
}
