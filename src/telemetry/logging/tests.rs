use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use serde_json::Value;
use tracing::{debug, error, info, trace, warn};

use super::*;

/// Keeps what was written.
#[derive(Clone, Default)]
struct Capture(Arc<Mutex<Vec<u8>>>);

impl Write for Capture {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn written(level: &str, style: Style, speak: impl FnOnce()) -> String {
    let capture = Capture::default();
    let writer = capture.clone();
    tracing::subscriber::with_default(subscriber(level, style, move || writer.clone()).unwrap(), speak);
    let bytes = capture.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

fn libraries_speak() {
    trace!(target: "lapin::channels", frame = "SECRET", "will handle frame");
    debug!(target: "lapin", "SECRET");
    trace!(target: "amq_protocol::frame", "SECRET");
    trace!(target: "reqwest::connect", "SECRET");
    trace!(target: "hyper_util::client", "SECRET");
    debug!(target: "hyper::proto::h1::io", "SECRET");
    trace!(target: "h2::codec", "SECRET");
    debug!(target: "rustls::client", "SECRET");
    trace!(target: "edna_courier_impostor", "SECRET");
    warn!(target: "lapin::returned_messages", message = "SECRET", "Server returned us a message");
    error!(target: "lapin::returned_messages::inner", "SECRET");
    let span = tracing::info_span!(target: "lapin", "connect", uri = "SECRET");
    let _inside = span.enter();
    info!(target: "hyper::client", "told: info of a library");
    trace!(target: "edna_courier::pipeline", "told: trace of our own");
}

#[test]
fn no_level_lets_a_library_print_payloads() {
    let directives = [
        "trace",
        "info,lapin=trace,edna_courier=trace",
        "trace,lapin::returned_messages=trace",
        "[{frame}]=trace,trace",
    ];
    for style in [Style::Json, Style::Text { colour: false }] {
        for level in directives {
            let lines = written(level, style, libraries_speak);
            assert!(!lines.contains("SECRET"), "{level}: {lines}");
            assert_eq!(lines.matches("told: ").count(), 2, "{level}: {lines}");
        }
    }
}

#[test]
fn the_level_counts_for_our_own_lines() {
    let speak = || {
        debug!("quiet");
        info!("loud");
    };
    for level in ["info", "", "debug,edna_courier=info"] {
        let lines = written(level, Style::Json, speak);
        assert!(lines.contains("loud") && !lines.contains("quiet"), "{level}: {lines}");
    }
    assert!(written("debug", Style::Json, speak).contains("quiet"));
    assert_eq!(written("off", Style::Json, speak), "");
}

#[test]
fn a_json_line_is_flat() {
    let line = written("info", Style::Json, || info!(command_id = "a\n\"b", status = 200, "two\nlines"));
    assert_eq!(line.lines().count(), 1, "{line}");
    let Value::Object(fields) = serde_json::from_str(&line).unwrap() else { panic!("not an object: {line}") };
    let names: Vec<_> = fields.keys().map(String::as_str).collect();
    assert_eq!(names, ["command_id", "level", "message", "status", "target", "timestamp"]);
    assert_eq!(fields["command_id"], "a\n\"b");
    assert_eq!(fields["level"], "INFO");
    assert_eq!(fields["target"], "edna_courier::telemetry::logging::tests");
    let timestamp = fields["timestamp"].as_str().unwrap();
    assert!(timestamp.parse::<jiff::Timestamp>().is_ok() && timestamp.ends_with('Z'), "{timestamp}");
}

#[test]
fn a_text_line_has_colours_only_where_asked_for() {
    let speak = || info!(command_id = "a\nb", "said");
    let plain = written("info", Style::Text { colour: false }, speak);
    assert_eq!(plain.lines().count(), 1, "a field can't start a line of its own: {plain}");
    assert!(plain.contains("said") && !plain.contains('\u{1b}'), "{plain}");
    assert!(written("info", Style::Text { colour: true }, speak).contains('\u{1b}'));
}

#[test]
fn auto_is_text_on_a_terminal_only() {
    for (format, is_terminal, plain, style) in [
        (Format::Auto, true, false, Style::Text { colour: true }),
        (Format::Auto, true, true, Style::Text { colour: false }),
        (Format::Auto, false, false, Style::Json),
        (Format::Text, false, false, Style::Text { colour: false }),
        (Format::Json, true, false, Style::Json),
    ] {
        assert_eq!(format.style(is_terminal, plain), style, "{format:?} {is_terminal} {plain}");
    }
}

#[test]
fn a_wrong_level_is_told_with_the_setting_and_the_remedy() {
    for (level, told) in [("verbose", "\"verbose\""), ("info,chatty", "\"chatty\""), ("lapin=loud", "log.level")] {
        let told_us = parse_level(level).unwrap_err().to_string();
        assert!(told_us.contains(told) && told_us.contains("log.level") && told_us.contains("info"), "{told_us}");
    }
}

#[test]
fn a_writer_that_fails_stops_nothing() {
    struct Broken;
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }
    let mut went_on = false;
    tracing::subscriber::with_default(subscriber("info", Style::Json, || Broken).unwrap(), || {
        info!("lost");
        went_on = true;
    });
    assert!(went_on);
}
