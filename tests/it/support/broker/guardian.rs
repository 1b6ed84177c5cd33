//! Cleaning up whatever happens to the test process.

use std::{
    io,
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
};

/// Runs a shell script when it is dropped, or when this process is gone, even by `kill -9`.
///
/// Statics are never dropped and a killed process drops nothing, so a child waits for the end of its standard input,
/// a pipe whose other end only this process holds.
#[derive(Debug)]
pub(super) struct Guardian {
    child: Child,
}

impl Guardian {
    /// The script finds its arguments as `$1`, `$2`, …
    pub(super) fn new(script: &str, args: &[&str]) -> io::Result<Self> {
        let script = format!("trap '' INT TERM HUP\ncat >/dev/null\n{script}");
        let child = Command::new("sh")
            .args(["-c", &script, "guardian"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Outside our process group, so that an interrupt on the terminal does not end it with us.
            .process_group(0)
            .spawn()?;
        Ok(Self { child })
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        if let Err(e) = self.child.wait() {
            eprintln!("the guardian's end is unknown: {e}");
        }
    }
}
