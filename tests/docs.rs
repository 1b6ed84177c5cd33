//! The pages, the dashboard, the alerts and the example file agree with the code.
#![cfg(test)] // By this attribute clippy knows that all of this is test code.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use edna_courier::{
    config::reference,
    telemetry::{Telemetry, TelemetryLimits},
};

const OBSERVABILITY: &str = "deploy/observability/README.md";
const CONFIGURATION: &str = "deploy/configuration.md";
const README_LINES: usize = 250;
const README_BYTES: usize = 16 * 1024;
/// The directories whose files a page may name by a path from the root.
const FROM_ROOT: [&str; 4] = ["deploy/", "src/", "tests/", ".ci/"];

// --- Pages ---

/// A Markdown page, split into what a reader reads and what a reader runs.
struct Page {
    /// From the root.
    path: String,
    text: String,
    /// Everything outside fenced blocks.
    prose: String,
    /// The lines of the `sh` blocks, without comments, continuation lines joined.
    shell: Vec<String>,
}

impl Page {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).expect("UTF-8");
        let (mut prose, mut shell, mut fence) = (String::new(), String::new(), None);
        for line in text.lines() {
            match (fence, line.strip_prefix("```")) {
                (None, Some(language)) => fence = Some(language),
                (Some(_), Some(_)) => fence = None,
                (None, None) => prose.extend([line, "\n"]),
                (Some("sh"), None) => shell.extend([without_comment(line), "\n"]),
                (Some(_), None) => {}
            }
        }
        assert!(fence.is_none(), "{}: a fenced block does not end", path.display());
        let shell = shell.replace("\\\n", " ").lines().map(str::to_owned).collect();
        let path = path.strip_prefix(root()).expect("below the root").display().to_string();
        Self { path, text, prose, shell }
    }

    /// The code spans of the prose, each on one line.
    fn spans(&self) -> impl Iterator<Item = String> {
        self.prose.split('`').skip(1).step_by(2).map(|span| span.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// Code spans and shell lines.
    fn code(&self) -> impl Iterator<Item = String> {
        self.spans().chain(self.shell.iter().cloned())
    }

    /// The targets of the links that do not leave the project.
    fn links(&self) -> impl Iterator<Item = &str> {
        let targets = self.prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        targets.filter(|target| !target.contains("://"))
    }

    /// The anchors of the headings, as GitHub makes them.
    fn anchors(&self) -> BTreeSet<String> {
        let headings = self.prose.lines().filter(|line| line.starts_with('#'));
        headings.map(|heading| slug(heading.trim_start_matches('#').trim())).collect()
    }
}

fn without_comment(line: &str) -> &str {
    if line.starts_with('#') { "" } else { line.split(" # ").next().unwrap_or_default() }
}

fn slug(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}

fn pages() -> Vec<Page> {
    let below = ["deploy", "tests"].into_iter().flat_map(|folder| files_below(&root().join(folder)));
    let below = below.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let pages: Vec<_> = [root().join("README.md")].into_iter().chain(below).map(|path| Page::read(&path)).collect();
    assert!(pages.len() > 4, "only {} pages", pages.len());
    pages
}

fn page(path: &str) -> Page {
    Page::read(&root().join(path))
}

/// Fails with all complaints at once.
fn none(rule: &str, complaints: impl IntoIterator<Item = String>) {
    let complaints: Vec<_> = complaints.into_iter().collect();
    assert!(complaints.is_empty(), "{rule}\n  {}", complaints.join("\n  "));
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

// --- Sizes, links and paths ---

#[test]
fn readme_is_short() {
    let text = page("README.md").text;
    let (lines, bytes) = (text.lines().count(), text.len());
    assert!(lines <= README_LINES && bytes <= README_BYTES, "README.md has {lines} lines and {bytes} bytes");
}

#[test]
fn links_lead_to_existing_files_and_headings() {
    let mut complaints = Vec::new();
    for page in pages() {
        for link in page.links() {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let here = root().join(&page.path);
            let target = if file.is_empty() { here } else { here.parent().expect("a directory").join(file) };
            let has_anchor = || anchor.is_empty() || Page::read(&normal(&target)).anchors().contains(anchor);
            if !target.exists() || !has_anchor() {
                complaints.push(format!("{}: {link}", page.path));
            }
        }
    }
    none("broken links", complaints);
}

/// Without `..`, so that the path starts with the root.
fn normal(path: &Path) -> PathBuf {
    path.canonicalize().expect("an existing file")
}

#[test]
fn paths_name_existing_files() {
    let mut complaints = Vec::new();
    for page in pages() {
        for code in page.code() {
            let words =
                code.split([' ', '=', '"']).filter(|word| FROM_ROOT.iter().any(|start| word.starts_with(start)));
            complaints
                .extend(words.filter(|word| !root().join(word).exists()).map(|word| format!("{}: {word}", page.path)));
        }
    }
    none("paths that do not exist", complaints);
}

// --- Commands ---

/// The arguments of each call of the binary in a line of shell or in a code span.
fn calls(line: &str) -> impl Iterator<Item = Vec<&str>> {
    let commands = line.split([';', '|', '&']).filter(|command| !command.contains('…'));
    commands.filter_map(|command| {
        let words: Vec<_> = command.split_whitespace().take_while(|word| !word.starts_with('>')).collect();
        let start = words.iter().position(|word| !word.contains('='))?;
        match &words[start..] {
            ["sh", "deploy/quickstart.sh", arguments @ ..] => Some([&["demo"], arguments].concat()),
            ["docker", "run", rest @ ..] => {
                let image = rest.iter().position(|word| *word == "edna-courier")?;
                Some(rest[image + 1..].to_vec())
            }
            [program, arguments @ ..] if program.rsplit('/').next() == Some("edna-courier") => Some(arguments.to_vec()),
            _ => None,
        }
    })
}

#[test]
fn calls_are_found_in_shell_and_in_spans() {
    let found = |line| calls(line).map(|arguments| arguments.join(" ")).collect::<Vec<_>>();
    assert_eq!(found("target/release/edna-courier topology export >definitions.json"), ["topology export"]);
    assert_eq!(found("A=b edna-courier run & edna-courier status"), ["run", "status"]);
    assert_eq!(found("docker run -v edna-courier:/var --rm edna-courier --help"), ["--help"]);
    assert_eq!(found("sh deploy/quickstart.sh --count 5"), ["demo --count 5"]);
    assert!(found("docker build -t edna-courier .").is_empty());
}

#[test]
fn commands_are_accepted_by_the_binary() {
    let mut complaints = Vec::new();
    let mut all: BTreeSet<Vec<String>> = BTreeSet::new();
    for page in pages() {
        for code in page.code() {
            all.extend(calls(&code).map(|arguments| arguments.into_iter().map(str::to_owned).collect()));
        }
    }
    assert!(all.len() > 10, "{all:?}");
    for arguments in all {
        // The arguments before --help are parsed, and nothing runs.
        let output = Command::new(env!("CARGO_BIN_EXE_edna-courier")).args(&arguments).arg("--help").output();
        let output = output.expect("the binary starts");
        if !output.status.success() {
            complaints.push(format!("{}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr)));
        }
    }
    none("commands that the binary refuses", complaints);
}

// --- Settings ---

fn settings() -> BTreeSet<String> {
    let secrets = reference().iter().filter(|setting| setting.secret).map(|setting| format!("{}_file", setting.path));
    reference().iter().map(|setting| setting.path.to_owned()).chain(secrets).collect()
}

/// The settings that a piece of code names, by path or by environment variable.
fn settings_in(code: &str, sections: &BTreeSet<String>) -> Vec<String> {
    let words = code.split(|c: char| !is_word(c) && c != '.').map(|word| word.trim_matches('.'));
    let named = words.filter_map(|word| match word.strip_prefix("EDNA_COURIER__") {
        Some(variable) => Some(variable.to_lowercase().replace("__", ".")),
        None => {
            let (section, key) = word.split_once('.')?;
            let is_key = key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            (sections.contains(section) && is_key).then(|| word.to_owned())
        }
    });
    // The placeholder of a page that explains the variables.
    named.filter(|name| name != "section.key").collect()
}

#[test]
fn settings_in_pages_exist() {
    let known = settings();
    let sections = known.iter().filter_map(|path| Some(path.split_once('.')?.0.to_owned())).collect();
    let (mut complaints, mut count) = (Vec::new(), 0);
    for page in pages() {
        for name in page.code().flat_map(|code| settings_in(&code, &sections)) {
            count += 1;
            if !known.contains(&name) {
                complaints.push(format!("{}: {name}", page.path));
            }
        }
    }
    assert!(count > 50, "only {count} settings found");
    none("settings that do not exist", complaints);
}

#[test]
fn configuration_page_lists_every_setting() {
    let page = page(CONFIGURATION);
    for setting in reference() {
        let row = page.text.lines().find(|line| line.starts_with(&format!("| `{}`", setting.path)));
        let row = row.unwrap_or_else(|| panic!("{CONFIGURATION} has no row for {}", setting.path));
        if let Some(default) = setting.default.filter(|default| !default.is_empty()) {
            assert!(row.contains(&format!("`{default}`")), "{CONFIGURATION} has another default: {row}");
        }
    }
}

#[test]
fn example_file_names_only_settings() {
    let (known, mut section, mut keys) = (settings(), String::new(), 0);
    let example = fs::read_to_string(root().join("deploy/edna-courier.toml")).expect("UTF-8");
    for line in example.lines().map(|line| line.trim_start_matches(['#', ' '])) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            section = name.to_owned();
        } else if let Some((key, _)) = line.split_once(" = ").filter(|(key, _)| key.chars().all(is_word)) {
            assert!(known.contains(&format!("{section}.{key}")), "{section}.{key} is not a setting");
            keys += 1;
        }
    }
    assert!(keys > 20, "only {keys} settings in the example");
}

// --- Metrics and alerts ---

/// The families that a scrape shows.
fn families() -> BTreeSet<String> {
    let limits = TelemetryLimits { max_in_flight: 1, prefetch: 1 };
    let telemetry = Telemetry::new(limits, &edna_courier::domain::tier::Tiers::default()).unwrap();
    let scrape = telemetry.scrape().unwrap();
    let types = scrape.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let names = types.filter_map(|line| line.split(' ').next());
    let families: BTreeSet<_> = names.filter(|name| name.starts_with("courier_")).map(str::to_owned).collect();
    assert!(families.len() > 20, "{families:?}");
    families
}

/// Every family that a text names, without the suffixes of a histogram's series.
fn families_in(text: &str) -> BTreeSet<String> {
    let starts = text.match_indices("courier_").filter(|(at, _)| !text[..*at].ends_with(is_word));
    let names = starts.map(|(at, _)| text[at..].split(|c| !is_word(c)).next().unwrap());
    let family = |name: &str| {
        let suffixes = ["_bucket", "_sum", "_count"];
        suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name).to_owned()
    };
    names.map(family).collect()
}

#[test]
fn observability_page_has_a_row_for_every_metric() {
    let text = page(OBSERVABILITY).text;
    let missing = families().into_iter().filter(|family| !text.contains(&format!("\n| `{family}` |")));
    none("metrics without a row", missing);
}

#[test]
fn metrics_in_pages_dashboards_and_alerts_exist() {
    let (families, mut count) = (families(), 0);
    let pages = pages().into_iter().map(|page| (page.path, page.text));
    let queries = files_below(&root().join("deploy/observability")).into_iter();
    let queries = queries.map(|path| (path.display().to_string(), fs::read_to_string(path).expect("UTF-8")));
    let mut complaints = Vec::new();
    for (file, text) in pages.chain(queries) {
        let named = families_in(&text);
        count += named.len();
        complaints.extend(named.difference(&families).map(|name| format!("{file}: {name}")));
    }
    assert!(count > 40, "only {count} metrics named");
    none("metrics that do not exist", complaints);
}

#[test]
fn observability_page_has_a_row_for_every_alert() {
    let alerts = fs::read_to_string(root().join("deploy/observability/alerts.yml")).expect("UTF-8");
    let text = page(OBSERVABILITY).text;
    let names = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    let missing = names.filter(|name| !text.contains(&format!("\n| `{name}` |")));
    none("alerts without a row", missing.map(str::to_owned));
}
