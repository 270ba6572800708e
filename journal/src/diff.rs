//! Tells two runs of one workload apart, down to the operations where they part.
//!
//! Both journals are run again and every operation's end is kept in a few bytes. Runs are aligned
//! by operation, not by position: when something happened is timing, what happened is meaning, and
//! only meaning can diverge. The minimal elements of the divergent set in the happens-before graph
//! are the *causes*; everything divergent behind one of them is a *consequence*.

mod causes;
mod side;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use smbench_core::{
    engine::RunConfig, ids::OpId, smb2::Request, workload::Action, workload::Operation,
};
use thiserror::Error;

pub(crate) use self::causes::path_of;
use self::{
    causes::{Graph, NONE},
    side::{Fields, Side, Verdict},
};
use crate::{Journal, RerunError, rerun::Recipe};

/// Why two journals cannot be told apart.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DiffError {
    /// One of them cannot be run again.
    #[error("journal {side}: {source}")]
    Rerun {
        /// `a` or `b`.
        side: char,
        /// Why.
        #[source]
        source: RerunError,
    },
    /// They are of two workloads.
    #[error(
        "the journals are of different workloads ({a} and {b}): replay one workload twice and diff \
         those journals"
    )]
    OtherWorkload {
        /// Digest of the workload of `a`.
        a: String,
        /// Digest of the workload of `b`.
        b: String,
    },
}

/// What counts as a difference in timing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DiffOptions {
    /// Latencies that differ by no more than this are equal, in microseconds.
    pub threshold_us: u64,
    /// Latencies that differ by no more than so many percent of the lower one are equal.
    pub threshold_percent: u32,
    /// Ancestors are counted for so many causes; the rest stays without the figure.
    pub counted_causes: usize,
}

impl Default for DiffOptions {
    fn default() -> Self {
        Self {
            threshold_us: 1_000,
            threshold_percent: 50,
            counted_causes: 100,
        }
    }
}

/// In what two runs differ.
#[derive(Clone, Debug, Serialize)]
pub struct Diff {
    /// Nothing of meaning differs, and both runs tell of the same operations.
    pub same: bool,
    /// Operations of which both runs tell the end.
    pub compared: u64,
    /// The divergent operations that nothing divergent happened before, in workload order.
    pub causes: Vec<Cause>,
    /// The other divergent operations.
    pub consequences: u64,
    /// Operations that ended alike, but one of them much later after its request.
    pub timing_only: u64,
    /// Divergent operations by what differs first.
    pub by_what: BTreeMap<&'static str, u64>,
    /// Operations whose end only one run, or neither, tells, by reason.
    pub uncompared: BTreeMap<&'static str, u64>,
    /// Responses to no request, in `a` and in `b`.
    pub strays: [u64; 2],
    /// What servers and runs may choose, and is not compared.
    pub normalised: &'static [&'static str],
    /// What has to be known to read the rest.
    pub notes: Vec<String>,
}

/// A divergent operation that nothing divergent happened before.
#[derive(Clone, Debug, Serialize)]
pub struct Cause {
    /// The operation.
    pub operation: OpId,
    /// What differs first.
    pub what: &'static str,
    /// How it was in the first run.
    pub a: Value,
    /// How it was in the second.
    pub b: Value,
    /// All that differs, `what` included.
    pub differences: Vec<Difference>,
    /// Number of the request's packet in the capture.
    pub frame: u64,
    /// Number of its response's packet, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_frame: Option<u64>,
    /// Its command.
    pub command: String,
    /// The name it works on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Its client.
    pub client: u32,
    /// How many operations happened before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ancestors: Option<u64>,
    /// The latest of those right before it; all of them ended alike in both runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_agreeing: Option<OpId>,
    /// Consequences whose nearest cause this is.
    pub consequences: u64,
    /// Those.
    pub followed_by: Vec<OpId>,
}

/// One thing in which an operation differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// What.
    pub what: &'static str,
    /// In the first run.
    pub a: Value,
    /// In the second run.
    pub b: Value,
}

