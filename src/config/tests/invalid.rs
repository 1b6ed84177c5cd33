//! Unknown names, values of the wrong kind, and unusable files.

use std::{process::Command, thread};

use super::*;

fn file_mistakes(text: &str) -> Vec<String> {
    let dir = TempDir::new();
    let file = dir.file("a.toml", text);
    mistakes(Config::load(&sources(Some(&file), &MINIMAL))).iter().map(|text| text.replace(&file, "a.toml")).collect()
}

/// The only mistake of a configuration with this variable.
fn variable_mistake(name: &str, value: &str) -> String {
    let [mistake] = mistakes(load(&[(name, value)])).try_into().unwrap();
    mistake
}

#[test]
fn variable_unknown_is_a_mistake() {
    for name in [
        "API__X[9223372036854775807]",
        "API__X[9999999999]",
        "API__X[-1]",
        "API__TOKEN[0]",
        "",
        "__X",
        "API__",
        "A.B\u{1b}",
    ] {
        let mistake = variable_mistake(name, "s3cret");
        assert!(mistake.contains(": is not a setting; the nearest is "), "{mistake}");
        assert!(!mistake.contains("s3cret") && !mistake.contains('\u{1b}'), "{mistake:?}");
    }
    let mistake = variable_mistake("API", "x");
    assert!(
        mistake.starts_with("api (environment variable EDNA_COURIER__API): is a section, not a setting"),
        "{mistake}"
    );
    let lower = [("edna_courier__api__path".to_owned(), "/a".to_owned())];
    let environment = sources(None, &MINIMAL).environment.into_iter().chain(lower).collect();
    let [mistake] = mistakes(Config::load(&Sources { environment, ..Sources::default() })).try_into().unwrap();
    assert!(mistake.ends_with("must be in upper case; write EDNA_COURIER__API__PATH"), "{mistake}");
}

#[test]
fn variable_not_utf_8_is_a_mistake() {
    let unreadable = vec!["EDNA_COURIER__API__TOKEN".to_owned()];
    let mistake = mistakes(Config::load(&Sources { unreadable, ..sources(None, &MINIMAL) }));
    assert!(mistake[0].starts_with("EDNA_COURIER__API__TOKEN: is not UTF-8"), "{mistake:?}");
}

#[test]
fn key_unknown_is_a_mistake() {
    for (text, expected) in [
        ("\"x[9999999999]\" = 1", "\"x[9999999999]\" (a.toml): is not a setting; the nearest is "),
        ("\"api.path\" = \"/a\"", "\"api.path\" (a.toml): is not a setting; the nearest is api.path"),
        ("[api]\n\"\" = 1", "api.\"\" (a.toml): is not a setting; the nearest is "),
        ("\"\\u001b[31m\" = 1", "\"\\u{1b}[31m\" (a.toml): is not a setting; the nearest is "),
        ("[API]\npath = \"/a\"", "API.path (a.toml): is not a setting; the nearest is api.path"),
        ("[delivry]", "delivry (a.toml): is not a section; the sections are broker, api, "),
        ("api = 5", "api (a.toml): is a section, not a setting; write [api] on a line of its own"),
        ("[[api]]", "api (a.toml): is a section, not a setting; write [api] on a line of its own"),
        ("[api.path]\nx = 1", "api.path.x (a.toml): is not a setting; the nearest is api.path"),
        ("[api.path]", "api.path (a.toml): is a table or a list within a list; write a text in quotes"),
    ] {
        let [mistake] = file_mistakes(text).try_into().unwrap();
        assert!(mistake.starts_with(expected), "{mistake}\ninstead of {expected}");
    }
}

#[test]
fn table_setting_equals_list() {
    let dir = TempDir::new();
    let table = "[limits]\nper_second = 50\n[limits.channel_per_second]\nWHATSAPP = 2.5\nMOBILE = 10\n";
    let by_table = Config::load(&sources(Some(&dir.file("a.toml", table)), &MINIMAL)).unwrap().limits;
    let list = [&MINIMAL[..], &[("LIMITS__CHANNEL_PER_SECOND", "MOBILE=10, WHATSAPP=2.5")]].concat();
    let by_list = Config::load(&sources(None, &list)).unwrap().limits;
    assert_eq!((&by_table.channels, &by_table.rates.classes), (&by_list.channels, &by_list.rates.classes));
    assert_eq!((by_table.channels[1].as_str(), by_table.rates.classes[1]), ("WHATSAPP", Some(2.5)));
    assert_eq!((by_table.rates.target, by_list.rates.target), (Some(50.0), None));
    for wrong in ["[limits.channel_per_second]\nWHATSAPP = 0", "[limits]\nchannel_per_second = [\"WHATSAPP\"]"] {
        let [mistake] = file_mistakes(wrong).try_into().unwrap();
        assert!(mistake.starts_with("limits.channel_per_second"), "{mistake}");
    }
}

