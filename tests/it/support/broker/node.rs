//! A private RabbitMQ node as a process, with its own name, ports, Erlang cookie, epmd and files, independent of a
//! RabbitMQ service on this machine.

use std::{
    fs::{self, File},
    io,
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::reaper::Reaper;
use crate::support::{create_temp_dir, unique_name};

/// Debian's wrapper scripts on the `PATH` switch the user and drop arguments; the scripts in this directory don't.
const SCRIPTS: &str = "/usr/lib/rabbitmq/bin";

/// A RabbitMQ node; dropping it kills the process and removes its files.
#[derive(Debug)]
pub(super) struct Node {
    dir: PathBuf,
    /// Holds the Erlang cookie.
    home: PathBuf,
    epmd: u16,
    name: String,
    /// AMQP and the management API.
    ports: [u16; 2],
    env: Vec<(&'static str, String)>,
    _server: Child,
    _reaper: Reaper,
}

impl Node {
    /// Starts a node with a directory of this name. It accepts connections some seconds later. It can join the cluster of
    /// `neighbour`, whose cookie and epmd it uses.
    pub(super) fn start(dir_name: &str, neighbour: Option<&Self>) -> Result<Self, String> {
        let dir = create_temp_dir(dir_name).map_err(|e| format!("cannot create a directory: {e}"))?;
        let started = Self::start_in(&dir, neighbour);
        if started.is_err() {
            drop(fs::remove_dir_all(&dir));
        }
        started.map_err(|e| format!("rabbitmq-server did not start: {e}"))
    }

    fn start_in(dir: &Path, neighbour: Option<&Self>) -> io::Result<Self> {
        let [port, distribution, epmd, management] = free_ports()?;
        let (home, epmd) = neighbour.map_or((dir, epmd), |node| (&node.home, node.epmd));
        let name = format!("{}@localhost", unique_name("edna-courier-test"));
        let env = environment(dir, home, &name, [port, distribution, epmd]);
        let mut server = launch(dir, &env, management)?;
        let reaper = reap(&server, epmd, dir).inspect_err(|_| drop(server.kill()))?;
        let (dir, home, ports) = (dir.to_owned(), home.to_owned(), [port, management]);
        Ok(Self { dir, home, epmd, name, ports, env, _server: server, _reaper: reaper })
    }

    pub(super) fn ports(&self) -> [u16; 2] {
        self.ports
    }

    pub(super) fn rabbitmqctl(&self) -> Command {
        let mut command = script("rabbitmqctl");
        command.envs(self.env.iter().cloned()).args(["-n", &self.name]);
        command
    }

    /// The last lines of the node's log.
    pub(super) fn log_end(&self) -> String {
        let log = fs::read_to_string(self.dir.join("console.log")).unwrap_or_default();
        let mut lines: Vec<_> = log.lines().rev().take(20).collect();
        lines.reverse();
        lines.join("\n")
    }
}

fn environment(
    dir: &Path,
    home: &Path,
    name: &str,
    [port, distribution, epmd]: [u16; 3],
) -> Vec<(&'static str, String)> {
    let file = |name: &str| dir.join(name).display().to_string();
    vec![
        ("HOME", home.display().to_string()),
        ("RABBITMQ_NODENAME", name.to_owned()),
        ("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1".to_owned()),
        ("RABBITMQ_NODE_PORT", port.to_string()),
        ("RABBITMQ_DIST_PORT", distribution.to_string()),
        ("ERL_EPMD_PORT", epmd.to_string()),
        ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
        ("RABBITMQ_MNESIA_BASE", file("data")),
        ("RABBITMQ_LOG_BASE", file("log")),
        ("RABBITMQ_LOGS", "-".to_owned()),
        ("RABBITMQ_PID_FILE", file("pid")),
        ("RABBITMQ_CONFIG_FILE", file("rabbitmq.conf")),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", file("enabled_plugins")),
    ]
}

fn launch(dir: &Path, env: &[(&'static str, String)], management: u16) -> io::Result<Child> {
    let conf = format!("management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {management}\n");
    fs::write(dir.join("rabbitmq.conf"), conf)?;
    fs::write(dir.join("enabled_plugins"), "[rabbitmq_management].\n")?;
    let log = File::create(dir.join("console.log"))?;
    script("rabbitmq-server")
        .envs(env.iter().cloned())
        .current_dir(dir) // Erlang writes its crash dump there.
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0) // The reaper kills the group: the script and the Erlang VM.
        .spawn()
}

fn reap(server: &Child, epmd: u16, dir: &Path) -> io::Result<Reaper> {
    // epmd refuses `-kill` until it has noticed that the node is gone.
    let script = r#"kill -9 "-$1"
        for attempt in 1 2 3 4 5 6 7 8 9 10; do epmd -port "$2" -kill && break; sleep 0.2; done
        rm -rf "$3""#;
    Reaper::new(script, &[&server.id().to_string(), &epmd.to_string(), &dir.display().to_string()])
}

fn script(name: &str) -> Command {
    let direct = Path::new(SCRIPTS).join(name);
    Command::new(if direct.exists() { direct } else { name.into() })
}

/// Different free ports: all are bound at the same time.
fn free_ports() -> io::Result<[u16; 4]> {
    let bind = || TcpListener::bind("127.0.0.1:0");
    let held = [bind()?, bind()?, bind()?, bind()?];
    let [a, b, c, d] = held.each_ref().map(TcpListener::local_addr);
    Ok([a?.port(), b?.port(), c?.port(), d?.port()])
}
