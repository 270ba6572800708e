//! `smbench man`: manual pages, one a verb, for who packages smbench.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Command;
use clap_mangen::Man;

use crate::cli::defaults;
use crate::exit::{self, Failure, OrFail, Outcome, Verdict};
use crate::report::say;

/// Write manual pages, one a verb.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folder for them (made; pages in it are replaced)
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// Writes the pages of `command` and of each verb that is not hidden.
pub(crate) fn run(args: &Args, command: Command) -> Outcome {
    fs::create_dir_all(&args.dir).or_environment(format!("cannot make {}", args.dir.display()))?;
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let verbs = command.get_subcommands().filter(|it| !it.is_hide_set());
    for verb in verbs.cloned() {
        write(&args.dir, verb, "")?;
    }
    write(&args.dir, command, &end_of_main_page())?;
    Ok(Verdict::Same)
}

/// Writes one page, with what `end` holds behind it.
fn write(dir: &Path, command: Command, end: &str) -> Result<(), Failure> {
    let page = Man::new(command)
        .date(env!("BUILD_DATE"))
        .source(concat!("smbench ", env!("BUILD_VERSION")))
        .manual("SMBench");
    let path = dir.join(page.get_filename());
    let mut roff = Vec::new();
    page.render(&mut roff)
        .or_defect("cannot write a manual page")?;
    roff.extend_from_slice(end.as_bytes());
    fs::write(&path, roff).or_environment(format!("cannot write {}", path.display()))?;
    say!("{}", path.display());
    Ok(())
}

/// What clap does not know.
fn end_of_main_page() -> String {
    let codes: String = exit::CODES
        .iter()
        .map(|(code, means)| format!(".TP\n\\fB{code}\\fR\n{means}\n"))
        .collect();
    let variables: String = defaults::variables_and_options()
        .map(|(variable, option)| format!(".TP\n\\fB{variable}\\fR\nFor {option}.\n"))
        .collect();
    let variables = variables.replace('-', "\\-");
    format!(
        ".SH \"EXIT STATUS\"\n{codes}.SH ENVIRONMENT\n\
         Each is for an option that the command line does not have. None lifts a guard.\n\
         .TP\n\\fBSMBENCH_CONFIG\\fR\n\
         The file to read instead of smbench.toml; empty for none.\n{variables}.SH FILES\n\
         .TP\n\\fBsmbench.toml\\fR\n\
         In the working directory: options as \\fIname\\fR = \\fIvalue\\fR, for all verbs or in a table \
         for one. A variable wins over it.\n"
    )
}
