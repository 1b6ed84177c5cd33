//! Property tests with arbitrary sources: no panic, no hang, no secret and no control character in an error.

use proptest::prelude::*;

use super::{super::known_keys, *};

/// Part of every secret.
const SECRET: &str = "s3cr";

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[0-9]{1,25}(ms|s|m|h|d)?",
        "(amqps?|https?)://[a-z:@/\\[\\]%?#,]{0,20}",
        "[a-z,./]{0,12}",
        "[\\x00-\\x20\\x7f\u{9b}\u{202e}]{0,5}",
    ]
}

/// Adds the secret to the values of secret settings.
fn mark_secret(path: &str, value: String) -> String {
    if known_keys::is_secret(path) { format!("{SECRET}{value}") } else { value }
}

fn setting() -> impl Strategy<Value = (String, String)> {
    let paths: Vec<_> = known_keys::paths().collect();
    (prop::sample::select(paths), value()).prop_map(|(path, value)| {
        let value = mark_secret(&path, value);
        (path, value)
    })
}

/// An environment variable: a setting, or a name similar to one.
fn variable() -> impl Strategy<Value = (String, String)> {
    let name = |path: &str| format!("EDNA_COURIER__{}", path.to_uppercase().replace('.', "__"));
    let odd = prop_oneof![
        "EDNA_COURIER__[A-Z_\\[\\]0-9.\"-]{0,20}",
        "(EDNA_COURIER|edna_courier)__(API|LIMITS|x)(__)?",
        "EDNA_COURIER__API__X\\[-?[0-9]{1,20}\\]",
        "EDNA_COURIER__\\PC{0,8}",
        any::<String>(),
    ];
    prop_oneof![setting().prop_map(move |(path, value)| (name(&path), value)), (odd, value())]
}

/// A line of TOML: a setting with a value of any kind, or similar text.
fn line() -> impl Strategy<Value = String> {
    let as_text = |(path, value): (String, String)| format!("{path} = {value:?}");
    prop_oneof![
        setting().prop_map(as_text),
        setting().prop_map(|(path, value)| format!("{path} = [{value:?}, 5, [], {{}}]")),
        setting().prop_map(|(path, _)| format!("{path} = {{ a = {SECRET:?} }}")),
        (setting(), "-?[0-9]{1,22}(\\.[0-9])?|true|nan|2026-01-01")
            .prop_map(|((path, _), bare)| format!("{path} = {bare}")),
        "\"x?\\[-?[0-9]{1,20}\\]\"(\\.a)? = 1",
        "\\[{1,2}(api|broker|x|\"a\\.b\"|\"\\\\u001b\")(\\.[a-z]{1,3}){0,3}\\]{1,2}",
        "\\PC{0,20}",
        any::<String>(),
    ]
}

fn check(result: Result<Config, Mistakes>) -> Result<(), TestCaseError> {
    let Err(mistakes) = result else { return Ok(()) };
    prop_assert!(!mistakes.0.is_empty());
    for text in [mistakes.to_string(), serde_json::to_string(&mistakes).unwrap()] {
        prop_assert!(!text.contains(SECRET), "{text}");
        prop_assert!(!text.chars().any(|c| c != '\n' && (c.is_control() || c == '\u{202e}')), "{text:?}");
    }
    Ok(())
}

proptest! {
    #[test]
    fn load_any_environment_errors_are_safe(variables in prop::collection::vec(variable(), 0..12)) {
        let sources = Sources { environment: variables.into_iter().collect(), ..Sources::default() };
        check(Config::load(&sources))?;
    }

    #[test]
    fn load_any_toml_errors_are_safe(lines in prop::collection::vec(line(), 0..6)) {
        let dir = TempDir::new();
        let file = dir.file("a.toml", &lines.join("\n"));
        check(Config::load(&sources(Some(&file), &MINIMAL)))?;
    }

    #[test]
    fn load_any_bytes_errors_are_safe(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let dir = TempDir::new();
        let file = dir.file("a.toml", "");
        fs::write(&file, bytes).unwrap();
        check(Config::load(&sources(Some(&file), &MINIMAL)))?;
    }
}