#[test]
fn value_of_wrong_kind_is_a_mistake() {
    for (text, expected) in [
        ("[broker]\nprefix = 5", "broker.prefix = \"5\" (a.toml): is a whole number; write a text in quotes"),
        ("[api]\ntimeout = 5", "api.timeout = \"5\" (a.toml): is a whole number; write a text in quotes"),
        ("[api]\ntimeout = [\"5s\"]", "api.timeout (a.toml): is a list; write a text in quotes"),
        ("[api]\nchannel_types = [5]", "api.channel_types = \"5\" (a.toml): is a whole number; write a text in quotes"),
        ("[api]\nlogin_path = \"x://\"", "api.login_path = "),
        ("[limits]\nmax_in_flight = 1.0", "limits.max_in_flight = \"1.0\" (a.toml): is a number; write a whole number"),
        ("[limits]\nmax_in_flight = true", "limits.max_in_flight = \"true\" (a.toml): is true or false; write a whole"),
        ("[broker]\ndeclare = 1", "broker.declare = \"1\" (a.toml): is a whole number; write true or false"),
        ("[api]\npath = \"/a\\u001b[31m\"", "api.path = \"/a\\u{1b}[31m\" (a.toml): has a control character"),
    ] {
        let [mistake] = file_mistakes(text).try_into().unwrap();
        assert!(mistake.starts_with(expected), "{mistake}\ninstead of {expected}");
    }
    let dir = TempDir::new();
    let right =
        "[api]\nretry_statuses = [408, \"503\"]\n[limits]\nmax_in_flight = \"5\"\n[broker]\ndeclare = true\n[log]\n";
    let config = Config::load(&sources(Some(&dir.file("a.toml", right)), &MINIMAL)).unwrap();
    assert_eq!((config.api.statuses.retry, config.limits.concurrency.max()), (vec![408, 503], 5));
}

#[test]
fn file_deep_or_large_is_reported_briefly() {
    let keys = vec!["a"; 79].join(".");
    let deep = format!("{}1{}", format!("{{{keys} = ").repeat(79), "}".repeat(79));
    for text in [
        format!("{} = 1", vec!["a"; 100_000].join(".")),
        format!("[{}]", vec!["a"; 100_000].join(".")),
        format!("a = {}{}", "[".repeat(100_000), "]".repeat(100_000)),
        format!("{keys} = {deep}"),
        format!("{keys} = {deep}\n[[["),
        (0..6_000).map(|number| format!("k{number} = 1\n")).collect(),
        format!("[delivery]\ntiers = [{}]", "\"5s\", ".repeat(100_000)),
        format!("[api]\nretry_statuses = {:?}", "x,".repeat(100_000)),
        format!("{} = 1", "k".repeat(1_000_000)),
        "#".repeat(2 << 20),
    ] {
        let reported = file_mistakes(&text);
        let (mistakes, bytes) = (reported.len(), reported.concat().len());
        assert!(mistakes <= 60 && bytes < 60_000, "{mistakes} mistakes in {bytes} bytes");
    }
}

#[test]
fn file_nested_too_deep_is_refused() {
    let keys = vec!["a"; 79].join(".");
    for text in [
        format!("token = 's3cret'\n{keys} = {}", format!("{{{keys} = ").repeat(79)),
        // The parser counts each `{}` as the end of the table around it, and so never reaches its own limit.
        format!("s3cret = {}", "{ {} a = ".repeat(100_000)),
    ] {
        let [mistake] = file_mistakes(&text).try_into().unwrap();
        assert!(
            mistake.starts_with("a.toml: nests deeper than any setting; ") && !mistake.contains("s3cret"),
            "{mistake}"
        );
    }
}

#[test]
fn file_nested_to_the_limit_fits_a_small_stack() {
    let key = |parts| vec!["a"; parts].join(".");
    let tables: String = (1..=8).map(|parts| format!("[[{}]]\n", key(parts))).collect();
    let deepest = format!("{tables}{} = {}1{}", key(8), format!("{{ {} = ", key(8)).repeat(16), "}".repeat(16));
    for text in [deepest.clone(), format!("{deepest}\nnot TOML")] {
        let load = thread::Builder::new().stack_size(1 << 20).spawn(move || file_mistakes(&text));
        let [mistake] = load.unwrap().join().unwrap().try_into().unwrap();
        assert!(
            mistake.starts_with("a (a.toml): is not a setting") || mistake.contains("is not TOML at line 10"),
            "{mistake}"
        );
    }
}

#[test]
fn number_beyond_64_bits_is_a_mistake() {
    for number in ["9223372036854775808", "1e999"] {
        let mistake = file_mistakes(&format!("[limits]\nmax_in_flight = {number}"));
        assert_eq!(mistake, ["a.toml: has a number that is too large; no setting accepts it"]);
    }
}

#[test]
fn file_not_regular_is_a_mistake() {
    let dir = TempDir::new();
    let pipe = dir.0.join("pipe").display().to_string();
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let large = dir.file("large", &"x".repeat((1 << 20) + 1));
    for path in ["/dev/zero", "/dev", &pipe, &large] {
        let reported = mistakes(Config::load(&sources(Some(path), &MINIMAL)));
        assert!(reported[0].starts_with(&format!("{path}: cannot be read (")), "{reported:?}");
        for name in ["API__TOKEN_FILE", "API__PASSWORD_FILE", "API__CA_FILE", "BROKER__URL_FILE", "BROKER__CA_FILE"] {
            let reported = mistakes(load(&[(name, path)]));
            assert!(reported.iter().any(|mistake| mistake.contains(": cannot be read (")), "{path}: {reported:?}");
        }
    }
}
