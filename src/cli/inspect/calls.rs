//! What was called over pipes, and which of it changes nothing.

use std::collections::BTreeMap;

use serde::Serialize;
use smbench_core::rpc::{Call, Interface, Kind, query};
use smbench_core::workload::Operation;

use crate::report::{self, say};

/// Calls of one kind.
#[derive(Debug, Serialize)]
pub(super) struct CallLoad {
    kind: Kind,
    interface: Option<Interface>,
    interface_name: Option<&'static str>,
    opnum: Option<u16>,
    /// Name of the function, and where it is written that it changes nothing.
    name: Option<&'static str>,
    section: Option<&'static str>,
    auth: bool,
    /// It is known to change nothing, and carries nothing that is of one run only.
    query: bool,
    count: u64,
}

/// Counts them.
#[derive(Debug, Default)]
pub(super) struct Calls(BTreeMap<Call, u64>);

impl Calls {
    pub(super) fn add(&mut self, op: &Operation) {
        let first = |call: &&Call| !call.continues && call.kind != Kind::Begun;
        for call in op.rpc.iter().filter(first) {
            let alike = Call {
                context: 0,
                ..*call
            };
            *self.0.entry(alike).or_default() += 1;
        }
    }

    pub(super) fn tell(self) -> Vec<CallLoad> {
        let tell = |(call, count): (Call, u64)| {
            let known = call.interface.zip(call.opnum);
            let known = known.and_then(|(interface, opnum)| query::reads_only(&interface, opnum));
            CallLoad {
                kind: call.kind,
                interface: call.interface,
                interface_name: call.interface.as_ref().and_then(query::interface_name),
                opnum: call.opnum,
                name: known.map(|it| it.name),
                section: known.map(|it| it.section),
                auth: call.auth,
                query: query::refusal(&call).is_none(),
                count,
            }
        };
        self.0.into_iter().map(tell).collect()
    }
}

/// Prints them, unless there are none.
pub(super) fn print(calls: &[CallLoad]) {
    if calls.is_empty() {
        return;
    }
    let mut table = report::table(&["calls on pipes", "function", "times", "changes nothing"]);
    for it in calls {
        let interface = match (it.interface_name, it.interface) {
            (Some(name), _) => name.to_owned(),
            (None, Some(interface)) => interface.to_string(),
            (None, None) => String::new(),
        };
        let function = match (it.kind, it.opnum, it.name) {
            (_, Some(opnum), Some(name)) => format!("{opnum} {name}"),
            (_, Some(opnum), None) => opnum.to_string(),
            (Kind::Bind | Kind::AlterContext, ..) => "(bound)".to_owned(),
            (Kind::Abandon, ..) => "(abandoned)".to_owned(),
            (Kind::Other(kind), ..) => format!("(PDU of type {kind})"),
            _ => "(unreadable)".to_owned(),
        };
        let verdict = match (it.query, it.auth) {
            (true, _) => "yes",
            (false, true) => "authenticated",
            (false, false) => "not known",
        };
        let count = it.count.to_string();
        table.add_row([interface, function, count, verdict.to_owned()]);
    }
    table.print();
    let held = calls.iter().filter(|it| !it.query).map(|it| it.count);
    match held.sum::<u64>() {
        0 => {}
        held => say!("  {held} of the calls are not known to change nothing"),
    }
}
