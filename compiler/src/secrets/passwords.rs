//! Password files, as people write them.
//!
//! | line | is the password of |
//! |---|---|
//! | `USER=PASSWORD` | that user |
//! | `DOMAIN\USER=PASSWORD`, `USER@REALM=PASSWORD` | that user of that domain |
//! | `*=PASSWORD` | everybody else |
//! | `PASSWORD` | everybody; the only line of its file, and without a `=` |
//!
//! Names and domains count without case. What is behind the first `=` is the password to the end of
//! its line, spaces and all; no account's name has a `=` ([MS-SAMR] 3.1.1.6). Blank lines are no lines, nor are
//! those that begin with `#`, unless there is no other: then it is a password. `USER:PASSWORD` is not
//! read, since as an only line it could as well be a password.

use std::fmt;

use smbench_core::seal::Secret;
use thiserror::Error;

use super::text::unmarked;

/// The passwords of a file, for whom they are.
#[derive(Clone, Debug, Default)]
pub struct Passwords(Vec<Line>);

#[derive(Clone, Debug)]
struct Line {
    account: Account,
    password: Secret,
}

/// Who logs in. Names are compared without case.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Account {
    /// NetBIOS or DNS name of the domain; empty where none is named.
    pub domain: String,
    /// The user within it; `*` in a password file is everybody.
    pub user: String,
}

/// Why a password file was not understood. Never holds a password.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum PasswordsError {
    /// No line in it.
    #[error("it holds no password")]
    Empty,
    /// Neither `USER=PASSWORD` nor the only line.
    #[error("line {line} is not USER=PASSWORD")]
    BadLine {
        /// Line, from 1.
        line: usize,
    },
    /// Bytes that are not UTF-8.
    #[error("line {line} is not UTF-8: save the file as UTF-8 or UTF-16")]
    NotUtf8 {
        /// Line, from 1.
        line: usize,
    },
    /// As in UTF-16 without a byte order mark.
    #[error("line {line} has NUL characters: save the file as UTF-8")]
    Nul {
        /// Line, from 1.
        line: usize,
    },
    /// A byte order mark, and no text behind it.
    #[error("it begins with a byte order mark of UTF-16, and is no UTF-16")]
    BadUtf16,
}

impl Account {
    /// `USER`, `DOMAIN\USER`, `DOMAIN/USER` or `USER@REALM`; `.` is no domain.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let name = name.trim();
        let (domain, user) = match (name.split_once(['\\', '/']), name.rsplit_once('@')) {
            (Some(parts), _) => parts,
            (None, Some((user, realm))) if !user.is_empty() && !realm.is_empty() => (realm, user),
            _ => ("", name),
        };
        let domain = if domain == "." { "" } else { domain };
        Self {
            domain: domain.trim().to_owned(),
            user: user.trim().to_owned(),
        }
    }

    /// As a login has it. A user without a domain may have a realm behind his name.
    #[must_use]
    pub fn of_login(domain: &str, user: &str) -> Self {
        if domain.is_empty() {
            return Self::of(user);
        }
        Self {
            domain: domain.to_owned(),
            user: user.to_owned(),
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.domain.is_empty() {
            write!(f, "{}\\", self.domain)?;
        }
        f.write_str(&self.user)
    }
}

impl Passwords {
    /// What a line of a password file is, to be told where none of them fits.
    pub const FORMS: &str = "a line is USER=PASSWORD, DOMAIN\\USER=PASSWORD, USER@REALM=PASSWORD or *=PASSWORD for everybody; \
        or the file is one password without a =";

