//! Dashboards and alert rules against the list of metrics: a panel whose metric was renamed shows "no data", which
//! looks like a quiet night.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::files;

const DASHBOARDS: &str = "deploy/grafana/";
const ALERTS: &str = "deploy/prometheus/alerts.yaml";

/// The table of all metrics; until it is written, the contract's list is what there is.
const METRIC_TABLES: [&str; 2] = ["docs/operating.md", "docs/contract.md"];

/// What a Prometheus histogram adds to its name.
const HISTOGRAM_SUFFIXES: [&str; 3] = ["_bucket", "_sum", "_count"];

/// Grafana fills these in; any duration does for reading the query.
const GRAFANA_DURATIONS: [&str; 3] = ["$__rate_interval", "$__interval", "$__range"];

/// Every fault in a sentence that starts with `file: `.
pub(crate) fn check(root: &Path) -> Vec<String> {
    let mut problems = Vec::new();
    let boards = dashboard_files(root);
    if boards.is_empty() {
        problems.push(format!("{DASHBOARDS}: there is no dashboard"));
    }
    let Some((table, known)) = known_metrics(root) else {
        problems.push(format!("{}: is missing, so no metric can be checked", METRIC_TABLES[1]));
        return problems;
    };
    for file in boards {
        match queries(root, &file) {
            Ok(found) if found.is_empty() => problems.push(format!("{file}: has no query")),
            Ok(found) => problems.extend(found.iter().flat_map(|q| unknown(&file, q, table, &known))),
            Err(why) => problems.push(format!("{file}: {why}")),
        }
    }
    match files::text(root, ALERTS) {
        Some(text) => problems.extend(unknown(ALERTS, &text, table, &known)),
        None => problems.push(format!("{ALERTS}: is missing")),
    }
    problems
}

/// All queries of all dashboards as a rules file (JSON is YAML), for promtool to parse.
pub(crate) fn queries_as_rules(root: &Path) -> String {
    let all = dashboard_files(root).into_iter().flat_map(|file| queries(root, &file).unwrap_or_default());
    let rules: Vec<Value> = all
        .enumerate()
        .map(|(n, query)| {
            let query = GRAFANA_DURATIONS.iter().fold(query, |q, variable| q.replace(variable, "5m"));
            json!({"record": format!("panel:{n}"), "expr": query})
        })
        .collect();
    json!({"groups": [{"name": "dashboards", "rules": rules}]}).to_string()
}

fn dashboard_files(root: &Path) -> Vec<String> {
    files::below(root, |path| path.starts_with(DASHBOARDS) && path.ends_with(".json"))
}

/// The PromQL of every panel of one dashboard.
fn queries(root: &Path, file: &str) -> Result<Vec<String>, String> {
    let text = files::text(root, file).ok_or("cannot be read")?;
    let board: Value = serde_json::from_str(&text).map_err(|e| format!("is no JSON: {e}"))?;
    let mut found = Vec::new();
    collect_queries(&board, &mut found);
    Ok(found)
}

fn collect_queries(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            if let Some(query) = map.get("expr").and_then(Value::as_str) {
                found.push(query.to_owned());
            }
            map.values().for_each(|v| collect_queries(v, found));
        }
        Value::Array(values) => values.iter().for_each(|v| collect_queries(v, found)),
        _ => {}
    }
}

/// The names of all metrics, and the document they are from.
pub(crate) fn known_metrics(root: &Path) -> Option<(&'static str, BTreeSet<String>)> {
    METRIC_TABLES.iter().find_map(|table| {
        let names = metric_names(&files::text(root, table)?);
        (!names.is_empty()).then_some((*table, names))
    })
}

fn unknown(file: &str, text: &str, table: &str, known: &BTreeSet<String>) -> Vec<String> {
    let is_known = |name: &str| {
        known.contains(name)
            || HISTOGRAM_SUFFIXES
                .iter()
                .any(|s| name.strip_suffix(s).is_some_and(|base| known.contains(base)))
    };
    metric_names(text)
        .iter()
        .filter(|name| !is_known(name))
        .map(|name| format!("{file}: uses `{name}`, which {table} does not list"))
        .collect()
}

/// Every `inboxd_…` in a text. A name that ends in `_` is the start of one, as in `inboxd_<crate>_…`.
fn metric_names(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("inboxd_") && !word.ends_with('_'))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;

    const TABLE: &str = "`inboxd_delivery_seconds{path}` `inboxd_webhooks_total{outcome}` `inboxd_<crate>_x`";

    fn tree(query: &str, alert: &str) -> Tree {
        Tree::new()
            .with("docs/contract.md", TABLE)
            .with(ALERTS, alert)
            .with("deploy/grafana/x.json", &json!({"panels": [{"targets": [{"expr": query}]}]}).to_string())
    }

    #[test]
    fn known_metrics_and_their_histograms_pass() {
        let query = "histogram_quantile(0.5, rate(inboxd_delivery_seconds_bucket[$__rate_interval]))";
        assert_eq!(check(tree(query, "expr: inboxd_webhooks_total > 1").root()), Vec::<String>::new());
    }

    #[test]
    fn a_renamed_metric_is_found_in_a_panel_and_in_an_alert() {
        let problems = check(tree("inboxd_delivery_ms_bucket", "expr: inboxd_webhook_total").root());
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(
            problems[0].contains("inboxd_delivery_ms_bucket") && problems[1].contains("inboxd_webhook_total")
        );
    }

    #[test]
    fn the_operators_table_comes_before_the_contract() {
        let tree = tree("inboxd_webhooks_total", "expr: inboxd_webhooks_total")
            .with("docs/operating.md", "| `inboxd_delivery_seconds` |");
        assert_eq!(check(tree.root()).len(), 2);
    }

    #[test]
    fn a_broken_dashboard_is_found() {
        let tree = tree("inboxd_webhooks_total", "").with("deploy/grafana/broken.json", "{");
        assert!(check(tree.root()).iter().any(|p| p.starts_with("deploy/grafana/broken.json: is no JSON")));
    }

    #[test]
    fn queries_become_rules_that_promtool_can_read() {
        let rules = queries_as_rules(tree("rate(inboxd_webhooks_total[$__rate_interval])", "").root());
        assert!(rules.contains("rate(inboxd_webhooks_total[5m])"), "{rules}");
    }
}
