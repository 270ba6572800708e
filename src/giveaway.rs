//! A journal without what it tells about people: that of a run of the anonymized workload.
//!
//! | file | holds |
//! |---|---|
//! | `frames` | what a server said, with other names, ids and data: what is not known to tell nothing is zeros |
//!
//! Two engines go through the run side by side: the run's own, and one of the anonymized workload, whose
//! inputs are written down. So what is given away reruns by construction. Where the second does anything
//! that the first does not, what the server said there cannot be replaced, and nothing is given away.

mod frames;

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};

use smbench_compiler::anonymize::{Mapping, Pseudonyms};
use smbench_compiler::folder::FolderReader;
use smbench_core::confine::Gate;
use smbench_core::drive::{Drive, DriveError, NoRecord};
use smbench_core::engine::{Engine, EngineError, Plan, RunConfig, TreeTarget};
use smbench_core::event::{Divergence, Effect, Input, Output, Recorder, Report};
use smbench_core::frame::{Digest, Frame};
use smbench_core::ids::{LogicalTime, OpId, ShardId};
use smbench_core::workload::Operation;
use smbench_journal::rerun::{OPS, Recipe, WORKLOAD, check};
use smbench_journal::{BundleWriter, Existing, Journal, RunMeta, can_export, unfinished};

use self::frames::Rewriter;
use crate::exit::{ENVIRONMENT, Failure, OrFail};
use crate::facts;
use crate::interrupt::{self, Unfinished};
use crate::journals::{failed, not_rerun};
use crate::unpacked::WorkloadPlace;

/// What an anonymized journal is made with.
pub(crate) struct Giveaway<'a> {
    /// The journal, open, and where it is.
    pub(crate) journal: (&'a Journal, &'a Path),
    /// The workload that `anonymize` made.
    pub(crate) clean: &'a Path,
    /// What became of what.
    pub(crate) map: &'a Path,
}

impl Giveaway<'_> {
    /// Writes the bundle `out`, as a whole or not at all; gives the number of its events.
    pub(crate) fn write(&self, out: &Path) -> Result<u64, Failure> {
        can_export(out, Existing::Keep).map_err(|error| failed(error, out))?;
        let (journal, path) = self.journal;
        if let Some(damage) = whole(journal, path)? {
            return Err(damage);
        }
        let (mapping, secret) = read_map(self.map)?;
        let place = WorkloadPlace::of(self.clean)?;
        let clean = Clean::open(&place, self.clean, &mapping)?;
        let recipe = Recipe::of(journal).map_err(|error| not_rerun(error, path))?;
        let of = journal.attachment(OPS).map(|bytes| Digest::of(&bytes));
        if Some(of.map_err(|error| failed(error, path))?) != mapping.original {
            return Err(mismatch(format!(
                "{} is no run of the workload that {} is about",
                path.display(),
                self.map.display()
            )));
        }
        if recipe.shards != 1 {
            return Err(Failure::environment(format!(
                "{} has several shards, which are not anonymized",
                path.display()
            ))
            .remedy("record the run again"));
        }
        let part = Part::of(out);
        let events = self.follow(&part.path, &recipe, &clean, &mapping, secret)?;
        // What is given away is looked at once more, as who gets it will.
        let again = Journal::open(&part.path).or_defect("cannot read what was written")?;
        let again = check(&again).or_defect("what was written does not run again")?;
        if !again.identical {
            return Err(Failure::defect("what was written runs otherwise again"));
        }
        let context = format!("cannot make {}", out.display());
        interrupt::uninterrupted(|| std::fs::rename(&part.path, out)).or_environment(context)?;
        Ok(events)
    }

    /// Goes through the run, and writes it down as one of the anonymized workload.
    fn follow(
        &self,
        to: &Path,
        recipe: &Recipe,
        clean: &Clean,
        mapping: &Mapping,
        secret: Digest,
    ) -> Result<u64, Failure> {
        let (journal, path) = self.journal;
        let mut names = Pseudonyms::of(mapping, secret.0);
        let config = anonymous_config(&recipe.config, &mut names);
        let meta = anonymous_meta(journal.meta(), &config, mapping, &mut names)?;
        let mut read = BTreeMap::new();
        let plan = recipe.plan(
            |_| true,
            |op| {
                if let Some(data) = op.expect.as_ref().and_then(|it| it.data) {
                    read.insert(op.id, (data.blake3, None));
                }
            },
        );
        let plan = plan.map_err(|error| not_rerun(error, path))?;
        let clean_plan = clean.plan(&config, &mut read)?;
        let wrong = |error| failed(error, to);
        let mut bundle = BundleWriter::create(to, &meta).map_err(wrong)?;
        for (name, bytes) in &clean.files {
            bundle.attach(name, bytes).map_err(wrong)?;
        }
        let shard = ShardId(0);
        let mut run = Side::of(plan, recipe.config.clone(), NoRecord);
        let mut twin = Side::of(clean_plan, config, bundle.shard(shard));
        let mut rewriter = Rewriter::of(names, secret);
        let entries = journal
            .entries(shard)
            .map_err(|error| failed(error, path))?;
        let mut events = 0;
        for stored in entries {
            let stored = stored.map_err(|error| failed(error, path))?;
            if stored.before != run.drive.effects().short() {
                return Err(not_followed(path));
            }
            let input = stored.input;
            run.feed(stored.now, input.clone())
                .map_err(|_| not_followed(path))?;
            let mut shown = shown_data(&run.effects, &read);
            let input = match input {
                Input::Received { conn, frame, seal } => Input::Received {
                    frame: rewriter.received(conn, &frame, &mut shown),
                    conn,
                    seal,
                },
                other => other,
            };
            let told = frames::words(&input);
            match twin.feed(stored.now, input) {
                Err(DriveError::Record { source, .. }) => return Err(failed(source, to)),
                Err(_) => return Err(departed(path, stored.seq, &told)),
                Ok(()) => {}
            }
            run.effects.retain(|effect| !is_of_pipe(effect, &read));
            let inputs = run.drive.inputs() == twin.drive.inputs();
            let pairs = || run.effects.iter().zip(&twin.effects);
            let same = run.effects.len() == twin.effects.len();
            if !inputs || !same || pairs().any(|(a, b)| !is_same(a, b)) {
                return Err(departed(path, stored.seq, &told));
            }
            for (a, b) in pairs() {
                if let (Effect::Send { conn, frame: a, .. }, Effect::Send { frame: b, .. }) = (a, b)
                {
                    rewriter.sent(*conn, a, b);
                }
            }
            events += 1;
        }
        if let Some(after) = journal.finish_digest(shard) {
            if after != run.drive.effects() {
                return Err(not_followed(path));
            }
            let finished = twin.drive.finish();
            finished.or_environment(format!("cannot write {}", to.display()))?;
        }
        drop(twin);
        bundle.end_file().map_err(wrong)?;
        Ok(events)
    }
}

