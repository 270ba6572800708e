//! What users were not allowed to do: refusals that nothing else in a recording explains, as facts about the
//! files that were there.
//!
//! A refusal counts where the handle had the rights that the request needs, or, of a CREATE, where no attribute
//! of the file explains it; and where nobody of that name was ever answered otherwise for the same.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use smbench_core::confine::created_path;
use smbench_core::ids::{OpId, OpenRef};
use smbench_core::smb2::{
    AccessMask, Command, CreateDisposition, CreateOptions, CreateRequest, FileAttributes,
    FileInfoClass, InfoType, NtStatus, Request,
};
use smbench_core::workload::{Action, Expect, Operation, Workload};
use smbench_sim::server::{Denial, Denied};

use crate::exit::Failure;
use crate::load::Loaded;
use crate::report::say;

/// What was refused for lack of rights.
#[derive(Debug, Default)]
pub(crate) struct Rights {
    facts: BTreeMap<Key, Answers>,
    opens: BTreeMap<OpenRef, Opened>,
    /// Files with attributes that explain refusals.
    guarded: BTreeSet<(String, String)>,
}

/// One fact, as `inspect` tells it.
#[derive(Debug, Serialize)]
pub(crate) struct Fact {
    /// The share.
    pub(crate) share: String,
    /// The file, as requests name it.
    pub(crate) path: String,
    /// Who may not.
    pub(crate) user: String,
    /// What: a command, with the access that it asks for or the class that it sets.
    pub(crate) what: String,
    /// The operation that was refused first.
    pub(crate) operation: OpId,
    /// Number of its request's packet in the capture.
    pub(crate) frame: u64,
}

#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Key {
    share: String,
    path: String,
    user: String,
    what: Denied,
}

/// How requests of one key were answered.
#[derive(Clone, Debug, Default)]
struct Answers {
    /// Refused, and nothing else explains it: operations, and their packets.
    refused: Vec<(OpId, u64)>,
    /// Some were answered otherwise.
    otherwise: bool,
}

#[derive(Clone, Debug)]
struct Opened {
    share: String,
    path: String,
    user: String,
    access: AccessMask,
    wrote: bool,
}

impl Rights {
    /// Reads the operations of a workload.
    pub(crate) fn of(loaded: &Loaded) -> Result<Self, Failure> {
        let mut rights = Self::default();
        for operation in loaded.operations()? {
            rights.note(loaded.workload(), &operation?);
        }
        Ok(rights)
    }

    /// Notes how the next operation was answered.
    pub(crate) fn note(&mut self, workload: &Workload, operation: &Operation) {
        let (Action::Request(request), Some(expect)) = (&operation.action, &operation.expect)
        else {
            return;
        };
        let known = match request {
            Request::Create(create) => self.create(workload, operation, create, expect),
            _ => self.use_of(operation, request, expect),
        };
        if let Some((key, explained)) = known {
            let answers = self.facts.entry(key).or_default();
            match expect.status == NtStatus::ACCESS_DENIED && !explained {
                true => answers.refused.push((operation.id, operation.frame)),
                false => answers.otherwise = true,
            }
        }
    }

    fn create(
        &mut self,
        workload: &Workload,
        operation: &Operation,
        create: &CreateRequest,
        expect: &Expect,
    ) -> Option<(Key, bool)> {
        let tree = workload.trees.get(operation.tree?.index())?;
        let session = workload.sessions.get(operation.session?.index())?;
        let user = workload
            .principals
            .get(usize::try_from(session.principal).ok()?)?;
        if !tree.holds_files() || operation.reclaims.is_some() {
            return None;
        }
        let key = Key {
            share: tree.share().to_lowercase(),
            path: created_path(operation)?.trim_matches('\\').to_lowercase(),
            user: user_of(&user.name),
            what: Denied::Create(create.desired_access.without_generic()),
        };
        let file = (key.share.clone(), key.path.clone());
        let guards = FileAttributes::READONLY | FileAttributes::HIDDEN | FileAttributes::SYSTEM;
        let has = FileAttributes::from_bits_retain(expect.attributes.unwrap_or_default());
        if has.intersects(guards) {
            self.guarded.insert(file.clone());
        }
        if let (Some(open), NtStatus::SUCCESS) = (operation.open, expect.status) {
            let opened = Opened {
                share: key.share.clone(),
                path: key.path.clone(),
                user: key.user.clone(),
                access: create.desired_access.without_generic(),
                wrote: false,
            };
            self.opens.insert(open, opened);
        }
        Some((key, explains(create) || self.guarded.contains(&file)))
    }

