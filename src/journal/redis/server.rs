//! What the server says about itself, as far as it says how much the journal can rely on it.

use std::collections::HashMap;

/// From `INFO`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Server {
    /// Another one after each restart and each failover.
    pub(super) run_id: String,
    /// What weakens a journal there, and what to do.
    pub(super) weaknesses: Vec<&'static str>,
}

const EVICTS: &str = "Redis throws keys away when its memory is full, and with them the memory of what was sent: set \
                      maxmemory-policy noeviction";
const FORGETS: &str = "Redis keeps nothing on disk but snapshots, if at all: after its restart, commands may be sent twice; \
                       set appendonly yes";

impl Server {
    pub(super) fn read(info: &str) -> Self {
        let lines = info.lines().filter_map(|line| line.trim_end().split_once(':'));
        let fields: HashMap<_, _> = lines.collect();
        let is = |name: &str, value: &str| fields.get(name) == Some(&value);
        let evicts = fields.contains_key("maxmemory_policy") && !is("maxmemory_policy", "noeviction");
        let weaknesses =
            [(evicts && !is("maxmemory", "0")).then_some(EVICTS), is("aof_enabled", "0").then_some(FORGETS)];
        let run_id = fields.get("run_id").copied().unwrap_or_default().to_owned();
        Self { run_id, weaknesses: weaknesses.into_iter().flatten().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weaknesses_are_found() {
        let good = "# Server\r\nrun_id:abc\r\nmaxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\naof_enabled:1\r\n";
        assert_eq!(Server::read(good), Server { run_id: "abc".into(), weaknesses: vec![] });
        let bad = "run_id:abc\nmaxmemory:1000\nmaxmemory_policy:volatile-lru\naof_enabled:0";
        assert_eq!(Server::read(bad).weaknesses, [EVICTS, FORGETS]);
        assert_eq!(Server::read(""), Server::default());
    }
}
