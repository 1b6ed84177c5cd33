//! Generates `deploy/configuration.md` from the table of settings, and compares the file with the result.

use super::{super::known_keys::file_variant, *};
use crate::config::{Setting, parse};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/configuration.md");

const HEAD: &str = r#"# Configuration

<!-- Generated from src/config/reference.rs by `EDNA_COURIER_BLESS=1 cargo test --lib config::`; do not edit. -->

edna-courier reads one TOML file and the environment. [edna-courier.toml](edna-courier.toml) is a commented example.
`edna-courier check` reads all settings without connecting to anything and prints every mistake at once (`--json` for programs).

**File.** `--config FILE`, else the file that `EDNA_COURIER_CONFIG` names, else `edna-courier.toml` in the working directory, if it
exists. A file that is named must exist, be a regular file, and be at most 1 MiB.

**Environment.** Each setting is also an environment variable: `api.base_url` is `base_url` in the section `[api]` of the file, and
`EDNA_COURIER__API__BASE_URL` in the environment. The environment takes precedence over the file. An empty variable counts as not set.

**Secrets.** A setting with a `_file` variant can be read from a file instead, at most 1 MiB of UTF-8: `api.token_file`, or
`EDNA_COURIER__API__TOKEN_FILE`, names the file that holds `api.token`. Line breaks at its end are ignored. Set the value or the file, not both.
Secrets are never shown in logs, errors or the output of a command.

**Values.** In the file a text is in quotes, even if it consists of digits: `prefix = "007"`. Numbers and booleans may be written with or without
quotes.

- A *duration* is a whole number and one unit: `500ms`, `5s`, `2m`, `1h`, `3d`.
- A *list* is an array in the file, `tiers = ["5s", "30s"]`, or a text with commas there and in the environment: `5s,30s`. At most 256 items.
- A *rate* is a number of attempts per second, which may be below 1.
- A *PEM file* is the path of a file; it is read when the daemon starts.

**Errors.** A mistake names the setting, its value unless it is a secret, where it comes from, and what to write instead. Unknown names are
mistakes, with the nearest setting. Any mistake ends the command with exit code 78.

```text
edna-courier: 3 mistakes in the configuration
  broker.uri (environment variable EDNA_COURIER__BROKER__URI): is not a setting; the nearest is broker.url
  api.token: is required: set api.token, api.token_file, or api.login and api.password
  api.timeout = "10" (environment variable EDNA_COURIER__API__TIMEOUT): is not a duration; write 500ms, 5s, 2m, 1h or 3d
```
"#;

fn page() -> String {
    let sections = sections().iter().map(|section| {
        let prefix = format!("{}.", section.name);
        let rows: Vec<_> = reference().iter().filter(|setting| setting.path.starts_with(&prefix)).map(row).collect();
        format!(
            "\n## `[{}]`\n\n{}\n\n| setting | value | default | description |\n|---|---|---|---|\n{}\n",
            section.name,
            section.doc,
            rows.join("\n")
        )
    });
    [HEAD.to_owned()].into_iter().chain(sections).collect()
}

fn row(setting: &Setting) -> String {
    let Setting { path, kind, doc, .. } = setting;
    let names = if setting.secret { format!("`{path}`, `{}`", file_variant(path)) } else { format!("`{path}`") };
    let default = match setting.default {
        None => String::new(),
        Some("") => "empty".to_owned(),
        Some(default) => format!("`{default}`"),
    };
    format!("| {names} | {kind} | {default} | {doc} |")
}

#[test]
fn configuration_page_matches_the_reference() {
    let page = page();
    if std::env::var_os("EDNA_COURIER_BLESS").is_some_and(|value| value == "1") {
        fs::write(FILE, &page).unwrap();
    }
    let is_current = fs::read_to_string(FILE).is_ok_and(|text| text == page);
    let remedy = "run EDNA_COURIER_BLESS=1 cargo test --lib config:: and commit the file";
    assert!(is_current, "deploy/configuration.md differs from src/config/reference.rs; {remedy}");
}

#[test]
fn sections_cover_all_settings_in_order() {
    let mut of_settings: Vec<_> = reference().iter().map(|setting| setting.path.split('.').next().unwrap()).collect();
    of_settings.dedup();
    assert_eq!(of_settings, sections().iter().map(|section| section.name).collect::<Vec<_>>());
}

#[test]
fn documented_ranges_are_the_checked_ranges() {
    for Setting { path, kind, .. } in reference() {
        let Some((_, range)) = kind.split_once(" from ") else { continue };
        let too_large = if kind.contains("duration") { "99999d" } else { "9999999999999999" };
        let variable = path.to_uppercase().replace('.', "__");
        let reported = mistakes(load(&[(&variable, too_large)]));
        assert!(reported.iter().any(|mistake| mistake.ends_with(&format!("from {range}"))), "{path}: {reported:?}");
    }
    assert!(parse::rate("0.001").is_ok() && parse::rate("100000").is_ok());
}