    fn use_of(
        &mut self,
        operation: &Operation,
        request: &Request,
        expect: &Expect,
    ) -> Option<(Key, bool)> {
        let open = operation.open?;
        let opened = self.opens.get_mut(&open)?;
        let (class, needs) = match request {
            Request::Write(_) => (None, AccessMask::WRITE_DATA | AccessMask::APPEND_DATA),
            Request::Read(_) => (None, AccessMask::READ_DATA | AccessMask::EXECUTE),
            Request::QueryDirectory(_) | Request::ChangeNotify(_) => (None, AccessMask::READ_DATA),
            Request::Close(_) if opened.wrote => (None, AccessMask::all()),
            Request::SetInfo(set) => {
                let class = (set.info_type.0, set.file_info_class.0);
                (Some(class), rights_of(set.info_type, class.1)?)
            }
            _ => return None,
        };
        opened.wrote |= operation.cmd == Command::WRITE && expect.status == NtStatus::SUCCESS;
        let may = opened
            .access
            .intersects(needs | AccessMask::MAXIMUM_ALLOWED);
        let key = Key {
            share: opened.share.clone(),
            path: opened.path.clone(),
            user: opened.user.clone(),
            what: Denied::Request(operation.cmd, class),
        };
        if operation.cmd == Command::CLOSE {
            self.opens.remove(&open);
        }
        Some((key, !may))
    }

    /// What was never answered otherwise.
    fn facts(&self) -> impl Iterator<Item = (&Key, &[(OpId, u64)])> {
        self.facts.iter().filter_map(|(key, answers)| {
            let all = !answers.otherwise && !self.is_more_granted(key);
            all.then_some((key, answers.refused.as_slice()))
        })
    }

    /// Whether who asked for as much or more of the same file was answered otherwise.
    fn is_more_granted(&self, key: &Key) -> bool {
        let Denied::Create(least) = key.what else {
            return false;
        };
        let all = Key {
            what: Denied::Create(AccessMask::empty()),
            ..key.clone()
        };
        let same = |other: &Key| {
            (&other.share, &other.path, &other.user) == (&key.share, &key.path, &key.user)
        };
        let mut near = self.facts.range(all..).take_while(|(other, _)| same(other));
        near.any(|(other, answers)| match other.what {
            Denied::Create(more) => answers.otherwise && more.contains(least),
            Denied::Request(..) => false,
        })
    }

    /// What the model server has to refuse.
    pub(crate) fn denials(&self) -> Vec<Denial> {
        let denial = |(key, _): (&Key, &[(OpId, u64)])| Denial {
            share: key.share.clone(),
            path: key.path.clone(),
            user: key.user.clone(),
            what: key.what,
        };
        self.facts().map(denial).collect()
    }

    /// The operations that were refused.
    pub(crate) fn refused(&self) -> BTreeSet<OpId> {
        let told = self.facts().flat_map(|(_, told)| told);
        told.map(|(op, _)| *op).collect()
    }

    /// All facts, for people.
    pub(crate) fn told(&self) -> Vec<Fact> {
        let fact = |(key, told): (&Key, &[(OpId, u64)])| {
            let (operation, frame) = *told.first()?;
            Some(Fact {
                share: key.share.clone(),
                path: key.path.clone(),
                user: key.user.clone(),
                what: key.what.to_string(),
                operation,
                frame,
            })
        };
        self.facts().filter_map(fact).collect()
    }
}

/// Tells what users were not allowed to do.
pub(crate) fn print(facts: &[Fact]) {
    if facts.is_empty() {
        return;
    }
    say!(
        "refused for lack of rights, as nothing else explains it: {} kinds of requests",
        facts.len()
    );
    for fact in facts.iter().take(SHOWN) {
        let Fact {
            path,
            user,
            what,
            frame,
            ..
        } = fact;
        say!("  {what} of {path} by {user} (frame {frame})");
    }
    if let Some(more @ 1..) = facts.len().checked_sub(SHOWN) {
        say!("  and {more} more: --json has all");
    }
}

/// Facts that are printed.
const SHOWN: usize = 10;

/// The user's name without domain, as logins tell it.
fn user_of(name: &str) -> String {
    name.rsplit('\\').next().unwrap_or(name).to_lowercase()
}

