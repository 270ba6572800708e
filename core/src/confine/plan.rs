//! Confines a recorded request before the run, or refuses it and says why.

use std::borrow::Cow;

use super::{
    Pipes, Policy, Refusal,
    gate::is_stream,
    name::{RecordedName, below_share, is_pattern_inside, join},
    reach::{self, Control, SetClass},
};
use crate::{
    engine::TreeTarget,
    rpc::{Call, query},
    smb2::{
        ContextData, CreateOptions, CreateRequest, FileId, InfoType, IoctlRequest, Name, Request,
        SessionId, SetInfoRequest, version::previous_version,
    },
    workload::{Action, Operation, ShareKind},
};

/// Where a request is to be carried out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ground<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) kind: ShareKind,
    /// Where its tree goes; with a confined policy, for a request without a tree, where any goes.
    pub(crate) target: Option<&'a TreeTarget>,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Confined {
    /// It goes out as it was.
    Kept,
    /// It was changed: what was unusual in its layout no longer fits.
    Moved,
}

/// Puts the names of `request` below the root of its ground, and takes out of it what only the
/// recorded server gave.
///
/// # Errors
///
/// [`Refusal`] when it would reach what the policy does not allow.
pub(crate) fn confine(
    op: &Operation,
    request: &mut Request,
    ground: Ground<'_>,
) -> Result<Confined, Refusal> {
    let named = name_what_it_found(op, request);
    if !ground.policy.confined {
        let relocated = relocate(request, ground);
        return Ok(if named { Confined::Moved } else { relocated });
    }
    if ground.kind == ShareKind::Printer && !ground.policy.printers {
        return Err(Refusal::Printer);
    }
    if request.command() != op.cmd {
        return Err(Refusal::Unreadable);
    }
    let on_pipe = ground.kind == ShareKind::Pipe;
    match request {
        // What the recorded server refused is asked for as it was, where nothing can follow it: it gives
        // no tree to name things in.
        Request::TreeConnect(_) if op.tree.is_none() => {
            let failed = op.expect.as_ref().is_some_and(|it| it.status.is_error());
            let alone = op.compound.is_none();
            if failed && alone {
                Ok(Confined::Kept)
            } else {
                Err(Refusal::Tree)
            }
        }
        Request::TreeConnect(_) => Ok(relocate(request, ground)),
        Request::Opaque(_) => Err(Refusal::Unreadable),
        // This run's session is patched in, where there is one.
        Request::SessionSetup(setup) => {
            setup.previous_session_id = SessionId(0);
            Ok(Confined::Kept)
        }
        Request::Create(create) => {
            let forget = op.reclaims.is_none() && forget_handles(create);
            let by_id = create
                .create_options
                .contains(CreateOptions::OPEN_BY_FILE_ID);
            let moved = match ground.policy.pipes {
                _ if by_id => return Err(Refusal::Name),
                Pipes::None if on_pipe => return Err(Refusal::RpcCall),
                _ if on_pipe => false,
                _ => {
                    create.name = below_root(&create.name, is_dfs(op) && !named, ground)?;
                    true
                }
            };
            Ok(moved_if(moved || forget))
        }
        Request::SetInfo(set) => confine_set(set, ground),
        Request::QueryDirectory(query) if !is_pattern_inside(&query.pattern) => Err(Refusal::Name),
        Request::Ioctl(ioctl) => {
            let speaks = on_pipe && reach::control(ioctl.ctl_code) == Some(Control::Pipe);
            if speaks && !ioctl.input.is_empty() {
                check_call(op, ground.policy)?;
            }
            confine_ioctl(ioctl, ground)
        }
        Request::Write(write) if on_pipe && write.length > 0 => {
            check_call(op, ground.policy)?;
            Ok(Confined::Kept)
        }
        _ => Ok(Confined::Kept),
    }
}

/// Opens by its path what was opened by its number, where that path is known: this run's server has numbers of its
/// own, and what the recorded ones mean to it nobody knows.
fn name_what_it_found(op: &Operation, request: &mut Request) -> bool {
    let (Some(path), Request::Create(create)) = (op.path_by_id(), request) else {
        return false;
    };
    create.name = Name::from(path);
    create.create_options.remove(CreateOptions::OPEN_BY_FILE_ID);
    true
}

/// The path below its share that a CREATE opens: what its name says, or what [`Operation::path_by_id`] tells, with the
/// token of the version that it asks for in front; none of what is not UTF-16.
#[must_use]
pub fn created_path(op: &Operation) -> Option<Cow<'_, str>> {
    let Action::Request(Request::Create(create)) = &op.action else {
        return None;
    };
    if let Some(path) = op.path_by_id() {
        return Some(Cow::Borrowed(path));
    }
    let path = below_share(create.name.as_text()?, is_dfs(op));
    let version = previous_version(path, create.version_time());
    Some(version.map_or(Cow::Borrowed(path), Cow::Owned))
}

/// Whether the name of a CREATE begins with server and share: a client says so where the share is one
/// of DFS. [MS-SMB2] 3.2.4.3
#[must_use]
pub fn is_dfs(op: &Operation) -> bool {
    op.flags.contains(crate::smb2::HeaderFlags::DFS)
}

/// What `op` says on a pipe, as compiling noted it. What was not noted is not sent.
pub(super) fn check_call(op: &Operation, policy: &Policy) -> Result<(), Refusal> {
    let related = op.compound.is_some_and(|compound| compound.related);
    // The handle of a related request is not in it: nobody could say which pipe it speaks to.
    let misnoted = policy.misnoted.binary_search(&op.id).is_ok();
    if op.rpc.is_empty() || related || misnoted {
        return Err(Refusal::RpcCall);
    }
    match op.rpc.iter().find_map(|call| policy.pipes.refuses(call)) {
        Some(refusal) => Err(refusal),
        None => Ok(()),
    }
}

