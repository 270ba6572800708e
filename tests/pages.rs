//! Pages as a browser shows them: in Chromium, at two widths and on paper.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it fails"
)]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use support::cli::Scratch;

/// What Chromium is started with: as root, without network, and with nothing of its own.
const QUIET: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
];

/// Looks at a page when it is laid out; it stands in a copy, since a page of ours lets no script run.
const LOOK: &str = r#"<script>
addEventListener("load", () => {
  const scrolls = e => { for (; e; e = e.parentElement) if (getComputedStyle(e).overflowX == "auto") return true; };
  const wide = [...document.querySelectorAll("body *")]
    .filter(e => !(e instanceof SVGElement) && !scrolls(e) && e.getBoundingClientRect().right > innerWidth + 1)
    .map(e => e.tagName + "." + e.className + ": " + e.textContent.slice(0, 60));
  const steps = {};
  document.querySelectorAll("[data-step]").forEach(e => steps[e.dataset.step] = Number(e.textContent));
  const told = { width: innerWidth, page: document.documentElement.scrollWidth, wide, steps,
    scripts: document.scripts.length, charts: document.querySelectorAll("svg").length,
    open: document.querySelectorAll("details[open]").length, text: document.body.innerText,
    whole: document.body.textContent };
  const out = document.createElement("pre");
  out.id = "told";
  out.textContent = JSON.stringify(told);
  document.documentElement.replaceChildren(out);
});
</script>"#;

