//! What a run leaves besides its journal: a page, a ticket, files for machines.

mod csv;
mod junit;
mod markdown;

pub(crate) use self::markdown::MARK as MARKDOWN_MARK;

use std::path::{Path, PathBuf};

use smbench_journal::Journal;

use crate::criteria::{Checked, Criteria, CriteriaArgs};
use crate::exit::{Failure, Verdict};
use crate::journals::failed;
use crate::report::say;
use crate::results::Results;
use crate::tally::Summary;
use crate::{facts, page, ticket};

/// What a run is told in, and what it is judged by.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct OutputArgs {
    /// Also write a page to read: one HTML file, that works offline
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Print a summary for a ticket instead: at most 15 lines of Markdown
    #[arg(long, conflicts_with = "json")]
    pub(crate) ticket: bool,
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    criteria: CriteriaArgs,
}

/// Results for machines.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct FileArgs {
    /// Also write the results for a CI server, as JUnit XML
    #[arg(long, value_name = "FILE.xml")]
    junit: Option<PathBuf>,
    /// Also write a summary as Markdown, as CI servers show it
    #[arg(long, value_name = "FILE.md")]
    markdown: Option<PathBuf>,
    /// Also write every operation as a line of CSV
    #[arg(long, value_name = "FILE.csv")]
    csv: Option<PathBuf>,
}

impl FileArgs {
    fn paths(&self) -> [(&'static str, Option<&PathBuf>); 3] {
        [
            ("junit", self.junit.as_ref()),
            ("markdown", self.markdown.as_ref()),
            ("csv", self.csv.as_ref()),
        ]
    }

    fn are_asked(&self) -> bool {
        self.paths().iter().any(|(_, path)| path.is_some())
    }

    /// Looks whether all of them can be written.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let mut paths = self.paths().into_iter().filter_map(|(_, path)| path);
        paths.try_for_each(|path| page::check(path))
    }

    /// Whether one file is named for two of them, or for one of `others` too.
    pub(crate) fn refuse_twice(
        &self,
        others: &[(&'static str, Option<&PathBuf>)],
    ) -> Result<(), Failure> {
        let named = self.paths().into_iter().chain(others.iter().copied());
        let named: Vec<(&str, PathBuf)> = named
            .filter_map(|(name, path)| Some((name, one_name(path?))))
            .collect();
        for (at, (name, path)) in named.iter().enumerate() {
            let mut before = named.iter().take(at);
            if let Some((other, _)) = before.find(|(_, it)| it == path) {
                let both = format!("--{other} and --{name} both name {}", path.display());
                return Err(Failure::usage(both).remedy("name a file for each"));
            }
        }
        Ok(())
    }

    /// Writes those that were asked for.
    pub(crate) fn write(&self, results: &Results) -> Result<(), Failure> {
        // One that cannot be written keeps none of the others back.
        let junit = self
            .junit
            .as_ref()
            .map(|path| page::write(path, &junit::of(results)?));
        let markdown = self.markdown.as_ref();
        let markdown = markdown.map(|path| page::write(path, &markdown::of(results)));
        let csv = self
            .csv
            .as_ref()
            .map(|path| page::write(path, &csv::of(results)?));
        [junit, markdown, csv].into_iter().flatten().collect()
    }

    /// Says where they are.
    pub(crate) fn print(&self) {
        for (name, path) in self.paths() {
            if let Some(path) = path {
                say!("{:<10}{}", format!("{name}:"), path.display());
            }
        }
    }
}

/// What is told of a run, and where: checked before the run.
pub(crate) struct Outputs<'a> {
    args: &'a OutputArgs,
    criteria: Criteria,
}

/// A run, told and judged.
pub(crate) struct Review {
    /// As `--json` tells it.
    pub(crate) summary: Summary,
    /// The run operation by operation, where somebody asked for what needs it.
    pub(crate) results: Option<Results>,
    /// What the process ends with.
    pub(crate) verdict: Verdict,
}

impl OutputArgs {
    /// Looks whether all of it can be written, and reads the rules, before anything runs.
    /// `others` are further files that the run writes, by their flags.
    pub(crate) fn prepare(
        &self,
        others: &[(&'static str, Option<&PathBuf>)],
    ) -> Result<Outputs<'_>, Failure> {
        self.report.as_deref().map_or(Ok(()), page::check)?;
        self.files.check()?;
        let others = [&[("report", self.report.as_ref())], others].concat();
        self.files.refuse_twice(&others)?;
        Ok(Outputs {
            args: self,
            criteria: self.criteria.read()?,
        })
    }
}

/// A path by the one name of its folder, however that was written.
fn one_name(path: &Path) -> PathBuf {
    let parent = path.parent().filter(|it| !it.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new(".")).canonicalize();
    match (parent, path.file_name()) {
        (Ok(parent), Some(name)) => parent.join(name),
        _ => path.to_owned(),
    }
}

impl Outputs<'_> {
    /// Judges a run that has ended, and writes what was asked for. `summary` is what the run itself counted.
    pub(crate) fn review(mut self, summary: Summary) -> Result<Review, Failure> {
        let args = self.args;
        let closely = args.report.is_some() || args.files.are_asked() || args.ticket;
        if !closely && !self.criteria.look_closely() {
            return Ok(Review {
                verdict: self.criteria.verdict(&summary, &[]),
                summary,
                results: None,
            });
        }
        let path = Path::new(&summary.journal);
        let journal = Journal::open(path).map_err(|error| failed(error, path))?;
        let mut results = Results::of(&journal, path, None)?;
        drop(journal);
        results.summary = summary;
        results.about.command.get_or_insert_with(facts::command);
        self.criteria.apply(&mut results);
        let page = args.report.as_ref().map_or(Ok(()), |path| {
            page::write(path, &page::of_runs(std::slice::from_ref(&results)))
        });
        args.files.write(&results).and(page)?;
        Ok(Review {
            verdict: self.criteria.verdict(&results.summary, &results.thresholds),
            summary: results.summary.clone(),
            results: Some(results),
        })
    }
}

impl Review {
    /// What was asked to hold.
    pub(crate) fn thresholds(&self) -> &[Checked] {
        self.results.as_ref().map_or(&[], |it| &it.thresholds)
    }

    /// Prints the ticket, where one was asked for; false where none was.
    pub(crate) fn print_ticket(&self, args: &OutputArgs) -> bool {
        let Some(results) = self.results.as_ref().filter(|_| args.ticket) else {
            return false;
        };
        ticket::lines(results)
            .iter()
            .for_each(|line| say!("{line}"));
        true
    }

    /// Prints thresholds, as k6 does, and where the files are.
    pub(crate) fn print(&self, args: &OutputArgs) {
        for checked in self.thresholds() {
            say!("  {checked}");
        }
        if let Some(path) = &args.report {
            say!("report:   {}", path.display());
        }
        args.files.print();
    }
}