/// As [`diff_with`], with [`DiffOptions::default`].
///
/// # Errors
///
/// As [`diff_with`].
pub fn diff(a: &Journal, b: &Journal) -> Result<Diff, DiffError> {
    diff_with(a, b, &DiffOptions::default())
}

/// Tells the runs `a` and `b` of one workload apart.
///
/// # Errors
///
/// [`DiffError::OtherWorkload`], or a journal that cannot be run again.
pub fn diff_with(a: &Journal, b: &Journal, options: &DiffOptions) -> Result<Diff, DiffError> {
    let failed = |side| move |source| DiffError::Rerun { side, source };
    for (journal, side) in [(a, 'a'), (b, 'b')] {
        let sound = journal.refuse_damage().map_err(RerunError::from);
        sound.map_err(failed(side))?;
    }
    let recipe = Recipe::of(a).map_err(failed('a'))?;
    let mut notes = Vec::new();
    let mut graph = Graph::default();
    let left = Side::of(a, &recipe, 'a', |op| graph.add(op), &mut notes).map_err(failed('a'))?;
    let right = {
        let other = Recipe::of(b).map_err(failed('b'))?;
        same_workload((a, &recipe), (b, &other))?;
        if recipe.config != other.config {
            notes.push(settings_that_differ(&recipe.config, &other.config));
        }
        Side::of(b, &other, 'b', |_| {}, &mut notes).map_err(failed('b'))?
    };
    let mut found = Found::default();
    found.compare(&left, &right, &graph, options);
    if graph.ignored > 0 {
        notes.push(format!(
            "{} edges beyond what can be held ignored",
            graph.ignored
        ));
    }
    let causes = found.causes(&recipe, &left, &right, &graph, options);
    let only_one = found.uncompared.keys().any(|why| *why != NEITHER);
    Ok(Diff {
        same: causes.is_empty() && !only_one,
        compared: found.compared,
        consequences: found.divergent - causes.len() as u64,
        causes,
        timing_only: found.timing_only,
        by_what: found.by_what,
        uncompared: found.uncompared,
        strays: [left.strays, right.strays],
        normalised: NORMALISED,
        notes,
    })
}

/// The settings of two runs that differ, by name.
fn settings_that_differ(a: &RunConfig, b: &RunConfig) -> String {
    let [a, b] = [a, b].map(|it| serde_json::to_value(it).unwrap_or_default());
    let fields = a.as_object().into_iter().flatten();
    let differ = fields.filter_map(|(name, a)| {
        let b = b.get(name)?;
        (a != b).then(|| format!("{name} ({a} in A, {b} in B)"))
    });
    let differ: Vec<String> = differ.collect();
    format!("the runs have different settings: {}", differ.join(", "))
}

fn same_workload(a: (&Journal, &Recipe), b: (&Journal, &Recipe)) -> Result<(), DiffError> {
    let digest = |(journal, recipe): (&Journal, &Recipe)| {
        journal.meta().workload.unwrap_or(recipe.ops_digest)
    };
    let both_named = a.0.meta().workload.is_some() && b.0.meta().workload.is_some();
    let other = both_named && digest(a) != digest(b);
    if other || a.1.ops_digest != b.1.ops_digest {
        let (mut a_name, mut b_name) = (digest(a), digest(b));
        if a_name == b_name {
            (a_name, b_name) = (a.1.ops_digest, b.1.ops_digest);
        }
        return Err(DiffError::OtherWorkload {
            a: short(&a_name.to_string()),
            b: short(&b_name.to_string()),
        });
    }
    Ok(())
}

fn short(digest: &str) -> String {
    digest.chars().take(16).collect()
}

/// What comparing finds.
#[derive(Debug, Default)]
struct Found {
    compared: u64,
    divergent: u64,
    timing_only: u64,
    by_what: BTreeMap<&'static str, u64>,
    uncompared: BTreeMap<&'static str, u64>,
    /// Each cause with its consequences.
    causes: BTreeMap<u32, Vec<OpId>>,
}

