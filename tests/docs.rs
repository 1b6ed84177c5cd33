//! What the project says about itself is true: settings and metrics are documented, and nobody speaks of others.

#![cfg(test)] // By this attribute clippy knows that all of this is test code.

use std::{collections::BTreeSet, fs, path::Path};

use edna_courier::{
    config::reference,
    telemetry::{Telemetry, TelemetryLimits},
};

const README: &str = include_str!("../README.md");
const EXAMPLE: &str = include_str!("../deploy/edna-courier.toml");

/// The names of all metrics of ours, as a scrape shows them.
fn families() -> BTreeSet<String> {
    let telemetry = Telemetry::new(
        TelemetryLimits { max_in_flight: 1, prefetch: 1 },
        &edna_courier::domain::tier::Tiers::default(),
    )
    .unwrap();
    let scrape = telemetry.scrape().unwrap();
    let types = scrape.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let names = types.filter_map(|line| line.split(' ').next());
    names.filter(|name| name.starts_with("courier_")).map(str::to_owned).collect()
}

/// Every `courier_…` name in a text, without what a histogram's series append.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let starts = text.match_indices("courier_").filter(|(at, _)| !text[..*at].ends_with(is_word));
    let names = starts.map(|(at, _)| text[at..].split(|c| !is_word(c)).next().unwrap());
    let bare = |name: &str| {
        let ends = ["_bucket", "_sum", "_count"];
        ends.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name).to_owned()
    };
    names.map(bare).collect()
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn files_below(folder: &Path) -> Vec<(String, String)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else if let Ok(text) = fs::read_to_string(&path) {
            files.push((path.display().to_string(), text));
        }
    }
    files
}

#[test]
fn readme_tells_of_every_metric_and_of_no_other() {
    let (told, families) = (metrics_in(README), families());
    assert!(families.len() > 20, "{families:?}");
    let missing: Vec<_> = families.difference(&told).collect();
    assert!(missing.is_empty(), "README.md does not tell of {missing:?}");
    let unknown: Vec<_> = told.difference(&families).filter(|name| *name != "courier_").collect();
    assert!(unknown.is_empty(), "README.md tells of {unknown:?}, which do not exist");
}

#[test]
fn dashboards_and_alerts_ask_for_metrics_that_exist() {
    let families = families();
    let mut asked = 0;
    for (file, text) in files_below(Path::new("deploy/observability")) {
        // Recording rules have names of their own, with colons.
        let metrics = metrics_in(&text);
        asked += metrics.len();
        let unknown: Vec<_> = metrics.difference(&families).collect();
        assert!(unknown.is_empty(), "{file} asks for {unknown:?}, which do not exist");
    }
    assert!(asked > 10, "the dashboard and the alerts ask for something");
}

#[test]
fn readme_tells_of_every_setting_and_its_default() {
    for setting in reference() {
        let row = README.lines().find(|line| line.starts_with(&format!("| `{}`", setting.path)));
        let row = row.unwrap_or_else(|| panic!("README.md has no row for {}", setting.path));
        if let Some(default) = setting.default.filter(|default| !default.is_empty()) {
            assert!(row.contains(&format!("`{default}`")), "README.md tells another default: {row}");
        }
    }
}

#[test]
fn the_example_file_names_only_settings() {
    let known: BTreeSet<_> = reference().iter().map(|setting| setting.path.to_owned()).collect();
    let mut section = String::new();
    let mut keys = 0;
    for line in EXAMPLE.lines() {
        let line = line.trim_start_matches(['#', ' ']);
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            section = name.to_owned();
        } else if let Some((key, _)) = line.split_once(" = ")
            && key.chars().all(is_word)
        {
            let path = format!("{section}.{key}");
            assert!(known.contains(path.trim_end_matches("_file")) || known.contains(&path), "{path} is no setting");
            keys += 1;
        }
    }
    assert!(keys > 20, "the example names something");
}
