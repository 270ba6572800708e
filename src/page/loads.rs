//! Work by client, share and file.

use maud::{Markup, html};

use super::{Told, more, table};
use crate::report::{bytes, time};
use crate::results::Results;
use crate::results::rows::{Row, Rows, Side};
use crate::results::tables::{Load, by};

/// Rows of a table that are shown at once, and at most.
const SHOWN: usize = 6;
const MOST: usize = 200;

/// Work of a run.
pub(super) fn of(run: &Results) -> Markup {
    let addresses: Vec<&str> = (run.workload.clients.iter())
        .map(|it| it.address.as_str())
        .collect();
    of_side(&run.rows, &addresses, Side::Here)
}

/// Work of a side.
pub(super) fn of_side(rows: &Rows, addresses: &[&str], side: Side) -> Markup {
    let client = |row: &Row| {
        let address = addresses
            .get(row.client as usize)
            .copied()
            .unwrap_or_default();
        Some(format!("{} ({address})", row.client))
    };
    let share = |row: &Row| Some(rows.share(row).to_owned());
    let file = |row: &Row| {
        let (share, path) = (rows.share(row), rows.path(row));
        (!path.is_empty()).then(|| format!("{share}\\{path}"))
    };
    html! {
        (loads("client", &by(rows, side, client), side))
        (loads("share", &by(rows, side, share), side))
        (loads("file", &by(rows, side, file), side))
    }
}

fn loads(what: &str, loads: &[Load], side: Side) -> Markup {
    let rows = |part: &[Load]| -> Vec<Vec<Markup>> {
        part.iter()
            .map(|load| {
                let mut cells = vec![
                    html! { span.path { (Told(&load.name)) } },
                    html! { (load.requests) },
                    html! { (load.errors) },
                    html! { (bytes(load.read)) },
                    html! { (bytes(load.written)) },
                    html! { (time(load.times.value_at_quantile(0.5))) },
                    html! { (time(load.times.max())) },
                ];
                if side == Side::Here {
                    cells.push(html! { (load.diverged) });
                }
                cells
            })
            .collect()
    };
    let mut header = vec![what, "requests", "errors", "read", "written", "p50", "max"];
    if side == Side::Here {
        header.push("differ");
    }
    let (first, rest) = loads.split_at(loads.len().min(SHOWN));
    let rest = rest.get(..rest.len().min(MOST)).unwrap_or_default();
    html! {
        @if !first.is_empty() { (table(&header, 1, &rows(first))) }
        @if !rest.is_empty() {
            (more(&format!("{} more", loads.len() - first.len()), &table(&header, 1, &rows(rest))))
        }
    }
}
