//! The man page and the shell completions, made from the definition of the command line.

use std::io;

use clap::{Args, Command, CommandFactory as _};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::exit::{Exit, Failure};
use crate::output;

/// Print a manual page.
#[derive(Args)]
pub(crate) struct ManArgs {
    /// The command to describe; without one, the program as a whole
    command: Option<String>,
}

/// Print a completion script for a shell.
#[derive(Args)]
pub(crate) struct CompletionsArgs {
    /// The shell to complete for
    shell: Shell,
}

/// Prints the manual page of the program or of one of its commands.
pub(crate) fn man(args: &ManArgs) -> Result<Exit, Failure> {
    let mut program = Cli::command();
    program.build();
    let page = match &args.command {
        None => clap_mangen::Man::new(program),
        Some(name) => {
            let command = program.find_subcommand(name).ok_or_else(|| {
                Failure::new(Exit::Usage, format_args!("{name}: no such command"))
                    .next("see faultless --help for the list")
            })?;
            // A built command carries its full name, `faultless-doctor`, for the title.
            clap_mangen::Man::new(command.clone())
        }
    };
    output::bytes(|out: &mut Vec<u8>| page.render(out))
}

/// Prints the completion script.
pub(crate) fn completions(args: &CompletionsArgs) -> Result<Exit, Failure> {
    output::bytes(|out: &mut Vec<u8>| -> io::Result<()> {
        clap_complete::generate(args.shell, &mut visible(&Cli::command()), "faultless", out);
        Ok(())
    })
}

/// Leaves out what help leaves out: the generator would offer hidden commands, too.
fn visible(program: &Command) -> Command {
    let commands = program.get_subcommands().filter(|command| !command.is_hide_set());
    let commands: Vec<Command> = commands.map(visible).collect();
    let mut copy = Command::new(program.get_name().to_owned())
        .about(program.get_about().cloned().unwrap_or_default())
        .args(program.get_arguments().cloned())
        .subcommands(commands);
    if let Some(version) = program.get_version() {
        copy = copy.version(version.to_owned());
    }
    copy
}
