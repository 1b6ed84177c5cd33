//! Log lines as they are written.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    process::Command,
    sync::Mutex,
    thread,
    time::Instant,
};

use serde_json::Value;
use tracing::{debug, error, info, trace, warn};

use super::*;
use crate::{
    domain::tier::Tiers,
    telemetry::{Telemetry, TelemetryLimits},
};

/// A writer that keeps the written bytes.
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

fn written(level: &str, style: LogStyle, log: impl FnOnce()) -> String {
    let capture = Capture::default();
    let writer = capture.clone();
    tracing::subscriber::with_default(subscriber(level, style, move || writer.clone()).unwrap(), log);
    let bytes = capture.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

fn log_like_libraries() {
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
    info!(target: "hyper::client", "visible: info of a library");
    trace!(target: "edna_courier::pipeline", "visible: trace of this crate");
}

#[test]
fn library_payloads_are_silent_at_every_level() {
    let directives = [
        "trace",
        "info,lapin=trace,edna_courier=trace",
        "trace,lapin::returned_messages=trace",
        "[{frame}]=trace,trace",
    ];
    for style in [LogStyle::Json, LogStyle::Text { colour: false }] {
        for level in directives {
            let lines = written(level, style, log_like_libraries);
            assert!(!lines.contains("SECRET"), "{level}: {lines}");
            assert_eq!(lines.matches("visible: ").count(), 2, "{level}: {lines}");
        }
    }
}

#[test]
fn level_applies_to_lines_of_this_crate() {
    let log = || {
        debug!("debug line");
        info!("info line");
    };
    for level in ["info", "", "debug,edna_courier=info"] {
        let lines = written(level, LogStyle::Json, log);
        assert!(lines.contains("info line") && !lines.contains("debug line"), "{level}: {lines}");
    }
    assert!(written("debug", LogStyle::Json, log).contains("debug line"));
    assert_eq!(written("off", LogStyle::Json, log), "");
}

#[test]
fn json_line_is_flat() {
    let line = written("info", LogStyle::Json, || info!(command_id = "a\n\"b", status = 200, "two\nlines"));
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
fn text_line_has_colours_only_if_enabled() {
    let log = || info!(command_id = "a\nb", "message");
    let plain = written("info", LogStyle::Text { colour: false }, log);
    assert_eq!(plain.lines().count(), 1, "a line break in a field is not escaped: {plain}");
    assert!(plain.contains("message") && !plain.contains('\u{1b}'), "{plain}");
    assert!(written("info", LogStyle::Text { colour: true }, log).contains('\u{1b}'));
}

#[test]
fn auto_format_is_text_only_on_a_terminal() {
    for (format, is_terminal, no_color, style) in [
        (LogFormat::Auto, true, false, LogStyle::Text { colour: true }),
        (LogFormat::Auto, true, true, LogStyle::Text { colour: false }),
        (LogFormat::Auto, false, false, LogStyle::Json),
        (LogFormat::Text, false, false, LogStyle::Text { colour: false }),
        (LogFormat::Json, true, false, LogStyle::Json),
    ] {
        assert_eq!(format.style(is_terminal, no_color), style, "{format:?} {is_terminal} {no_color}");
    }
}

#[test]
fn invalid_level_error_names_the_setting_and_levels() {
    for (level, part) in [("verbose", "\"verbose\""), ("info,chatty", "\"chatty\""), ("lapin=loud", "log.level")] {
        let error = parse_level(level).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains("log.level") && error.contains("info"), "{error}");
    }
}

#[test]
fn failed_write_does_not_stop_the_caller() {
    struct BrokenPipe;
    impl Write for BrokenPipe {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }
    let mut continued = false;
    tracing::subscriber::with_default(subscriber("info", LogStyle::Json, || BrokenPipe).unwrap(), || {
        info!("dropped");
        continued = true;
    });
    assert!(continued);
}

#[test]
fn lines_through_the_queue_stay_whole_and_in_order() {
    let (reader, writer) = UnixStream::pair().unwrap();
    let log = LogGuard(LogQueue::start(writer).unwrap());
    tracing::subscriber::with_default(subscriber("info", LogStyle::Json, log.0.clone()).unwrap(), || info!("first"));
    log.print("second");
    let lines: Vec<_> = BufReader::new(reader).lines().take(2).map(Result::unwrap).collect();
    assert!(lines[0].contains("\"message\":\"first\"") && lines[1] == "second", "{lines:?}");
}

#[test]
fn dropped_lines_are_counted_by_the_telemetry() {
    let telemetry = Telemetry::new(TelemetryLimits { max_in_flight: 8, prefetch: 16 }, &Tiers::default()).unwrap();
    let (reader, writer) = UnixStream::pair().unwrap();
    drop(reader);
    let log = LogGuard(LogQueue::start(writer).unwrap());
    telemetry.observe_log(&log);
    log.print("lost");
    drop(log);
    let metrics = telemetry.scrape().unwrap();
    assert!(metrics.contains("courier_log_lines_dropped_total 1\n"), "{metrics}");
}

#[test]
fn end_of_the_log_waits_a_second_for_a_reader() {
    let (_unread, writer) = UnixStream::pair().unwrap();
    let log = LogGuard(LogQueue::start(writer).unwrap());
    log.print(&"x".repeat(1 << 19));
    let ending = Instant::now();
    drop(log);
    let took = ending.elapsed();
    assert!((FLUSH_TIMEOUT..10 * FLUSH_TIMEOUT).contains(&took), "{took:?}");
}

/// In a child process: the hook and the subscriber are the process's own.
#[test]
fn panic_is_a_log_line() {
    const CHILD: &str = "EDNA_COURIER_TEST_CHILD";
    if env::var_os(CHILD).is_some() {
        let _log = init("info", LogFormat::Json, false).unwrap();
        thread::spawn(|| panic!("on purpose")).join().unwrap_err();
        return;
    }
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["--exact", "telemetry::logging::tests::panic_is_a_log_line"]).env(CHILD, "1");
    let output = child.output().unwrap();
    let line = String::from_utf8(output.stderr).unwrap();
    let line: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
    assert_eq!(
        (&line["level"], &line["message"]),
        (&"ERROR".into(), &"a thread panicked, which is a bug: on purpose".into())
    );
    assert!(line["location"].as_str().unwrap().contains("logging/tests.rs:"), "{line}");
}
