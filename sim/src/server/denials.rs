//! What users are not allowed to do, where the model is told: it has no access control of its own.

use std::collections::BTreeMap;
use std::fmt;

use smbench_core::smb2::{AccessMask, Command, FileId, NtStatus, Request};

use super::Server;
use super::answer::{Cx, Req};

/// Somebody may not do something with a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Denial {
    /// The share, compared without case.
    pub share: String,
    /// Path below the share with backslashes, compared without case.
    pub path: String,
    /// The user's name without domain, compared without case.
    pub user: String,
    /// What.
    pub what: Denied,
}

/// What is refused with ACCESS_DENIED.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Denied {
    /// A CREATE that asks for that much access or more, whether the file is there or not.
    Create(AccessMask),
    /// A request on an open of the file, for SET_INFO of that type and class. A CLOSE is refused
    /// where the open has written, and closes all the same.
    Request(Command, Option<(u8, u8)>),
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(access) => write!(f, "CREATE {access}"),
            Self::Request(command, Some((kind, class))) => write!(f, "{command} {kind}:{class}"),
            Self::Request(command, None) => write!(f, "{command}"),
        }
    }
}

/// All denials, by share and path in lower case.
#[derive(Debug, Default)]
pub(super) struct Denials(BTreeMap<(String, String), Vec<(String, Denied)>>);

impl Denials {
    pub(super) fn of(denials: Vec<Denial>) -> Self {
        let mut all = Self::default();
        for it in denials {
            let file = (it.share.to_lowercase(), it.path.to_lowercase());
            let of_file = all.0.entry(file).or_default();
            of_file.push((it.user.to_lowercase(), it.what));
        }
        all
    }
}

impl Server {
    /// Whether a request is refused for lack of rights.
    pub(super) fn check_rights(&mut self, cx: &Cx, req: &Req) -> Result<(), NtStatus> {
        if self.denials.0.is_empty() {
            return Ok(());
        }
        let (path, asked, open) = match &req.body {
            Request::Create(body) => {
                let Ok(path) = self.name_in_share(cx, body) else {
                    return Ok(());
                };
                let path = path.trim_matches('\\').to_owned();
                (
                    path,
                    Denied::Create(body.desired_access.without_generic()),
                    None,
                )
            }
            body => {
                let Ok(id) = self.find_open(cx, body.file_id().unwrap_or(FileId::ZERO)) else {
                    return Ok(());
                };
                let class = match body {
                    Request::SetInfo(set) => Some((set.info_type.0, set.file_info_class.0)),
                    Request::Close(_) if !self.open(id)?.wrote => return Ok(()),
                    _ => None,
                };
                let asked = Denied::Request(req.header.command, class);
                (self.open_path(id), asked, Some(id))
            }
        };
        let share = self
            .shares
            .get(cx.share)
            .map(|share| share.name.to_lowercase());
        let file = (share.unwrap_or_default(), path.to_lowercase());
        let user = self
            .sessions
            .get(&cx.session)
            .map(|it| it.user.to_lowercase());
        let user = user.unwrap_or_default();
        let denied = self.denials.0.get(&file).is_some_and(|of_file| {
            of_file.iter().any(|(of, what)| {
                let same = match (what, asked) {
                    (Denied::Create(less), Denied::Create(more)) => more.contains(*less),
                    (what, asked) => *what == asked,
                };
                *of == user && same
            })
        });
        if !denied {
            return Ok(());
        }
        if let (Request::Close(_), Some(id)) = (&req.body, open) {
            self.close_open(id);
        }
        Err(NtStatus::ACCESS_DENIED)
    }
}