impl Pipes {
    /// Why a call is not sent; none when it is.
    pub(super) fn refuses(self, call: &Call) -> Option<Refusal> {
        match (self, query::refusal(call)) {
            (_, Some(query::Refusal::Auth)) => Some(Refusal::RpcAuth),
            (Self::All, _) | (Self::Query, None) => None,
            (Self::Query, Some(query::Refusal::Call)) | (Self::None, _) => Some(Refusal::RpcCall),
        }
    }
}

/// Moves shares and names to the target as they are, without a look at where they lead.
fn relocate(request: &mut Request, ground: Ground<'_>) -> Confined {
    let Some(target) = ground.target else {
        return Confined::Kept;
    };
    let files = ground.kind.is_confined() && !target.root.is_empty();
    match request {
        Request::TreeConnect(connect) => {
            connect.path = Name::Text(target.path.clone());
            Confined::Moved
        }
        Request::Create(create) if files => match create.name.as_text() {
            Some(text) => {
                create.name = Name::Text(join(&target.root, text).into_owned());
                Confined::Moved
            }
            None => Confined::Kept,
        },
        Request::SetInfo(set) if files && set.info_type == InfoType::FILE => {
            let names_a_path = reach::set_class(set.file_info_class) == Some(SetClass::NewPath);
            let path = reach::new_path(&set.buffer).filter(|_| names_a_path);
            let text = path.as_ref().and_then(Name::as_text);
            let moved = text
                .filter(|text| !text.starts_with(':'))
                .and_then(|text| reach::with_new_path(&set.buffer, &join(&target.root, text)));
            if let Some(buffer) = moved {
                set.buffer = buffer;
                return Confined::Moved;
            }
            Confined::Kept
        }
        _ => Confined::Kept,
    }
}

fn below_root(name: &Name, is_dfs: bool, ground: Ground<'_>) -> Result<Name, Refusal> {
    let target = ground.target.ok_or(Refusal::Tree)?;
    let name = RecordedName::of(name, is_dfs).map_err(|_| Refusal::Name)?;
    let moved = Name::Text(name.below(&target.root).into_owned());
    if moved.wire_len() > usize::from(u16::MAX) {
        return Err(Refusal::Name);
    }
    Ok(moved)
}

fn confine_set(set: &mut SetInfoRequest, ground: Ground<'_>) -> Result<Confined, Refusal> {
    if let Some(refusal) = reach::set_type(set.info_type, ground.policy.volume_changes) {
        return Err(refusal);
    }
    if set.info_type != InfoType::FILE {
        return Ok(Confined::Kept);
    }
    let on_pipe = ground.kind == ShareKind::Pipe;
    match reach::set_class(set.file_info_class) {
        Some(SetClass::Pipe) if on_pipe => Ok(Confined::Kept),
        Some(_) if on_pipe => Err(Refusal::Class),
        Some(SetClass::Own) => Ok(Confined::Kept),
        Some(SetClass::ShortName) if reach::is_short_name(&set.buffer) => Ok(Confined::Kept),
        Some(SetClass::ShortName) => Err(Refusal::Name),
        Some(SetClass::NewPath) => {
            let path = reach::new_path(&set.buffer).ok_or(Refusal::Name)?;
            if is_stream(&path) {
                return Ok(Confined::Kept);
            }
            let path = below_root(&path, false, ground)?;
            let text = path.as_text().ok_or(Refusal::Name)?;
            set.buffer = reach::with_new_path(&set.buffer, text).ok_or(Refusal::Name)?;
            Ok(Confined::Moved)
        }
        Some(SetClass::Pipe) | None => Err(Refusal::Class),
    }
}

fn confine_ioctl(ioctl: &mut IoctlRequest, ground: Ground<'_>) -> Result<Confined, Refusal> {
    let on_pipe = ground.kind == ShareKind::Pipe;
    match reach::control(ioctl.ctl_code) {
        Some(Control::Query) => Ok(Confined::Kept),
        Some(Control::Pipe) if on_pipe => Ok(Confined::Kept),
        Some(Control::PipeWait) if on_pipe && ground.policy.pipes != Pipes::None => {
            Ok(Confined::Kept)
        }
        Some(Control::Own) if !on_pipe => Ok(Confined::Kept),
        Some(Control::Copy) => {
            // This run's key is patched in, where there is one.
            if let Some(key) = ioctl.input.get_mut(..RESUME_KEY_LEN) {
                key.fill(0);
            }
            Ok(Confined::Kept)
        }
        Some(Control::SetReparsePoint) if !on_pipe && reach::is_inner_link(&ioctl.input) => {
            Ok(Confined::Kept)
        }
        _ => Err(Refusal::Fsctl),
    }
}

/// Takes out handles to reclaim that this run has not given: whose they are here, nobody knows.
fn forget_handles(create: &mut CreateRequest) -> bool {
    let mut forgot = false;
    for context in &mut create.contexts {
        let handle = match &mut context.data {
            ContextData::DurableReconnect(it) => &mut it.file_id,
            ContextData::DurableReconnectV2(it) => &mut it.file_id,
            _ => continue,
        };
        *handle = FileId::ZERO;
        forgot = true;
    }
    forgot
}

const fn moved_if(moved: bool) -> Confined {
    if moved {
        Confined::Moved
    } else {
        Confined::Kept
    }
}

/// [MS-SMB2] 2.2.31.1
const RESUME_KEY_LEN: usize = 24;
