//! Layers over `deploy/`: an operator's files are code, and a typing error in an alert is found when it should fire.

use std::fs;

use crate::context::{Context, run_quietly, tool};
use crate::deploy::{dashboards, unit};
use crate::layer::{Layer, Outcome};

pub(crate) const LAYERS: [Layer; 3] = [
    Layer { name: "dashboards", run: dashboards },
    Layer { name: "alerts", run: alerts },
    Layer { name: "unit", run: systemd },
];

/// Dashboards and alerts use metrics that exist; needs no tool.
fn dashboards(context: &Context) -> Outcome {
    let problems = dashboards::check(&context.root);
    for problem in &problems {
        println!("{problem}");
    }
    match problems.len() {
        0 => Outcome::Pass,
        n => Outcome::Fail(format!("{n} problem(s) above")),
    }
}

/// promtool reads the configuration and the rules, runs the rules' tests, and parses each query of each dashboard.
fn alerts(context: &Context) -> Outcome {
    if tool(&["promtool"]).is_none() {
        return Outcome::Skipped("promtool is not installed (package prometheus)".into());
    }
    let promtool = |args: &[&str]| run_quietly(context.program("promtool", "deploy/prometheus").args(args));
    let queries = context.target.join("dashboard-queries.json");
    let queries_as_rules = || {
        let rules = dashboards::queries_as_rules(&context.root);
        fs::write(&queries, rules).map_err(|e| format!("cannot write {}: {e}", queries.display()))?;
        promtool(&["check", "rules", &queries.to_string_lossy()])
    };
    promtool(&["check", "config", "prometheus.yml"])
        .and_then(|()| promtool(&["check", "rules", "alerts.yaml"]))
        .and_then(|()| promtool(&["test", "rules", "alerts_test.yaml"]))
        .and_then(|()| queries_as_rules())
        .into()
}

/// systemd's own reading of the unit.
fn systemd(context: &Context) -> Outcome {
    if tool(&["systemd-analyze"]).is_none() {
        return Outcome::Skipped("systemd-analyze is not installed".into());
    }
    unit::verify(context).into()
}