/// The first damage of a journal.
fn whole(journal: &Journal, path: &Path) -> Result<Option<Failure>, Failure> {
    let damage = journal.hidden_damage();
    let damage = damage.map_err(|error| failed(error, path))?;
    Ok(damage.into_iter().next().map(|error| failed(error, path)))
}

/// An engine with what it did upon the last input.
struct Side<R> {
    drive: Drive<Engine, R>,
    effects: Vec<Effect>,
}

impl<R: Recorder> Side<R> {
    fn of(plan: Plan, config: RunConfig, recorder: R) -> Self {
        Self {
            drive: Drive::new(Engine::new(plan, config), recorder, Gate::open()),
            effects: Vec::new(),
        }
    }

    fn feed(
        &mut self,
        now: LogicalTime,
        input: Input,
    ) -> Result<(), DriveError<EngineError, R::Error>> {
        self.effects.clear();
        self.drive.take(now, input)?;
        while let Output::Do(effect) = self.drive.poll() {
            self.effects.push(effect);
        }
        Ok(())
    }
}

/// Data that READs have in the recording, and in the anonymized workload: there none of pipes.
type ReadData = BTreeMap<OpId, (Digest, Option<Digest>)>;

/// Digests of the data that came with an input, each with that of the anonymized workload where it is
/// the recorded one.
fn shown_data(effects: &[Effect], read: &ReadData) -> VecDeque<(Digest, Option<Digest>)> {
    let finished = effects.iter().filter_map(|effect| match effect {
        Effect::Report(Report::Finished { op, outcome, .. }) => Some((op, outcome.data?)),
        _ => None,
    });
    finished
        .map(|(op, seen)| {
            let recorded = read.get(op).filter(|(recorded, _)| *recorded == seen);
            (seen, recorded.and_then(|(_, made)| *made))
        })
        .collect()
}

/// A difference in what a pipe says, which an anonymized workload does not expect anything of.
fn is_of_pipe(effect: &Effect, read: &ReadData) -> bool {
    let Effect::Report(Report::Diverged { op, divergence }) = effect else {
        return false;
    };
    let unexpected = matches!(read.get(op), Some((_, None)));
    unexpected && matches!(divergence, Divergence::Data { .. })
}

