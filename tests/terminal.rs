//! What the terminal is helped with: the version, completions, manual pages.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use support::cli::Scratch;

/// The verbs that `smbench --help` lists.
fn verbs(scratch: &Scratch) -> Vec<String> {
    let help = scratch.run(["--help"]).expect(0).out.clone();
    let listed = help.split("Commands:\n").nth(1).unwrap();
    let listed = listed.lines().take_while(|line| !line.is_empty());
    // A verb is two columns in; what it does may go on further in.
    let verbs = listed.filter_map(|line| line.strip_prefix("  ").filter(|it| !it.starts_with(' ')));
    let verbs = verbs.filter_map(|line| line.split_whitespace().next());
    verbs
        .filter(|it| *it != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_version_names_the_commit() {
    let said = Scratch::new().run(["--version"]).expect(0).out.clone();
    let version = concat!("smbench ", env!("CARGO_PKG_VERSION"));
    let git = Command::new("git")
        .args(["log", "-1", "--abbrev=12", "--format=%h %cs"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    let is_checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join(".git").exists();
    match git.ok().filter(|it| it.status.success() && is_checkout) {
        Some(git) => {
            let commit = String::from_utf8(git.stdout).unwrap();
            assert_eq!(said, format!("{version} ({})\n", commit.trim()));
        }
        None => assert_eq!(said, format!("{version}\n")),
    }
}

#[test]
fn a_shell_completes_verbs_and_options() {
    let scratch = Scratch::new();
    let complete = |words: &str| {
        let script = format!(
            "source <($SMBENCH completions bash) && COMP_WORDS=({words}) && \
             COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)) && \
             _smbench smbench \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; echo ${{COMPREPLY[@]}}"
        );
        scratch.shell(&script).expect(0).out.trim().to_owned()
    };
    assert_eq!(complete("smbench repl"), "replay");
    assert_eq!(complete("smbench replay --any"), "--any-dialect");
    assert_eq!(complete("smbench replay DIR --pace t"), "think");
    assert_eq!(complete("smbench completions z"), "zsh");
}

#[test]
fn every_shell_is_told_every_verb() {
    let scratch = Scratch::new();
    let verbs = verbs(&scratch);
    assert!(verbs.len() > 12, "{verbs:?}");
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = scratch.run(["completions", shell]).expect(0).out.clone();
        for verb in &verbs {
            assert!(script.contains(verb), "{shell}: {verb}");
        }
    }
    scratch
        .run(["completions", "tcsh"])
        .expect(2)
        .says(&["bash", "zsh"]);
}

/// The options that a help text or a manual page names: `--like-this`.
fn options(text: &str) -> BTreeSet<String> {
    let plain = text
        .replace("\\-", "-")
        .replace("\\fB", "")
        .replace("\\fR", "");
    let mut found = BTreeSet::new();
    for (at, _) in plain.match_indices("--") {
        let rest = &plain[at + 2..];
        let name: String = rest
            .chars()
            .take_while(|c| c.is_ascii_lowercase() || *c == '-')
            .collect();
        if !name.is_empty() {
            found.insert(name);
        }
    }
    found
}

#[test]
fn every_verb_has_a_manual_page_with_every_option() {
    let scratch = Scratch::new();
    scratch.run(["man", "pages/man1"]).expect(0);
    let pages = scratch.path("pages/man1");
    let found: BTreeSet<String> = std::fs::read_dir(&pages)
        .unwrap()
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect();
    let verbs = verbs(&scratch);
    let expected = verbs.iter().map(|verb| format!("smbench-{verb}.1"));
    let expected: BTreeSet<String> = expected.chain(["smbench.1".to_owned()]).collect();
    assert_eq!(found, expected);
    for verb in &verbs {
        let page = std::fs::read_to_string(pages.join(format!("smbench-{verb}.1"))).unwrap();
        let help = scratch.run([verb, "--help"]).expect(0).out.clone();
        let missing: Vec<_> = options(&help)
            .difference(&options(&page))
            .cloned()
            .collect();
        assert_eq!(missing, Vec::<String>::new(), "{verb}");
        assert!(page.contains(".TH smbench-"), "{verb}");
    }
}

#[test]
fn the_manual_and_the_readme_know_the_same_exit_codes() {
    let scratch = Scratch::new();
    scratch.run(["man", "."]).expect(0);
    let page = std::fs::read_to_string(scratch.path("smbench.1")).unwrap();
    let codes = page.split(".SH \"EXIT STATUS\"").nth(1).unwrap();
    let variables = page.split(".SH ENVIRONMENT").nth(1).unwrap();
    for named in ["SMBENCH_PASSWORD_FILE", "SMBENCH_CONFIG", "smbench.toml"] {
        assert!(variables.contains(named), "{named}");
    }
    let codes = codes.split(".SH").next().unwrap().lines();
    let codes = codes.filter_map(|line| line.strip_prefix("\\fB")?.strip_suffix("\\fR"));
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let table = readme
        .split("| exit code |")
        .nth(1)
        .unwrap()
        .lines()
        .skip(2);
    let table = table.map_while(|line| line.strip_prefix("| ")?.split(' ').next());
    assert_eq!(codes.collect::<Vec<_>>(), table.collect::<Vec<_>>());
}
