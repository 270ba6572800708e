//! What the recorded server was like, where the protocol leaves servers a choice: the model server is like it.

use std::collections::{BTreeMap, BTreeSet};

use smbench_core::confine::is_dfs;
use smbench_core::fscc::SetInfoPayload;
use smbench_core::function::Function;
use smbench_core::ids::{OpId, OpenRef, TreeRef};
use smbench_core::smb2::{Capabilities, Command, Dialect, FileAttributes, NtStatus, Request};
use smbench_core::workload::{Action, Connection, Operation, Tree, Workload};
use smbench_sim::server::{AfterFailedCreate, Denial, PosixDelete, RecordedFunction, RecordedPipe};

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
    /// It said that sessions may have several channels, or nobody saw what it said.
    pub(crate) multi_channel: bool,
    /// How it answers what is related to a CREATE that failed.
    pub(crate) after_failed_create: AfterFailedCreate,
    /// When a name goes that is deleted with POSIX semantics.
    pub(crate) posix_delete: PosixDelete,
    /// Information that it did not know.
    pub(crate) unknown: BTreeMap<Function, NtStatus>,
    /// What it refused for lack of rights.
    pub(crate) denials: Vec<Denial>,
    /// What was said on its pipes.
    pub(crate) pipes: Vec<RecordedPipe>,
    /// What it answered to what the model does not compute.
    pub(crate) functions: Vec<RecordedFunction>,
    /// Its shares that are namespaces of DFS, in lower case: clients named things there with server and share.
    pub(crate) dfs_shares: BTreeSet<String>,
}

impl Recorded {
    /// Reads a workload's operations once, as they lie.
    /// `asks_more`: some of them ask for what the model does not compute.
    pub(crate) fn of(loaded: &Loaded, asks_more: bool) -> Result<Self, Failure> {
        let workload = loaded.workload();
        let (mut seen, mut said) = (Seen::default(), Conversations::default());
        let (mut rights, mut functions) = (Rights::default(), Functions::default());
        let asks_more = asks_more || workload.trees.iter().any(Tree::holds_pipes);
        // Most workloads tell nothing of it, which is known from their text in a tenth of the time.
        let lines = match asks_more {
            true => String::new(),
            false => loaded.lines()?,
        };
        let tells = |marks: &[&str]| marks.iter().any(|mark| lines.contains(mark));
        if asks_more || tells(&ASKED) {
            for operation in loaded.operations()? {
                let operation = operation?;
                seen.note(workload, &operation);
                seen.note_deleted(&operation);
                rights.note(workload, &operation);
                said.note(loaded, &operation)?;
                functions.note(loaded, &operation)?;
            }
        } else if tells(&RELATED) || unknown_capabilities(workload) && tells(&LEASED) {
            for outline in loaded.outlines()? {
                seen.note(workload, &outline?);
            }
        }
        let mut told = workload.connections.iter().filter_map(|it| it.capabilities);
        let offered = told.any(|it| it.contains(Capabilities::DIRECTORY_LEASING));
        let multi_channel = has_channels(&workload.connections);
        Ok(Self {
            directory_leases: offered || seen.leased_directory,
            multi_channel,
            after_failed_create: if seen.closed > seen.same {
                AfterFailedCreate::FileClosed
            } else {
                AfterFailedCreate::SameStatus
            },
            posix_delete: seen.posix_delete,
            unknown: functions.unknown(),
            denials: rights.denials(),
            pipes: said.pipes,
            functions: functions.answers,
            dfs_shares: seen.dfs_shares,
        })
    }
}

/// The server did not say everywhere whether it leases directories.
fn unknown_capabilities(workload: &Workload) -> bool {
    let mut connections = workload.connections.iter();
    connections.any(|it| it.capabilities.is_none())
}