/// Whether two engines do the same, but for names, ids and data.
fn is_same(a: &Effect, b: &Effect) -> bool {
    match (a, b) {
        (
            Effect::Send { conn, frame, login },
            Effect::Send {
                conn: other_conn,
                frame: other,
                login: other_login,
            },
        ) => conn == other_conn && login == other_login && is_same_frame(frame, other),
        (Effect::Report(a), Effect::Report(b)) => is_same_report(a, b),
        _ => a == b,
    }
}

fn is_same_frame(a: &Frame, b: &Frame) -> bool {
    let heads = |frame: &Frame| -> Vec<_> {
        let pdus = frame.pdus().map_while(Result::ok);
        pdus.map(|(head, _, cut)| {
            let (charge, credits) = (head.credit_charge, head.credits);
            (
                head.command,
                head.message_id,
                head.flags,
                charge,
                credits,
                cut.map(|it| it.len),
            )
        })
        .collect()
    };
    heads(a) == heads(b)
}

fn is_same_report(a: &Report, b: &Report) -> bool {
    let bare = |report: &Report| match report.clone() {
        Report::Finished {
            op,
            mut outcome,
            latency_ns,
        } => {
            outcome.data = outcome.data.map(|_| Digest([0; 32]));
            Report::Finished {
                op,
                outcome,
                latency_ns,
            }
        }
        Report::Diverged { op, divergence } => Report::Diverged {
            op,
            divergence: match divergence {
                Divergence::Data { .. } => Divergence::Data {
                    recorded: Digest([0; 32]),
                    seen: Digest([0; 32]),
                },
                Divergence::WrongHeader { field, .. } => Divergence::WrongHeader {
                    field,
                    sent: 0,
                    seen: 0,
                },
                other => other,
            },
        },
        other => other,
    };
    bare(a) == bare(b)
}

/// The workload that `anonymize` made.
struct Clean {
    reader: FolderReader,
    shown: PathBuf,
    /// What the journal takes along, by name.
    files: Vec<(String, Vec<u8>)>,
}

impl Clean {
    fn open(place: &WorkloadPlace, given: &Path, mapping: &Mapping) -> Result<Self, Failure> {
        let shown = given.display();
        let context = || format!("cannot read the anonymized workload {shown}");
        let reader = FolderReader::open(place.path())
            .or_environment(context())
            .map_err(|failure| failure.remedy("name a folder that smbench anonymize wrote"))?;
        let read = |name: &str| {
            let bytes = std::fs::read(place.path().join(name)).or_environment(context())?;
            Ok((name.to_owned(), bytes))
        };
        let files: Vec<(String, Vec<u8>)> = [WORKLOAD, OPS]
            .into_iter()
            .map(read)
            .collect::<Result<_, Failure>>()?;
        let digest = files.last().map(|(_, operations)| Digest::of(operations));
        if digest != mapping.anonymized {
            return Err(mismatch(format!(
                "{shown} is not the workload that was made with the map"
            )));
        }
        Ok(Self {
            reader,
            shown: given.to_owned(),
            files,
        })
    }

    /// Ready to run. Notes what data its READs have.
    fn plan(&self, config: &RunConfig, read: &mut ReadData) -> Result<Plan, Failure> {
        let context = || format!("cannot read the operations of {}", self.shown.display());
        let mut wrong = None;
        let operations = self.reader.operations().or_environment(context())?;
        let operations = operations.map_while(|op| match op {
            Ok(op) => {
                note_data(&op, read);
                Some(op)
            }
            Err(error) => {
                wrong = Some(error);
                None
            }
        });
        let plan = Plan::build(self.reader.workload(), operations, config, |_| true);
        match wrong {
            Some(error) => Err(error).or_environment(context()),
            None => plan.or_environment("the anonymized workload cannot be run"),
        }
    }
}

fn note_data(op: &Operation, read: &mut ReadData) {
    let data = op.expect.as_ref().and_then(|expect| expect.data);
    if let (Some(data), Some((_, made))) = (data, read.get_mut(&op.id)) {
        *made = Some(data.blake3);
    }
}

fn anonymous_config(config: &RunConfig, names: &mut Pseudonyms) -> RunConfig {
    let mut target = |target: &TreeTarget| TreeTarget {
        path: names.unc(&target.path),
        root: names.path(&target.root),
    };
    let tree_targets = config.tree_targets.iter().map(&mut target).collect();
    let targets: Vec<TreeTarget> = config.trees.values().map(target).collect();
    let paths = config.trees.keys().map(|path| names.unc(path));
    RunConfig {
        tree_targets,
        trees: paths.zip(targets).collect(),
        ..config.clone()
    }
}

