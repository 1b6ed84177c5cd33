//! Parses `INFO`: the server's identity and the settings that weaken a journal.

use std::collections::HashMap;

/// The fields of `INFO` that matter to the journal.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ServerInfo {
    /// Changes with each restart and each failover.
    pub(super) run_id: String,
    /// Settings that can lose records, with their remedies.
    pub(super) weaknesses: Vec<&'static str>,
}

const EVICTION: &str = "Redis evicts keys when its memory is full, so records can be lost and commands sent twice: set \
                        maxmemory-policy noeviction";
const NO_AOF: &str =
    "Redis has at most snapshots on disk: after its restart, commands may be sent twice; set appendonly yes";

impl ServerInfo {
    pub(super) fn parse(info: &str) -> Self {
        let lines = info.lines().filter_map(|line| line.trim_end().split_once(':'));
        let fields: HashMap<_, _> = lines.collect();
        let is = |name: &str, value: &str| fields.get(name) == Some(&value);
        let evicts = fields.contains_key("maxmemory_policy") && !is("maxmemory_policy", "noeviction");
        let weaknesses =
            [(evicts && !is("maxmemory", "0")).then_some(EVICTION), is("aof_enabled", "0").then_some(NO_AOF)];
        let run_id = fields.get("run_id").copied().unwrap_or_default().to_owned();
        Self { run_id, weaknesses: weaknesses.into_iter().flatten().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_info_eviction_and_missing_aof_are_weaknesses() {
        let good = "# Server\r\nrun_id:abc\r\nmaxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\naof_enabled:1\r\n";
        assert_eq!(ServerInfo::parse(good), ServerInfo { run_id: "abc".into(), weaknesses: vec![] });
        let bad = "run_id:abc\nmaxmemory:1000\nmaxmemory_policy:volatile-lru\naof_enabled:0";
        assert_eq!(ServerInfo::parse(bad).weaknesses, [EVICTION, NO_AOF]);
        assert_eq!(ServerInfo::parse(""), ServerInfo::default());
    }
}