impl Found {
    /// One pass in an order in which every edge leads forward: what an operation inherits is known
    /// when its turn comes.
    fn compare(&mut self, a: &Side, b: &Side, graph: &Graph, options: &DiffOptions) {
        // The nearest cause that happened before each operation, itself included.
        let mut nearest = vec![NONE; graph.len()];
        for at in graph.order() {
            let (Some(one), Some(other)) = (a.ops.get(at as usize), b.ops.get(at as usize)) else {
                continue;
            };
            let inherited = (graph.before(at))
                .chain(one.cascade_of())
                .chain(other.cascade_of())
                .filter_map(|before| nearest.get(before as usize).copied())
                .filter(|cause| *cause != NONE)
                .max();
            let mut label = inherited.unwrap_or(NONE);
            match side::verdict(one, other, graph.fields(at)) {
                Verdict::Same => {
                    self.compared += 1;
                    self.timing_only += u64::from(one.timing_differs(other, options));
                }
                Verdict::Uncompared(why) => *self.uncompared.entry(why).or_default() += 1,
                Verdict::Differs(what) => {
                    self.compared += 1;
                    self.divergent += 1;
                    *self.by_what.entry(what).or_default() += 1;
                    if inherited.is_none() {
                        label = at;
                        self.causes.insert(at, Vec::new());
                    } else if let Some(of) = self.causes.get_mut(&label) {
                        of.push(OpId(at));
                    }
                }
            }
            if let Some(slot) = nearest.get_mut(at as usize) {
                *slot = label;
            }
        }
    }

    fn causes(
        &self,
        recipe: &Recipe,
        a: &Side,
        b: &Side,
        graph: &Graph,
        options: &DiffOptions,
    ) -> Vec<Cause> {
        let lines = self.causes.keys().map(|at| *at as usize);
        let mut out = Vec::new();
        for op in recipe.pick(lines) {
            let at = op.id.0;
            let (Some(one), Some(other)) = (a.ops.get(op.id.index()), b.ops.get(op.id.index()))
            else {
                continue;
            };
            let fields = graph.fields(at);
            let differences = side::differences(one, other, fields);
            let counted = out.len() < options.counted_causes;
            let followed_by = self.causes.get(&at).cloned().unwrap_or_default();
            out.push(Cause {
                ancestors: counted.then(|| graph.ancestors(at)),
                last_agreeing: graph.before(at).max().map(OpId),
                ..cause(&op, differences, followed_by)
            });
        }
        out
    }
}

fn cause(op: &Operation, differences: Vec<Difference>, followed_by: Vec<OpId>) -> Cause {
    let first = differences.first().cloned();
    let (what, a, b) = first.map_or(("presence", Value::Null, Value::Null), |it| {
        (it.what, it.a, it.b)
    });
    Cause {
        operation: op.id,
        what,
        a,
        b,
        differences,
        frame: op.frame,
        response_frame: op.expect.as_ref().map(|expect| expect.frame),
        command: command_of(op),
        path: path_of(op),
        client: op.client.0,
        ancestors: None,
        last_agreeing: None,
        consequences: followed_by.len() as u64,
        followed_by,
    }
}

/// What people call the operation.
pub(crate) fn command_of(op: &Operation) -> String {
    match &op.action {
        Action::Request(Request::OplockBreak(_)) => "OPLOCK_BREAK acknowledgement".to_owned(),
        Action::Request(_) => op.cmd.to_string(),
        Action::Smb1Negotiate(_) => "SMB1 NEGOTIATE".to_owned(),
        Action::Break(_) => "break notification".to_owned(),
        Action::Disconnect(_) => "disconnect".to_owned(),
    }
}

/// Neither run came so far.
const NEITHER: &str = "in_neither";

/// What is not compared, for people.
const NORMALISED: &[&str] = &[
    "message ids, session ids, tree ids, file ids, async ids",
    "file times, volume and file index numbers, allocation sizes",
    "lease epochs, server and client GUIDs, credits",
    "security tokens, signatures, encryption",
    "number of login legs",
    "end of file of folders",
    "order of operations that the workload does not order",
    "latencies, lateness (counted in timing_only)",
];
