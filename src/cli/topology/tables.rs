//! Tables for people.

use crate::amqp::topology::{ArgumentValue, Topology};

/// Formats exchanges, queue arguments and bindings as one table each.
pub(super) fn format(topology: &Topology) -> String {
    let exchanges = topology.exchanges.iter().map(|exchange| {
        let alternate = exchange.arguments.get("alternate-exchange").map(ArgumentValue::to_string);
        [exchange.name.clone(), exchange.exchange_type.as_str().to_owned(), alternate.unwrap_or_default()]
    });
    let arguments = topology.queues.iter().flat_map(|queue| {
        let row = |(key, value): (&&str, &ArgumentValue)| [queue.name.clone(), (*key).to_owned(), value.to_string()];
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
        aligned(["exchange", "bound queue", "routing key"], bindings),
    ];
    tables.join("\n\n")
}

/// Pads each column to its widest cell, and trims the end of each line.
pub(super) fn aligned<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let rows: Vec<_> = [head.map(str::to_owned)].into_iter().chain(rows).collect();
    let mut widths = [0; N];
    for row in &rows {
        widths.iter_mut().zip(row).for_each(|(width, cell)| *width = cell.chars().count().max(*width));
    }
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{amqp::topology::TopologyNames, domain::tier::Tiers};

    #[test]
    fn aligned_counts_characters_not_bytes() {
        let rows = [["a".to_owned(), "bb".to_owned()], ["äöü".to_owned(), String::new()]];
        assert_eq!(aligned(["x", "y"], rows), "x    y\na    bb\näöü");
    }

    #[test]
    fn format_includes_every_object() {
        let topology = Topology::new(&TopologyNames::new("p"), &Tiers::default(), true);
        let text = format(&topology);
        for line in [
            "p.commands    direct  p.unroutable",
            "p.commands    x-dead-letter-routing-key  poison",
            "p.retry.1h    x-message-ttl              3600000",
            "p.dead        p.dead        \"expired\"",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line:?} is missing in\n{text}");
        }
        let arguments: usize = topology.queues.iter().map(|queue| queue.arguments.len()).sum();
        let bindings: usize = topology.queues.iter().map(|queue| queue.bindings.len()).sum();
        assert_eq!(text.lines().count(), 3 + 2 + topology.exchanges.len() + arguments + bindings);
    }
}
