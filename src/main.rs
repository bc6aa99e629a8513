//! `dask-azureml-operator`: parse, then run.

use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use dask_azureml_operator::cli::{Cli, Command, PlanArgs, PlanOutput, RunArgs};
use dask_azureml_operator::clock::Clock;
use dask_azureml_operator::plan_command::{self, PlanError};
use dask_azureml_operator::settings::{PlanSettings, Settings};
use dask_azureml_operator::{api, controller, metrics, telemetry};

fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().command {
        Command::Crd => {
            print!("{}", api::crd_yaml()?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Metrics => {
            print!("{}", metrics::page()?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Plan(args) => plan(*args),
        Command::Run(args) => run(*args).map(|()| ExitCode::SUCCESS),
    }
}

#[tokio::main]
async fn run(args: RunArgs) -> anyhow::Result<()> {
    let log_filter = telemetry::init(&args.log, args.log_format)?;
    install_tls()?;
    let log_filter_file = args.log_filter_file.clone();
    let settings = Settings::new(args).context("the settings")?;
    let clock = Clock::system();
    if let Some(file) = log_filter_file {
        let clock = clock.clone();
        tokio::spawn(async move { log_filter.follow(&file, &clock).await });
    }
    let client = kube::Client::try_default()
        .await
        .context("no access to a Kubernetes API server")?;
    controller::run(settings, client, clock, stopped()).await?;
    Ok(())
}

fn install_tls() -> anyhow::Result<()> {
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        anyhow::bail!("another TLS provider is installed already");
    }
    Ok(())
}

/// What a manifest that means nothing ends with; 1 says that Azure could not be asked.
const INVALID_MANIFEST: u8 = 2;

#[tokio::main]
async fn plan(args: PlanArgs) -> anyhow::Result<ExitCode> {
    install_tls()?;
    let settings = PlanSettings::new(args.clusters, &args.azure).context("the settings")?;
    let manifest = read(&args.filename)
        .with_context(|| format!("{} cannot be read", args.filename.display()))?;
    let kubernetes = plan_command::kubernetes(args.namespace).await;
    let clock = Clock::system();
    let planned = Box::pin(plan_command::plan(settings, &manifest, kubernetes, clock)).await;
    let planned = match planned {
        Err(PlanError::Invalid(problem)) => {
            eprintln!("the manifest is invalid: {problem}");
            return Ok(ExitCode::from(INVALID_MANIFEST));
        }
        planned => planned?,
    };
    for note in &planned.notes {
        eprintln!("note: {note}");
    }
    match args.output {
        PlanOutput::Text => print!("{}", planned.forecast),
        PlanOutput::Json => println!("{:#}", planned.forecast.to_json()),
    }
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> std::io::Result<String> {
    if path.as_os_str() != "-" {
        return std::fs::read_to_string(path);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    Ok(text)
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
