//! The operator: makes a `DaskCluster` manifest true on Azure Machine Learning.
//!
//! [`reconcile`] is one reconcile as a value passed down a line; [`azure_resources`], [`kubernetes_children`] and
//! [`scaling`] are what it decides with, pure; [`azure`], [`dask`], [`inventory`] and [`kubernetes`] look and write.

pub mod access;
mod alarms;
pub mod api;
pub mod azure;
pub mod azure_resources;
pub mod backlog;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod controller;
pub mod dask;
pub mod http_server;
pub mod inventory;
pub mod kubernetes;
pub mod kubernetes_children;
pub mod leadership;
pub mod lookup;
pub mod metrics;
pub mod mistakes;
pub mod names;
pub mod plan_command;
pub mod quantity;
pub mod reconcile;
pub mod scaling;
pub mod settings;
pub mod settings_page;
pub mod sweep;
pub mod telemetry;
pub mod token;
mod watch_backoff;
