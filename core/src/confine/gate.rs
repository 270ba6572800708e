//! Looks at every frame that leaves, whole and plain, knowing nothing of the plan.
//!
//! What it knows it learns from this run alone: the ids that this server gave, and the kind of share
//! that its TREE_CONNECT responses tell.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::{
    Pipes, Policy,
    name::{RecordedName, goes_down, is_pattern_inside},
    reach::{self, Control, SetClass},
};
use crate::{
    engine::RunConfig,
    frame::Frame,
    ids::ConnId,
    rpc::Conversation,
    seal,
    smb2::{
        Body, Command, CreateOptions, CreateRequest, FileId, Header, HeaderFlags, InfoType,
        IoctlRequest, Message, Name, Request, SetInfoRequest,
    },
    workload::ShareKind,
};

/// A frame that was to leave reaches what its run may not reach. Planning should have refused it.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum Breach {
    /// It is no SMB2 request that can be read.
    #[error("a frame that cannot be read was to leave")]
    Unreadable,
    /// A name that is not below the root.
    #[error("{command} of {name:?}, which is not below the root")]
    Name {
        /// The request's command.
        command: Command,
        /// The name, for people.
        name: String,
    },
    /// A class of SET_INFO that is not known to stay inside.
    #[error("SET_INFO of type {kind} and class {class}, which is not known to stay inside")]
    Class {
        /// InfoType.
        kind: u8,
        /// FileInfoClass.
        class: u8,
    },
    /// An FSCTL that is not known to stay inside.
    #[error("FSCTL {function:#x}, which is not known to stay inside")]
    Fsctl {
        /// CtlCode.
        function: u32,
    },
    /// An id of a tree or session that this server did not give.
    #[error("{what} {id:#x}, which this server did not give")]
    ForeignId {
        /// What it names.
        what: &'static str,
        /// The id.
        id: u64,
    },
    /// A call on a pipe that may change something, or carries authentication.
    #[error("a call on a pipe that is not let through: {reason}")]
    RpcCall {
        /// The reason, as refusals are counted.
        reason: &'static str,
    },
    /// Something for a printer.
    #[error("{command} to a printer")]
    Printer {
        /// The request's command.
        command: Command,
    },
}

/// Looks at every frame that leaves.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    rules: Option<Rules>,
    sessions: BTreeSet<u64>,
    /// TREE_CONNECTs that are not answered, by connection and MessageId: session and path.
    connects: BTreeMap<(ConnId, u64), (u64, String)>,
    trees: BTreeMap<(u64, u32), TreeHere>,
    /// Handles that this server gave.
    files: BTreeSet<FileId>,
    /// What was said on each open pipe.
    pipes: BTreeMap<FileId, Conversation>,
}

/// What a request says of where it is carried out.
#[derive(Clone, Debug)]
struct Ids {
    session: u64,
    /// None in asynchronous ones.
    tree: Option<u32>,
    /// The path of the TREE_CONNECT before it in its compound, in lower case.
    connects: Option<String>,
}

#[derive(Clone, Debug)]
struct Rules {
    policy: Policy,
    /// Roots by the path of their share, in lower case.
    roots: BTreeMap<String, BTreeSet<String>>,
    /// Folders that lead to a root may be made.
    makes_roots: bool,
}

/// A tree of this run.
#[derive(Clone, Debug)]
struct TreeHere {
    kind: ShareKind,
    /// The path of its share, in lower case.
    path: String,
}

/// Where a request is to be carried out.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    kind: ShareKind,
    /// The path of the share; none for a tree that never was.
    path: Option<&'a str>,
}

impl Gate {
    /// A gate that lets everything pass: for runs that reach nothing but a model.
    #[must_use]
    pub fn open() -> Self {
        Self::default()
    }

    /// The gate of a run.
    #[must_use]
    pub fn of(config: &RunConfig) -> Self {
        if !config.policy.confined {
            return Self::open();
        }
        let targets = config.tree_targets.iter();
        let roots = targets.map(|it| (it.path.as_str(), it.root.as_str()));
        Self::confined(config.policy.clone(), roots)
    }

