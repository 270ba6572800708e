//! Files with passwords and keys, as all verbs read them, and who logs in with what is in them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use smbench_compiler::{Account, Passwords, SessionKeys};
use smbench_core::workload::Workload;
use smbench_live::Credentials;

use crate::exit::{Failure, OrFail};
use crate::small_file;

/// Reads a password file.
pub(crate) fn passwords(path: &Path) -> Result<Passwords, Failure> {
    let shown = path.display();
    let file = small_file::bytes(path)?;
    Passwords::read(&file)
        .or_environment(format!("{shown} holds no passwords"))
        .map_err(|failure| failure.remedy(Passwords::FORMS))
}

/// Reads a key file.
pub(crate) fn keys(path: &Path) -> Result<Vec<SessionKeys>, Failure> {
    let shown = path.display();
    let file = small_file::bytes(path)?;
    SessionKeys::read(&file)
        .or_environment(format!("{shown} holds no session keys"))
        .map_err(|failure| failure.remedy(SessionKeys::FORMS))
}

/// A password file that has no line for anybody who could log in.
pub(crate) fn fits_nobody(path: &Path, users: &[&str]) -> Failure {
    let shown = path.display();
    let whom = match users {
        [] => "anybody: all users of the workload are anonymous, and --user names none".to_owned(),
        users => users.join(", "),
    };
    Failure::environment(format!("no line of {shown} is for {whom}")).remedy(Passwords::FORMS)
}

/// Who logs in to a server in place of the recorded users.
#[derive(Debug, Default)]
pub(crate) struct Users {
    /// One for all.
    one: Option<String>,
    /// Some for some of them.
    renamed: BTreeMap<String, String>,
    passwords: Passwords,
}

impl Users {
    /// Reads the passwords of those that a run needs. One who brings passwords does not mean to log
    /// in as nobody.
    pub(crate) fn read(
        workload: &Workload,
        one: Option<String>,
        renamed: BTreeMap<String, String>,
        file: Option<&PathBuf>,
    ) -> Result<Self, Failure> {
        let mut users = Self {
            one,
            renamed,
            passwords: Passwords::default(),
        };
        let Some(path) = file else {
            return Ok(users);
        };
        users.passwords = passwords(path)?;
        // Who is nobody in the recording may be somebody in this run.
        let recorded = workload.principals.iter().map(|it| it.name.as_str());
        let recorded = recorded.chain([""]);
        if recorded.clone().any(|it| users.credentials(it).is_some()) {
            return Ok(users);
        }
        let mut names: Vec<&str> = recorded.map(|it| users.name_of(it).0).collect();
        names.retain(|name| !name.is_empty());
        names.dedup();
        Err(fits_nobody(path, &names))
    }

    /// The name that logs in for a recorded one, and whether it was named for this run.
    fn name_of<'a>(&'a self, recorded: &'a str) -> (&'a str, bool) {
        let named = self.renamed.get(recorded).or(self.one.as_ref());
        named.map_or((recorded, false), |name| (name, true))
    }

    /// The credentials of a recorded user; `None` where there is no password.
    pub(crate) fn credentials(&self, recorded: &str) -> Option<Credentials> {
        let (name, is_named) = self.name_of(recorded);
        let (domain, user) = name.split_once('\\').unwrap_or(("", name));
        if user.is_empty() {
            // Anonymous in the recording, or a login that the capture does not hold.
            return None;
        }
        let password = self.passwords.of(&Account::of(name)).next()?.clone();
        Some(Credentials {
            user: user.to_owned(),
            // Recorded domains are those of another network: the server's own users are meant.
            domain: if is_named { domain } else { "" }.to_owned(),
            password,
        })
    }
}

#[cfg(test)]
mod tests {
    use smbench_core::workload::Principal;

    use super::*;

    fn users(file: &str, one: Option<&str>, recorded: &[&str]) -> Result<Users, Failure> {
        let name = format!(
            "smbench-users-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        );
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, file).unwrap();
        let principals = recorded.iter().map(|it| Principal {
            name: (*it).to_owned(),
        });
        let workload = Workload {
            principals: principals.collect(),
            ..Workload::default()
        };
        let renamed = [("LAB\\carl".to_owned(), "HERE\\karl".to_owned())].into();
        let users = Users::read(&workload, one.map(str::to_owned), renamed, Some(&path));
        std::fs::remove_file(&path).unwrap();
        users
    }

    fn login(users: &Users, recorded: &str) -> Option<(String, String, String)> {
        let found = users.credentials(recorded)?;
        let password = String::from_utf8(found.password.expose().to_vec()).unwrap();
        Some((found.domain, found.user, password))
    }

    #[test]
    fn recorded_users_log_in_without_their_domain_and_named_ones_with_it() {
        let found = |domain: &str, user: &str, password: &str| {
            Some((domain.to_owned(), user.to_owned(), password.to_owned()))
        };
        let recorded = ["LAB\\anna", "LAB\\carl", ""];
        let some = users("lab\\anna=a\r\nkarl=k\r\n", None, &recorded).unwrap();
        assert_eq!(login(&some, "LAB\\anna"), found("", "anna", "a"));
        assert_eq!(login(&some, "LAB\\carl"), found("HERE", "karl", "k"));
        assert_eq!(login(&some, "LAB\\bert"), None);
        assert_eq!(login(&some, ""), None);
        let one = users("secret\n", Some("HERE\\root"), &recorded).unwrap();
        assert_eq!(login(&one, "LAB\\anna"), found("HERE", "root", "secret"));
        assert_eq!(login(&one, "LAB\\carl"), found("HERE", "karl", "secret"));
        assert_eq!(login(&one, ""), found("HERE", "root", "secret"));
    }

    #[test]
    fn passwords_for_nobody_are_refused() {
        let refused = |file, one, recorded: &[&str]| {
            let failure = users(file, one, recorded).unwrap_err();
            assert_eq!(failure.code, crate::exit::ENVIRONMENT);
            assert!(failure.remedy.unwrap().contains("USER=PASSWORD"));
            failure.error.to_string()
        };
        let told = refused("bert=b\n", None, &["LAB\\anna", "LAB\\carl"]);
        assert!(told.ends_with("is for LAB\\anna, HERE\\karl"), "{told}");
        let told = refused("pass=word\n", Some("u"), &["LAB\\anna", "LAB\\dora"]);
        assert!(told.ends_with("is for u"), "{told}");
        let told = refused("bert=b\n", None, &[""]);
        assert!(told.contains("anonymous"), "{told}");
    }
}
