//! Names of files, as requests spell them.

use memchr::{memchr, memrchr};
use smbench_core::{confine::below_share, fscc::upcase};

/// What is wrong with a path, for the namespace: it would lead elsewhere when it is made, or no server
/// keeps such a name, and what is above it would take more than all that a capture holds.
pub(super) fn odd_path(path: &str) -> Option<&'static str> {
    if path.is_empty() {
        return None; // the top of a share
    }
    let depth = memchr::memchr_iter(b'\\', path.as_bytes()).count() + 1;
    if depth > DEEPEST {
        return Some(TOO_DEEP);
    }
    let nameless = |name: &str| depth > 1 && name.starts_with(':');
    path.split('\\')
        .find_map(|name| odd_name(name).or_else(|| nameless(name).then_some(NO_NAME)))
}

/// The same for one name in a folder, which may be that of a stream.
pub(super) fn odd_name(name: &str) -> Option<&'static str> {
    let file = name.split(':').next().unwrap_or_default();
    if name.is_empty() || matches!(file, "." | "..") || name.contains(['\\', '/', '\0']) {
        return Some(NO_NAME);
    }
    let is_long = |part: &str| part.encode_utf16().count() > LONGEST;
    (name.len() > LONGEST && name.split(':').any(is_long)).then_some(TOO_LONG)
}

const NO_NAME: &str =
    "name that leads elsewhere: empty, `.`, `..`, or with a separator or NUL in it";
const TOO_LONG: &str = "name of more than 255 characters";
const TOO_DEEP: &str = "path of more than 255 names";
/// Names in a path.
const DEEPEST: usize = 255;
/// UTF-16 code units of a name, or of that of a stream. [MS-FSCC] 2.1.5.2, 2.1.5.3
const LONGEST: usize = 255;

/// A name in a share.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Place {
    pub(super) share: usize,
    /// As it was written.
    pub(super) path: String,
    /// In upper case: servers do not tell case apart. [MS-FSA] 2.1.1.1 With POSIX extensions they do.
    pub(super) key: String,
    /// It is a stream of a file.
    stream: bool,
    /// It is a name of POSIX extensions, in which a colon is a letter.
    posix: bool,
}

impl Place {
    /// A path that is known to be clean.
    pub(super) fn plain(share: usize, path: &str) -> Self {
        Self {
            share,
            path: path.to_owned(),
            key: upcase(path),
            stream: names_stream(path),
            posix: false,
        }
    }

    /// The same with POSIX semantics.
    pub(super) fn exact(share: usize, path: &str) -> Self {
        Self {
            share,
            path: path.to_owned(),
            key: path.to_owned(),
            stream: false,
            posix: true,
        }
    }

    /// A path in the same share, and of the same semantics.
    pub(super) fn elsewhere(&self, path: &str) -> Self {
        match self.posix {
            true => Self::exact(self.share, path),
            false => Self::plain(self.share, path),
        }
    }

    pub(super) fn is_posix(&self) -> bool {
        self.posix
    }

    /// The place that a request names. With `is_dfs` the path begins with server and share.
    pub(super) fn of(share: usize, name: &str, is_dfs: bool) -> Option<Self> {
        let name = below_share(name, is_dfs).trim_end_matches('\\');
        let folder = last_name(name);
        let colon = memchr(b':', name.get(folder..)?.as_bytes()).map(|at| at + folder);
        let Some(colon) = colon else {
            return Some(Self::plain(share, name));
        };
        // file:stream:$TYPE; the unnamed stream is the file itself. [MS-FSCC] 2.1.5
        let (base, stream) = name.split_at_checked(colon)?;
        let stream = stream.get(1..)?.split(':').next().unwrap_or_default();
        Some(match stream {
            "" => Self::plain(share, base),
            stream => Self::plain(share, &format!("{base}:{stream}")),
        })
    }

    /// The file that a stream belongs to, or the folder that something is in; none for the root.
    pub(super) fn above(&self) -> Option<Self> {
        let path = above(&self.path, self.posix)?;
        Some(Self {
            share: self.share,
            path: path.to_owned(),
            key: self.key_above()?.to_owned(),
            stream: !self.posix && names_stream(path),
            posix: self.posix,
        })
    }

    /// The key of [`Place::above`].
    pub(super) fn key_above(&self) -> Option<&str> {
        above(&self.key, self.posix)
    }

    pub(super) fn is_stream(&self) -> bool {
        self.stream
    }
}

