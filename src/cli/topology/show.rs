//! The table of the topology for people.

use crate::amqp::topology::{Argument, Topology};

/// Exchanges, queues and bindings, a table each.
pub(super) fn tables(topology: &Topology) -> String {
    let exchanges = topology.exchanges.iter().map(|exchange| {
        let alternate = exchange.arguments.get("alternate-exchange").map(Argument::to_string);
        [exchange.name.clone(), exchange.kind.as_str().to_owned(), alternate.unwrap_or_default()]
    });
    let arguments = topology.queues.iter().flat_map(|queue| {
        let row = |(key, value): (&&str, &Argument)| [queue.name.clone(), (*key).to_owned(), value.to_string()];
        queue.arguments.iter().map(row)
    });
    let bindings = topology.queues.iter().flat_map(|queue| {
        queue
            .bindings
            .iter()
            .map(|binding| [binding.exchange.clone(), queue.name.clone(), format!("{:?}", binding.key)])
    });
    let tables = [
        aligned(["exchange", "type", "alternate exchange"], exchanges),
        aligned(["queue", "argument", "value"], arguments),
        aligned(["from exchange", "to queue", "with key"], bindings),
    ];
    tables.join("\n\n")
}

/// Columns as wide as their widest word; no blanks at the end of a line.
pub(super) fn aligned<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let rows: Vec<_> = [head.map(str::to_owned)].into_iter().chain(rows).collect();
    let mut widths = [0; N];
    for row in &rows {
        widths.iter_mut().zip(row).for_each(|(width, word)| *width = word.chars().count().max(*width));
    }
    let line = |row: &[String; N]| {
        let words = row.iter().zip(widths).map(|(word, width)| format!("{word:<width$}"));
        words.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{amqp::topology::Names, domain::tier::Tiers};

    #[test]
    fn columns_are_aligned() {
        let rows = [["a".to_owned(), "bb".to_owned()], ["äöü".to_owned(), String::new()]];
        assert_eq!(aligned(["x", "y"], rows), "x    y\na    bb\näöü");
    }

    #[test]
    fn everything_of_the_model_is_shown() {
        let topology = Topology::new(&Names::new("p"), &Tiers::default(), true);
        let told = tables(&topology);
        for line in [
            "p.commands    direct  p.unroutable",
            "p.commands    x-dead-letter-routing-key  poison",
            "p.retry.1h    x-message-ttl              3600000",
            "p.dead         p.dead        \"expired\"",
        ] {
            assert!(told.lines().any(|shown| shown == line), "{line:?} in\n{told}");
        }
        let arguments: usize = topology.queues.iter().map(|queue| queue.arguments.len()).sum();
        let bindings: usize = topology.queues.iter().map(|queue| queue.bindings.len()).sum();
        assert_eq!(told.lines().count(), 3 + 2 + topology.exchanges.len() + arguments + bindings);
    }
}