/// Whether a CREATE is refused whoever asks. [MS-SMB2] 3.3.5.9, [MS-FSA] 2.1.5.1
fn explains(create: &CreateRequest) -> bool {
    let access = create.desired_access;
    let odd = access.is_empty()
        || access.contains(AccessMask::ACCESS_SYSTEM_SECURITY)
        || access.bits() & UNDEFINED != 0;
    let deletes = create
        .create_options
        .contains(CreateOptions::DELETE_ON_CLOSE);
    let may_delete = access.without_generic().contains(AccessMask::DELETE);
    // What is there may have attributes that keep it from being overwritten.
    let overwrites = matches!(
        create.create_disposition,
        CreateDisposition::SUPERSEDE
            | CreateDisposition::OVERWRITE
            | CreateDisposition::OVERWRITE_IF
    );
    odd || overwrites || deletes && !may_delete
}

/// What a handle needs to set something; none where refusals have other reasons too.
/// [MS-FSA] 2.1.5.15
fn rights_of(info_type: InfoType, class: u8) -> Option<AccessMask> {
    match (info_type, FileInfoClass(class)) {
        (InfoType::FILE, FileInfoClass::BASIC) => Some(AccessMask::WRITE_ATTRIBUTES),
        (
            InfoType::FILE,
            FileInfoClass::END_OF_FILE
            | FileInfoClass::ALLOCATION
            | FileInfoClass::VALID_DATA_LENGTH,
        ) => Some(AccessMask::WRITE_DATA),
        (InfoType::FILE, FileInfoClass::FULL_EA) => Some(AccessMask::WRITE_EA),
        (InfoType::FILE, FileInfoClass::DISPOSITION) => Some(AccessMask::DELETE),
        (InfoType::SECURITY, _) => Some(AccessMask::WRITE_DAC),
        _ => None,
    }
}

/// Bits of an access mask that mean nothing. [MS-SMB2] 2.2.13.1
const UNDEFINED: u32 = 0x0ce0_fe00;

#[cfg(test)]
mod tests {
    use smbench_core::smb2::{
        CloseRequest, HeaderFlags, InfoClass, ReadRequest, SetInfoRequest, WriteRequest,
    };
    use smbench_core::workload::{Principal, Session, Tree};

    use super::*;

    const DENIED: NtStatus = NtStatus::ACCESS_DENIED;
    const FINE: NtStatus = NtStatus::SUCCESS;

    /// Requests of one user on one share, and how they were answered.
    #[derive(Default)]
    struct Story {
        workload: Workload,
        rights: Rights,
        next: u32,
    }

    impl Story {
        fn new() -> Self {
            let mut story = Self::default();
            story.workload.principals.push(Principal {
                name: "DOM\\Ann".to_owned(),
            });
            story.workload.sessions.push(Session {
                principal: 0,
                conn: Default::default(),
                wire_id: Default::default(),
                flags: 0,
                inferred: false,
            });
            story.workload.trees.push(Tree {
                session: Default::default(),
                path: "\\\\server\\Data".to_owned(),
                share_type: 1,
                wire_id: Default::default(),
                inferred: false,
            });
            story
        }

        fn asks(&mut self, request: impl Into<Request>, open: u32, status: NtStatus) {
            let request = request.into();
            let operation = Operation {
                id: OpId(self.next),
                frame: u64::from(self.next) + 100,
                cmd: request.command(),
                session: Some(Default::default()),
                tree: Some(Default::default()),
                open: Some(OpenRef(open)),
                action: Action::Request(request),
                expect: Some(Expect {
                    status,
                    ..Expect::default()
                }),
                ..Operation::blank()
            };
            self.next += 1;
            self.rights.note(&self.workload, &operation);
        }

        fn creates(&mut self, name: &str, access: AccessMask, open: u32, status: NtStatus) {
            let create = CreateRequest {
                name: name.into(),
                desired_access: access,
                create_disposition: CreateDisposition::OPEN,
                ..CreateRequest::default()
            };
            self.asks(create, open, status);
        }

        fn told(&self) -> Vec<(String, String, u64)> {
            let told = self.rights.told().into_iter();
            told.map(|it| (it.path, it.what, it.frame)).collect()
        }
    }

    fn write() -> WriteRequest {
        WriteRequest::default()
    }

