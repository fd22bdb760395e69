//! Prometheus' text format, as far as the tests look into it.

/// A page of metrics.
#[derive(Clone, Debug)]
pub struct Metrics(pub String);

impl Metrics {
    /// The sum of all samples of `name` whose labels hold every one of `labels` (written `key="value"`); none if there
    /// is no such sample.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let samples = self.0.lines().filter_map(|line| {
            let (key, value) = line.rsplit_once(' ')?;
            let (found, rest) = key.split_once('{').unwrap_or((key, ""));
            let wanted = found == name && labels.iter().all(|label| rest.contains(label));
            wanted.then(|| value.parse::<f64>().ok()).flatten()
        });
        samples.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
    }

    /// The same, 0 where there is none.
    #[must_use]
    pub fn count(&self, name: &str, labels: &[&str]) -> f64 {
        self.sum(name, labels).unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_by_name_and_label() {
        let page = Metrics("# TYPE a counter\na{x=\"1\",y=\"2\"} 3\na{x=\"2\"} 4\nab 5\na_count 6\n".into());
        assert_eq!(page.sum("a", &[]), Some(7.0));
        assert_eq!(page.sum("a", &["x=\"2\""]), Some(4.0));
        assert_eq!(page.sum("ab", &[]), Some(5.0));
        assert_eq!(page.sum("b", &[]), None);
    }
}
