//! `dask-azureml-operator`: parse, then run.

use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use dask_azureml_operator::cli::{Command, PlanArgs, PlanOutput, RunArgs};
use dask_azureml_operator::clock::Clock;
use dask_azureml_operator::mistakes::{Mistakes, Typed};
use dask_azureml_operator::plan_command::{self, PlanError};
use dask_azureml_operator::settings::{PlanSettings, Settings, SettingsErrors};
use dask_azureml_operator::{api, controller, metrics, mistakes, settings_page, telemetry};

fn main() -> anyhow::Result<ExitCode> {
    let typed = match mistakes::understand(std::env::args_os()) {
        Ok(typed) => typed,
        Err(help) => help.exit(),
    };
    let Typed { cli, mistakes } = typed;
    let Some(cli) = cli else {
        return Ok(refused(&mistakes));
    };
    match cli.command {
        // What is wrong with what these need is told by themselves, after what is wrong besides.
        Command::Plan(args) => plan(*args, mistakes),
        Command::Run(args) => run(*args, mistakes),
        _ if !mistakes.0.is_empty() => Ok(refused(&mistakes)),
        Command::Crd => {
            print!("{}", api::crd_yaml()?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Metrics => {
            print!("{}", metrics::page()?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Settings => {
            print!("{}", settings_page::page());
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// What ends so was typed wrong, or means nothing: it is to be changed and not tried again.
const WRONG: u8 = 2;

fn refused(mistakes: &Mistakes) -> ExitCode {
    eprint!("{mistakes}");
    ExitCode::from(WRONG)
}

#[tokio::main]
async fn run(args: RunArgs, mut mistakes: Mistakes) -> anyhow::Result<ExitCode> {
    let (log, log_format) = (args.log.clone(), args.log_format);
    let log_filter_file = args.log_filter_file.clone();
    let Some(settings) = meant(Settings::new(args), &mut mistakes) else {
        return Ok(refused(&mistakes));
    };
    let log_filter = telemetry::init(&log, log_format)?;
    install_tls()?;
    let clock = Clock::system();
    if let Some(file) = log_filter_file {
        let clock = clock.clone();
        tokio::spawn(async move { log_filter.follow(&file, &clock).await });
    }
    let client = kube::Client::try_default()
        .await
        .context("no access to a Kubernetes API server")?;
    controller::run(settings, client, clock, stopped()).await?;
    Ok(ExitCode::SUCCESS)
}

/// The settings, where nothing at all is wrong.
fn meant<T>(settings: Result<T, SettingsErrors>, mistakes: &mut Mistakes) -> Option<T> {
    match settings {
        Ok(settings) => mistakes.0.is_empty().then_some(settings),
        Err(SettingsErrors(errors)) => {
            errors.iter().for_each(|error| mistakes.add(error));
            None
        }
    }
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

#[tokio::main]
async fn plan(args: PlanArgs, mut mistakes: Mistakes) -> anyhow::Result<ExitCode> {
    let settings = PlanSettings::new(args.clusters, &args.azure);
    let Some(settings) = meant(settings, &mut mistakes) else {
        return Ok(refused(&mistakes));
    };
    install_tls()?;
    let manifest = read(&args.filename)
        .with_context(|| format!("{} cannot be read", args.filename.display()))?;
    let kubernetes = plan_command::kubernetes(args.namespace).await;
    let clock = Clock::system();
    let planned = Box::pin(plan_command::plan(settings, &manifest, kubernetes, clock)).await;
    let planned = match planned {
        Err(PlanError::Invalid(problem)) => {
            eprintln!("the manifest is invalid: {problem}");
            return Ok(ExitCode::from(WRONG));
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
