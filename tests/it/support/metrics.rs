//! A parser for the Prometheus text format.

/// The samples of one scrape.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    samples: Vec<Sample>,
}

#[derive(Clone, Debug, PartialEq)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Metrics {
    /// Parses the text format; panics on an invalid line.
    pub(crate) fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self { samples: lines.map(|line| sample(line).unwrap_or_else(|| panic!("not a sample: {line}"))).collect() }
    }

    /// The sum of all series with this name and at least these labels; `None` if there is none.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let matches = |sample: &&Sample| {
            let has = |(key, value): &(&str, &str)| sample.labels.iter().any(|(k, v)| k == key && v == value);
            sample.name == name && labels.iter().all(has)
        };
        self.samples.iter().filter(matches).map(|sample| sample.value).reduce(|sum, value| sum + value)
    }
}

/// `name{key="value",…} 1.5`
fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = match series.split_once('{') {
        Some((name, rest)) => (name, rest.strip_suffix('}')?),
        None => (series, ""),
    };
    let labels = labels.split_terminator("\",").map(label).collect::<Option<_>>()?;
    Some(Sample { name: name.to_owned(), labels, value: value.parse().ok()? })
}

fn label(text: &str) -> Option<(String, String)> {
    let (key, value) = text.trim_start_matches(',').split_once("=\"")?;
    Some((key.to_owned(), value.trim_end_matches('"').to_owned()))
}

#[test]
fn sum_ignores_unlisted_labels() {
    let text =
        "# TYPE a counter\na{x=\"1\",y=\"p\"} 2\na{x=\"1\",y=\"q,r\"} 3\na{x=\"2\",y=\"p\"} 40\n\nb 0.5\nc +Inf\n";
    let metrics = Metrics::parse(text);
    assert_eq!(metrics.sum("a", &[("x", "1")]), Some(5.0));
    assert_eq!(metrics.sum("a", &[("x", "1"), ("y", "q,r")]), Some(3.0));
    assert_eq!(metrics.sum("a", &[]), Some(45.0));
    assert_eq!(metrics.sum("b", &[]), Some(0.5));
    assert_eq!(metrics.sum("c", &[]), Some(f64::INFINITY));
    assert_eq!(metrics.sum("a", &[("x", "3")]), None, "a missing series is not zero");
}
