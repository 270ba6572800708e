//! Names: components of paths, shares, hosts, users, pipes, patterns.

use std::net::{IpAddr, SocketAddr};

use smbench_core::smb2::{Name, version};

use super::{Scrub, policy, tally::Kind, words::fold};

impl Scrub {
    /// A path below a share: components between backslashes, streams behind colons.
    pub(super) fn path(&mut self, path: &str) -> String {
        pieces(path, &SEPARATORS, |piece| self.component(piece))
    }

    /// One component of a path, with its stream.
    pub(super) fn component(&mut self, text: &str) -> String {
        let mut parts = text.splitn(3, ':');
        let file = parts.next().unwrap_or_default();
        let mut out = self.file_name(file);
        if let Some(stream) = parts.next() {
            out.push(':');
            out.push_str(&self.stream(stream));
        }
        if let Some(kind) = parts.next() {
            out.push(':');
            out.push_str(&self.stream(kind));
        }
        out
    }

    /// A path, on a tree of pipes: well-known pipes stay.
    pub(super) fn pipe(&mut self, path: &str) -> String {
        pieces(path, &SEPARATORS, |piece| {
            if policy::is_known_pipe(&fold(piece)) {
                self.tally.kept("well-known pipes");
                return piece.to_owned();
            }
            self.word(Kind::Pipes, piece)
        })
    }

    /// `\\host\share\path`, with any number of leading backslashes.
    pub(super) fn unc(&mut self, path: &str) -> String {
        let mut at = 0;
        pieces(path, &SEPARATORS, |piece| {
            at += 1;
            match at {
                1 => self.host(Kind::Hosts, piece),
                2 => self.share(piece),
                _ => self.component(piece),
            }
        })
    }

    /// The name of a share.
    pub(super) fn share(&mut self, share: &str) -> String {
        if policy::is_known_share(&fold(share)) {
            self.tally.kept("well-known shares");
            return share.to_owned();
        }
        match share.strip_suffix('$') {
            Some(name) => self.word(Kind::Shares, name) + "$",
            None => self.word(Kind::Shares, share),
        }
    }

    /// A host or domain: an address, or labels between dots.
    pub(super) fn host(&mut self, kind: Kind, host: &str) -> String {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse::<IpAddr>() {
            let made = self.address(address).to_string();
            return host.replacen(bare, &made, 1);
        }
        if policy::is_known_host(&fold(host)) {
            self.tally.kept("names of no host");
            return host.to_owned();
        }
        pieces(host, &['.'], |label| match label.strip_suffix('$') {
            Some(label) => self.word(kind, label) + "$",
            None => self.word(kind, label),
        })
    }

