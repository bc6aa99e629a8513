//! `docs/settings.md`, out of the definitions of the flags.

use std::fmt::Write as _;

use clap::{Arg, CommandFactory as _};

use crate::cli::Cli;

/// The page.
#[must_use]
pub fn page() -> String {
    let mut page = String::from(
        "# Settings\n\n\
         Made by `dask-azureml-operator settings` (`make generate`): do not edit.\n\n\
         Each is a flag of `dask-azureml-operator run` or an environment variable; a flag goes before its variable. What is\n\
         wrong is told at once, all of it, with what would be right, and the operator ends with code 2.\n\n\
         | flag | variable | default | meaning |\n|---|---|---|---|\n",
    );
    let command = Cli::command();
    let run = command.find_subcommand("run");
    let options = run.into_iter().flat_map(|run| run.get_arguments());
    let mut options: Vec<&Arg> = options
        .filter(|option| option.get_long().is_some())
        .collect();
    options.sort_by_key(|option| option.get_long());
    for option in options {
        row(&mut page, option);
    }
    page
}

fn row(page: &mut String, option: &Arg) {
    let code = |text: &str| format!("`{text}`");
    let variable = option.get_env().and_then(|name| name.to_str());
    let default = option.get_default_values().first();
    let default = default.and_then(|value| value.to_str());
    let help = option
        .get_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let values = option.get_possible_values();
    let names: Vec<_> = values.iter().map(|value| code(value.get_name())).collect();
    let meaning = if names.is_empty() || !option.get_action().takes_values() {
        help.replace('|', "\\|")
    } else {
        format!("{help}: {}", names.join(" or "))
    };
    // Writing to a String does not fail.
    let _ = writeln!(
        page,
        "| `--{}` | {} | {} | {meaning} |",
        option.get_long().unwrap_or_default(),
        variable.map(code).unwrap_or_default(),
        default.map(code).unwrap_or_default(),
    );
}
