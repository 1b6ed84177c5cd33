//! A process that never outlives the benchmark.

use std::{
    io::Write,
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
};

use super::support::{
    TIMEOUT,
    daemon::{Daemon, DaemonBuilder},
};

/// A process that is killed on drop, and when the benchmark process ends.
pub(crate) struct Process {
    inner: Daemon,
    _watchdog: Watchdog,
}

impl Process {
    pub(crate) fn start(setup: &DaemonBuilder) -> Self {
        let inner = setup.spawn();
        let watchdog = Watchdog::new(inner.pid());
        Self { inner, _watchdog: watchdog }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.inner.pid()
    }

    /// The rest of the first log line that starts with this key.
    pub(crate) fn logged(&self, key: &str) -> Option<String> {
        let log = self.inner.log_text();
        log.lines().find_map(|line| line.strip_prefix(key)).map(|rest| rest.trim().to_owned())
    }

    /// Sends SIGTERM and waits for the exit; returns the exit code.
    pub(crate) async fn stop(&self) -> i32 {
        self.inner.signal("TERM");
        self.inner.wait_exit(TIMEOUT).await
    }
}

/// A shell that kills the process at EOF on standard input, unless it reads a line first.
struct Watchdog(Child);

impl Watchdog {
    fn new(pid: u32) -> Self {
        let script = r#"trap '' INT TERM HUP; read -r line || kill -9 "$1""#;
        let mut command = Command::new("sh");
        command.args(["-c", script, "watchdog", &pid.to_string()]).stdin(Stdio::piped()).process_group(0);
        Self(command.spawn().expect("a shell"))
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // An error means that the shell has already exited.
        drop(self.0.stdin.take().map(|mut stdin| stdin.write_all(b"done\n")));
        drop(self.0.wait());
    }
}
