//! What stays in the clear, because it is the same everywhere and servers act on it.
//!
//! The lists are the policy: `docs/ANONYMIZE.md` repeats them.

/// Letters of a name that servers act on, at their place: wildcards and what no name may hold,
/// control characters, and the private letters that stand for such on other systems.
pub(super) fn keeps_meaning(letter: char) -> bool {
    matches!(letter, '"' | '*' | '<' | '>' | '?' | '|' | ':' | '/' | '\\')
        || letter.is_control()
        || matches!(letter, '\u{e000}'..='\u{f8ff}' | '\u{fffd}')
}

/// Letters that make a name a pattern. [MS-FSA] 2.1.4.4.
pub(super) fn is_wildcard(letter: char) -> bool {
    matches!(letter, '*' | '?' | '<' | '>' | '"')
}

/// Whether an extension, in lower case, stays.
pub(super) fn is_known_extension(extension: &str) -> bool {
    EXTENSIONS.binary_search(&extension).is_ok()
}

/// Whether a component of a path, in lower case, stays.
pub(super) fn is_known_name(name: &str) -> bool {
    NAMES.binary_search(&name).is_ok()
}

/// Whether the name of a stream, in lower case, stays.
pub(super) fn is_known_stream(name: &str) -> bool {
    STREAMS.binary_search(&name).is_ok()
}

/// Whether a pipe, in lower case, stays.
pub(super) fn is_known_pipe(name: &str) -> bool {
    PIPES.binary_search(&name).is_ok()
}

/// Whether a share, in lower case, stays: what every server has, and drives.
pub(super) fn is_known_share(name: &str) -> bool {
    let drive = name.strip_suffix('$').is_some_and(|letter| {
        letter.len() == 1 && letter.bytes().all(|byte| byte.is_ascii_lowercase())
    });
    drive || SHARES.binary_search(&name).is_ok()
}

/// Whether a host, in lower case, is nobody's.
pub(super) fn is_known_host(name: &str) -> bool {
    matches!(name, "localhost" | "*smbserver" | "*")
}

/// Names that Windows gives devices, and that no pseudonym may be.
pub(super) fn is_reserved(name: &str) -> bool {
    let device = name
        .strip_prefix("com")
        .or_else(|| name.strip_prefix("lpt"))
        .is_some_and(|rest| rest.len() == 1 && rest.bytes().all(|byte| byte.is_ascii_digit()));
    device
        || matches!(name, "con" | "prn" | "aux" | "nul")
        || is_known_name(name)
        || is_known_stream(name)
        || is_known_pipe(name)
        || is_known_share(name)
        || is_known_extension(name)
}

/// Extensions of common programs; lower case, sorted.
pub(super) const EXTENSIONS: [&str; 112] = [
    "7z", "accdb", "ai", "asd", "avi", "bak", "bat", "bin", "bmp", "c", "cab", "cfg", "chm", "cmd",
    "conf", "cpp", "css", "csv", "dat", "db", "dbf", "dll", "doc", "docm", "docx", "dot", "dotx",
    "dwg", "dxf", "eml", "eps", "exe", "gif", "gz", "h", "hlp", "htm", "html", "ico", "inf", "ini",
    "iso", "jar", "java", "jpeg", "jpg", "js", "json", "key", "laccdb", "ldb", "lnk", "lock",
    "log", "m4a", "mdb", "mov", "mp3", "mp4", "mpg", "mpp", "msg", "msi", "nef", "numbers", "odp",
    "ods", "odt", "old", "one", "ost", "pages", "pdb", "pdf", "php", "png", "pps", "ppt", "pptm",
    "pptx", "ps1", "psd", "pst", "pub", "py", "rar", "rs", "rtf", "sh", "sql", "svg", "swp", "sys",
    "tar", "tif", "tiff", "tmp", "torrent", "ttf", "txt", "url", "vbs", "vhd", "vhdx", "vmdk",
    "vsd", "vsdx", "wav", "wmv", "xls", "xlsm", "xlsx",
];

/// Components of paths; lower case, sorted.
pub(super) const NAMES: [&str; 8] = [
    "$recycle.bin",
    ".ds_store",
    ".trashes",
    "autorun.inf",
    "desktop.ini",
    "recycler",
    "system volume information",
    "thumbs.db",
];

/// Streams and their types; lower case, sorted.
pub(super) const STREAMS: [&str; 12] = [
    "$attribute_list",
    "$bitmap",
    "$data",
    "$ea",
    "$i30",
    "$index_allocation",
    "$index_root",
    "$reparse_point",
    "afp_afpinfo",
    "afp_resource",
    "encryptable",
    "zone.identifier",
];

/// Pipes; lower case, sorted. [MS-RPCE] and the protocols over it name them.
pub(super) const PIPES: [&str; 28] = [
    "atsvc",
    "browser",
    "dfs",
    "efsrpc",
    "epmapper",
    "eventlog",
    "fssagentrpc",
    "initshutdown",
    "keysvc",
    "llsrpc",
    "lsarpc",
    "lsass",
    "mdssvc",
    "msftewds",
    "netdfs",
    "netlogon",
    "ntsvcs",
    "pipe",
    "plugplay",
    "protected_storage",
    "rpcecho",
    "samr",
    "spoolss",
    "srvsvc",
    "svcctl",
    "trkwks",
    "winreg",
    "wkssvc",
];

/// Shares that servers bring along; lower case, sorted.
pub(super) const SHARES: [&str; 5] = ["admin$", "ipc$", "netlogon", "print$", "sysvol"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted_and_in_lower_case() {
        for list in [&EXTENSIONS[..], &NAMES, &STREAMS, &PIPES, &SHARES] {
            assert!(list.iter().all(|word| *word == word.to_lowercase()));
            for pair in list.windows(2) {
                assert!(pair[0] < pair[1], "{pair:?}");
            }
        }
    }

    #[test]
    fn the_document_has_the_lists() {
        let text = include_str!("../../../docs/ANONYMIZE.md");
        for list in [&EXTENSIONS[..], &NAMES, &STREAMS, &PIPES, &SHARES] {
            for word in list {
                assert!(text.contains(&format!("`{word}`")), "{word}");
            }
        }
    }

    #[test]
    fn drives_are_shares_of_every_server() {
        assert!(is_known_share("c$") && is_known_share("ipc$"));
        assert!(!is_known_share("home$") && !is_known_share("$") && !is_known_share("data"));
    }
}
