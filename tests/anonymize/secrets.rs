//! What must not survive of an original, and a search for it in the result.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::Path;

use serde_json::Value;
use smbench_compiler::folder::FolderReader;
use smbench_core::frame::Digest;

/// What must not be found in the result.
pub(super) struct Secrets {
    /// In lower case.
    pub(super) words: BTreeSet<String>,
    /// GUIDs, lease keys, salts.
    ids: BTreeSet<Vec<u8>>,
    /// Of WRITE and READ data and of initial content, every 16 bytes.
    pub(super) windows: HashSet<[u8; 16]>,
    digests: BTreeSet<String>,
}

impl Secrets {
    pub(super) fn of(folder: &Path) -> Self {
        let mut gathered = Gathered::default();
        for file in &FILES[..3] {
            let text = fs::read_to_string(folder.join(file)).unwrap();
            for value in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
                gathered.walk(file, "", &value.unwrap());
            }
        }
        let policy = policy();
        let mut words = BTreeSet::new();
        for text in &gathered.texts {
            for part in text.split(['\\', '/', ':', '\0', '@', '*', '?', '<', '>', '"']) {
                let core = part.trim_matches(['.', '~', '$', ' ']);
                let (stem, extension) = core.rsplit_once('.').unwrap_or((core, ""));
                words.extend([part, core, stem, extension].map(str::to_lowercase));
            }
        }
        words.retain(|word| {
            let hex = word.chars().all(|it| it.is_ascii_hexdigit());
            let bare = word.trim_end_matches(|it: char| it == '~' || it.is_ascii_digit());
            let core = word.trim_matches(['.', '~', '$', ' ']);
            let core = match core.rsplit_once('.') {
                Some((stem, extension)) if policy.contains(extension) => stem,
                _ => core,
            };
            core.chars().count() >= 4
                && !policy.contains(bare)
                && !policy.iter().any(|it| it.contains(word.as_str()))
                // Not to be told from digests and numbers, or from words of the format.
                && (!hex || word.len() >= 12)
                && !gathered.vocabulary.iter().any(|it| it.contains(word.as_str()))
        });
        let blobs = FolderReader::open(folder).unwrap().blobs().unwrap();
        let pipes = pipe_data(folder);
        let mut windows = HashSet::new();
        let mut digests = BTreeSet::new();
        for data in blobs.iter() {
            let bytes = blobs.get(&data.blake3).unwrap();
            if pipes.contains(&data.blake3) {
                continue;
            }
            if bytes.iter().any(|byte| *byte != 0) && bytes.len() > 2 {
                digests.insert(data.blake3.to_string());
            }
            let telling = |it: &&[u8]| it.iter().collect::<BTreeSet<_>>().len() >= 6;
            let stride = (bytes.len() / 65_536).max(1) * 16;
            windows.extend(
                (0..bytes.len().saturating_sub(15))
                    .step_by(stride)
                    .map(|at| &bytes[at..at + 16])
                    .filter(telling)
                    .map(|it| <[u8; 16]>::try_from(it).unwrap()),
            );
        }
        Self {
            words,
            ids: gathered.ids,
            windows,
            digests,
        }
    }

    pub(super) fn survivors(&self, folder: &Path) -> Vec<String> {
        let utf16 =
            |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
        let mut found = Vec::new();
        let mut in_text = Needles::default();
        let mut in_bytes = Needles::default();
        for word in &self.words {
            in_text.add(word.as_bytes(), word);
            in_bytes.add(&utf16(word), word);
            // Fewer letters turn up by chance in this many random bytes.
            if word.len() >= 7 {
                in_bytes.add(word.as_bytes(), word);
            }
            for spelt in [word.clone(), word.to_uppercase()] {
                in_text.add(hex(&utf16(&spelt)).as_bytes(), word);
                if word.len() >= 7 {
                    in_text.add(hex(spelt.as_bytes()).as_bytes(), word);
                }
            }
        }
        for id in &self.ids {
            in_text.add(hex(id).as_bytes(), &hex(id));
            in_bytes.add(&id.to_ascii_lowercase(), &hex(id));
        }
        for digest in &self.digests {
            in_text.add(digest.as_bytes(), digest);
        }
        // Most places are told apart by three bytes.
        let head =
            |it: &[u8]| usize::from(it[0]) | usize::from(it[1]) << 8 | usize::from(it[2]) << 16;
        let mut heads = vec![false; 1 << 24];
        for window in &self.windows {
            heads[head(window)] = true;
        }
        for file in FILES {
            let bytes = fs::read(folder.join(file)).unwrap();
            let lower = bytes.to_ascii_lowercase();
            let text = file != FILES[3];
            // Buffers stand in JSON as hex digits.
            let inside = if text {
                hex_strings(&bytes)
            } else {
                Vec::new()
            };
            let tell = |word: &str| format!("{file}: {word}");
            if text {
                found.extend(in_text.search(&lower).map(tell));
                for buffer in &inside {
                    found.extend(in_bytes.search(&buffer.to_ascii_lowercase()).map(tell));
                }
            } else {
                found.extend(in_bytes.search(&lower).map(tell));
            }
            for buffer in std::iter::once(&bytes).chain(&inside) {
                let seen = buffer
                    .windows(16)
                    .filter(|it| heads[head(it)] && self.windows.contains(*it));
                found.extend(seen.map(|it| tell(&hex(it))));
            }
        }
        found.sort();
        found.dedup();
        found
    }
}

/// Texts and ids of the JSON files, and the words of the format itself.
#[derive(Default)]
struct Gathered {
    texts: BTreeSet<String>,
    ids: BTreeSet<Vec<u8>>,
    vocabulary: BTreeSet<String>,
}

