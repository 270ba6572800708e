//! As whom a server lets the users of a run in.

use std::collections::BTreeMap;

use serde::Serialize;
use smbench_core::ids::SessionRef;
use smbench_core::workload::Workload;
use smbench_live::Standing;

use crate::exit::Failure;
use crate::live_run::KnownUsers;
use crate::report::{note, say};

/// Sessions that were let in, by who asked and as whom.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Logins(Vec<Login>);

/// Sessions of one user.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(crate) struct Login {
    /// Whose credentials were given; null where there were none.
    user: Option<String>,
    /// `user`, `guest` or `anonymous`.
    standing: &'static str,
    /// How many sessions.
    sessions: u64,
}

impl Logins {
    pub(crate) fn of(standings: &BTreeMap<SessionRef, Standing>, known: &KnownUsers) -> Self {
        let mut counted: BTreeMap<(Option<String>, Standing), u64> = BTreeMap::new();
        for (session, standing) in standings {
            let user = known.sessions.get(session).map(|it| it.user.clone());
            *counted.entry((user, *standing)).or_default() += 1;
        }
        let logins = counted
            .into_iter()
            .map(|((user, standing), sessions)| Login {
                user,
                standing: standing.name(),
                sessions,
            });
        Self(logins.collect())
    }

    /// Fails where somebody who gave a password was let in as a guest or as nobody.
    pub(crate) fn refuse_guests(&self, allowed: bool) -> Result<(), Failure> {
        let user = Standing::User.name();
        let guest = self
            .0
            .iter()
            .find(|it| it.user.is_some() && it.standing != user);
        let Some(Login {
            user: Some(user),
            standing,
            ..
        }) = guest.filter(|_| !allowed)
        else {
            return Ok(());
        };
        let article = if *standing == "guest" {
            "a guest"
        } else {
            "nobody"
        };
        Err(Failure::environment(format!(
            "the server lets {user} in as {article}: what it answers is not what it would answer {user}"
        ))
        .remedy("check the user's name and password, or say --allow-guest"))
    }

    /// Prints who was let in.
    pub(crate) fn print(&self) {
        if self.0.is_empty() {
            return;
        }
        let told = self.0.iter().map(|login| {
            let who = login.user.as_deref().unwrap_or("nobody");
            let sessions = match login.sessions {
                1 => "1 session".to_owned(),
                several => format!("{several} sessions"),
            };
            match (login.user.is_some(), login.standing) {
                (_, "user") => format!("{who} ({sessions})"),
                (_, standing) => format!("{who} as {standing} ({sessions})"),
            }
        });
        say!("users:   {}", told.collect::<Vec<_>>().join(", "));
    }
}

/// Says before the start that recorded users are nobody here.
pub(crate) fn foretell(workload: &Workload, known: &KnownUsers) {
    let users = workload.principals.iter().enumerate();
    let named = users.filter(|(_, it)| !it.name.is_empty());
    let without = named.filter(|(at, _)| {
        let known = known.principals.keys();
        !known.clone().any(|it| usize::try_from(it.0) == Ok(*at))
    });
    let without: Vec<&str> = without.map(|(_, it)| it.name.as_str()).collect();
    if let Some(first) = without.first() {
        let more = match without.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        note!(
            "no password for {first}{more}: anonymous here; --password-file, and --user for one of all, log them in"
        );
    }
}
