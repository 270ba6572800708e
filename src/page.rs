//! Results as one HTML page: it works offline and without scripts, on light and dark screens and on paper.
//!
//! | file | holds |
//! |---|---|
//! | `run` | the page of a run |
//! | `capture` | the page of a capture |
//! | `compare` | the page of two runs |
//! | `trust` | how much was compared, and what it comes to |
//! | `differences` | what differs, causes first |
//! | `times` | answer times, the slowest, how time went, lateness |
//! | `scene` | who waited on whom |
//! | `loads` | by client, share, file |
//! | `charts` | lines as SVG |
//!
//! All text from captures and servers goes through [`Told`], which shows control characters as text; the
//! templates escape what HTML takes for markup.

mod capture;
mod charts;
mod compare;
mod differences;
mod loads;
mod run;
mod scene;
mod times;
mod trust;

use std::io::Read as _;
use std::path::Path;

use maud::{DOCTYPE, Markup, PreEscaped, Render, html};

pub(crate) use self::capture::{Capture, of_capture};
pub(crate) use self::compare::{Pair, of_pair};
pub(crate) use self::differences::change;
pub(crate) use self::run::{again, of_runs};
pub(crate) use self::trust::{notices, word};
use crate::exit::{Failure, OrFail};
use crate::interrupt::Unfinished;
use crate::terminal::printable;

/// Text that others wrote: nothing in it is obeyed, by a browser or by whoever copies it.
pub(crate) struct Told<'a>(pub(crate) &'a str);

impl Render for Told<'_> {
    fn render_to(&self, buffer: &mut String) {
        printable(self.0).as_ref().render_to(buffer);
    }
}

/// A whole page.
fn document(title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="generator" content="smbench";
                meta name="color-scheme" content="light dark";
                // Nothing is loaded, and nothing runs, whatever a name in a capture may be.
                meta http-equiv="Content-Security-Policy"
                    content="default-src 'none'; style-src 'unsafe-inline'; img-src data:";
                title { (Told(title)) }
                style { (PreEscaped(STYLE)) }
            }
            body { (body) }
        }
    }
}

const STYLE: &str = include_str!("page/style.css");

/// A question that a page answers.
fn section(id: &str, question: &str, body: &Markup) -> Markup {
    html! {
        section id=(id) {
            h2 { (question) }
            (body)
        }
    }
}

/// A table whose columns after the first so many are numbers.
fn table(header: &[&str], texts: usize, rows: &[Vec<Markup>]) -> Markup {
    let class = |at: usize| if at < texts { "text" } else { "number" };
    html! {
        div.scroll {
            table {
                thead { tr {
                    @for (at, name) in header.iter().enumerate() { th class=(class(at)) { (name) } }
                } }
                tbody {
                    @for row in rows {
                        tr {
                            @for (at, cell) in row.iter().enumerate() { td class=(class(at)) { (cell) } }
                        }
                    }
                }
            }
        }
    }
}

/// What is there to be opened by whoever wants it.
fn more(summary: &str, body: &Markup) -> Markup {
    html! { details { summary { (summary) } (body) } }
}

/// A count with its noun.
fn counted(count: usize, one: &str, several: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        count => format!("{count} {several}"),
    }
}

/// Whether a page could be written to `path`, told before a run: a folder that is not there would be noticed
/// after it.
pub(crate) fn check(path: &Path) -> Result<(), Failure> {
    let parent = path.parent().filter(|it| !it.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    let shown = path.display();
    if !parent.is_dir() {
        let failure = format!("cannot write {shown}: {} is no folder", parent.display());
        return Err(Failure::environment(failure).remedy("make it, or name another file"));
    }
    let Ok(about) = std::fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !about.is_file() {
        let failure = format!("cannot write {shown}: it exists and is no file");
        return Err(Failure::environment(failure).remedy("name another file"));
    }
    if about.len() > 0 && !is_ours(path) {
        let failure = format!("cannot write {shown}: it exists, and is none that was written so");
        return Err(Failure::environment(failure).remedy("name another file, or remove it"));
    }
    Ok(())
}

/// Whether a file is one that is written here, and may be written again.
fn is_ours(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(1_024).read_to_end(&mut head));
    let head = String::from_utf8_lossy(&head);
    read.is_ok() && MARKS.iter().any(|mark| head.contains(mark))
}

/// What pages, JUnit files, Markdown and CSV begin with.
const MARKS: [&str; 4] = [
    "name=\"generator\" content=\"smbench\"",
    "<testsuites name=\"smbench\"",
    crate::outputs::MARKDOWN_MARK,
    "operation,client,share,path,command,frame,",
];

/// Writes a file as a whole or not at all.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    check(path)?;
    let context = || format!("cannot write {}", path.display());
    let mut part = path.file_name().unwrap_or_default().to_os_string();
    part.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(part);
    let _unfinished = Unfinished::at(&part);
    let written = std::fs::write(&part, text).and_then(|()| std::fs::rename(&part, path));
    if written.is_err() {
        std::fs::remove_file(&part).ok();
    }
    written.or_environment(context())
}