// What lines that tell something of the server have in them.
/// ACCESS_DENIED, by name or number, FileDispositionInformationEx, and information that is not known.
const ASKED: [&str; 6] = [
    "ACCESS_DENIED",
    "c0000022",
    "C0000022",
    "\"file_info_class\":64",
    "INVALID_INFO_CLASS",
    "NOT_SUPPORTED",
];
/// Something is related to what is before it, or SMB2_FLAGS_DFS_OPERATIONS, with and without that of a replay.
const RELATED: [&str; 3] = ["\"related\"", "\"0x100000", "\"0x300000"];
const LEASED: [&str; 1] = ["\"lease\""];

/// The newest dialect that the recorded server chose: what it has beyond that nobody saw.
pub(crate) fn newest_dialect(workload: &Workload) -> Dialect {
    let chosen = workload.connections.iter().filter_map(|it| it.dialect);
    let chosen = chosen.filter(|it| *it != Dialect::WILDCARD);
    chosen.max_by_key(|it| it.0).unwrap_or(Dialect::SMB_3_1_1)
}

/// Whether a server binds sessions to further connections: as those say that speak 3.x, else as servers do.
fn has_channels(connections: &[Connection]) -> bool {
    let speaks = |it: &&Connection| {
        let dialect = it.dialect.unwrap_or_default();
        dialect >= Dialect::SMB_3_0
    };
    let told = connections.iter().filter(speaks);
    let told: Vec<_> = told.filter_map(|it| it.capabilities).collect();
    told.is_empty()
        || told
            .iter()
            .any(|it| it.contains(Capabilities::MULTI_CHANNEL))
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
    /// What was deleted with POSIX semantics by an open that is not closed yet: that open, by tree and name.
    deleted: BTreeMap<(Option<TreeRef>, String), OpenRef>,
    /// When the name of such a file goes, as far as somebody asked for it.
    posix_delete: PosixDelete,
    dfs_shares: BTreeSet<String>,
}