fn chromium(scratch: &Scratch, page: &Path, more: &[&str]) -> String {
    let profile = tempdir(scratch);
    let output = Command::new("chromium")
        .args(QUIET)
        .arg(format!("--user-data-dir={}", profile.display()))
        .args(more)
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap_or_else(|error| panic!("chromium is not there: apt-get install chromium: {error}"));
    fs::remove_dir_all(profile).ok();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn tempdir(scratch: &Scratch) -> std::path::PathBuf {
    let profile = scratch.path("profile");
    fs::create_dir_all(&profile).unwrap();
    profile
}

/// What the page looks like at a width; a width is asked for, and `width` says which there was.
fn look(scratch: &Scratch, page: &str, width: u32) -> Value {
    let path = scratch.path(page);
    let text = fs::read_to_string(&path).unwrap();
    let policy = text
        .find("<meta http-equiv=\"Content-Security-Policy\"")
        .unwrap();
    let end = policy + text[policy..].find('>').unwrap() + 1;
    let copy = scratch.file(
        "copy.html",
        format!("{}{LOOK}{}", &text[..policy], &text[end..]),
    );
    let size = format!("--window-size={width},900");
    let dom = chromium(scratch, &copy, &[&size, "--dump-dom"]);
    let (_, rest) = dom
        .split_once("<pre id=\"told\">")
        .unwrap_or_else(|| panic!("{page}: {dom}"));
    let told = rest.split_once("</pre>").unwrap().0;
    let told = told
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&");
    serde_json::from_str(&told).unwrap()
}

/// The page fits at two widths, shows charts, and is no more than it seems; gives what is seen at the wider one.
#[track_caller]
fn fits(scratch: &Scratch, page: &str) -> Value {
    let mut last = Value::Null;
    for width in [500, 1280] {
        let told = look(scratch, page, width);
        assert_eq!(told["wide"], json!([]), "{page} at {width}");
        assert!(
            told["page"].as_u64() <= told["width"].as_u64(),
            "{page} at {width}: {told}"
        );
        assert_eq!(told["scripts"], 1, "{page}: a script beside ours");
        assert_eq!(told["open"], 0, "{page}");
        assert!(told["charts"].as_u64().unwrap() >= 1, "{page}");
        let size = format!("--window-size={width},1600");
        let png = scratch.path(&format!("{page}.{width}.png"));
        let shot = format!("--screenshot={}", png.display());
        chromium(scratch, &scratch.path(page), &[&size, &shot]);
        assert!(
            fs::metadata(&png).unwrap().len() > 20_000,
            "{page}: nothing is to be seen"
        );
        last = told;
    }
    last
}

fn pages_on_paper(scratch: &Scratch, page: &str) -> usize {
    let pdf = scratch.path("page.pdf");
    let print = format!("--print-to-pdf={}", pdf.display());
    chromium(
        scratch,
        &scratch.path(page),
        &[&print, "--no-pdf-header-footer"],
    );
    let bytes = fs::read(&pdf).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    let pages = text.split("/Type /Page").skip(1);
    pages.filter(|rest| !rest.starts_with('s')).count()
}

/// Three clients of whom one never acknowledges a break: the others wait.
fn stalled(scratch: &Scratch) {
    scratch.compile("leases3_plain.pcap", "w");
    let silent = [
        "sim",
        "w",
        "--speed",
        "max",
        "--ack",
        "never",
        "--pcap",
        "silent.pcapng",
    ];
    scratch.run(silent).expect(1);
    scratch
        .run(["compile", "silent.pcapng", "-o", "s"])
        .expect(0);
}

#[test]
fn a_run_fits_the_screen_and_two_sheets_of_paper() {
    let scratch = Scratch::new();
    stalled(&scratch);
    let told = scratch.run([
        "sim", "s", "--speed", "10", "--json", "--report", "run.html",
    ]);
    let told = told.expect(0).json();
    let seen = fits(&scratch, "run.html");
    for (step, key) in [
        ("captured", "captured"),
        ("compiled", "compiled"),
        ("sent", "issued"),
        ("answered", "answered"),
        ("compared", "compared"),
        ("as recorded", "matched"),
    ] {
        assert_eq!(seen["steps"][step], told[key], "{step}");
    }
    let text = seen["text"].as_str().unwrap();
    for part in [
        "client 1, 30.0 s: client 0 never acknowledged the break of its",
        "3 operations took over 1 s",
        "Who waits on whom?",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let pages = pages_on_paper(&scratch, "run.html");
    assert!((1..=2).contains(&pages), "{pages} pages");
}

#[test]
fn a_capture_and_two_runs_fit_the_screen() {
    let scratch = Scratch::new();
    stalled(&scratch);
    scratch
        .run(["inspect", "s", "--report", "capture.html"])
        .expect(0);
    let seen = fits(&scratch, "capture.html");
    let text = seen["text"].as_str().unwrap();
    assert!(
        text.contains("30.0 s in the capture: client 0 never acknowledged"),
        "{text}"
    );
    scratch
        .run(["sim", "w", "--speed", "max", "--journal", "a"])
        .expect(0);
    let planted = [
        "sim",
        "w",
        "--speed",
        "max",
        "--plant",
        "no-oplock-break",
        "--journal",
        "b",
    ];
    scratch.run(planted).expect(1);
    let told = scratch
        .run(["diff", "a", "b", "--json", "--report", "diff.html"])
        .expect(1)
        .json();
    let seen = fits(&scratch, "diff.html");
    assert_eq!(seen["steps"]["compared"], told["compared"]);
    scratch
        .run(["report", "a", "b", "-o", "both.html"])
        .expect(0);
    fits(&scratch, "both.html");
}

/// Names that are long, markup, or orders to a terminal are text, and break no line.
#[test]
fn hostile_names_are_text_and_fit() {
    let scratch = Scratch::new();
    scratch.compile("leases3_plain.pcap", "w");
    let long = "x".repeat(200);
    let hostile =
        format!("<script>document.title='no'</script><img src=x>&amp;\u{1b}[31m\u{202e}{long}");
    for file in ["w/ops.jsonl", "w/namespace.jsonl", "w/workload.json"] {
        let path = scratch.path(file);
        let text = fs::read_to_string(&path).unwrap();
        let name = serde_json::to_string(&hostile).unwrap();
        let name = &name[1..name.len() - 1];
        let text = text.replace("report", &format!("report{name}"));
        fs::write(&path, text.replace("alice", &format!("alice{name}"))).unwrap();
    }
    let ran = scratch.run([
        "sim",
        "w",
        "--speed",
        "max",
        "--plant",
        "ignore-share-mode",
        "--report",
        "run.html",
    ]);
    assert!(matches!(ran.code, Some(0 | 1)), "{ran:?}");
    scratch
        .run(["inspect", "w", "--report", "capture.html"])
        .expect(0);
    for page in ["run.html", "capture.html"] {
        let seen = fits(&scratch, page);
        let text = seen["whole"].as_str().unwrap();
        let shown = "<script>document.title='no'</script><img src=x>&amp;\\u001b[31m\\u202e";
        assert!(text.contains(shown), "{page}: {text}");
    }
}
