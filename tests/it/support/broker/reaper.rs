//! Cleanup that also runs when the test process is killed.

use std::{
    io,
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
};

/// Runs a shell script when it is dropped or when this process ends, even by `kill -9`.
///
/// Statics are never dropped and a killed process runs no destructors, so a child process waits for EOF on its standard
/// input, a pipe whose write end only this process holds.
#[derive(Debug)]
pub(super) struct Reaper {
    child: Child,
}

impl Reaper {
    /// The script gets the arguments as `$1`, `$2`, …
    pub(super) fn new(script: &str, args: &[&str]) -> io::Result<Self> {
        let script = format!("trap '' INT TERM HUP\ncat >/dev/null\n{script}");
        let child = Command::new("sh")
            .args(["-c", &script, "reaper"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // In its own process group, so that Ctrl-C on the terminal does not reach it.
            .process_group(0)
            .spawn()?;
        Ok(Self { child })
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        if let Err(e) = self.child.wait() {
            eprintln!("waiting for the reaper failed: {e}");
        }
    }
}