impl Seen {
    fn note(&mut self, workload: &Workload, operation: &Operation) {
        if operation.cmd == Command::CREATE && is_dfs(operation) {
            let tree = operation.tree.and_then(|it| workload.trees.get(it.index()));
            self.dfs_shares
                .extend(tree.map(|it| it.share().to_lowercase()));
        }
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

    /// Notes when a name goes that is deleted with POSIX semantics.
    fn note_deleted(&mut self, operation: &Operation) {
        let (Some(expect), Action::Request(request)) = (&operation.expect, &operation.action)
        else {
            return;
        };
        let name = |path: &str| path.trim_matches('\\').to_lowercase();
        match request {
            Request::SetInfo(set) if expect.status == NtStatus::SUCCESS => {
                let payload =
                    SetInfoPayload::parse(set.info_type, set.file_info_class, &set.buffer);
                let posix = DELETE | POSIX_SEMANTICS;
                if let SetInfoPayload::FileDispositionEx { flags } = payload
                    && flags & posix == posix
                    && let (Some(path), Some(open)) = (&operation.path, operation.open)
                {
                    self.deleted.insert((operation.tree, name(path)), open);
                }
            }
            Request::Close(_) => {
                let closed = operation.open;
                self.deleted.retain(|_, open| Some(*open) != closed);
            }
            Request::Create(create) if !self.deleted.is_empty() => {
                let by_id = operation.path_by_id();
                let path = by_id.or(create.name.as_text()).map(name);
                let path = path.unwrap_or_default();
                let gone = expect.status == NtStatus::OBJECT_NAME_NOT_FOUND;
                if gone && self.deleted.contains_key(&(operation.tree, path)) {
                    self.posix_delete = PosixDelete::AtOnce;
                }
            }
            _ => {}
        }
    }
}

// Flags of FileDispositionInformationEx. [MS-FSCC] 2.4.12
const DELETE: u32 = 0x1;
const POSIX_SEMANTICS: u32 = 0x2;

#[cfg(test)]
mod tests {
    use smbench_core::ids::ClientId;
    use smbench_core::smb2::{
        CloseRequest, CreateRequest, FileInfoClass, HeaderFlags, InfoType, LeaseState, Name,
        QueryInfoRequest, SetInfoRequest,
    };
    use smbench_core::workload::{Compound, Expect, LeaseGrant};

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
            seen.note(&Workload::default(), &operation);
        }
        assert_eq!((seen.closed, seen.same), (2, 1));
    }

    #[test]
    fn a_name_that_is_gone_before_its_close_tells_when_names_go() {
        let delete = |flags: u32| Operation {
            path: Some("D\\f".to_owned()),
            open: Some(OpenRef(3)),
            compound: None,
            ..answered(
                SetInfoRequest {
                    info_type: InfoType::FILE,
                    file_info_class: FileInfoClass::DISPOSITION_EX.into(),
                    buffer: flags.to_le_bytes().to_vec(),
                    ..SetInfoRequest::default()
                },
                (0, 0),
                NtStatus::SUCCESS,
            )
        };
        let close = |open| Operation {
            open: Some(OpenRef(open)),
            compound: None,
            ..answered(CloseRequest::default(), (0, 0), NtStatus::SUCCESS)
        };
        let create = |name: &str, status| Operation {
            compound: None,
            ..answered(
                CreateRequest {
                    name: Name::from(name),
                    ..CreateRequest::default()
                },
                (0, 0),
                status,
            )
        };
        let missing = NtStatus::OBJECT_NAME_NOT_FOUND;
        for (between, at_once) in [
            (vec![delete(3), create("d\\F", missing)], true),
            (vec![delete(3), close(4), create("d\\F", missing)], true),
            (vec![delete(3), close(3), create("d\\F", missing)], false),
            (vec![delete(1), create("d\\F", missing)], false),
            (vec![delete(3), create("d\\g", missing)], false),
            (
                vec![delete(3), create("d\\F", NtStatus::DELETE_PENDING)],
                false,
            ),
        ] {
            let mut seen = Seen::default();
            for operation in &between {
                seen.note_deleted(operation);
            }
            assert_eq!(seen.posix_delete == PosixDelete::AtOnce, at_once);
        }
    }

    #[test]
    fn what_3x_connections_are_told_says_whether_there_are_channels() {
        let (one, many) = (Capabilities::LARGE_MTU, Capabilities::MULTI_CHANNEL);
        for (connections, want) in [
            (&[][..], true),
            (&[(Some(Dialect::SMB_3_1_1), None)], true),
            // Nobody speaks of channels on 2.x.
            (&[(Some(Dialect::SMB_2_1), Some(one))], true),
            (&[(Some(Dialect::SMB_3_0), Some(one))], false),
            (
                &[
                    (Some(Dialect::SMB_3_0), Some(one)),
                    (Some(Dialect::SMB_3_1_1), Some(many)),
                ],
                true,
            ),
        ] {
            let connections: Vec<_> = connections
                .iter()
                .map(|(dialect, capabilities)| Connection {
                    client: ClientId(0),
                    from: String::new(),
                    to: String::new(),
                    at_us: 0,
                    dialect: *dialect,
                    capabilities: *capabilities,
                    midstream: false,
                })
                .collect();
            assert_eq!(has_channels(&connections), want, "{connections:?}");
        }
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
            seen.note(&Workload::default(), &operation);
            assert_eq!(seen.leased_directory, leased, "{attributes:?} {state:?}");
        }
    }

    #[test]
    fn names_with_server_and_share_tell_a_namespace_of_dfs() {
        let tree = |path: &str| Tree {
            session: Default::default(),
            path: path.to_owned(),
            share_type: 1,
            wire_id: Default::default(),
            inferred: false,
        };
        let workload = Workload {
            trees: vec![tree("\\\\dom\\Files"), tree("\\\\dom\\plain")],
            ..Workload::default()
        };
        let mut seen = Seen::default();
        for (at, flags) in [(0, HeaderFlags::DFS), (1, HeaderFlags::empty())] {
            let operation = Operation {
                flags,
                tree: Some(TreeRef(at)),
                ..answered(CreateRequest::default(), (0, 0), NtStatus::SUCCESS)
            };
            seen.note(&workload, &operation);
        }
        assert_eq!(seen.dfs_shares, BTreeSet::from(["files".to_owned()]));
    }
}