    /// Reads a password file: UTF-8, or UTF-16 with a byte order mark.
    ///
    /// # Errors
    ///
    /// [`PasswordsError`].
    pub fn read(file: &[u8]) -> Result<Self, PasswordsError> {
        let bytes = unmarked(file).map_err(|_| PasswordsError::BadUtf16)?;
        let line_at = |at: usize| bytes.iter().take(at).filter(|it| **it == b'\n').count() + 1;
        let text = std::str::from_utf8(&bytes).map_err(|error| PasswordsError::NotUtf8 {
            line: line_at(error.valid_up_to()),
        })?;
        if let Some(at) = text.find('\0') {
            return Err(PasswordsError::Nul { line: line_at(at) });
        }
        // Of an old Mac the lines end with CR alone; none does any more.
        let written = (1..).zip(text.lines());
        let written: Vec<_> = written.filter(|(_, it)| !it.trim().is_empty()).collect();
        if let [(_, only)] = written.as_slice() {
            let line = Line::read(only).unwrap_or_else(|| Line::of_everybody(only));
            return Ok(Self(vec![line]));
        }
        let lines = written.into_iter().filter(|(_, it)| !it.starts_with('#'));
        let lines =
            lines.map(|(line, text)| Line::read(text).ok_or(PasswordsError::BadLine { line }));
        let lines: Vec<Line> = lines.collect::<Result<_, _>>()?;
        if lines.is_empty() {
            return Err(PasswordsError::Empty);
        }
        Ok(Self(lines))
    }

    /// The password of everybody.
    #[must_use]
    pub fn of_everybody(password: &str) -> Self {
        Self(vec![Line::of_everybody(password)])
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What may be an account's password, best first: of its domain, of no domain, of another one (a
    /// domain has a NetBIOS name and a DNS name), and then of everybody. Of lines alike the first.
    pub fn of(&self, account: &Account) -> impl Iterator<Item = &Secret> {
        let ranked = self.0.iter().filter_map(|it| Some((it.rank(account)?, it)));
        let mut ranked: Vec<_> = ranked.collect();
        ranked.sort_by_key(|(rank, _)| *rank);
        ranked.into_iter().map(|(_, it)| &it.password)
    }

    /// Those that are named, and their passwords; everybody's is not among them.
    pub fn named(&self) -> impl Iterator<Item = (&Account, &Secret)> {
        let named = self.0.iter().filter(|it| it.account.user != EVERYBODY);
        named.map(|it| (&it.account, &it.password))
    }
}

impl Line {
    fn read(line: &str) -> Option<Self> {
        let (name, password) = line.split_once('=')?;
        let account = Account::of(name);
        let password = Secret::new(password.as_bytes());
        (!account.user.is_empty()).then_some(Self { account, password })
    }

    fn of_everybody(password: &str) -> Self {
        Self {
            account: Account::of(EVERYBODY),
            password: Secret::new(password.as_bytes()),
        }
    }

    /// How well the line fits an account, 0 best.
    fn rank(&self, account: &Account) -> Option<u8> {
        let same = |a: &str, b: &str| a.to_lowercase() == b.to_lowercase();
        let Account { domain, user } = &self.account;
        let everybody = user == EVERYBODY;
        if !everybody && !same(user, &account.user) {
            return None;
        }
        let within = match () {
            () if domain.is_empty() => 1,
            () if same(domain, &account.domain) => 0,
            () if everybody => return None,
            () => 2,
        };
        Some(within + if everybody { 3 } else { 0 })
    }
}

const EVERYBODY: &str = "*";

#[cfg(test)]
mod tests {
    use super::*;

    fn of(file: &[u8], domain: &str, user: &str) -> Vec<String> {
        let passwords = Passwords::read(file).unwrap();
        let account = Account::of_login(domain, user);
        let found = passwords.of(&account);
        found
            .map(|it| String::from_utf8(it.expose().to_vec()).unwrap())
            .collect()
    }