    #[test]
    fn a_create_that_is_always_refused_is_a_matter_of_rights() {
        let mut story = Story::new();
        let (read, all) = (AccessMask::READ_DATA, AccessMask::GENERIC_ALL);
        story.creates("Secret", read, 0, DENIED);
        story.creates("open", read, 1, FINE);
        // Who may read may not write all the same.
        story.creates("open", read | AccessMask::WRITE_DATA, 2, DENIED);
        // Refused once, granted once: something else explains it.
        story.creates("changing", read, 3, DENIED);
        story.creates("changing", read, 4, FINE);
        // Who was granted more was not refused for lack of rights.
        story.creates("more", read, 5, DENIED);
        story.creates("more", all, 6, FINE);
        let expected = [("open", "CREATE 0x3", 102), ("secret", "CREATE 0x1", 100)];
        let expected =
            expected.map(|(path, what, frame)| (path.to_owned(), what.to_owned(), frame));
        assert_eq!(story.told(), expected);
        assert_eq!(story.rights.refused(), BTreeSet::from([OpId(0), OpId(2)]));
        let denials = story.rights.denials();
        assert!(
            denials
                .iter()
                .all(|it| it.user == "ann" && it.share == "data")
        );
    }

    #[test]
    fn what_a_request_itself_explains_is_none() {
        let mut story = Story::new();
        story.creates("nothing", AccessMask::empty(), 0, DENIED);
        story.creates("audit", AccessMask::ACCESS_SYSTEM_SECURITY, 1, DENIED);
        let read = CreateRequest {
            name: "deletes".into(),
            desired_access: AccessMask::READ_DATA,
            create_disposition: CreateDisposition::OPEN,
            create_options: CreateOptions::DELETE_ON_CLOSE,
            ..CreateRequest::default()
        };
        story.asks(read.clone(), 2, DENIED);
        let over = CreateRequest {
            name: "over".into(),
            create_disposition: CreateDisposition::OVERWRITE_IF,
            create_options: CreateOptions::from_bits_retain(0),
            ..read
        };
        story.asks(over, 3, DENIED);
        // A handle without the right is no surprise, nor is what has other reasons.
        story.creates("f", AccessMask::READ_DATA, 4, FINE);
        story.asks(write(), 4, DENIED);
        let rename = SetInfoRequest {
            info_type: InfoType::FILE,
            file_info_class: FileInfoClass::RENAME.into(),
            ..SetInfoRequest::default()
        };
        story.creates("g", AccessMask::GENERIC_ALL, 5, FINE);
        story.asks(rename, 5, DENIED);
        assert_eq!(story.told(), []);
    }

    #[test]
    fn a_handle_with_the_right_that_is_refused_is_a_matter_of_rights() {
        let mut story = Story::new();
        story.creates("f", AccessMask::GENERIC_ALL, 0, FINE);
        story.asks(ReadRequest::default(), 0, FINE);
        story.asks(write(), 0, DENIED);
        let basic = SetInfoRequest {
            info_type: InfoType::FILE,
            file_info_class: InfoClass(FileInfoClass::BASIC.0),
            ..SetInfoRequest::default()
        };
        story.asks(basic, 0, DENIED);
        let told: Vec<String> = story.told().into_iter().map(|(_, what, _)| what).collect();
        assert_eq!(told, ["WRITE", "SET_INFO 1:4"]);
    }

    #[test]
    fn a_close_is_refused_to_who_has_written() {
        let mut story = Story::new();
        for (open, writes, status) in [(0, false, FINE), (1, true, DENIED), (2, false, FINE)] {
            story.creates("f", AccessMask::GENERIC_ALL, open, FINE);
            if writes {
                story.asks(write(), open, FINE);
            }
            story.asks(CloseRequest::default(), open, status);
        }
        let told: Vec<String> = story.told().into_iter().map(|(_, what, _)| what).collect();
        assert_eq!(told, ["CLOSE"]);
        story.creates("f", AccessMask::GENERIC_ALL, 3, FINE);
        story.asks(write(), 3, FINE);
        story.asks(CloseRequest::default(), 3, FINE);
        assert_eq!(story.told(), []);
    }

    /// A name of DFS is that of the file below its share.
    #[test]
    fn names_of_dfs_are_names_below_the_share() {
        let mut story = Story::new();
        let create = CreateRequest {
            name: "dom\\Data\\Team\\f".into(),
            desired_access: AccessMask::READ_DATA,
            create_disposition: CreateDisposition::OPEN,
            ..CreateRequest::default()
        };
        let operation = Operation {
            cmd: Command::CREATE,
            flags: HeaderFlags::DFS,
            session: Some(Default::default()),
            tree: Some(Default::default()),
            action: Action::Request(create.into()),
            expect: Some(Expect {
                status: DENIED,
                ..Expect::default()
            }),
            ..Operation::blank()
        };
        story.rights.note(&story.workload, &operation);
        let told: Vec<String> = story.told().into_iter().map(|(path, ..)| path).collect();
        assert_eq!(told, ["team\\f"]);
    }
}
