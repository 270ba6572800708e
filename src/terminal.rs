//! The only way out to standard output and standard error, and what is made harmless on it.
//!
//! Names in a capture, a journal or a folder are somebody else's: they may hold what a terminal takes
//! for commands, what ends a line, or what turns the direction of reading. So a line that is printed
//! holds none of that: each such character is shown as JSON writes it, `\u001b`. What is JSON
//! already stays JSON, and means the same. Only who prints says where a line ends.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io::{self, BufWriter, IsTerminal as _, StdoutLock, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::exit::ENVIRONMENT;
use crate::interrupt;

/// The text without anything that a terminal or a reader of lines could take for more than text.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if is_harmful(letter) {
            // All of them are below U+10000; writing to a text cannot fail.
            let _ = write!(out, "\\u{:04x}", u32::from(letter));
        } else {
            out.push(letter);
        }
    }
    Cow::Owned(out)
}

/// Controls (C0, DEL, C1), separators of lines and paragraphs, and what turns the direction of
/// reading (Unicode's `Bidi_Control`).
fn is_harmful(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
        )
}

/// Prints a line on stdout. Whoever reads there may stop reading: then nothing more is printed. A
/// full disk ends it too, not quietly.
pub(crate) fn line(text: fmt::Arguments<'_>) {
    if UNREAD.load(Ordering::Relaxed) {
        return;
    }
    let text = text.to_string();
    told(writeln!(io::stdout().lock(), "{}", printable(&text)));
}

/// Prints on stdout what smbench alone has made up, as it is: nothing that others wrote may be in it. Ends
/// as [`line`] does.
pub(crate) fn ours(bytes: &[u8]) {
    let mut out = io::stdout().lock();
    told(out.write_all(bytes).and_then(|()| out.flush()));
}

/// Whoever read has stopped: nothing more is printed, and what is done is done to its end, for its exit code.
static UNREAD: AtomicBool = AtomicBool::new(false);

/// What a line that nobody read comes to.
fn told(written: io::Result<()>) {
    let Err(error) = written else {
        return;
    };
    if error.kind() == io::ErrorKind::BrokenPipe {
        UNREAD.store(true, Ordering::Relaxed);
        return;
    }
    interrupt::leave_nothing();
    complain(format_args!(
        "smbench: cannot write to standard output: {error}"
    ));
    std::process::exit(i32::from(ENVIRONMENT));
}

/// Prints a line on stderr. Where nobody reads that, nothing is lost that anybody waits for.
pub(crate) fn complain(text: fmt::Arguments<'_>) {
    let text = text.to_string();
    let _ = writeln!(io::stderr().lock(), "{}", printable(&text));
}

/// Like `println!`, for lines that hold what others wrote.
macro_rules! say {
    ($($text:tt)*) => { crate::terminal::line(format_args!($($text)*)) };
}
pub(crate) use say;

/// Like `eprintln!`, for lines that hold what others wrote.
macro_rules! note {
    ($($text:tt)*) => { crate::terminal::complain(format_args!($($text)*)) };
}
pub(crate) use note;

/// Many lines on stdout, for who wants to hear of it when nobody reads them.
pub(crate) struct Lines(BufWriter<StdoutLock<'static>>);

impl Lines {
    pub(crate) fn begin() -> Self {
        Self(BufWriter::new(io::stdout().lock()))
    }

    /// Prints a line.
    ///
    /// # Errors
    ///
    /// Those of stdout, [`io::ErrorKind::BrokenPipe`] among them.
    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.0, "{}", printable(text))
    }

    /// Lets go of what is still here.
    ///
    /// # Errors
    ///
    /// As [`Self::line`].
    pub(crate) fn end(mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Columns of a line on stdout: those of the terminal, and 80 where there is none.
pub(crate) fn width() -> u16 {
    let size = console::Term::stdout().size_checked();
    size.map_or(80, |(_, columns)| columns.max(80))
}

/// Whether people look at stderr.
pub(crate) fn is_watched() -> bool {
    io::stderr().is_terminal()
}

/// Makes what is behind it come out now.
pub(crate) fn flush() {
    // Who does not listen any more is met at the next line.
    let _ = io::stdout().flush();
}

/// Where log lines go: one with each call.
pub(crate) struct LogLine;

impl Write for LogLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        complain(format_args!("{}", text.strip_suffix('\n').unwrap_or(&text)));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_shown_and_nothing_else_is_touched() {
        for harmless in [
            "",
            "team\\plan.txt",
            "größe €",
            "文件 😀",
            "\u{200d}\u{feff}",
        ] {
            assert_eq!(printable(harmless), harmless);
        }
        let harmful = "\0\u{7}\t\n\r\u{1b}\u{7f}\u{80}\u{9b}\u{9f}\u{61c}\u{200e}\u{200f}\u{2028}\
            \u{2029}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}";
        for letter in harmful.chars() {
            let shown = format!("a\\u{:04x}b", u32::from(letter));
            assert_eq!(printable(&format!("a{letter}b")), shown);
        }
    }

    #[test]
    fn json_means_the_same() {
        let all: String = ('\0'..='\u{ffff}').collect();
        let json = serde_json::to_string(&all).unwrap();
        let shown = printable(&json);
        assert!(!shown.chars().any(is_harmful));
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), all);
    }
}
