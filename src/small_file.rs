//! Files that people write: read whole, and none is so long that it fills memory.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use crate::exit::{Failure, OrFail};

/// What is in a file.
pub(crate) fn bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    let shown = path.display();
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MOST + 1).read_to_end(&mut bytes))
        .or_environment(format!("cannot read {shown}"))?;
    if bytes.len() as u64 > MOST {
        return Err(Failure::environment(format!(
            "{shown} has more than {} MiB, and is not what it was named for",
            MOST >> 20
        )));
    }
    Ok(bytes)
}

/// The text of a file.
pub(crate) fn text(path: &Path) -> Result<String, Failure> {
    String::from_utf8(bytes(path)?).or_environment(format!("{} is no text", path.display()))
}

/// Bytes of a list of keys of some hundred thousand sessions.
const MOST: u64 = 16 << 20;
