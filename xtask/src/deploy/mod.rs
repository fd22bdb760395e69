//! Reading what `deploy/` holds: dashboards, alert rules, the systemd unit.

pub(crate) mod dashboards;
pub(crate) mod unit;
