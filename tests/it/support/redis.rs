//! A Redis of a test's own: a private process on a free port with its files among the temporary ones.
//!
//! Stands on nothing but the standard library: the tests of the library use this file, too.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// Its shell is the server's parent and kills it when our end of its standard input closes: when it is stopped, and when
/// this process is gone, even by `kill -9`. It tells the server's id once the server answers.
const SHELL: &str = r#"
trap '' INT TERM HUP
redis-server "$@" </dev/null >>console.log 2>&1 &
server=$!
until redis-cli -p "$PORT" ping >/dev/null 2>&1; do
    kill -0 "$server" || exit 1
    sleep 0.05
done
echo "$server"
cat >/dev/null
kill -9 "$server"
wait
[ -e keep ] || rm -rf "$PWD"
"#;

/// A server that is killed, and its files removed, when it is dropped.
#[derive(Debug)]
pub(crate) struct Redis {
    dir: PathBuf,
    port: u16,
    args: Vec<String>,
    process: Option<Process>,
}

#[derive(Debug)]
struct Process {
    shell: Child,
    id: String,
}

impl Redis {
    /// One that answers.
    pub(crate) fn start() -> Self {
        Self::start_with(&["--appendonly", "yes"])
    }

    /// With arguments of `redis-server` besides port and directory.
    pub(crate) fn start_with(args: &[&str]) -> Self {
        let name = format!("edna-courier-redis-{:08x}", fastrand::u32(..));
        let dir = std::env::temp_dir().join(name);
        fs::create_dir(&dir).expect("temporary files can be made");
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        let mut redis = Self { dir, port: free_port(), args, process: None };
        redis.start_again();
        redis
    }

    /// The same data on the same port.
    pub(crate) fn start_again(&mut self) {
        assert!(self.process.is_none(), "it runs");
        drop(fs::remove_file(self.dir.join("keep")));
        let port = self.port.to_string();
        let mut shell = Command::new("sh")
            .args(["-c", SHELL, "redis"])
            .args(&self.args)
            .args(["--port", &port, "--bind", "127.0.0.1", "--dir", "."])
            .env("PORT", &port)
            .current_dir(&self.dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Outside our process group, so that an interrupt on the terminal does not end it with us.
            .process_group(0)
            .spawn()
            .expect("a shell");
        let mut id = String::new();
        let told = BufReader::new(shell.stdout.as_mut().expect("piped")).read_line(&mut id);
        if told.is_err() || id.trim().is_empty() {
            let log = fs::read_to_string(self.dir.join("console.log")).unwrap_or_default();
            panic!("redis-server does not run: install it (Debian: redis-server). It said: {log}");
        }
        self.process = Some(Process { shell, id: id.trim().to_owned() });
    }

    /// Kills it. With `--appendonly yes`, what it had answered is on its disk.
    pub(crate) fn stop(&mut self) {
        fs::write(self.dir.join("keep"), "").expect("a file of ours");
        self.end();
    }

    fn end(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        drop(process.shell.stdin.take());
        process.shell.wait().expect("our child");
    }

    /// It does not answer any more, and does not break a connection either.
    pub(crate) fn pause(&self) {
        self.signal("STOP");
    }

    /// It goes on, with what was sent meanwhile.
    pub(crate) fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let process = self.process.as_ref().expect("it runs");
        let sent = Command::new("kill").args(["-s", name, &process.id]).status().expect("kill");
        assert!(sent.success(), "it is gone");
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// As `journal.redis_url` has it.
    pub(crate) fn url(&self) -> String {
        format!("redis://{}/0", self.address())
    }

    /// What `redis-cli` prints for a command.
    pub(crate) fn cli(&self, args: &[&str]) -> String {
        let port = self.port.to_string();
        let ran = Command::new("redis-cli").args(["-p", &port]).args(args).output().expect("redis-cli");
        String::from_utf8_lossy(&ran.stdout).trim_end().to_owned()
    }

    /// Where its files are.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        match self.process {
            Some(_) => self.end(),
            None => drop(fs::remove_dir_all(&self.dir)),
        }
    }
}

/// A port that is free now.
pub(crate) fn free_port() -> u16 {
    let held = TcpListener::bind("127.0.0.1:0").and_then(|held| held.local_addr());
    held.expect("a free port").port()
}