    /// `address:port`; the port of a client becomes `port`.
    pub(super) fn endpoint(&mut self, text: &str, port: Option<u16>) -> String {
        if let Ok(mut endpoint) = text.parse::<SocketAddr>() {
            endpoint.set_ip(self.address(endpoint.ip()));
            if let Some(port) = port {
                endpoint.set_port(port);
            }
            return endpoint.to_string();
        }
        match text.rsplit_once(':') {
            Some((host, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                let host = self.host(Kind::Hosts, host);
                port.map_or_else(|| format!("{host}:{number}"), |it| format!("{host}:{it}"))
            }
            _ => self.host(Kind::Hosts, text),
        }
    }

    /// `DOMAIN\user`, `user@REALM` or `user`.
    pub(super) fn principal(&mut self, name: &str) -> String {
        if let Some((domain, user)) = name.split_once('\\') {
            let domain = self.host(Kind::Domains, domain);
            return domain + "\\" + &self.user(user);
        }
        if let Some((user, realm)) = name.rsplit_once('@') {
            let user = self.user(user);
            return user + "@" + &self.host(Kind::Domains, realm);
        }
        self.user(name)
    }

    fn user(&mut self, user: &str) -> String {
        match user.strip_suffix('$') {
            Some(machine) => self.word(Kind::Users, machine) + "$",
            None => self.word(Kind::Users, user),
        }
    }

    /// The pattern of a directory query. `found`: it matched something.
    pub(super) fn pattern(&mut self, pattern: &str, found: bool) -> String {
        if !pattern.contains(policy::is_wildcard) {
            return self.path(pattern);
        }
        let (stem, extension) = match pattern.rsplit_once('.') {
            Some((stem, end)) if policy::is_known_extension(&fold(end)) => (stem, Some(end)),
            _ => (pattern, None),
        };
        let plain = |letter: char| !policy::is_wildcard(letter) && !matches!(letter, '.' | '\0');
        if !stem.contains(plain) {
            return pattern.to_owned();
        }
        let (lead, core) = stem.split_at_checked(lead_len(stem)).unwrap_or(("", stem));
        let core = if found {
            // What matched shall match: pseudonyms keep no beginnings and ends.
            self.tally
                .lossy("letters of a pattern that matched: made wildcards");
            let any = |letter: char| if plain(letter) { "?" } else { "" };
            let mut out = String::new();
            for letter in core.chars() {
                match any(letter) {
                    "" => out.push(letter),
                    any => out.push_str(&any.repeat(letter.len_utf16())),
                }
            }
            out
        } else {
            pieces(core, &['*', '?', '<', '>', '"', '.', '\0'], |piece| {
                self.word(Kind::Patterns, piece)
            })
        };
        self.tally.replaced(Kind::Patterns, pattern.len());
        match extension {
            Some(extension) => format!("{lead}{core}.{extension}"),
            None => format!("{lead}{core}"),
        }
    }

    /// A name as `scrub` makes it; one that is not UTF-16 keeps what makes it so.
    pub(super) fn name(
        &mut self,
        name: &Name,
        scrub: impl FnOnce(&mut Self, &str) -> String,
    ) -> Name {
        match name {
            Name::Text(text) => Name::Text(scrub(self, text)),
            Name::Raw(bytes) => Name::from_wire(&self.broken_name(bytes)),
        }
    }

    /// UTF-16LE that is none: surrogates and separators stay, the rest becomes letters.
    fn broken_name(&mut self, bytes: &[u8]) -> Vec<u8> {
        let noise = self.key.bytes("broken name", bytes);
        self.tally.replaced(Kind::Names, bytes.len());
        let mut out = Vec::with_capacity(bytes.len());
        for (unit, noise) in bytes.chunks(2).zip(noise.chunks(2)) {
            let letter = noise.first().map_or(b'x', |noise| b'a' + noise % 26);
            let made = match <[u8; 2]>::try_from(unit).map(u16::from_le_bytes) {
                Ok(0xd800..=0xdbff) => 0xd800,
                Ok(0xdc00..=0xdfff) => 0xdc00,
                Ok(unit) if char::from_u32(unit.into()).is_some_and(policy::keeps_meaning) => unit,
                Ok(_) => u16::from(letter),
                Err(_) => {
                    out.push(letter);
                    continue;
                }
            };
            out.extend_from_slice(&made.to_le_bytes());
        }
        out
    }

    /// A word in the dictionary.
    pub(super) fn word(&mut self, kind: Kind, word: &str) -> String {
        if word.is_empty() {
            return String::new();
        }
        self.tally.replaced(kind, word.len());
        self.words.of(word)
    }

    pub(super) fn address(&mut self, address: IpAddr) -> IpAddr {
        self.tally.replaced(Kind::Addresses, 0);
        self.addresses.of(address)
    }

    fn stream(&mut self, name: &str) -> String {
        if policy::is_known_stream(&fold(name)) {
            self.tally.kept("well-known streams and types");
            return name.to_owned();
        }
        self.word(Kind::Streams, name)
    }

    /// A component without its stream: beginning, name and extension.
    fn file_name(&mut self, text: &str) -> String {
        if matches!(text, "" | "." | "..") {
            return text.to_owned();
        }
        if policy::is_known_name(&fold(text)) {
            self.tally.kept("well-known names in paths");
            return text.to_owned();
        }
        if let Some(time) = version::time_of(text) {
            return version::token(self.time(time));
        }
        let (lead, rest) = text.split_at_checked(lead_len(text)).unwrap_or(("", text));
        let end = rest.trim_end_matches(['.', ' ']).len();
        let (rest, tail) = rest.split_at_checked(end).unwrap_or((rest, ""));
        let (stem, extension) = match rest.rsplit_once('.') {
            Some((stem, extension)) if !stem.is_empty() => (stem, Some(extension)),
            _ => (rest, None),
        };
        let (stem, short) = short_name(stem);
        let mut out = lead.to_owned() + &self.word(Kind::Names, stem) + short;
        if let Some(extension) = extension {
            out.push('.');
            if policy::is_known_extension(&fold(extension)) {
                self.tally.kept("well-known extensions");
                out.push_str(extension);
            } else {
                out.push_str(&self.word(Kind::Extensions, extension));
            }
        }
        out + tail
    }
}

/// Length of what programs put before a name: the dots of hidden files, `~$` of Office.
fn lead_len(text: &str) -> usize {
    let rest = text.trim_start_matches(['.', '~', '$']);
    if rest.is_empty() {
        0
    } else {
        text.len() - rest.len()
    }
}

/// Splits the `~1` off a name that servers made short.
fn short_name(stem: &str) -> (&str, &str) {
    match stem.rfind('~').and_then(|at| stem.split_at_checked(at)) {
        Some((name, tail))
            if !name.is_empty()
                && name.len() <= 6
                && tail.len() == 2
                && tail.ends_with(|digit: char| digit.is_ascii_digit()) =>
        {
            (name, tail)
        }
        _ => (stem, ""),
    }
}

/// Applies `scrub` to what stands between separators.
fn pieces(text: &str, separators: &[char], mut scrub: impl FnMut(&str) -> String) -> String {
    let mut out = String::with_capacity(text.len());
    for piece in text.split_inclusive(separators) {
        let bare = piece.trim_end_matches(separators);
        if !bare.is_empty() {
            out.push_str(&scrub(bare));
        }
        out.push_str(piece.get(bare.len()..).unwrap_or_default());
    }
    out
}

/// Between components; zeros end names in some structures.
const SEPARATORS: [char; 3] = ['\\', '/', '\0'];

#[cfg(test)]
mod tests {
    use super::super::testing::scrub;