/// Neither when it was, nor with which command line, nor who logged in.
fn anonymous_meta(
    meta: &RunMeta,
    config: &RunConfig,
    mapping: &Mapping,
    names: &mut Pseudonyms,
) -> Result<RunMeta, Failure> {
    let mut kept = BTreeMap::new();
    for name in [facts::VERB, facts::MIN_COVERAGE] {
        if let Some(value) = meta.facts.get(name) {
            kept.insert(name.to_owned(), value.clone());
        }
    }
    if let Some(server) = meta.facts.get(facts::SERVER) {
        kept.insert(facts::SERVER.to_owned(), names.endpoint(server));
    }
    Ok(RunMeta {
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        workload: mapping.anonymized,
        config: serde_json::to_value(config).or_defect("cannot write the run's config")?,
        seed: meta.seed,
        shards: meta.shards,
        facts: kept,
        ..RunMeta::default()
    })
}

/// The map, and a secret that is made of it.
fn read_map(path: &Path) -> Result<(Mapping, Digest), Failure> {
    let shown = path.display();
    let remedy = |failure: Failure| {
        failure.remedy("name the file that smbench anonymize DIR -o CLEAN --map FILE wrote")
    };
    let bytes = std::fs::read(path)
        .or_environment(format!("cannot read the map {shown}"))
        .map_err(remedy)?;
    let mapping: Mapping = serde_json::from_slice(&bytes)
        .or_environment(format!("{shown} is no map"))
        .map_err(remedy)?;
    if mapping.original.is_none() || mapping.anonymized.is_none() {
        return Err(
            Failure::environment(format!("{shown} does not say of which workload it is"))
                .remedy("it is of an older version: anonymize the workload again"),
        );
    }
    Ok((mapping, Digest::of(&bytes)))
}

fn mismatch(message: String) -> Failure {
    Failure::environment(message).remedy(
        "the journal has to be a run of the original, and workload and map of one smbench anonymize",
    )
}

fn not_followed(path: &Path) -> Failure {
    let shown = path.display();
    Failure::new(
        ENVIRONMENT,
        anyhow::anyhow!("{shown} does not run again as it ran, and cannot be anonymized"),
    )
    .remedy(format!("smbench rerun {shown} says where"))
}

fn departed(path: &Path, seq: u64, told: &str) -> Failure {
    let shown = path.display();
    Failure::environment(format!(
        "{shown} cannot be anonymized: without what event {seq} tells ({told}) the run goes another way"
    ))
    .remedy("anonymize the workload and give that away: who has it can run it")
}

/// The file on its way; gone with the value unless it has its name.
struct Part {
    path: PathBuf,
    _unfinished: Unfinished,
}

impl Part {
    fn of(out: &Path) -> Self {
        let path = unfinished(out);
        Self {
            _unfinished: Unfinished::at(&path),
            path,
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // It has its name, or never was, or goes with what failed.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use smbench_core::event::Outcome;
    use smbench_core::ids::ConnId;
    use smbench_core::smb2::NtStatus;

    use super::*;

    #[test]
    fn only_names_ids_and_data_may_differ() {
        let finished = |status, data| {
            Effect::Report(Report::Finished {
                op: OpId(1),
                outcome: Outcome {
                    status,
                    data,
                    ..Outcome::default()
                },
                latency_ns: 5,
            })
        };
        let one = finished(NtStatus::SUCCESS, Some(Digest([1; 32])));
        assert!(is_same(
            &one,
            &finished(NtStatus::SUCCESS, Some(Digest([2; 32])))
        ));
        assert!(!is_same(&one, &finished(NtStatus::SUCCESS, None)));
        assert!(!is_same(
            &one,
            &finished(NtStatus::ACCESS_DENIED, Some(Digest([1; 32])))
        ));
        let data = |byte| Divergence::Data {
            recorded: Digest([byte; 32]),
            seen: Digest([3; 32]),
        };
        let diverged = |op, divergence| Effect::Report(Report::Diverged { op, divergence });
        assert!(is_same(
            &diverged(OpId(1), data(1)),
            &diverged(OpId(1), data(2))
        ));
        assert!(!is_same(
            &diverged(OpId(1), data(1)),
            &diverged(OpId(2), data(1))
        ));
        assert!(!is_same(
            &diverged(OpId(1), data(1)),
            &diverged(OpId(1), Divergence::Malformed)
        ));
        let connect = |conn| Effect::Connect { conn: ConnId(conn) };
        assert!(is_same(&connect(1), &connect(1)) && !is_same(&connect(1), &connect(2)));
        // Of pipes nothing is expected any more.
        let read = ReadData::from([(OpId(1), (Digest([1; 32]), None))]);
        assert!(is_of_pipe(&diverged(OpId(1), data(1)), &read));
        assert!(!is_of_pipe(&diverged(OpId(2), data(1)), &read));
    }
}
