//! A process that the benchmark started, and that ends with it whatever happens.

use std::{
    io::Write,
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
};

use super::support::{
    SOON,
    daemon::{Daemon, Setup},
};

/// Killed when it is dropped, and when the benchmark is gone.
pub(crate) struct Process {
    inner: Daemon,
    _guard: Guard,
}

impl Process {
    pub(crate) fn start(setup: &Setup) -> Self {
        let inner = setup.spawn();
        let guard = Guard::of(inner.pid());
        Self { inner, _guard: guard }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.inner.pid()
    }

    /// What it has written after this word at the start of a line.
    pub(crate) fn told(&self, word: &str) -> Option<String> {
        let log = self.inner.log_text();
        log.lines().find_map(|line| line.strip_prefix(word)).map(|rest| rest.trim().to_owned())
    }

    /// Asks it to end and waits until it has; tells its exit code.
    pub(crate) async fn end(&self) -> i32 {
        self.inner.signal("TERM");
        self.inner.wait_exit(SOON).await
    }
}

/// A shell that kills the process if the benchmark ends without a word.
struct Guard(Child);

impl Guard {
    fn of(pid: u32) -> Self {
        let script = r#"trap '' INT TERM HUP; read -r word || kill -9 "$1""#;
        let mut command = Command::new("sh");
        command.args(["-c", script, "guard", &pid.to_string()]).stdin(Stdio::piped()).process_group(0);
        Self(command.spawn().expect("a shell"))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // An error means that it is gone already.
        drop(self.0.stdin.take().map(|mut stdin| stdin.write_all(b"done\n")));
        drop(self.0.wait());
    }
}
