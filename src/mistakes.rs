//! What was typed wrong: all of it at once, each with what would be right. The parser by itself stops at the first.

use std::ffi::OsString;
use std::fmt;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory as _, FromArgMatches as _};

use crate::cli::Cli;

/// More than that nobody reads.
const AT_MOST: usize = 50;

/// What was typed, as far as it can be understood.
pub struct Typed {
    /// What is wrong is left out, so that its default holds. Nothing where the rest cannot be understood without it.
    pub cli: Option<Cli>,
    pub mistakes: Mistakes,
}

/// Each is a text for whoever typed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Mistakes(pub Vec<String>);

impl Mistakes {
    /// Takes note of an error with its causes.
    pub fn add(&mut self, error: &dyn std::error::Error) {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        self.0.push(text);
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mistake in &self.0 {
            writeln!(f, "error: {mistake}")?;
        }
        f.write_str("\nFor more information, try '--help'.\n")
    }
}

/// Understands what was typed, the name of the program before it.
///
/// # Errors
/// What is no mistake and no command: the help that was asked for, or the version.
pub fn understand(typed: impl IntoIterator<Item = OsString>) -> Result<Typed, clap::Error> {
    let mut arguments: Vec<OsString> = typed.into_iter().collect();
    let mut command = Cli::command();
    let mut mistakes = Mistakes::default();
    while mistakes.0.len() < AT_MOST {
        let understood = command.clone().try_get_matches_from(&arguments);
        let error = match understood.and_then(|matches| Cli::from_arg_matches(&matches)) {
            Ok(cli) => {
                let cli = Some(cli);
                return Ok(Typed { cli, mistakes });
            }
            Err(error) if mistakes.0.is_empty() && !error.use_stderr() => return Err(error),
            Err(error) => error,
        };
        if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
            return Err(error);
        }
        let mistake = told(&error);
        if mistakes.0.contains(&mistake) {
            break;
        }
        mistakes.0.push(mistake);
        let Some((left, without)) = leave_out(&error, &arguments, command) else {
            break;
        };
        (arguments, command) = (left, without);
    }
    let cli = None;
    Ok(Typed { cli, mistakes })
}

/// The error without the usage that follows it.
fn told(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let mut lines = text.lines().map(str::trim);
    let lines = lines
        .by_ref()
        .take_while(|line| !line.starts_with("Usage:"));
    let lines: Vec<&str> = lines
        .filter(|line| !line.is_empty() && !line.starts_with("For more information"))
        .collect();
    lines.join(" ")
}

/// Everything but what the error is about, which is typed or stands in a variable.
fn leave_out(
    error: &clap::Error,
    arguments: &[OsString],
    command: Command,
) -> Option<(Vec<OsString>, Command)> {
    let Some(ContextValue::String(named)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    // `--resync-seconds <RESYNC_SECONDS>`
    let flag = named.split([' ', '=']).next()?;
    let is_flag = |argument: &OsString| argument.to_str().is_some_and(|it| it == flag);
    let is_assigned = |argument: &OsString| {
        let text = argument.to_str();
        text.is_some_and(|it| it.split_once('=').is_some_and(|(name, _)| name == flag))
    };
    let mut left = Vec::new();
    let mut rest = arguments.iter().peekable();
    while let Some(argument) = rest.next() {
        if is_flag(argument) {
            let is_value = |next: &&OsString| !next.to_string_lossy().starts_with('-');
            if flag.starts_with('-') {
                rest.next_if(is_value);
            }
        } else if !is_assigned(argument) {
            left.push(argument.clone());
        }
    }
    if left.len() < arguments.len() {
        return Some((left, command));
    }
    let name = flag.strip_prefix("--")?.to_owned();
    let without = command.mut_subcommands(|command| {
        let id = command
            .get_arguments()
            .find(|option| option.get_long() == Some(&name))
            .map(|option| option.get_id().to_string());
        match id {
            Some(id) => command.mut_arg(id, |option| option.env(None::<&'static str>)),
            None => command,
        }
    });
    (error.kind() != ErrorKind::UnknownArgument).then_some((left, without))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli;

    fn understood(typed: &[&str]) -> Typed {
        let typed = ["dask-azureml-operator"].iter().chain(typed);
        understand(typed.map(OsString::from)).ok().unwrap()
    }

    #[test]
    fn every_mistake_is_told_and_the_rest_is_understood() {
        let typed = understood(&[
            "run",
            "--resync-seconds",
            "4",
            "--orphans=burn",
            "--no-such-flag",
            "7",
            "--sweep-seconds=x",
            "--metrics-listen",
            "nowhere",
            "--orphan-grace-seconds",
            "61",
            "surplus",
        ]);
        let mistakes = typed.mistakes.0;
        for words in [
            ["--resync-seconds", "5..=3600"],
            ["--orphans", "report, remove"],
            ["--no-such-flag", "unexpected"],
            ["--sweep-seconds", "'x'"],
            ["--metrics-listen", "nowhere"],
            ["surplus", "unexpected"],
        ] {
            let is_told = |told: &&String| words.iter().all(|word| told.contains(word));
            assert_eq!(
                mistakes.iter().filter(is_told).count(),
                1,
                "{words:?} {mistakes:#?}"
            );
        }
        assert_eq!(mistakes.len(), 6, "{mistakes:#?}");
        assert!(mistakes.iter().all(|told| !told.contains('\n')));
        let Some(cli::Command::Run(args)) = typed.cli.map(|cli| cli.command) else {
            panic!("it is the command run");
        };
        assert_eq!((args.orphan_grace_seconds, args.resync_seconds), (61, 60));
    }

    #[test]
    fn what_is_right_has_no_mistakes_and_help_is_none() {
        let typed = understood(&["run", "--resync-seconds", "5"]);
        assert_eq!(typed.mistakes, Mistakes::default());
        assert!(typed.cli.is_some());
        for typed in [&["run", "--help"][..], &["--version"], &[]] {
            let typed = ["dask-azureml-operator"].iter().chain(typed);
            assert!(understand(typed.map(OsString::from)).is_err());
        }
    }

    #[test]
    fn what_nothing_can_be_understood_without_is_told() {
        let typed = understood(&["plan", "--output", "xml"]);
        assert_eq!(typed.mistakes.0.len(), 2, "{:?}", typed.mistakes);
        assert!(typed.cli.is_none());
    }
}