    #[test]
    fn a_user_is_found_however_his_line_is_written() {
        let wide = |text: &str| {
            text.encode_utf16()
                .flat_map(u16::to_le_bytes)
                .collect::<Vec<_>>()
        };
        for file in [
            &b"anna=Secret1"[..],
            b"anna=Secret1\n",
            b"anna=Secret1\r\n",
            b"\xef\xbb\xbfanna=Secret1\n",
            &[&[0xff, 0xfe][..], &wide("anna=Secret1\r\n")].concat(),
            b"\r\n# the lab\r\n\r\nbert=x\r\nanna=Secret1\r\n",
            b"ANNA =Secret1\n",
            b"WORKGROUP\\anna=Secret1\n",
            b"workgroup/anna=Secret1",
            b"anna@workgroup=Secret1\n",
            b"other\\anna=Secret1\n",
            b".\\anna=Secret1\n",
            b"*=Secret1\n",
            b"WORKGROUP\\*=Secret1\nOTHER\\*=no\n",
            b"Secret1",
            b"Secret1\r\n\r\n",
        ] {
            let shown = String::from_utf8_lossy(file);
            assert_eq!(of(file, "WORKGROUP", "anna"), ["Secret1"], "{shown:?}");
            if !shown.contains("WORKGROUP\\*") {
                assert_eq!(of(file, "", "Anna"), ["Secret1"], "{shown:?}");
                assert_eq!(of(file, "", "anna@workgroup"), ["Secret1"], "{shown:?}");
            }
        }
    }

    #[test]
    fn of_many_lines_the_best_comes_first() {
        let file = b"*=all\nlab\\*=lab\nother\\anna=other\nanna=any\nlab\\anna=right\nanna=again\nbert=no\n";
        assert_eq!(
            of(file, "LAB", "anna"),
            ["right", "any", "again", "other", "lab", "all"]
        );
        assert_eq!(
            of(file, "", "anna"),
            ["any", "again", "other", "right", "all"]
        );
        assert_eq!(of(file, "lab", "carl"), ["lab", "all"]);
        assert_eq!(of(b"bert=no\n", "lab", "carl"), [""; 0]);
    }

    #[test]
    fn passwords_keep_every_letter() {
        for (file, password) in [
            (&b"anna= a=b #c \t\n"[..], " a=b #c \t"),
            (b"anna=", ""),
            (b"#secret\n", "#secret"),
            (b"=secret\n", "=secret"),
            (b" two words ", " two words "),
            (b"anna:Secret1", "anna:Secret1"),
            ("anna=p\u{e4}ss\u{1f600}".as_bytes(), "p\u{e4}ss\u{1f600}"),
        ] {
            assert_eq!(of(file, "", "anna"), [password]);
        }
    }

    #[test]
    fn what_is_no_password_file_is_told_by_line_and_never_shown() {
        for (file, error) in [
            (&b""[..], PasswordsError::Empty),
            (b"\n \r\n\t\n", PasswordsError::Empty),
            (b"# one\n#two=x\n", PasswordsError::Empty),
            (b"Secret1\nSecret2\n", PasswordsError::BadLine { line: 1 }),
            (
                b"anna=x\n\nbert:Secret1\n",
                PasswordsError::BadLine { line: 3 },
            ),
            (b"anna=x\n=Secret1\n", PasswordsError::BadLine { line: 2 }),
            (b"anna=x\nb=\xe4\n", PasswordsError::NotUtf8 { line: 2 }),
            (b"a\0n\0=\0x\0", PasswordsError::Nul { line: 1 }),
            (b"\xff\xfea", PasswordsError::BadUtf16),
        ] {
            let found = Passwords::read(file).unwrap_err();
            assert_eq!(found, error);
            assert!(!format!("{found} {found:?}").contains("Secret"), "{found}");
        }
        let shown = format!("{:?}", Passwords::read(b"anna=Secret1").unwrap());
        assert!(!shown.contains("Secret1"), "{shown}");
    }

    #[test]
    fn no_bytes_panic() {
        let mut state = 7_u32;
        for _ in 0..20_000 {
            let mut file = Vec::new();
            for _ in 0..(state >> 27) {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let from = b"aZ=\\@/*#:. \r\n\xef\xbb\xbf\xff\xfe\0";
                file.push(from[(state as usize >> 16 & 0xff) % from.len()]);
            }
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let _ = Passwords::read(&file);
        }
    }
}