/// The file that a stream belongs to, or the folder that a name is in; none for the root.
fn above(path: &str, posix: bool) -> Option<&str> {
    let name = last_name(path);
    let colon = memchr(b':', path.get(name..)?.as_bytes()).filter(|_| !posix);
    let end = match colon {
        Some(colon) => name + colon,
        None => name.saturating_sub(1),
    };
    path.get(..end).filter(|above| !above.is_empty())
}

/// Where the last name of a path begins.
fn last_name(path: &str) -> usize {
    memrchr(b'\\', path.as_bytes()).map_or(0, |at| at + 1)
}

fn names_stream(path: &str) -> bool {
    let name = path.get(last_name(path)..).unwrap_or_default();
    memchr(b':', name.as_bytes()).is_some()
}

/// One place after the other in the same folder.
#[derive(Debug)]
pub(super) struct Inside {
    place: Place,
    /// Lengths of path and key up to where names begin.
    path: usize,
    key: usize,
}

impl Inside {
    /// The folder `above` of a share; the empty one is the root.
    pub(super) fn of(share: usize, above: &str, posix: bool) -> Self {
        let mut place = match posix {
            true => Place::exact(share, above),
            false => Place::plain(share, above),
        };
        if !above.is_empty() {
            place.path.push('\\');
            place.key.push('\\');
        }
        Self {
            path: place.path.len(),
            key: place.key.len(),
            place,
        }
    }

    /// Whether it is the folder `above` of a share.
    pub(super) fn is_of(&self, share: usize, above: &str, posix: bool) -> bool {
        let path = self.place.path.get(..self.path).unwrap_or_default();
        (self.place.share, self.place.posix) == (share, posix)
            && path.strip_suffix('\\').unwrap_or(path) == above
    }

    /// Where something of that name is.
    pub(super) fn place(&mut self, name: &str) -> &Place {
        let place = &mut self.place;
        place.path.truncate(self.path);
        place.path.push_str(name);
        place.key.truncate(self.key);
        if place.posix {
            place.key.push_str(name);
            return place;
        }
        if name.is_ascii() {
            place.key.push_str(name);
            if let Some(key) = place.key.get_mut(self.key..) {
                key.make_ascii_uppercase();
            }
        } else {
            place.key.push_str(&upcase(name));
        }
        place.stream = names_stream(name);
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_elsewhere_is_told() {
        let long = "x".repeat(255);
        let deep = ["d"; 255].join("\\");
        for fine in [
            "", "a", "a\\b", "a:s", "a\\b:s", ":s", "...", "a..", ".a", "a b\\ ", "\u{1}", "a*?",
        ] {
            assert_eq!(odd_path(fine), None, "{fine:?}");
        }
        for fine in [&long, &format!("d\\{long}:{long}"), &deep] {
            assert_eq!(odd_path(fine), None);
        }
        for odd in [
            "..", ".", "..\\x", "a\\..\\b", "a\\.", "a\\\\b", "../x", "a/b", "a\0", "..:s",
            "a\\.:s", "a\\:s",
        ] {
            assert_eq!(odd_path(odd), Some(NO_NAME), "{odd:?}");
        }
        assert_eq!(odd_path(&format!("d\\{long}x")), Some(TOO_LONG));
        assert_eq!(odd_path(&format!("a:{long}x")), Some(TOO_LONG));
        assert_eq!(odd_path(&format!("{deep}\\d")), Some(TOO_DEEP));
        let names = ["", ".", "..", "a\\b", "a/b", "a\0b", "..:s"];
        assert!(names.iter().all(|it| odd_name(it) == Some(NO_NAME)));
    }

    #[test]
    fn places_inside_are_plain_places() {
        for above in ["", "Team", "ΣΑΣ", "a\\b\u{130}"] {
            let mut inside = Inside::of(3, above, false);
            assert!(
                inside.is_of(3, above, false)
                    && !inside.is_of(2, above, false)
                    && !inside.is_of(3, "z", false)
            );
            for name in ["Plan.XLSX", "", "ÄΣ", "x", "\u{130}\u{3a3}"] {
                let path = match above {
                    "" => name.to_owned(),
                    above => format!("{above}\\{name}"),
                };
                assert_eq!(*inside.place(name), Place::plain(3, &path));
                assert!(inside.is_of(3, above, false) && !inside.is_of(3, above, true));
            }
        }
    }

    #[test]
    fn with_posix_extensions_case_matters_and_a_colon_does_not() {
        let place = Place::exact(1, "D\\a:b");
        assert_eq!((place.key.as_str(), place.is_stream()), ("D\\a:b", false));
        assert_eq!(place.above(), Some(Place::exact(1, "D")));
        assert_eq!(*Inside::of(1, "D", true).place("a:b"), place);
        assert_ne!(place.key, Place::exact(1, "d\\A:B").key);
    }
}