    /// A gate that lets pass what stays below one of `roots`, each a share's path and a folder in it.
    #[must_use]
    pub fn confined<'a>(
        policy: Policy,
        roots: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let mut by_path: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (path, root) in roots {
            let at = by_path.entry(path.to_lowercase()).or_default();
            at.insert(root.to_owned());
        }
        Self {
            rules: Some(Rules {
                policy,
                roots: by_path,
                makes_roots: false,
            }),
            ..Self::default()
        }
    }

    /// Lets the folders that lead to a root be made too, and nothing be done to them.
    #[must_use]
    pub fn making_roots(mut self) -> Self {
        if let Some(rules) = &mut self.rules {
            rules.makes_roots = true;
        }
        self
    }

    /// Learns from a frame that came.
    pub fn received(&mut self, conn: ConnId, frame: &Frame) {
        if self.rules.is_none() {
            return;
        }
        for (header, bytes, _) in frame.pdus().map_while(Result::ok) {
            match header.command {
                // It came from the server, whatever its flags say: the engine goes on with it, and tells of a wrong header.
                Command::SESSION_SETUP => {
                    self.sessions.insert(header.session_id.0);
                }
                Command::CREATE if header.is_response() && !header.nt_status().is_error() => {
                    let id = bytes.get(CREATED_FILE_AT..CREATED_FILE_AT + 16);
                    let id = id.and_then(|id| id.try_into().ok()).map(FileId::from_bytes);
                    self.files.extend(id);
                }
                Command::TREE_CONNECT if header.is_response() => {
                    if header.is_interim() {
                        continue;
                    }
                    let asked = self.connects.remove(&(conn, header.message_id.0));
                    let given = header.tree_id().filter(|_| !header.nt_status().is_error());
                    if let (Some((session, path)), Some(id)) = (asked, given) {
                        // A body that ends early tells no kind: such a tree is confined.
                        let kind = bytes.get(SHARE_TYPE_AT).copied().unwrap_or_default();
                        let kind = ShareKind::of_wire(kind);
                        self.trees.insert((session, id.0), TreeHere { kind, path });
                    }
                }
                _ => {}
            }
        }
    }

    /// Whether `plain` may leave on `conn`.
    ///
    /// # Errors
    ///
    /// [`Breach`] when it must not.
    pub fn pass(&mut self, conn: ConnId, plain: &[u8]) -> Result<(), Breach> {
        if self.rules.is_none() {
            return Ok(());
        }
        if seal::is_smb1(plain) {
            // Nothing but the NEGOTIATE that offers SMB2. [MS-SMB2] 2.2.3, 3.3.5.3.
            let negotiates = plain.get(SMB1_COMMAND_AT) == Some(&SMB1_NEGOTIATE);
            return if negotiates {
                Ok(())
            } else {
                Err(Breach::Unreadable)
            };
        }
        let mut before = None;
        for range in seal::pdus(plain) {
            let range = range.map_err(|_| Breach::Unreadable)?;
            let pdu = plain.get(range).ok_or(Breach::Unreadable)?;
            before = Some(self.pass_one(conn, pdu, before.as_ref())?);
        }
        Ok(())
    }

    /// `before`: where the request before it in its compound is carried out. Gives its own place.
    fn pass_one(&mut self, conn: ConnId, pdu: &[u8], before: Option<&Ids>) -> Result<Ids, Breach> {
        let decoded = Message::decode(pdu).map_err(|_| Breach::Unreadable)?;
        let header = decoded.message.header;
        let Body::Request(request) = decoded.message.body else {
            return Err(Breach::Unreadable);
        };
        let asynchronous = header.is_async() && header.command != Command::CANCEL;
        if asynchronous || matches!(request, Request::Opaque(_)) {
            return Err(Breach::Unreadable);
        }
        let ids = self.ids_of(&header, before)?;
        let tree = ids.tree.unwrap_or_default();
        let known = self.trees.get(&(ids.session, tree));
        let kind = known.map_or(ShareKind::Unknown, |tree| tree.kind);
        self.check_printer(header.command, kind)?;
        self.check_file(&request)?;
        self.check(&header, &request, &ids, pdu)?;
        let Request::TreeConnect(connect) = &request else {
            return Ok(ids);
        };
        let path = connect.path.to_lossy().to_lowercase();
        let id = (conn, header.message_id.0);
        self.connects.insert(id, (ids.session, path.clone()));
        Ok(Ids {
            connects: Some(path),
            ..ids
        })
    }

    /// Session and tree of a request. A related one has those of the request before it, whatever its
    /// header says: servers differ in what they believe. [MS-SMB2] 3.3.5.2.7.2. Where there is none
    /// before it, servers refuse it; one that does not has its header alone.
    fn ids_of(&self, header: &Header, before: Option<&Ids>) -> Result<Ids, Breach> {
        let foreign = |what, id| Err(Breach::ForeignId { what, id });
        let session = header.session_id.0;
        let tree = (!header.is_async()).then(|| header.tree_id().map_or(0, |tree| tree.0));
        let before = before.filter(|_| header.flags.contains(HeaderFlags::RELATED));
        if let Some(before) = before {
            if session != u64::MAX && session != before.session {
                return foreign("session", session);
            }
            // The tree that a TREE_CONNECT before it gives is not known yet.
            // Ids that no server gives name none: a server that believes them carries nothing out.
            let named = tree.filter(|tree| ![0, u32::MAX, NO_TREE].contains(tree));
            let named = named.filter(|_| before.connects.is_none());
            if named.is_some() && named != before.tree {
                return foreign("tree", u64::from(named.unwrap_or_default()));
            }
            return Ok(before.clone());
        }
        if session != 0 && session != NO_SESSION && !self.sessions.contains(&session) {
            return foreign("session", session);
        }
        let id = tree.unwrap_or_default();
        if id != 0 && id != NO_TREE && !self.trees.contains_key(&(session, id)) {
            return foreign("tree", u64::from(id));
        }
        Ok(Ids {
            session,
            tree,
            connects: None,
        })
    }

    /// A handle is one that this server gave, or none.
    fn check_file(&self, request: &Request) -> Result<(), Breach> {
        match request.file_id() {
            None | Some(FileId::ZERO | NO_FILE | ANY_FILE) => Ok(()),
            Some(id) if self.files.contains(&id) => Ok(()),
            Some(id) => Err(Breach::ForeignId {
                what: "handle",
                id: id.volatile,
            }),
        }
    }

    fn check_printer(&self, command: Command, kind: ShareKind) -> Result<(), Breach> {
        let allowed = self.rules.as_ref().is_none_or(|it| it.policy.printers);
        let leaves = matches!(command, Command::TREE_DISCONNECT | Command::CANCEL);
        if kind == ShareKind::Printer && !allowed && !leaves {
            return Err(Breach::Printer { command });
        }
        Ok(())
    }

    fn check(
        &mut self,
        header: &Header,
        request: &Request,
        ids: &Ids,
        pdu: &[u8],
    ) -> Result<(), Breach> {
        let Some(rules) = &self.rules else {
            return Ok(());
        };
        let known = ids
            .tree
            .and_then(|tree| self.trees.get(&(ids.session, tree)));
        let known = known.filter(|_| ids.connects.is_none());
        let place = Place {
            kind: known.map_or(ShareKind::Unknown, |tree| tree.kind),
            path: ids
                .connects
                .as_deref()
                .or(known.map(|tree| tree.path.as_str())),
        };
        let related = header.flags.contains(HeaderFlags::RELATED);
        let is_dfs = header.flags.contains(HeaderFlags::DFS);
        match request {
            Request::Create(create) if place.kind == ShareKind::Pipe => match rules.policy.pipes {
                Pipes::None => Err(Breach::RpcCall { reason: "pipes" }),
                Pipes::Query | Pipes::All if create_by_id(create) => Err(name(create)),
                Pipes::Query | Pipes::All => Ok(()),
            },
            Request::Create(create) if is_dfs || create_by_id(create) => Err(name(create)),
            Request::Create(create) => rules.check_create(create, place),
            Request::SetInfo(set) => rules.check_set(set, place),
            Request::QueryDirectory(query) if !is_pattern_inside(&query.pattern) => {
                Err(Breach::Name {
                    command: Command::QUERY_DIRECTORY,
                    name: query.pattern.to_string(),
                })
            }
            Request::SessionSetup(setup) => {
                let id = setup.previous_session_id.0;
                if id == 0 || id == NO_SESSION || self.sessions.contains(&id) {
                    return Ok(());
                }
                let what = "previous session";
                Err(Breach::ForeignId { what, id })
            }
            // Which pipe a related call speaks to is not in it.
            Request::Write(_) if related && place.kind == ShareKind::Pipe => {
                Err(Breach::RpcCall { reason: "related" })
            }
            Request::Ioctl(ioctl)
                if related
                    && place.kind == ShareKind::Pipe
                    && reach::control(ioctl.ctl_code) == Some(Control::Pipe)
                    && !ioctl.input.is_empty() =>
            {
                Err(Breach::RpcCall { reason: "related" })
            }
            Request::Ioctl(ioctl) => self.check_ioctl(ioctl, place.kind),
            Request::Write(write) if place.kind == ShareKind::Pipe => {
                let data = Message::bulk_of(pdu).and_then(|range| pdu.get(range));
                self.check_call(write.file_id, data.unwrap_or_default())
            }
            Request::Close(close) => {
                self.pipes.remove(&close.file_id);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn check_ioctl(&mut self, ioctl: &IoctlRequest, kind: ShareKind) -> Result<(), Breach> {
        let refused = Err(Breach::Fsctl {
            function: ioctl.ctl_code.0,
        });
        let on_pipe = kind == ShareKind::Pipe;
        match reach::control(ioctl.ctl_code) {
            Some(Control::Query | Control::Copy) => Ok(()),
            Some(Control::Own) if !on_pipe => Ok(()),
            Some(Control::SetReparsePoint) if !on_pipe && reach::is_inner_link(&ioctl.input) => {
                Ok(())
            }
            Some(Control::PipeWait) if on_pipe && !self.refuses_pipes() => Ok(()),
            Some(Control::Pipe) if on_pipe => self.check_call(ioctl.file_id, &ioctl.input),
            _ => refused,
        }
    }

    fn refuses_pipes(&self) -> bool {
        let pipes = self.rules.as_ref().map(|rules| rules.policy.pipes);
        pipes == Some(Pipes::None)
    }

    fn check_call(&mut self, pipe: FileId, data: &[u8]) -> Result<(), Breach> {
        let Some(rules) = &self.rules else {
            return Ok(());
        };
        let pipes = rules.policy.pipes;
        let said = self.pipes.entry(pipe).or_default();
        let passed = said.feed_if(data, |call| pipes.refuses(call));
        passed.map_err(|reason| Breach::RpcCall {
            reason: reason.name(),
        })
    }
}

impl Rules {
    fn check_create(&self, create: &CreateRequest, place: Place<'_>) -> Result<(), Breach> {
        let leads_to_root = self.makes_roots && self.leads_to_root(create, place);
        if leads_to_root || self.is_inside(&create.name, place) {
            return Ok(());
        }
        Err(name(create))
    }

    fn check_set(&self, set: &SetInfoRequest, place: Place<'_>) -> Result<(), Breach> {
        let refused = Breach::Class {
            kind: set.info_type.0,
            class: set.file_info_class.0,
        };
        if reach::set_type(set.info_type, self.policy.volume_changes).is_some() {
            return Err(refused);
        }
        if set.info_type != InfoType::FILE {
            return Ok(());
        }
        let on_pipe = place.kind == ShareKind::Pipe;
        match reach::set_class(set.file_info_class) {
            Some(SetClass::Pipe) if on_pipe => Ok(()),
            Some(SetClass::Own) if !on_pipe => Ok(()),
            Some(SetClass::ShortName) if !on_pipe && reach::is_short_name(&set.buffer) => Ok(()),
            Some(SetClass::NewPath) if !on_pipe => match reach::new_path(&set.buffer) {
                Some(path) if is_stream(&path) || self.is_inside(&path, place) => Ok(()),
                path => Err(Breach::Name {
                    command: Command::SET_INFO,
                    name: path.map(|it| it.to_string()).unwrap_or_default(),
                }),
            },
            _ => Err(refused),
        }
    }

    fn roots_at<'a>(&'a self, place: Place<'_>) -> impl Iterator<Item = &'a str> {
        let known = place.path.map(|path| self.roots.get(path));
        let here = known.flatten().into_iter();
        // A tree that never was: its request is refused by the server, whatever it names.
        let any = self.roots.values().filter(move |_| known.is_none());
        here.chain(any).flatten().map(String::as_str)
    }

    fn is_inside(&self, name: &Name, place: Place<'_>) -> bool {
        let Some(text) = name.as_text() else {
            return false;
        };
        self.roots_at(place).any(|root| {
            let rest = text.strip_prefix(root);
            let rest = rest
                .filter(|rest| root.is_empty() || rest.is_empty() || rest.starts_with(['\\', ':']));
            rest.is_some_and(|rest| RecordedName::of_text(rest, false).is_ok())
        })
    }

    /// A folder above a root, opened or made and nothing else.
    fn leads_to_root(&self, create: &CreateRequest, place: Place<'_>) -> bool {
        let harmless = create.create_options == CreateOptions::DIRECTORY_FILE
            && create.desired_access.bits() & !ANCESTOR_ACCESS == 0;
        let Some(text) = create.name.as_text().filter(|_| harmless) else {
            return false;
        };
        let mut roots = self.roots_at(place);
        roots.any(|root| {
            root.strip_prefix(text)
                .is_some_and(|rest| rest.starts_with('\\'))
        })
    }
}

/// The name of an open by file id is no name. [MS-SMB2] 2.2.13, FILE_OPEN_BY_FILE_ID.
fn create_by_id(create: &CreateRequest) -> bool {
    create
        .create_options
        .contains(CreateOptions::OPEN_BY_FILE_ID)
}

/// The rename of a stream names the new stream alone. [MS-FSA] 2.1.5.15.12.
pub(super) fn is_stream(path: &Name) -> bool {
    let stream = path.as_text().and_then(|text| text.strip_prefix(':'));
    let is_one = |stream: &str| !stream.contains(['\\', '/']) && stream.split(':').all(goes_down);
    stream.is_some_and(is_one)
}

fn name(create: &CreateRequest) -> Breach {
    Breach::Name {
        command: Command::CREATE,
        name: create.name.to_string(),
    }
}

/// Stands for a tree that never was: what a server gave is looked up first.
pub(crate) const NO_TREE: u32 = u32::MAX - 1;
/// Stands for a session that never was.
pub(crate) const NO_SESSION: u64 = u64::MAX - 1;
/// Stands for a handle that never was.
pub(crate) const NO_FILE: FileId = FileId {
    persistent: u64::MAX - 1,
    volatile: u64::MAX - 1,
};
/// The handle of the request before it, or none. [MS-SMB2] 3.2.4.1.4, 3.3.5.15.
const ANY_FILE: FileId = FileId {
    persistent: u64::MAX,
    volatile: u64::MAX,
};
/// FileId in a CREATE response. [MS-SMB2] 2.2.14.
const CREATED_FILE_AT: usize = 128;
/// ShareType in a TREE_CONNECT response. [MS-SMB2] 2.2.10.
const SHARE_TYPE_AT: usize = 66;
/// READ_ATTRIBUTES and SYNCHRONIZE.
const ANCESTOR_ACCESS: u32 = 0x0010_0080;
const SMB1_COMMAND_AT: usize = 4;
const SMB1_NEGOTIATE: u8 = 0x72;
