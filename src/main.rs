//! `dask-azureml-operator`: parse, then run.

use anyhow::Context as _;
use clap::Parser as _;
use dask_azureml_operator::cli::{Cli, Command, RunArgs};
use dask_azureml_operator::clock::Clock;
use dask_azureml_operator::settings::Settings;
use dask_azureml_operator::{api, controller, telemetry};

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Crd => {
            print!("{}", api::crd_yaml()?);
            Ok(())
        }
        Command::Run(args) => run(*args),
    }
}

#[tokio::main]
async fn run(args: RunArgs) -> anyhow::Result<()> {
    telemetry::init(&args.log, args.log_format)?;
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        anyhow::bail!("another TLS provider is installed already");
    }
    let settings = Settings::new(args).context("the settings")?;
    let client = kube::Client::try_default()
        .await
        .context("no access to a Kubernetes API server")?;
    controller::run(settings, client, Clock::system(), stopped()).await?;
    Ok(())
}

/// SIGTERM, as the kubelet sends it, or SIGINT from a terminal.
async fn stopped() {
    let mut terminate =
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(signal) => signal,
            Err(error) => {
                tracing::warn!(%error, "SIGTERM cannot be heard");
                return std::future::pending().await;
            }
        };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
