//! What the recorded server was like, where the protocol leaves servers a choice: the model server is like it.

use smbench_core::ids::OpId;
use smbench_core::smb2::{Capabilities, Command, Dialect, FileAttributes, NtStatus};
use smbench_core::workload::{Operation, Tree, Workload};
use smbench_sim::server::{AfterFailedCreate, Denial, RecordedFunction, RecordedPipe};

use crate::exit::Failure;
use crate::functions::Functions;
use crate::load::Loaded;
use crate::pipes::Conversations;
use crate::rights::Rights;

/// The recorded server.
#[derive(Debug)]
pub(crate) struct Recorded {
    /// It said that it leases directories, or has done so.
    pub(crate) directory_leases: bool,
    /// How it answers what is related to a CREATE that failed.
    pub(crate) after_failed_create: AfterFailedCreate,
    /// What it refused for lack of rights.
    pub(crate) denials: Vec<Denial>,
    /// What was said on its pipes.
    pub(crate) pipes: Vec<RecordedPipe>,
    /// What it answered to what the model does not compute.
    pub(crate) functions: Vec<RecordedFunction>,
}

impl Recorded {
    /// Reads a workload's operations once, as they lie.
    /// `asks_more`: some of them ask for what the model does not compute.
    pub(crate) fn of(loaded: &Loaded, asks_more: bool) -> Result<Self, Failure> {
        let workload = loaded.workload();
        let (mut seen, mut said) = (Seen::default(), Conversations::default());
        let (mut rights, mut functions) = (Rights::default(), Functions::default());
        let has_pipes = workload.trees.iter().any(Tree::holds_pipes);
        // Most workloads tell nothing of it, which is known from their text in a tenth of the time.
        let lines = loaded.lines()?;
        let tells = |marks: &[&str]| marks.iter().any(|mark| lines.contains(mark));
        if asks_more || has_pipes || tells(&DENIED) {
            for operation in loaded.operations()? {
                let operation = operation?;
                seen.note(&operation);
                rights.note(workload, &operation);
                said.note(loaded, &operation)?;
                functions.note(loaded, &operation)?;
            }
        } else if tells(&RELATED) || unknown_capabilities(workload) && tells(&LEASED) {
            for outline in loaded.outlines()? {
                seen.note(&outline?);
            }
        }
        let mut told = workload.connections.iter().filter_map(|it| it.capabilities);
        let offered = told.any(|it| it.contains(Capabilities::DIRECTORY_LEASING));
        Ok(Self {
            directory_leases: offered || seen.leased_directory,
            after_failed_create: if seen.closed > seen.same {
                AfterFailedCreate::FileClosed
            } else {
                AfterFailedCreate::SameStatus
            },
            denials: rights.denials(),
            pipes: said.pipes,
            functions: functions.answers,
        })
    }
}

/// The server did not say everywhere whether it leases directories.
fn unknown_capabilities(workload: &Workload) -> bool {
    let mut connections = workload.connections.iter();
    connections.any(|it| it.capabilities.is_none())
}

// What lines that tell something of the server have in them.
/// ACCESS_DENIED, by name or number.
const DENIED: [&str; 3] = ["ACCESS_DENIED", "c0000022", "C0000022"];
const RELATED: [&str; 1] = ["\"related\""];
const LEASED: [&str; 1] = ["\"lease\""];

/// The newest dialect that the recorded server chose: what it has beyond that nobody saw.
pub(crate) fn newest_dialect(workload: &Workload) -> Dialect {
    let chosen = workload.connections.iter().filter_map(|it| it.dialect);
    let chosen = chosen.filter(|it| *it != Dialect::WILDCARD);
    chosen.max_by_key(|it| it.0).unwrap_or(Dialect::SMB_3_1_1)
}

/// What operations tell of the server's choices.
#[derive(Debug, Default)]
struct Seen {
    leased_directory: bool,
    /// The compound whose CREATE failed last, and how.
    failed: Option<(OpId, NtStatus)>,
    /// What was related to a failed CREATE and got its status.
    same: u64,
    /// And what got FILE_CLOSED.
    closed: u64,
}

impl Seen {
    fn note(&mut self, operation: &Operation) {
        let Some(expect) = &operation.expect else {
            return;
        };
        let compound = operation.compound.as_ref();
        let failed = self
            .failed
            .filter(|(first, _)| compound.is_some_and(|it| it.related && it.first == *first));
        match (failed, operation.cmd) {
            (Some((_, status)), _) if expect.status == status => self.same += 1,
            (Some(_), _) if expect.status == NtStatus::FILE_CLOSED => self.closed += 1,
            (None, Command::CREATE) if expect.status.is_error() => {
                self.failed = compound.map(|it| (it.first, expect.status));
            }
            (None, Command::CREATE) => {
                let is_directory = expect
                    .attributes
                    .is_some_and(|bits| bits & FileAttributes::DIRECTORY.bits() != 0);
                let leased = expect.lease.as_ref().is_some_and(|it| !it.state.is_empty());
                self.leased_directory |= is_directory && leased;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use smbench_core::smb2::{CreateRequest, LeaseState, QueryInfoRequest, Request};
    use smbench_core::workload::{Action, Compound, Expect, LeaseGrant};

    use super::*;

    fn answered(request: impl Into<Request>, at: (u32, u16), status: NtStatus) -> Operation {
        let request = request.into();
        Operation {
            cmd: request.command(),
            action: Action::Request(request),
            compound: Some(Compound {
                first: OpId(at.0),
                position: at.1,
                related: at.1 > 0,
                last: false,
            }),
            expect: Some(Expect {
                status,
                ..Expect::default()
            }),
            ..Operation::blank()
        }
    }

    #[test]
    fn what_follows_a_failed_create_tells_how_the_server_answers_it() {
        let missing = NtStatus::OBJECT_NAME_NOT_FOUND;
        let create = |first| answered(CreateRequest::default(), (first, 0), missing);
        let query = |at, status| answered(QueryInfoRequest::default(), at, status);
        let mut seen = Seen::default();
        for operation in [
            create(0),
            query((0, 1), NtStatus::FILE_CLOSED),
            query((0, 2), NtStatus::FILE_CLOSED),
            create(3),
            query((3, 1), missing),
            // Of another compound, or after a CREATE that did not fail, it tells nothing.
            query((9, 1), NtStatus::FILE_CLOSED),
            answered(CreateRequest::default(), (6, 0), NtStatus::SUCCESS),
            query((6, 1), NtStatus::FILE_CLOSED),
        ] {
            seen.note(&operation);
        }
        assert_eq!((seen.closed, seen.same), (2, 1));
    }

    #[test]
    fn a_lease_of_a_directory_tells_that_there_are_such() {
        for (attributes, state, leased) in [
            (FileAttributes::DIRECTORY, LeaseState::READ, true),
            (FileAttributes::DIRECTORY, LeaseState::empty(), false),
            (FileAttributes::ARCHIVE, LeaseState::READ, false),
        ] {
            let mut operation = answered(CreateRequest::default(), (0, 0), NtStatus::SUCCESS);
            let expect = operation.expect.as_mut().unwrap();
            expect.attributes = Some(attributes.bits());
            expect.lease = Some(LeaseGrant {
                state,
                flags: 0,
                epoch: 1,
            });
            let mut seen = Seen::default();
            seen.note(&operation);
            assert_eq!(seen.leased_directory, leased, "{attributes:?} {state:?}");
        }
    }
}