impl Gathered {
    fn walk(&mut self, file: &str, key: &str, value: &Value) {
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    self.vocabulary.insert(key.to_lowercase());
                    self.walk(file, key, value);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.walk(file, key, item)),
            Value::String(text) => self.text(file, key, text),
            _ => {}
        }
    }

    fn text(&mut self, file: &str, key: &str, text: &str) {
        let bytes = from_hex(text);
        match (key, bytes) {
            ("path" | "name" | "pattern" | "netname" | "address" | "history", _) => {
                self.texts.insert(text.to_owned());
            }
            ("share", _) if file == FILES[2] => {
                self.texts.insert(text.to_owned());
            }
            ("from" | "to", _) if file == FILES[0] => {
                let host = text.rsplit_once(':').map_or(text, |(host, _)| host);
                self.texts.insert(host.to_owned());
            }
            ("file_id", _) if text.len() > 12 && !text.starts_with("ffffffffffffffff:") => {
                self.texts.insert(text.replace(':', "\\"));
                self.texts.insert(text.to_owned());
            }
            ("reason" | "tool", _) => {}
            (_, Some(bytes)) => {
                let id = [
                    "key",
                    "client_guid",
                    "create_guid",
                    "parent_key",
                    "app_instance_id",
                    "salt",
                ];
                if id.contains(&key) && bytes.iter().any(|byte| *byte != 0) {
                    self.ids.insert(bytes);
                } else if key != "blake3" && key != "smb1_negotiate" {
                    self.texts.extend(texts_in(&bytes));
                }
            }
            (_, None) => {
                self.vocabulary.insert(text.to_lowercase());
            }
        }
    }
}

/// Runs of letters in UTF-16LE.
fn texts_in(bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for start in [0, 1] {
        let units = bytes.get(start..).unwrap_or_default().chunks_exact(2);
        let text: String = units
            .map(|it| u16::from_le_bytes([it[0], it[1]]))
            .map(|unit| match char::from_u32(unit.into()) {
                Some(letter)
                    if letter.is_ascii_graphic() || letter.is_alphabetic() && unit < 0x530 =>
                {
                    letter
                }
                _ => '\0',
            })
            .collect();
        found.extend(
            text.split('\0')
                // Numbers side by side are letters of some alphabet too.
                .filter(|it| it.chars().filter(char::is_ascii_alphabetic).count() >= 3)
                .map(str::to_owned),
        );
    }
    found
}

/// Many byte strings, looked for at once.
#[derive(Default)]
struct Needles {
    list: BTreeMap<[u8; 4], Vec<(Vec<u8>, String)>>,
}

impl Needles {
    fn add(&mut self, bytes: &[u8], what: &str) {
        if let Some(head) = bytes.first_chunk() {
            let list = self.list.entry(*head).or_default();
            list.push((bytes.to_vec(), what.to_owned()));
        }
    }

    pub(super) fn search<'a>(&'a self, hay: &[u8]) -> impl Iterator<Item = &'a str> + use<'a> {
        let mut heads = vec![false; 1 << 16];
        for head in self.list.keys() {
            heads[usize::from(u16::from_le_bytes([head[0], head[1]]))] = true;
        }
        let mut found = BTreeSet::new();
        for (at, pair) in hay.windows(2).enumerate() {
            if !heads[usize::from(u16::from_le_bytes([pair[0], pair[1]]))] {
                continue;
            }
            let rest = &hay[at..];
            let list = rest.first_chunk().and_then(|head| self.list.get(head));
            for (bytes, what) in list.into_iter().flatten() {
                if rest.starts_with(bytes) {
                    found.insert(what.as_str());
                }
            }
        }
        found.into_iter()
    }
}

/// Data of WRITEs and READs on pipes: RPC keeps its structure, and its texts are words anyway.
fn pipe_data(folder: &Path) -> HashSet<Digest> {
    let reader = FolderReader::open(folder).unwrap();
    let mut found = HashSet::new();
    for op in reader.operations().unwrap() {
        let op = op.unwrap();
        let tree = op
            .tree
            .and_then(|tree| reader.workload().trees.get(tree.index()));
        if tree.is_some_and(|it| it.share_type == 2 || it.share().eq_ignore_ascii_case("IPC$")) {
            let told = op.expect.map(|it| [it.data, it.output]);
            let told = told.into_iter().flatten().flatten();
            found.extend(op.data.into_iter().chain(told).map(|it| it.blake3));
        }
    }
    found
}

/// Words that docs/ANONYMIZE.md says stay: those in backticks of its part on names.
fn policy() -> HashSet<&'static str> {
    let text = include_str!("../../docs/ANONYMIZE.md");
    let part = text
        .split("\n## ")
        .find(|part| part.starts_with("Names"))
        .unwrap();
    part.split('`').skip(1).step_by(2).collect()
}

/// The bytes of the strings of hex digits in JSON.
fn hex_strings(text: &[u8]) -> Vec<Vec<u8>> {
    let strings = text.split(|byte| *byte == b'"');
    let texts = strings.filter_map(|it| std::str::from_utf8(it).ok());
    texts
        .filter(|it| it.len() != 64)
        .filter_map(from_hex)
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes of at least eight hex digits.
fn from_hex(text: &str) -> Option<Vec<u8>> {
    let whole = text.len() >= 8 && text.len().is_multiple_of(2) && text.is_ascii();
    let pairs = (0..text.len()).step_by(2);
    whole.then(|| {
        pairs
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
            .collect()
    })?
}

pub(super) const FILES: [&str; 4] = [
    "workload.json",
    "ops.jsonl",
    "namespace.jsonl",
    "blobs.pack",
];