    #[test]
    fn structure_of_paths_stays() {
        let mut it = scrub();
        let originals = [
            "team\\report.docx",
            "TEAM\\~$report.docx",
            ".hidden\\.DS_Store",
            "a.b:Zone.Identifier:$DATA",
            "x:secret:$DATA",
            "PROGRA~1\\.\\..",
            "@GMT-2026.01.02-03.04.05\\team",
            "::$INDEX_ALLOCATION",
        ];
        for path in originals {
            it.path(path);
        }
        it.seal();
        let made = originals.map(|path| it.path(path));
        for (made, original) in made.iter().zip(originals) {
            assert_eq!(made.len(), original.len(), "{original} {made}");
            for word in ["team", "report", "hidden", "secret", "progra"] {
                assert!(!made.to_lowercase().contains(word), "{original} {made}");
            }
        }
        assert!(made[0].ends_with(".docx") && made[1].contains("\\~$"));
        assert!(made[2].starts_with('.') && made[2].ends_with("\\.DS_Store"));
        assert!(made[3].ends_with(":Zone.Identifier:$DATA"));
        assert!(made[5].contains("~1\\.\\.."));
        assert!(made[6].starts_with("@GMT-20"));
        assert_eq!(made[7], originals[7]);
        // One component, one pseudonym, whatever its case and extension.
        let folder = made[0].split('\\').next().unwrap();
        assert!(made[6].ends_with(&format!("\\{folder}")));
        assert!(made[1].to_lowercase().starts_with(folder));
        let stem = made[0].split(['\\', '.']).nth(1).unwrap();
        assert!(made[1].contains(stem));
    }

    #[test]
    fn hosts_users_and_pipes() {
        let mut it = scrub();
        let run = |it: &mut super::Scrub| {
            [
                it.unc("\\\\10.1.2.3\\data\\team"),
                it.unc("\\\\fs01.corp.example\\home$"),
                it.unc("\\\\FS01\\IPC$"),
                it.endpoint("10.1.2.3:445", None),
                it.principal("CORP\\alice"),
                it.principal("alice@corp.example"),
                it.pipe("srvsvc"),
                it.pipe("\\ours"),
            ]
        };
        run(&mut it);
        it.seal();
        let made = run(&mut it);
        let host = made[3].strip_suffix(":445").unwrap();
        assert!(made[0].starts_with(&format!("\\\\{host}\\")) && host != "10.1.2.3");
        assert!(made[1].ends_with('$') && made[2].ends_with("\\IPC$"));
        let label = |at: usize| made[at].split(['\\', '.']).nth(2).unwrap().to_lowercase();
        assert_eq!(label(1), label(2));
        let (domain, user) = made[4].split_once('\\').unwrap();
        let (same, realm) = made[5].split_once('@').unwrap();
        assert_eq!(user, same);
        assert!(realm.starts_with(&domain.to_lowercase()));
        assert_eq!(made[6], "srvsvc");
        assert!(made[7].starts_with('\\') && made[7] != "\\ours");
    }

    #[test]
    fn patterns_go_on_matching() {
        let mut it = scrub();
        let originals = ["*", "rep*", "*.docx", "<.docx", "report.docx", "x?y.qqq"];
        for pattern in originals {
            it.pattern(pattern, true);
        }
        it.seal();
        let made = originals.map(|pattern| it.pattern(pattern, true));
        assert_eq!(made[0], "*");
        assert_eq!(made[1], "???*");
        assert_eq!(made[2], "*.docx");
        assert_eq!(made[3], "<.docx");
        assert_eq!(made[4], it.path("report.docx"));
        assert_eq!(made[5], "???.???");
        let missed = it.pattern("rep*", false);
        assert!(missed.ends_with('*') && missed.len() == 4 && !missed.starts_with("rep"));
    }
}
